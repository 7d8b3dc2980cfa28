//! Which class of kernels an operator implies, from what the operator computes and from nothing
//! else. An operator that runs kernels of several classes (a convolution, a fused mixture of
//! experts, a compiled region, an optimiser step) implies nothing.

/// Collectives, by the words in their names.
const COLLECTIVES: [&str; 8] = [
    "all_reduce",
    "allreduce",
    "all_gather",
    "allgather",
    "reduce_scatter",
    "all_to_all",
    "alltoall",
    "nccl:",
];

/// Matrix products of `ATen`.
const PRODUCTS: [&str; 14] = [
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "addbmm",
    "mv",
    "addmv",
    "matmul",
    "linear",
    "tensordot",
    "einsum",
    "scaled_mm",
    "int_mm",
    "grouped_mm",
];

/// Operators of `ATen` that compute element by element, reduce, normalise or move; also with `_` in
/// front or behind, and as `_backward`.
const ELEMENTWISE: [&str; 88] = [
    "abs",
    "add",
    "addcdiv",
    "addcmul",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "bernoulli",
    "binary_cross_entropy",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "cat",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clone",
    "constant_pad_nd",
    "contiguous",
    "copy",
    "cos",
    "cudnn_batch_norm",
    "cumsum",
    "div",
    "dropout",
    "embedding",
    "embedding_dense",
    "eq",
    "exp",
    "fill",
    "floor",
    "gather",
    "ge",
    "gelu",
    "group_norm",
    "gt",
    "index",
    "index_add",
    "index_copy",
    "index_put",
    "index_select",
    "isnan",
    "layer_norm",
    "le",
    "log",
    "log2",
    "log_softmax",
    "log_softmax_backward_data",
    "logical_and",
    "logical_not",
    "lt",
    "masked_fill",
    "max",
    "max_pool2d_with_indices",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mul",
    "native_batch_norm",
    "native_dropout",
    "native_layer_norm",
    "ne",
    "neg",
    "nonzero",
    "norm",
    "pow",
    "reciprocal",
    "repeat_interleave",
    "rsqrt",
    "rsub",
    "scatter",
    "scatter_add",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "softmax_backward_data",
    "sqrt",
    "sub",
    "sum",
    "threshold",
    "where",
];

/// Custom operators of vLLM and FBGEMM that compute element by element or move, by words.
const CUSTOM: [&str; 12] = [
    "rms_norm",
    "rotary_embedding",
    "quant",
    "Quantized",
    "silu_and_mul",
    "reshape_and_cache",
    "permute_",
    "bucketize",
    "bounds_check",
    "split_embedding",
    "jagged",
    "cumsum",
];

/// The class that `name` implies.
pub(crate) fn class(name: &str) -> Option<&'static str> {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let Some((space, operator)) = name.split_once("::") else {
        return match name {
            "record_param_comms" => Some("communication"),
            _ if name.starts_with("nccl:") => Some("communication"),
            // What Inductor names a kernel that is pointwise or reduces.
            _ if name.starts_with("triton_poi_") || name.starts_with("triton_red_") => {
                Some("other")
            }
            _ => None,
        };
    };
    match space {
        "c10d" => Some("communication"),
        "vllm" | "symm_mem" | "_C_custom_ar" if has(&COLLECTIVES) => Some("communication"),
        "vllm" if name.contains("unified_attention") => Some("attention"),
        "aten" => aten(operator),
        "_C" | "_C_cache_ops" | "fbgemm" => {
            if has(&["gemm_", "_gemm", "_mm"]) && space != "fbgemm" {
                Some("gemm")
            } else {
                has(&CUSTOM).then_some("other")
            }
        }
        _ => None,
    }
}

fn aten(operator: &str) -> Option<&'static str> {
    let bare = operator.trim_matches('_');
    let bare = bare.strip_suffix("_backward").unwrap_or(bare);
    if bare.contains("attention") {
        Some("attention")
    } else if PRODUCTS.contains(&bare) {
        Some("gemm")
    } else if ELEMENTWISE.contains(&bare) || bare.starts_with("foreach_") {
        Some("other")
    } else {
        None
    }
}

#[test]
fn operators() {
    for (name, expected) in [
        ("aten::mm", Some("gemm")),
        ("aten::addmm_", Some("gemm")),
        ("aten::_scaled_mm", Some("gemm")),
        ("aten::_flash_attention_forward", Some("attention")),
        ("aten::scaled_dot_product_attention", Some("attention")),
        ("vllm::unified_attention_with_output", Some("attention")),
        ("vllm::all_reduce", Some("communication")),
        ("symm_mem::multimem_all_reduce_", Some("communication")),
        ("nccl:all_reduce", Some("communication")),
        ("c10d::allreduce_", Some("communication")),
        ("_C_cache_ops::reshape_and_cache_flash", Some("other")),
        ("_C::static_scaled_fp8_quant", Some("other")),
        ("_C::cutlass_scaled_mm", Some("gemm")),
        ("aten::copy_", Some("other")),
        ("aten::native_layer_norm_backward", Some("other")),
        ("aten::_foreach_add_", Some("other")),
        ("fbgemm::permute_2D_sparse_data", Some("other")),
        ("aten::convolution_backward", None),
        ("vllm::moe_forward", None),
        ("CompiledFunction", None),
        ("torch::autograd::CppNode<X>", None),
    ] {
        assert_eq!(class(name), expected, "{name}");
    }
}
