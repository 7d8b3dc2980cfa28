//! Functions of the interpreter that only pass a call on, between the evaluation loop and the function
//! that is called. At the seams of a merged stack they say nothing, and are left out; every other
//! function of the interpreter (`builtin_sorted`, `list_sort`, `gc_collect_main`) stays.
//!
//! By name, so a stripped interpreter shows those that it does not export.

/// The evaluation loop. Its parts that the compiler split off have names of their own, or none.
pub(super) const EVALUATION: &str = "_PyEval_EvalFrameDefault";

/// Whole names.
const PASSING: [&str; 28] = [
    // From the loop, or from C, to a function written in Python.
    "_PyEval_Vector",
    "_PyEval_EvalFrame",
    "_PyFunction_Vectorcall",
    "function_code_fastcall",
    "_PyFunction_FastCallDict",
    // To anything that can be called.
    "PyObject_Vectorcall",
    "_PyObject_Vectorcall",
    "PyObject_VectorcallDict",
    "PyObject_VectorcallMethod",
    "_PyObject_VectorcallTstate",
    "_PyObject_MakeTpCall",
    "_PyObject_Call",
    "PyObject_Call",
    "PyObject_CallObject",
    "PyObject_CallOneArg",
    "PyObject_CallNoArgs",
    "_PyObject_CallNoArgs",
    "_PyObject_FastCallDictTstate",
    "_PyObject_FastCall",
    "_PyObject_Call_Prepend",
    "object_vacall",
    "PyVectorcall_Call",
    "_PyVectorcall_Call",
    "PyCFunction_Call",
    "cfunction_call",
    "method_vectorcall",
    "call_function",
    "do_call_core",
];

/// Beginnings of names: one function for each way of passing arguments.
const PASSING_BEGIN: [&str; 2] = ["cfunction_vectorcall_", "method_vectorcall_"];

/// Whether the function only passes a call on. `.part`, `.cold` and the like belong to their function.
pub fn passes_calls(name: &str) -> bool {
    let bare = name.split('.').next().unwrap_or(name);
    PASSING.contains(&bare) || PASSING_BEGIN.iter().any(|begin| bare.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_calls_is_told_from_what_does_something() {
        for name in [
            "PyObject_Vectorcall",
            "_PyObject_MakeTpCall",
            "cfunction_vectorcall_FASTCALL_KEYWORDS",
            "method_vectorcall_O",
            "_PyEval_Vector",
            "object_vacall.part.0",
        ] {
            assert!(passes_calls(name), "{name}");
        }
        for name in ["builtin_sorted", "list_sort_impl", "slot_tp_call", "time_sleep", ""] {
            assert!(!passes_calls(name), "{name}");
        }
    }
}
