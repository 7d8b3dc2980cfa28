//! The figures of a report as they are compared. What this reads from a document is what
//! [`Figures::of`] reads from the report the document was made of.

use analysis::compare::{Amount, Figures, Level, Subject};

use crate::output::json::{Device, Document, Exclusive};

pub(super) fn of(document: &Document) -> Figures {
    let mut figures = Figures::default();
    for device in &document.devices {
        add(&mut figures, device);
    }
    for (phase, steps) in document.steps.iter().flat_map(|steps| &steps.phases) {
        figures.add_steps(phase, Amount { count: steps.count, time: steps.total_ns });
    }
    figures
}

fn add(figures: &mut Figures, device: &Device) {
    let Exclusive { attention, gemm, communication, other, idle, unobserved } = device.exclusive_ns;
    figures.add_wall(device.window_ns, unobserved);
    for (class, time) in [
        ("attention", attention),
        ("gemm", gemm),
        ("communication", communication),
        ("other", other),
        ("idle", idle),
    ] {
        figures.add(Subject::new(Level::Class, class), Amount { count: 0, time });
    }
    for (cause, &time) in &device.idle_cause_ns {
        figures.add(Subject::new(Level::IdleCause, cause.as_str()), Amount { count: 0, time });
    }
    for (class, kinds) in &device.kinds_ns {
        for (kind, &time) in kinds {
            let subject = Subject::new(Level::Kind, format!("{class}/{kind}"));
            figures.add(subject, Amount { count: 0, time });
        }
    }
    let gaps = Amount { count: device.idle_gap_count, time: idle };
    figures.add(Subject::new(Level::Gaps, "idle gaps"), gaps);
    for kernel in &device.kernel_totals {
        let subject = Subject::new(Level::Kernel, kernel.name.as_str());
        figures.add(subject, Amount { count: kernel.count, time: kernel.total_ns });
    }
    for range in &device.ranges {
        let subject = Figures::range(&range.range, range.name.as_deref(), &range.class);
        figures.add(subject, Amount { count: range.kernels, time: range.total_ns });
    }
}
