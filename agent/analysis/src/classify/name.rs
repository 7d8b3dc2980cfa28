//! Cuts a kernel name into what rules look at.
//!
//! CUPTI gives mangled names, traces give demangled ones in several dialects, Triton and cuBLAS
//! give plain ones. All become the same three texts:
//! - `path`: the function's qualified name without return type, template and call arguments,
//! - `function`: the last part of the path,
//! - `name`: everything that can be read, arguments included.
//!
//! Mangled names are not demangled: their length-prefixed identifiers are read in place, which is
//! total, needs no recursion and also works on names that were cut off.

use std::borrow::Cow;

/// What rules look at. Case is kept: it tells where words end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub path: String,
    pub name: Cow<'a, str>,
}

impl<'a> Parsed<'a> {
    /// Never fails: a text that follows no grammar is its own path.
    pub fn new(text: &'a str) -> Self {
        let text = text.trim();
        let (path, name) = match text.strip_prefix("_Z") {
            Some(mangled) => {
                let (path, name) = mangled_parts(mangled);
                (path, Cow::Owned(name))
            }
            None => (plain_path(text), Cow::Borrowed(text)),
        };
        let path = if path.is_empty() { text.to_owned() } else { path };
        Self { path, name }
    }

    /// The last part of the path.
    pub fn function(&self) -> &str {
        self.path.rsplit("::").next().unwrap_or(&self.path)
    }
}

/// The words of `text` in lower case, `_` before, between and after them. A word ends where
/// letters and digits end, before a capital that follows a small letter or a digit, and before
/// the last of several capitals that a small letter follows: `PagedKVCache_v2` is
/// `_paged_kv_cache_v2_`.
pub fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + text.len() / 4 + 2);
    words.push('_');
    let mut previous = '_';
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        if next.is_ascii_alphanumeric() {
            let small_follows = rest.peek().is_some_and(char::is_ascii_lowercase);
            let after_small = previous.is_ascii_lowercase() || previous.is_ascii_digit();
            let last_capital = previous.is_ascii_uppercase() && small_follows;
            if next.is_ascii_uppercase() && (after_small || last_capital) {
                words.push('_');
            }
            words.push(next.to_ascii_lowercase());
        } else if !words.ends_with('_') {
            words.push('_');
        }
        previous = next;
    }
    if !words.ends_with('_') {
        words.push('_');
    }
    words
}

/// Parts of a demangled name that stand for a namespace without a name.
const ANONYMOUS: [&str; 3] = ["(anonymous namespace)", "<unnamed>", "_NV_ANON_NAMESPACE"];

/// The qualified function name of a demangled or plain text.
fn plain_path(text: &str) -> String {
    let mut path = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = ANONYMOUS.iter().find_map(|anonymous| rest.strip_prefix(anonymous)) {
            rest = after.strip_prefix("::").unwrap_or(after);
            continue;
        }
        match next {
            // What was read so far was the return type.
            ' ' => path.clear(),
            '<' => {
                rest = after_arguments(rest);
                continue;
            }
            '(' => break,
            '&' | '*' => {}
            _ => path.push(next),
        }
        rest = &rest[next.len_utf8()..];
    }
    path
}

/// What follows the template arguments that `text` starts with; empty if they do not close.
/// Inside parentheses a `>` that no `<` opened compares, as in `enable_if<((8)>(0)), void>`.
fn after_arguments(text: &str) -> &str {
    let mut open: Vec<char> = Vec::new();
    // So that a `)` is dear only where a `(` was.
    let mut parentheses = 0_usize;
    let mut previous = ' ';
    for (index, next) in text.char_indices() {
        match next {
            '<' => open.push(next),
            '(' => {
                open.push(next);
                parentheses += 1;
            }
            '>' if previous != '-' && open.last() == Some(&'<') => drop(open.pop()),
            ')' if parentheses > 0 => {
                parentheses -= 1;
                while open.pop().is_some_and(|opener| opener != '(') {}
            }
            _ => {}
        }
        previous = next;
        if open.is_empty() {
            return text.get(index + 1..).unwrap_or("");
        }
    }
    ""
}

/// Path and all identifiers of a mangled name, `_Z` taken off.
fn mangled_parts(mangled: &str) -> (String, String) {
    let mut path: Vec<&str> = Vec::new();
    let mut all: Vec<&str> = Vec::new();
    let mut in_path = true;
    let nested = mangled.starts_with('N');
    let mut rest = mangled.strip_prefix('N').unwrap_or(mangled);
    while let Some(next) = rest.chars().next() {
        if next.is_ascii_digit() {
            let (identifier, after) = identifier(rest);
            rest = after;
            if let Some(identifier) = identifier.filter(|id| !id.starts_with("_GLOBAL__N_")) {
                all.push(identifier);
                if in_path {
                    path.push(identifier);
                }
            }
            // Outside N...E a function's name is one identifier.
            in_path &= nested;
            continue;
        }
        // A substitution or a template parameter: its digits are no length.
        if next == 'S' || next == 'T' {
            rest = after_back_reference(rest);
            continue;
        }
        // A literal `L type number E`: neither are its digits.
        if next == 'L' {
            rest = after_literal(rest);
            continue;
        }
        // Template arguments or the end of the nested name end the path.
        in_path &= next != 'I' && next != 'E';
        rest = &rest[next.len_utf8()..];
    }
    (path.join("::"), all.join(" "))
}

/// The identifier after its length, and what follows. `None` when the length is no length.
fn identifier(text: &str) -> (Option<&str>, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let after = &text[digits..];
    let length = text[..digits].parse::<usize>().unwrap_or(usize::MAX);
    // A name that was cut off ends inside its last identifier.
    let end = length.min(after.len());
    let starts_like_one = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match after.get(..end).filter(|_| starts_like_one) {
        Some(identifier) => (Some(identifier), &after[end..]),
        None => (None, after),
    }
}

/// Skips `S_`, `S1_`, `St`, `T_`, `T0_` and the like.
fn after_back_reference(text: &str) -> &str {
    let after = &text[1..];
    let number = after.trim_start_matches(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase());
    number.strip_prefix('_').unwrap_or(after)
}

/// Skips `Li128E`, `Lb1E` and the like; of a named literal only its `L`.
fn after_literal(text: &str) -> &str {
    let after = &text[1..];
    let value = after.trim_start_matches(|c: char| c.is_ascii_lowercase());
    if value.len() == after.len() {
        return after;
    }
    let value = value.strip_prefix('n').unwrap_or(value);
    value.trim_start_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Parsed, words};
    use proptest::prelude::proptest;

    #[test]
    fn words_end_where_case_says() {
        let cases = [
            ("PagedKVCache_v2", "_paged_kv_cache_v2_"),
            ("_fwd_kernel_stage1", "_fwd_kernel_stage1_"),
            ("fusedMiniMaxM3QNormRopeKVInsert", "_fused_mini_max_m3_q_norm_rope_kv_insert_"),
            ("ncclDevKernel_AllReduce", "_nccl_dev_kernel_all_reduce_"),
            ("a::b<c, 4>", "_a_b_c_4_"),
            ("é", "_"),
            ("", "_"),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    fn path(text: &str) -> String {
        Parsed::new(text).path
    }

    #[test]
    fn the_path_is_the_functions_qualified_name() {
        let cases = [
            (
                "void flash::flash_fwd_kernel<T<(int)128>, true>(flash::P)",
                "flash::flash_fwd_kernel",
            ),
            ("(anonymous namespace)::topk(int*, long)", "topk"),
            ("void at::native::<unnamed>::cunn<(int)4, f>(T1 *)", "at::native::cunn"),
            (
                "std::enable_if<((0)==(0))||(!vllm::_t<float>::exists), void>::type vllm::norm<f>(f*)",
                "vllm::norm",
            ),
            ("std::enable_if<((8)>(0))&&(a<b)&&x, void>::type vllm::norm<f>(f*)", "vllm::norm"),
            (
                "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN",
                "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN",
            ),
            ("void cut::off<cute::tuple<int, i", "cut::off"),
            ("void f<&(a* g<a>(b*))>(int)", "f"),
            ("_ZN4vllm3moe10moeSigmoidILi256EfEEvPKT0_PKbPfi", "vllm::moe::moeSigmoid"),
            ("_Z13gemv2N_kernelIiiddddLi128ELi2EE18cublasGemvParams", "gemv2N_kernel"),
            (
                "_ZN52_GLOBAL__N__9abdf36f_19_hisparse_kernels_cu_097d723513some_kernel_xIiEEvPT_",
                "some_kernel_x",
            ),
            ("_Z36ncclDevKernel_Reduce_Su", "ncclDevKernel_Reduce_Su"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(path(text), expected, "{text}");
        }
    }

    #[test]
    fn literals_and_back_references_are_no_identifiers() {
        let parsed =
            Parsed::new("_ZN7cutlass13device_kernelINS_4fmha6kernel3FooILi96ES1_Lb1EEEEEvT_");
        assert_eq!(parsed.path, "cutlass::device_kernel");
        assert_eq!(parsed.name, "cutlass device_kernel fmha kernel Foo");
    }

    proptest! {
        #[test]
        fn any_text_parses(text in "(_Z)?[NSTLIE0-9a-z_<>():& é-]{0,60}") {
            drop(Parsed::new(&text));
        }
    }
}
