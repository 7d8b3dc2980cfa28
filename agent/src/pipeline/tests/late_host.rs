//! Kernel events name the code that a late host was in, whatever their order among themselves.

use wire::kernel::WaitEvent;

use super::*;
use crate::output::json::Document;
use crate::stack::Place;

fn wait(from_ns: u64, to_ns: u64, signature: u64) -> Input {
    let event = WaitEvent {
        kind: event_kind::WAIT,
        tgid: PID,
        tid: PID,
        open: 0,
        from_ns,
        to_ns,
        signature,
    };
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn stack_at(kind: u32, time_ns: u64, key: u64, leaf_first: &[u64]) -> Input {
    let Input::KernelEvent(bytes) = stack(kind, 0, leaf_first) else { unreachable!() };
    let mut event = StackEvent::read_from_bytes(&bytes).unwrap();
    (event.time_ns, event.key) = (time_ns, key);
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn python(number: u64, function: &str, line: u32) -> Symbol {
    let frame = Frame {
        language: Language::Python,
        function: function.to_owned(),
        module: None,
        file: Some("/srv/app/model.py".to_owned()),
        line: Some(line),
    };
    Symbol { address: Place::Python(number).to_bits(), frames: vec![frame] }
}

/// Two kernels; in `[1 500, 900 000)` after arming nothing was queued.
fn late(events: Vec<Input>) -> Vec<Input> {
    let mut inputs = head();
    let records = |payloads| Input::Records { process: PROCESS, payloads };
    inputs.push(records(vec![mark(ARMED, MARK_ARMED), sync(ARMED, ARMED + 1)]));
    inputs.extend(events);
    inputs.push(records(vec![
        launch(1, ARMED + 1, false),
        kernel(1, ARMED + 1_000, ARMED + 1_500, 3),
        launch(2, ARMED + 900_000, false),
        kernel(2, ARMED + 901_000, ARMED + 902_000, 4),
        mark(ARMED + 902_000, MARK_ARMED | MARK_LAST),
    ]));
    inputs.push(Input::Symbols {
        process: PROCESS,
        symbols: vec![
            symbol(0x10, &["_start"]),
            symbol(0x20, &["epoll_wait"]),
            python(1, "model.Model.forward", 12),
            python(2, "model.Model.wait", 30),
        ],
    });
    inputs
}

#[test]
fn a_late_host_is_named_by_its_innermost_python_frame() {
    let (forward, waiting) = (Place::Python(1).to_bits(), Place::Python(2).to_bits());
    let events = vec![
        wait(ARMED + 100_000, ARMED + 400_000, 77),
        stack_at(event_kind::OFF_CPU_STACK, ARMED + 100_000, 77, &[0x20, waiting, forward, 0x10]),
        stack_at(event_kind::CPU_SAMPLE, ARMED + 50_000, 0, &[forward, 0x10]),
    ];
    let reversed: Vec<Input> = events.iter().rev().cloned().collect();
    for events in [events, reversed] {
        let inputs = late(events);
        let capture = run(&inputs);
        assert_eq!(capture.report.defects, []);
        let device = &Document::of(&capture).devices[0];
        assert_eq!(device.idle_cause_ns["host_bound"], 898_500);
        let told: Vec<_> = device
            .host_bound
            .iter()
            .map(|host| (&*host.frame, &*host.state, host.samples, host.total_ns))
            .collect();
        assert_eq!(
            told,
            [
                ("model.Model.forward (model.py:12)", "running", 1, 598_500),
                ("model.Model.wait (model.py:30)", "asleep", 0, 300_000),
            ]
        );
        assert_eq!(device.host_bound_rest_ns, 0);
        assert_eq!(device.idle_gaps[0].host.len(), 2);
        let replayed = replay(&inputs);
        assert_eq!(json::render(&replayed).unwrap(), json::render(&capture).unwrap());
    }
}
