//! docs/kernels.md: what was seen in each kernel.

use super::libtest::Outcome;
use super::results::{Figure, Seen};

const PREFACE: &str = include_str!("preface.md");

/// Probes by the name of their figure, with the words of the table.
const PROBES: [(&str, &str); 11] = [
    ("none", "no probe: the call alone"),
    ("nop1", "`nop`, 1 byte"),
    ("nop2", "`xchg %ax,%ax`, the nop of 2 bytes"),
    ("nop5", "`nopl 0(%rax,%rax,1)`, the nop of 5 bytes (our probe point)"),
    ("push-rbp", "`push %rbp`"),
    ("push-r15", "`push %r15`"),
    ("endbr64", "`endbr64`"),
    ("mov", "`mov`"),
    ("sub", "`sub`"),
    ("return", "return probe of a function that begins with a 1-byte nop"),
    ("nop5-stack", "5-byte nop, our program: a stack is taken"),
];
/// The probe that others are compared with: every kernel emulates it.
const UNIT: &str = "nop1";

const HITS: &str = "
## Probes

Nanoseconds of a hit: the median of 15 turns of 2 000 hits each (350 where a stack is taken), in brackets the lowest and the highest; behind it how many times the 1-byte nop of the same
kernel. A program that does nothing hangs at the probe, but for the last row.
";

/// The page. `seen` in the order of its rows.
pub(crate) fn page(seen: &[Seen], machine: &str) -> String {
    let mut page = Page { text: PREFACE.to_owned() };
    page.line(&format!("Machine: {machine}"));
    page.line("\n## Features and tests\n");
    page.line("| kernel | package | run | at commit | passed | failed | skipped | what is lost |");
    page.line("|---|---|---|---|---|---|---|---|");
    for kernel in seen {
        row(&mut page, kernel);
    }
    details(&mut page, seen);
    probes(&mut page, seen);
    page.text
}

/// Lines of text in the making.
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn how(seen: &Seen) -> &'static str {
    match seen.place.how.as_str() {
        "tcg" => "emulated",
        "kvm" => "virtual",
        _ => "direct",
    }
}

fn row(page: &mut Page, seen: &Seen) {
    let [passed, failed, skipped] = seen.counts();
    let package = match &seen.place.package {
        Some(package) => format!("`{package}`"),
        None => "none: the kernel of the machine".to_owned(),
    };
    let lost: Vec<&str> = seen.lost.iter().map(|lost| lost.feature.as_str()).collect();
    let lost = if lost.is_empty() { "nothing".to_owned() } else { lost.join(", ") };
    page.line(&format!(
        "| {} | {package} | {} | {} | {passed} | {failed} | {skipped} | {lost} |",
        seen.release,
        how(seen),
        seen.place.commit
    ));
}

/// What the table has no room for.
fn details(page: &mut Page, seen: &[Seen]) {
    for kernel in seen {
        let mut lines = Vec::new();
        lines.extend(
            kernel.lost.iter().map(|lost| format!("`doctor`, {}: {}", lost.feature, lost.why)),
        );
        lines.extend(kernel.problems.iter().map(|problem| format!("**{problem}**")));
        let mut skips: Vec<(&str, usize)> = Vec::new();
        for test in &kernel.tests {
            match &test.outcome {
                Outcome::Passed => {}
                Outcome::Failed { why } => lines.push(format!("**failed** `{}`: {why}", test.name)),
                Outcome::Skipped { reason } => {
                    match skips.iter_mut().find(|(of, _)| of == reason) {
                        Some((_, count)) => *count += 1,
                        None => skips.push((reason, 1)),
                    }
                }
            }
        }
        lines.extend(skips.iter().map(|(reason, count)| format!("{count} skipped: {reason}")));
        if lines.is_empty() {
            continue;
        }
        page.line(&format!("\n{}:\n", kernel.release));
        for line in lines {
            page.line(&format!("- {line}"));
        }
    }
}

fn probes(page: &mut Page, seen: &[Seen]) {
    page.line(HITS);
    let heads: Vec<String> =
        seen.iter().map(|kernel| format!("{}, {}", kernel.release, how(kernel))).collect();
    page.line(&format!("| first instruction | {} |", heads.join(" | ")));
    page.line(&format!("|---|{}", "---|".repeat(seen.len())));
    for (name, words) in PROBES {
        let cells: Vec<String> = seen.iter().map(|kernel| cell(kernel, name)).collect();
        page.line(&format!("| {words} | {} |", cells.join(" | ")));
    }
}

fn cell(seen: &Seen, name: &str) -> String {
    let (Some(figure), Some(unit)) = (seen.probes.get(name), seen.probes.get(UNIT)) else {
        return "not to be had".to_owned();
    };
    let Figure { median, lowest, highest } = figure;
    format!(
        "{} ({} - {}), {:.2}",
        number(*median),
        number(*lowest),
        number(*highest),
        median / unit.median
    )
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kernels::libtest::Test;
    use crate::kernels::results::{Lost, Place};

    #[test]
    fn the_page_has_a_row_a_kernel_and_every_loss() {
        let figure = |median| Figure { median, lowest: median / 2.0, highest: median * 2.0 };
        let skipped = |name: &str| Test {
            name: name.into(),
            outcome: Outcome::Skipped { reason: "bpf: too old".into() },
        };
        let seen = Seen {
            schema: String::new(),
            place: Place {
                asked: "5.10".into(),
                package: Some("linux-image-5.10=1".into()),
                how: "tcg".into(),
                commit: "abc".into(),
            },
            release: "5.10.0".into(),
            lost: vec![Lost { feature: "CPU samples".into(), why: "too old".into() }],
            tests: vec![
                Test { name: "a".into(), outcome: Outcome::Passed },
                Test { name: "b".into(), outcome: Outcome::Failed { why: "no end".into() } },
                skipped("c"),
                skipped("d"),
            ],
            probes: BTreeMap::from([
                ("nop1".to_owned(), figure(500.0)),
                ("mov".to_owned(), figure(1000.0)),
            ]),
            problems: vec!["doctor: was not run".into()],
        };
        let page = page(&[seen], "M");
        for line in [
            "| 5.10.0 | `linux-image-5.10=1` | emulated | abc | 1 | 1 | 2 | CPU samples |",
            "- `doctor`, CPU samples: too old",
            "- **doctor: was not run**",
            "- **failed** `b`: no end",
            "- 2 skipped: bpf: too old",
            "| `mov` | 1000 (500 - 2000), 2.00 |",
            "| `sub` | not to be had |",
        ] {
            assert!(page.lines().any(|of| of == line), "no `{line}` in:\n{page}");
        }
    }
}
