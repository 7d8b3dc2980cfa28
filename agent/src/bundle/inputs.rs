//! One input of a recording without what identifies. Every variant is named: another one must be thought about.

use analysis::event::{DeviceInfo, ProcessInfo, Service};

use super::redact::{Kind, Redactor};
use crate::capture::Frame;
use crate::pipeline::{Input, Start, Symbol};

/// The same input with every text in it passed through `redactor`. `None`: it may not be told at all.
pub fn redacted(input: Input, redactor: &mut Redactor) -> Option<Input> {
    let input = match input {
        Input::Start(Start { command, source, started_unix, cpu_hz, memory_step_ns }) => {
            Input::Start(Start {
                command: redactor.text(&command),
                source: redactor.host(&source),
                started_unix,
                cpu_hz,
                memory_step_ns,
            })
        }
        Input::Process { process, info } => {
            let ProcessInfo { pid, title, role, rank, server, service } = info;
            let Service { model, engine, container, pod, namespace } = service;
            let service = Service {
                model: redactor.service(&model, Kind::Model),
                engine: redactor.text(&engine),
                container: redactor.service(&container, Kind::Container),
                pod: redactor.service(&pod, Kind::Pod),
                namespace: redactor.service(&namespace, Kind::Namespace),
            };
            let info = ProcessInfo {
                pid,
                title: title_of(&title, redactor),
                role: redactor.text(&role),
                rank: redactor.text(&rank),
                server,
                service,
            };
            Input::Process { process, info }
        }
        Input::Device { device, info } => {
            let DeviceInfo { index, uuid, simulated } = info;
            // A GPU's own number tells machines apart and nothing else of them.
            Input::Device { device, info: DeviceInfo { index, uuid, simulated } }
        }
        Input::Name { process, id, name } => {
            Input::Name { process, id, name: redactor.code(&name) }
        }
        Input::ThreadName { process, thread, name } => {
            Input::ThreadName { process, thread, name: redactor.text(&name) }
        }
        Input::Symbols { process, symbols } => {
            let symbols = symbols.into_iter().map(|symbol| symbol_of(symbol, redactor));
            Input::Symbols { process, symbols: symbols.collect() }
        }
        Input::Note(note) => Input::Note(redactor.text(&note)),
        // Numbers only.
        Input::Ordinal { .. }
        | Input::Unopened { .. }
        | Input::Attached { .. }
        | Input::Records { .. }
        | Input::Graphs { .. }
        | Input::CaptureStack { .. }
        | Input::KernelEvent(_)
        | Input::Counters { .. }
        | Input::Resident { .. }
        | Input::PagesGone { .. }
        | Input::Ended { .. }
        | Input::Limit(_)
        | Input::Clock(_) => input,
        Input::Foreign(_) => return None,
    };
    Some(input)
}

/// The first word: what follows may be arguments, for a program calls itself what it likes.
fn title_of(title: &str, redactor: &mut Redactor) -> String {
    redactor.text(title.split_whitespace().next().unwrap_or(""))
}

fn symbol_of(symbol: Symbol, redactor: &mut Redactor) -> Symbol {
    let Symbol { address, frames } = symbol;
    let frames = frames.into_iter().map(|frame| {
        let Frame { language, function, module, file, line } = frame;
        Frame {
            language,
            function: redactor.code(&function),
            module: module.map(|module| redactor.path(&module)),
            file: file.map(|file| redactor.path(&file)),
            line,
        }
    });
    Symbol { address, frames: frames.collect() }
}

#[cfg(test)]
mod tests {
    use analysis::ids::{DeviceKey, ProcessKey, Thread};

    use super::*;
    use crate::bundle::Known;
    use crate::capture::Language;

    /// Everything that must not be in what leaves.
    const PLANTED: [&str; 12] = [
        "gpu-node-7",
        "ada.lovelace",
        "10.77.88.99",
        "hf_AbCdEfGhIjKlMnOpQrSt",
        "hunter2",
        "/srv/homes/ada",
        "private-project",
        "org/unreleased",
        "llm-0-pod",
        "secret-team",
        "c0ffee",
        "AKIAIOSFODNN7EXAMPLE",
    ];

    fn planted() -> Vec<Input> {
        let process = ProcessKey(1);
        vec![
            Input::Start(Start {
                command: "dump".to_owned(),
                source: "gpu-node-7".to_owned(),
                started_unix: Some(1),
                cpu_hz: 0,
                memory_step_ns: 0,
            }),
            Input::Device {
                device: DeviceKey(0),
                info: DeviceInfo { index: 0, uuid: Some("GPU-1".to_owned()), simulated: false },
            },
            Input::Process {
                process,
                info: ProcessInfo {
                    pid: 7,
                    title: "VLLM::Worker_TP0 --api-key hunter2".to_owned(),
                    role: "worker".to_owned(),
                    rank: "TP0".to_owned(),
                    server: 1,
                    service: Service {
                        model: "org/unreleased".to_owned(),
                        engine: "0".to_owned(),
                        container: "c0ffee".repeat(10),
                        pod: "llm-0-pod".to_owned(),
                        namespace: "secret-team".to_owned(),
                    },
                },
            },
            Input::Name { process, id: 1, name: "gemm_of_10.77.88.99".to_owned() },
            Input::ThreadName { process, thread: Thread(8), name: "to 10.77.88.99".to_owned() },
            Input::Symbols {
                process,
                symbols: vec![Symbol {
                    address: 1,
                    frames: vec![Frame {
                        language: Language::Python,
                        function: "serve.hf_AbCdEfGhIjKlMnOpQrSt".to_owned(),
                        module: Some("/srv/homes/ada/private-project/x.so".to_owned()),
                        file: Some("/srv/homes/ada/private-project/serve.py".to_owned()),
                        line: Some(3),
                    }],
                }],
            },
            Input::Note(
                "ada.lovelace on gpu-node-7 of org/unreleased, password=hunter2, AKIAIOSFODNN7EXAMPLE, /srv/homes/ada/private-project"
                    .to_owned(),
            ),
        ]
    }

    #[test]
    fn nothing_that_identifies_is_left_and_the_rest_is() {
        let known = Known {
            users: vec!["ada.lovelace".to_owned()],
            homes: vec!["/srv/homes/ada".to_owned()],
            ..Known::default()
        };
        let mut redactor = Redactor::new(known, true).unwrap();
        let told: Vec<Input> =
            planted().into_iter().filter_map(|input| redacted(input, &mut redactor)).collect();
        assert_eq!(told.len(), planted().len());
        let text = format!("{told:?}");
        for planted in PLANTED {
            assert!(!text.contains(planted), "{planted} in {text}");
        }
        for kept in ["VLLM::Worker_TP0", "TP0", "GPU-1", "gemm_of_", "serve.", ".py", "dump"] {
            assert!(text.contains(kept), "{kept} not in {text}");
        }
        // The same host is the same stand-in wherever it is named.
        assert_eq!(text.matches("[host-1]").count(), 2, "{text}");
    }
}
