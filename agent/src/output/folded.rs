//! `cpu.folded`, `offcpu.folded`, `wall.folded`, `gpu.folded`, `memory.folded`, `resident.folded`: one line a stack, `root;...;leaf value`,
//! complete and exact. Values are ns, those of `cpu.folded` samples, those of memory bytes.

use std::collections::BTreeMap;

use super::rows::{self, Row, Titles};
use crate::capture::Capture;

/// GPU time, ns.
pub fn gpu(capture: &Capture) -> String {
    let mut lines = Lines::default();
    rows::gpu(capture, &Titles::of(capture), |row| lines.add(&row));
    lines.render()
}

/// CPU samples.
pub fn cpu(capture: &Capture) -> String {
    let mut lines = Lines::default();
    rows::cpu(capture, &Titles::of(capture), |row| lines.add(&row));
    lines.render()
}

/// Time off the CPU, ns.
pub fn offcpu(capture: &Capture) -> String {
    let mut lines = Lines::default();
    rows::offcpu(capture, &Titles::of(capture), |row| lines.add(&row));
    lines.render()
}

/// Time on and off the CPU, ns.
pub fn wall(capture: &Capture) -> String {
    let mut lines = Lines::default();
    rows::wall(capture, &Titles::of(capture), |row| lines.add(&row));
    lines.render()
}

/// Live memory, bytes.
pub fn memory(capture: &Capture) -> String {
    let mut lines = Lines::default();
    rows::memory(capture, &Titles::of(capture), |row, _site| {
        if row.value > 0 {
            lines.add(&row);
        }
    });
    lines.render()
}

/// Memory with pages, by who touched it first, bytes.
pub fn touched(capture: &Capture) -> String {
    let mut lines = Lines::default();
    rows::touched(capture, &Titles::of(capture), |row| {
        if row.value > 0 {
            lines.add(&row);
        }
    });
    lines.render()
}

/// A frame's text as the folded format can carry it: `;` separates frames, a line ends a stack.
/// Control characters would also break the SVG that is drawn from the same texts.
pub(crate) fn sanitize(text: &str, out: &mut String) {
    out.extend(text.chars().map(|character| match character {
        ';' => ':',
        '\n' | '\r' | '\t' => ' ',
        other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => {
            char::REPLACEMENT_CHARACTER
        }
        other => other,
    }));
}

/// Equal stacks are one line; sorted, so that two runs can be compared.
#[derive(Default)]
struct Lines(BTreeMap<String, u64>);

impl Lines {
    fn add(&mut self, row: &Row<'_, '_>) {
        let mut line = String::new();
        for (index, frame) in row.frames.iter().enumerate() {
            if index > 0 {
                line.push(';');
            }
            sanitize(frame.text, &mut line);
        }
        let sum = self.0.entry(line).or_default();
        *sum = sum.saturating_add(row.value);
    }

    fn render(self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for (line, value) in self.0 {
            // Writing to a String does not fail.
            if writeln!(text, "{line} {value}").is_err() {
                break;
            }
        }
        text
    }
}
