//! What an NVTX range is about, told by its text.
//!
//! Frameworks put what they know into the text: PyTorch's `emit_nvtx` an operator with its number
//! and shapes (`aten::mm, op_id = 7, sizes = [[4, 8], [8, 2]]`), layer-wise hooks as vLLM's and
//! TensorRT-LLM's a module (`{'Module': 'model.layers.3.mlp', ...}`). The numbers are taken off:
//! with them every label would be of its own.

use analysis::event::RangeKind;

/// Longest label kept, in bytes. Arbitrary, only bounds memory: names are some dozens.
const TEXT_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label<'t> {
    pub(super) kind: RangeKind,
    pub(super) text: &'t str,
    pub(super) shapes: Option<&'t str>,
}

impl<'t> Label<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        if let Some(module) = text.strip_prefix("{'Module': '") {
            let end = module.find('\'').unwrap_or(module.len());
            return Self { kind: RangeKind::Module, text: cut(&module[..end]), shapes: None };
        }
        let end = [", seq = ", ", op_id = ", ", sizes = "]
            .iter()
            .filter_map(|separator| text.find(separator))
            .min();
        let Some(end) = end else {
            return Self { kind: RangeKind::Annotation, text: cut(text), shapes: None };
        };
        let shapes = text.split_once(", sizes = ").map(|(_, rest)| {
            let end = rest.find(", input_op_ids = ").unwrap_or(rest.len());
            cut(&rest[..end])
        });
        Self { kind: RangeKind::Operator, text: cut(&text[..end]), shapes }
    }
}

/// At most [`TEXT_MAX`] bytes of `text`.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// How NVTX records differ, by Nsight's number for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Pushed and popped on one thread: these nest.
    Nested,
    /// Started and ended anywhere: these do not.
    Free,
    /// No range.
    Other,
}

impl Shape {
    /// `None`: an export that does not tell.
    pub(super) fn of(event_type: Option<i64>) -> Self {
        match event_type {
            None | Some(59 | 70) => Self::Nested,
            Some(60 | 71) => Self::Free,
            Some(_) => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let operator = |text, shapes| Label { kind: RangeKind::Operator, text, shapes };
        let annotation = |text| Label { kind: RangeKind::Annotation, text, shapes: None };
        let module = |text| Label { kind: RangeKind::Module, text, shapes: None };
        for (text, expected) in [
            ("aten::view, op_id = 314290", operator("aten::view", None)),
            (
                "aten::mm, seq = 3, op_id = 7, sizes = [[4, 8], [8, 2]]",
                operator("aten::mm", Some("[[4, 8], [8, 2]]")),
            ),
            (
                "aten::mm, op_id = 7, sizes = [[4]], input_op_ids = [(1,0)]",
                operator("aten::mm", Some("[[4]]")),
            ),
            ("{'Module': 'model.layers.3.mlp', 'Inputs': [[1, 2]]}", module("model.layers.3.mlp")),
            ("{'Module': 'cut", module("cut")),
            ("step 4", annotation("step 4")),
            ("", annotation("")),
        ] {
            assert_eq!(Label::of(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("x{}", "\u{e9}".repeat(TEXT_MAX));
        assert_eq!(Label::of(&text).text.len(), TEXT_MAX - 1);
    }
}
