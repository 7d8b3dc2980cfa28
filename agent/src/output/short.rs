//! Names of functions as short as they can be told apart by: for `--short`.
//!
//! Template arguments become `<...>`, parameter lists `(...)`, a return type goes, and of a path the last parts
//! stay. Never longer than the name, and the same for the same name.

use crate::capture::{Frame, Language};

/// Parts of a C++ or Rust path that stay: the function and what it belongs to.
const PATH_PARTS: usize = 2;

/// The short name of a frame's function.
pub(crate) fn short(frame: &Frame) -> String {
    match frame.language {
        Language::Native => native(&frame.function),
        Language::Python => python(&frame.function, frame.file.as_deref()),
        Language::Kernel | Language::Remark => frame.function.clone(),
    }
}

/// `core.EngineCore.step` of `vllm.v1.engine.core.EngineCore.step`: from the file's own name on.
fn python(function: &str, file: Option<&str>) -> String {
    let name = file.map(|file| file.rsplit('/').next().unwrap_or(file));
    if let Some(stem) = name.and_then(|name| name.strip_suffix(".py")) {
        let at = format!(".{stem}.");
        if let Some((_, rest)) = function.split_once(at.as_str()) {
            return format!("{stem}.{rest}");
        }
    }
    function.to_owned()
}

/// `module::function<...>(...)` of a demangled name.
pub(crate) fn native(function: &str) -> String {
    // What stands in brackets is our own, and no name.
    if function.starts_with('[') {
        return function.to_owned();
    }
    let folded = match of_a_trait(function) {
        // Rust's `<T as Trait>::f`: whose it is says more than what for.
        Some((owner, rest)) => format!("{}{}", fold(owner), fold(rest)),
        None => fold(function),
    };
    let name = without_return_type(&folded);
    let parts: Vec<usize> = paths(name);
    let start = match parts.len().checked_sub(PATH_PARTS - 1) {
        Some(skip) if skip > 0 => parts.get(skip - 1).copied().unwrap_or(0),
        _ => 0,
    };
    let short = name.get(start..).unwrap_or(name);
    // Folding writes dots where there may have been less.
    if short.is_empty() || short.len() > function.len() {
        return function.to_owned();
    }
    short.to_owned()
}

/// The type and what follows of `<type as trait>::function`.
fn of_a_trait(function: &str) -> Option<(&str, &str)> {
    let inside = function.strip_prefix('<')?;
    let mut depth = 1_usize;
    let mut before = ' ';
    let close = inside.char_indices().find(|&(_, character)| {
        match character {
            '<' => depth += 1,
            // Of an arrow in a function's type.
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = character;
        depth == 0
    })?;
    let (inside, rest) = inside.split_at_checked(close.0)?;
    let rest = rest.strip_prefix('>').filter(|rest| rest.starts_with("::"))?;
    let (owner, _) = inside.rsplit_once(" as ")?;
    Some((owner, rest))
}

/// With the content of every outermost `<>` and `()` replaced.
fn fold(function: &str) -> String {
    const KEPT: [&str; 2] = ["(anonymous namespace)", "operator()"];
    let mut out = String::with_capacity(function.len());
    let mut rest = function;
    // Brackets that are open; the outermost one is in `out` already.
    let mut open: Vec<char> = Vec::new();
    while let Some(next) = rest.chars().next() {
        if open.is_empty() {
            if let Some(kept) = KEPT.iter().find(|kept| rest.starts_with(**kept)) {
                out.push_str(kept);
                rest = rest.get(kept.len()..).unwrap_or_default();
                continue;
            }
            // `operator<`, `operator->`: no bracket.
            let sign = out.ends_with("operator") && matches!(next, '<' | '>' | '-' | '=');
            if sign {
                let length = rest.chars().take_while(|c| "<>=-*".contains(*c)).count();
                // `operator< <int>` has the arguments behind a space, others directly.
                let length = if rest.starts_with("<<") { 2 } else { length.min(3) };
                let (signs, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
                out.push_str(signs);
                rest = after;
                continue;
            }
        }
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
        match next {
            '<' | '(' => {
                if open.is_empty() {
                    out.push(next);
                }
                open.push(if next == '<' { '>' } else { ')' });
            }
            '>' if out.ends_with('-') && open.is_empty() => out.push(next),
            '>' | ')' if open.last() == Some(&next) => {
                open.pop();
                if open.is_empty() {
                    let empty = out.ends_with(['<', '(']) && function_is_empty_at(function, rest);
                    out.push_str(if empty { "" } else { "..." });
                    out.push(next);
                }
            }
            _ if open.is_empty() => out.push(next),
            _ => {}
        }
    }
    // A name that was cut keeps what is open.
    if !open.is_empty() {
        out.push_str("...");
    }
    out
}

/// Whether the bracket that was closed just before `rest` had nothing in it.
fn function_is_empty_at(function: &str, rest: &str) -> bool {
    let before = function.len().saturating_sub(rest.len() + 1);
    function.get(..before).is_some_and(|text| text.ends_with(['<', '(']))
}

/// What stands behind the last space before the parameters, if that is a name.
fn without_return_type(folded: &str) -> &str {
    if folded.starts_with('<') {
        return folded;
    }
    let ends = ["(...)", "()", "operator"].iter().filter_map(|text| folded.find(text)).min();
    let end = ends.unwrap_or(folded.len());
    let head = folded.get(..end).unwrap_or(folded);
    let head = head.replace("(anonymous namespace)", "(anonymous_namespace)");
    match head.rfind(' ') {
        Some(at) => folded.get(at + 1..).filter(|name| !name.is_empty()).unwrap_or(folded),
        None => folded,
    }
}

/// Where the parts of a path begin that stand behind a `::`, before any parameters.
fn paths(name: &str) -> Vec<usize> {
    let end = name.find("(...)").unwrap_or(name.len());
    let head = name.get(..end).unwrap_or(name);
    head.match_indices("::").map(|(at, colons)| at + colons.len()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn native_names() {
        for (name, expected) in [
            ("main", "main"),
            ("_start", "_start"),
            ("at::native::add(at::Tensor const&)", "native::add(...)"),
            (
                "void at::native::(anonymous namespace)::softmax_kernel<float, 4>(at::Tensor&, long)",
                "(anonymous namespace)::softmax_kernel<...>(...)",
            ),
            (
                "std::vector<int, std::allocator<int> >::push_back(int const&)",
                "vector<...>::push_back(...)",
            ),
            ("std::ostream& operator<< <char>(std::ostream&, char)", "operator<< <...>(...)"),
            ("foo::Bar::operator()(int) const", "Bar::operator()(...) const"),
            ("foo::operator->(int, int)", "foo::operator->(...)"),
            ("f()", "f()"),
            ("a::b::c::d()", "c::d()"),
            ("core::ops::function::FnOnce::call_once", "FnOnce::call_once"),
            ("alloc::vec::Vec<T,A>::push", "Vec<...>::push"),
            ("<alloc::vec::Vec<u8> as core::fmt::Debug>::fmt", "Vec<...>::fmt"),
            ("libc.so.6+0x91234", "libc.so.6+0x91234"),
            ("c10::Dispatcher::call<at::Tensor (at::Tensor const&)", "Dispatcher::call<..."),
            ("0x7f0012", "0x7f0012"),
            ("[anonymous code]", "[anonymous code]"),
            ("[memcpy HtoD]", "[memcpy HtoD]"),
            ("", ""),
        ] {
            assert_eq!(native(name), expected, "{name}");
        }
    }

    #[test]
    fn python_names() {
        let check = |function: &str, file: Option<&str>, expected: &str| {
            assert_eq!(python(function, file), expected);
        };
        let whole = "vllm.v1.engine.core.EngineCore.step";
        check(whole, Some("/x/vllm/v1/engine/core.py"), "core.EngineCore.step");
        check(whole, None, whole);
        check("app.main", Some("/srv/app.py"), "app.main");
        check("vllm.f.<locals>.core.g", Some("core.py"), "core.g");
        check("<frozen runpy>.run", Some("<frozen runpy>"), "<frozen runpy>.run");
    }

    proptest! {
        #[test]
        fn any_name_becomes_one_that_is_no_longer(name in "[a-z:<>() ,&.é-]{0,60}|operator[<>()=-]{0,6}|\\PC{0,40}") {
            let short = native(&name);
            prop_assert!(short.len() <= name.len(), "{} from {}", short, name);
            prop_assert_eq!(short.is_empty(), name.is_empty());
        }
    }
}
