//! Amounts of everything that can be compared, cumulative or of one window.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::classify::Class;
use crate::ids::NameId;
use crate::report::{Exclusive, IdleCause, Report};

/// What kind of thing is compared. Things of one level are corrected for chance together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The exclusive split: classes and idle time.
    Class,
    IdleCause,
    /// Unions per kind; kinds overlap.
    Kind,
    /// Idle gaps as such: their number and length.
    Gaps,
    /// Engine steps of a phase: their number and duration.
    Steps,
    Kernel,
    /// What an operator, annotation or module launched of one class.
    Range,
}

impl Level {
    pub const ALL: [Self; 7] = [
        Self::Class,
        Self::IdleCause,
        Self::Kind,
        Self::Gaps,
        Self::Steps,
        Self::Kernel,
        Self::Range,
    ];

    /// The spelling in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::IdleCause => "idle_cause",
            Self::Kind => "kind",
            Self::Gaps => "gaps",
            Self::Steps => "steps",
            Self::Kernel => "kernel",
            Self::Range => "range",
        }
    }
}

/// One thing that is compared, matched by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub level: Level,
    pub name: Arc<str>,
}

impl Subject {
    pub fn new(level: Level, name: impl Into<Arc<str>>) -> Self {
        Self { level, name: name.into() }
    }
}

/// How often and how long, ns. `count` is 0 where only time is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub count: u64,
    pub time: u64,
}

/// Amounts of one observation or one window of it, over all devices together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Windows of all devices, ns.
    pub wall: u64,
    /// Of that, unobserved.
    pub unobserved: u64,
    /// Engine steps of every phase.
    pub steps: u64,
    pub amounts: BTreeMap<Subject, Amount>,
}

impl Figures {
    /// Everything in `report`; `name` turns its name ids into texts. A kernel without a text is left
    /// out.
    pub fn of(report: &Report, mut name: impl FnMut(NameId) -> Option<Arc<str>>) -> Self {
        let mut figures = Self::default();
        for device in &report.devices {
            figures.add_wall(
                device.window.end.since(device.window.start).unwrap_or(0),
                device.exclusive.unobserved,
            );
            let Exclusive { attention, gemm, communication, other, idle, unobserved: _ } =
                device.exclusive;
            for (class, time) in [
                (Class::Attention.as_str(), attention),
                (Class::Gemm.as_str(), gemm),
                (Class::Communication.as_str(), communication),
                (Class::Other.as_str(), other),
                ("idle", idle),
            ] {
                figures.add(Subject::new(Level::Class, class), Amount { count: 0, time });
            }
            for cause in IdleCause::ALL {
                let time = device.idle_cause.get(&cause).copied().unwrap_or(0);
                let subject = Subject::new(Level::IdleCause, cause.as_str());
                figures.add(subject, Amount { count: 0, time });
            }
            for (&(class, kind), &time) in &device.kinds {
                let subject = Subject::new(Level::Kind, format!("{class}/{kind}"));
                figures.add(subject, Amount { count: 0, time });
            }
            let gaps = Amount { count: device.gap_count, time: idle };
            figures.add(Subject::new(Level::Gaps, "idle gaps"), gaps);
            for total in &device.totals {
                let Some(name) = name(total.name) else {
                    continue;
                };
                let subject = Subject { level: Level::Kernel, name };
                figures.add(subject, Amount { count: total.count, time: total.total });
            }
        }
        for range in &report.ranges {
            let name = range.name.as_deref();
            let subject = Self::range(range.kind.as_str(), name, range.class.as_str());
            figures.add(subject, Amount { count: range.kernels, time: range.total });
        }
        for steps in &report.steps {
            for (phase, stats) in &steps.phases {
                figures.add_steps(phase.as_str(), Amount { count: stats.count, time: stats.total });
            }
        }
        figures
    }

    /// The subject of rows of a range table, whatever the shapes: they differ with every batch.
    pub fn range(range: &str, name: Option<&str>, class: &str) -> Subject {
        let name = name.unwrap_or("(outside)");
        Subject::new(Level::Range, format!("{range} {name}: {class}"))
    }

    pub fn add_wall(&mut self, wall: u64, unobserved: u64) {
        self.wall = self.wall.saturating_add(wall);
        self.unobserved = self.unobserved.saturating_add(unobserved);
    }

    /// What is not there on either side has nothing to say: a zero makes no entry.
    pub fn add(&mut self, subject: Subject, amount: Amount) {
        if amount == Amount::default() {
            return;
        }
        let sum = self.amounts.entry(subject).or_default();
        sum.count = sum.count.saturating_add(amount.count);
        sum.time = sum.time.saturating_add(amount.time);
    }

    /// Steps of one phase.
    pub fn add_steps(&mut self, phase: &str, amount: Amount) {
        self.steps = self.steps.saturating_add(amount.count);
        self.add(Subject::new(Level::Steps, phase), amount);
    }

    /// Adds another observation of the same length, such as another rank's.
    pub fn join(&mut self, other: &Self) {
        self.add_wall(other.wall, other.unobserved);
        self.steps = self.steps.saturating_add(other.steps);
        for (subject, &amount) in &other.amounts {
            self.add(subject.clone(), amount);
        }
    }

    /// What came between the cumulative `before` and the cumulative `self`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut between = Self {
            wall: self.wall.saturating_sub(before.wall),
            unobserved: self.unobserved.saturating_sub(before.unobserved),
            steps: self.steps.saturating_sub(before.steps),
            amounts: BTreeMap::new(),
        };
        for (subject, amount) in &self.amounts {
            let earlier = before.amounts.get(subject).copied().unwrap_or_default();
            between.add(
                subject.clone(),
                Amount {
                    count: amount.count.saturating_sub(earlier.count),
                    time: amount.time.saturating_sub(earlier.time),
                },
            );
        }
        between
    }

    /// Observed GPU time, ns.
    pub fn observed(&self) -> u64 {
        self.wall.saturating_sub(self.unobserved)
    }

    pub fn amount(&self, subject: &Subject) -> Amount {
        self.amounts.get(subject).copied().unwrap_or_default()
    }

    /// Time a second of observed GPU time; `None` where nothing was observed.
    pub fn share(&self, subject: &Subject) -> Option<f64> {
        ratio(self.amount(subject).time, self.observed())
    }

    /// Mean time of one, ns; `None` where there was none.
    pub fn mean(&self, subject: &Subject) -> Option<f64> {
        let Amount { count, time } = self.amount(subject);
        ratio(time, count)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
