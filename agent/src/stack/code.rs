//! Whose code a frame is, by dotted module paths: shared by the tables that tell reasons and layers.

use std::borrow::Cow;

use crate::capture::Frame;

/// `module.qualname` of a Python frame. A vLLM that runs from its source folder has no
/// `site-packages` in its paths, so its modules are told by the folder's name.
pub(crate) fn dotted(frame: &Frame) -> Cow<'_, str> {
    const PACKAGE: &str = "/vllm/";
    let function = frame.function.as_str();
    if is_within(function, "vllm") {
        return Cow::Borrowed(function);
    }
    let file = frame.file.as_deref().unwrap_or_default();
    let Some(at) = file.rfind(PACKAGE) else {
        return Cow::Borrowed(function);
    };
    let path = file.get(at + 1..).unwrap_or_default();
    let Some(path) = path.strip_suffix(".py") else {
        return Cow::Borrowed(function);
    };
    let stem = path.rsplit('/').next().unwrap_or(path);
    let name = function.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.'));
    Cow::Owned(format!("{}.{}", path.replace('/', "."), name.unwrap_or(function)))
}

/// Whether the dotted `name` is `module`, or stands in it.
pub(crate) fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The function's own name, the last part of a dotted one.
pub(crate) fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A native function without the version its symbol may carry.
pub(crate) fn bare(function: &str) -> &str {
    function.split_once('@').map_or(function, |(bare, _)| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_told_with_and_without_an_installation() {
        let check = |function: &str, file: &str, expected: &str| {
            let frame = Frame {
                function: function.to_owned(),
                file: Some(file.to_owned()),
                ..Frame::default()
            };
            assert_eq!(dotted(&frame), expected);
        };
        let whole = "vllm.v1.engine.core.EngineCore.step";
        check(whole, "/venv/lib/python3.12/site-packages/vllm/v1/engine/core.py", whole);
        check("core.EngineCore.step", "/workspace/vllm/vllm/v1/engine/core.py", whole);
        check("core.EngineCore.step", "/src/engine/core.py", "core.EngineCore.step");
        check("step", "/workspace/vllm/vllm/v1/engine/core.py", "vllm.v1.engine.core.step");
        check("x", "/vllm/", "x");
        check("x", "", "x");
    }

    #[test]
    fn a_module_ends_at_a_dot() {
        for (name, module, expected) in [
            ("vllm.v1.core.sched", "vllm.v1.core", true),
            ("vllm.v1.core", "vllm.v1.core", true),
            ("vllm.v1.core_client", "vllm.v1.core", false),
            ("torch", "torch.nn", false),
        ] {
            assert_eq!(is_within(name, module), expected, "{name} {module}");
        }
    }
}
