//! What beside the name decides, and that it decides for generic names only.

use analysis::classify::{Classifier, Hints, Kind};

fn kind(classifier: &Classifier, name: &str, hints: &Hints<'_>) -> Option<Kind> {
    classifier.classify_with(name, hints).map(|matched| matched.kind)
}

fn stack<'a>(frames: &'a [&'a str]) -> Hints<'a> {
    Hints { frames, ..Hints::default() }
}

#[test]
fn the_launch_stack_decides_a_generic_name() {
    let classifier = Classifier::default();
    let cases: [(&str, &[&str], Option<Kind>); 9] = [
        ("kernel", &[], None),
        ("kernel", &["main", "vllm/attention/layer.py:forward"], Some(Kind::Generic)),
        ("Kernel2", &["fused_experts", "forward"], Some(Kind::Moe)),
        ("device_kernel", &["aten::addmm", "Linear.forward"], Some(Kind::Dense)),
        ("void cutlass::device_kernel<", &["flash_attn_varlen_func"], Some(Kind::Generic)),
        ("void cutlass::device_kernel<", &["decorate_context"], Some(Kind::Dense)),
        ("kernel", &["tensor_model_parallel_all_reduce"], Some(Kind::Collective)),
        // A name that says what it is does not ask.
        ("ncclDevKernel_AllReduce_Sum_bf16", &["flash_attn_varlen_func"], Some(Kind::Nccl)),
        (
            "void cutlass::device_kernel<flash::FlashAttnFwdSm90<int>>(int)",
            &["aten::mm"],
            Some(Kind::Generic),
        ),
    ];
    for (name, frames, expected) in cases {
        assert_eq!(kind(&classifier, name, &stack(frames)), expected, "{name} under {frames:?}");
    }
}

#[test]
fn module_and_launch_attributes_decide_in_rules_of_the_user() {
    let rules = "\
        gemm dense  function is kernel  module has cublas\n\
        attention generic  function is kernel  block atleast 256  shared atleast 65536\n\
        other memory  function is kernel  grid atmost 1\n";
    let classifier = Classifier::with_rules([("mine", rules)]).unwrap();
    let hints = Hints::default();
    let of_cublas = Hints { module: Some("libcublasLt.so.13"), ..hints };
    let large =
        Hints { block: Some([128, 2, 1]), dynamic_shared: Some(100_000), ..Hints::default() };
    let small = Hints { grid: Some([1, 1, 1]), ..hints };
    let more = Hints { grid: Some([2, 1, 1]), ..hints };
    for (hints, expected) in [
        (of_cublas, Some(Kind::Dense)),
        (large, Some(Kind::Generic)),
        (small, Some(Kind::Memory)),
        (more, None),
        (hints, None),
    ] {
        assert_eq!(kind(&classifier, "kernel", &hints), expected, "{hints:?}");
    }
    // Three numbers whose product is no u64 are many, not a panic.
    let huge = Hints { grid: Some([u32::MAX; 3]), ..hints };
    assert_eq!(kind(&classifier, "kernel", &huge), None);
}

#[test]
fn what_is_not_known_never_decides() {
    let rules = "gemm dense  function is kernel  not module has cublas\n\
        gemm moe  function is kernel  not frame has x\n\
        gemm gemv  function is kernel  not block atleast 1\n";
    let classifier = Classifier::with_rules([("mine", rules)]).unwrap();
    assert_eq!(kind(&classifier, "kernel", &Hints::default()), None);
    let known = Hints { module: Some("libfoo.so"), ..Hints::default() };
    assert_eq!(kind(&classifier, "kernel", &known), Some(Kind::Dense));
}

#[test]
fn only_rules_for_generic_names_ask_for_hints() {
    for rule in Classifier::default().rules() {
        let asks = ["frame", "module", "block", "grid", "shared"];
        let asks = rule.conditions.iter().any(|condition| asks.contains(&condition.field.as_str()));
        assert!(!asks || rule.family.starts_with("Generic names"), "rules.txt:{}", rule.line);
    }
}
