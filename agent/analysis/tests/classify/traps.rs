//! Names that look like what they are not. Single names, most of them in no corpus of ours.

use analysis::classify::{Class, Classifier, Kind};

fn check(cases: &[(&str, Kind)]) {
    let classifier = Classifier::default();
    for &(name, kind) in cases {
        let found = classifier.classify(name).map(|matched| matched.kind);
        assert_eq!(found, Some(kind), "{name}");
    }
}

#[test]
fn mm_is_no_gemm() {
    check(&[
        ("_gemma_rmsnorm_kernel", Kind::NormAct),
        ("_grouped_gemma_rmsnorm_kernel", Kind::NormAct),
        ("_bmm_chunk_fwd_kernel", Kind::LinearSsm),
        ("ncclSymkDevKernel_AllGather_ST(ncclSymkDevWorkArgs4K)", Kind::Nccl),
        ("_gemma4_routing_kernel", Kind::Routing),
        ("bmm_kernel", Kind::Dense),
        ("_w8a8_block_int8_matmul", Kind::Dense),
    ]);
}

#[test]
fn gemm_is_no_gemm() {
    check(&[
        ("void vllm::silu_mul_fp8_quant_deep_gemm_kernel<4224, 1024>(int)", Kind::NormAct),
        ("_per_token_group_quant_mla_deep_gemm_masked_fp8", Kind::Quant),
        ("void deep_gemm::sm100_paged_mqa_logits<64u>(int)", Kind::Indexer),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", Kind::Other),
        ("int4_fp8_get_group_gemm_starts_3d(int)", Kind::Routing),
        ("void cutlass_w4a8_prepare_group_gemm_problem_sizes<int>(int)", Kind::Routing),
        ("interleave_int4_weights_for_sm90_mixed_gemm_kernel", Kind::Other),
    ]);
}

#[test]
fn flash_and_attn_are_no_attention() {
    check(&[
        ("void vllm::reshape_and_cache_flash_kernel<float>(float*)", Kind::KvCache),
        ("reshape_and_cache_kernel_flash_diffkv", Kind::KvCache),
        ("void flashinfer::norm::RMSNormKernel<8u, __half>(T2*)", Kind::NormAct),
        ("void flashinfer::sampling::TopPSamplingFromProbKernel<1024u>(float*)", Kind::Sampling),
        ("void flashinfer::trtllm_allreduce_fusion::moe_kernel<int>(int)", Kind::CustomAllReduce),
        ("void flashinfer::BatchQKApplyRotaryPosIdsKernel<true>(float*)", Kind::NormAct),
        ("_fused_qk_rmsnorm_rope_attn_gate_kernel", Kind::NormAct),
    ]);
}

#[test]
fn attention_says_so_in_many_words() {
    check(&[
        ("reduce_segments", Kind::Combine),
        ("kernel_sm110_xqa_decode_fp16_contiguous", Kind::Generic),
        ("chunk_gla_fwd_kernel_o", Kind::LinearSsm),
        ("seg_la_mtp_kernel", Kind::LinearSsm),
        ("void vllm::topKPerRowDecode<1024, true>(float const*)", Kind::Indexer),
        ("_convert_req_index_to_global_index_kernel", Kind::Indexer),
        ("_split_kv_stage1", Kind::Decode),
        ("void smxx::decode::flash_fwd_mla_combine_kernel<f>(S)", Kind::Mla),
    ]);
}

#[test]
fn device_kernels_first_argument_decides() {
    check(&[
        ("void cutlass::device_kernel<flash::FlashAttnFwdCombine<int>>(int)", Kind::Combine),
        (
            "void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<int>>>(int)",
            Kind::Generic,
        ),
        (
            "void cutlass::device_kernel<cutlass::fmha::kernel::Sm100FmhaFwdKernel<int>>(int)",
            Kind::Generic,
        ),
        (
            "void cutlass::device_kernel<cutlass::fmha::kernel::Sm100FmhaMlaKernelTma<int>>(int)",
            Kind::Mla,
        ),
        (
            "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cutlass::gemm::GroupProblemShape<int>>>(int)",
            Kind::Moe,
        ),
        (
            "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int>>>(int)",
            Kind::Dense,
        ),
        ("void cutlass::device_kernel<vllm::cutlass_3x_gemm_fp8_blockwise<int>>(int)", Kind::Dense),
    ]);
}

#[test]
fn inductor_names_tell_of_their_neighbours() {
    check(&[
        ("triton_red_fused__to_copy_add_marlin_gemm_mean_mul_pow_rsqrt_0", Kind::NormAct),
        ("triton_poi_fused_add_all_reduce_bitwise_and_embedding_3", Kind::Elementwise),
        ("triton_poi_fused_flash_attn_varlen_func_moe_forward_7", Kind::Elementwise),
        ("triton_poi_fused_3", Kind::Elementwise),
        ("triton_per_fused_nccl_all_gather_mm_2", Kind::Elementwise),
        ("triton_tem_fused_mm_12", Kind::Dense),
        ("triton_tem_fused_flex_attention_4", Kind::Generic),
    ]);
}

#[test]
fn reduce_is_rarely_communication() {
    check(&[
        ("void cublasLt::splitKreduce_kernel<8, 32, int>(int)", Kind::Dense),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>(int)",
            Kind::Elementwise,
        ),
        ("void vllm::cross_device_reduce_1stage<float, 4>(vllm::RankData*)", Kind::CustomAllReduce),
        ("void moe_sum_reduce_kernel<float, 2>(float const*)", Kind::Routing),
        ("void c10d::nvshmem_extension::tile_reduce_kernel<float>(float*)", Kind::Nvshmem),
        ("reduce_scatter_pull_kernel", Kind::CustomAllReduce),
    ]);
}

#[test]
fn topk_and_cache_have_many_meanings() {
    check(&[
        ("_topk_topp_kernel", Kind::Sampling),
        ("void topkGatingSoftmax<float, 8>(float const*)", Kind::Routing),
        ("void at::native::mbtopk::gatherTopK<float>(float*)", Kind::Sampling),
        ("void vllm::cooperative_topk::cs16<1024u>(int)", Kind::Indexer),
        ("BatchDecodeWithPagedKVCacheKernel", Kind::Decode),
        ("_cp_gather_indexer_quant_cache_kernel", Kind::KvCache),
        ("void flashinfer::BatchQKApplyRotaryPosIdsCosSinCacheKernel<true>(float*)", Kind::NormAct),
    ]);
}

#[test]
fn bmm_of_trtllm_gen_is_moe_and_bmm_of_others_is_not() {
    check(&[
        ("bmm_Bfloat16_E4m3E4m3_Fp32_t128x8x128u2_s8_et64x8", Kind::Moe),
        ("bmm_MxE4m3_MxE2m1MxE4m3_Fp32_Ab32_Bb32_Cb32_t128x8x512u2_s3", Kind::Moe),
        ("bmm_kernel_persistent", Kind::Dense),
        ("_bmm_chunk_bwd_kernel", Kind::LinearSsm),
    ]);
}

#[test]
fn names_that_say_nothing_stay_unclassified() {
    let classifier = Classifier::default();
    for name in ["qzx", "", "kernel", "my_kernel", "_kernel", "void f<int>(int)"] {
        assert_eq!(classifier.classify(name), None, "{name}");
    }
    assert_eq!(classifier.classify("fused_moe_kernel").map(|m| m.class), Some(Class::Gemm));
}
