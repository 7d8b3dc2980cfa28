//! One kernel is one kind, however its name is written and wherever it is cut.

use analysis::classify::{Class, Classifier, Kind};

fn check(classifier: &Classifier, name: &str, kind: Kind) {
    let found = classifier.classify(name).map(|matched| matched.kind);
    assert_eq!(found, Some(kind), "{name}");
}

#[test]
fn mangled_demangled_and_plain_names_agree() {
    let classifier = Classifier::default();
    let cases: [(Kind, &[&str]); 6] = [
        (
            Kind::Decode,
            &[
                "_ZN5flash23flash_fwd_splitkv_kernelI23Flash_fwd_kernel_traitsILi128ELi64ELi128ELi4ELb0ELb0EN7cutlass6half_tEELb0ELb1EEEv16Flash_fwd_params",
                "void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128, 64, 128, 4, false, false, cutlass::half_t>, false, true>(flash::Flash_fwd_params)",
                "void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<(int)128, (int)64, (int)128, (int)4, (bool)0, (bool)0, cutlass::half_t>, (bool)0, (bool)1>(Flash_fwd_params)",
            ],
        ),
        (
            Kind::CustomAllReduce,
            &[
                "_ZN4vllm26cross_device_reduce_1stageI6__halfLi4EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii",
                "void vllm::cross_device_reduce_1stage<__half, 4>(vllm::RankData*, vllm::RankSignals, vllm::Signal*, __half*, int, int)",
                "void vllm::cross_device_reduce_1stage<__half, (int)4>(vllm::RankData *, vllm::RankSignals, vllm::Signal *, T1 *, int, int)",
            ],
        ),
        (
            Kind::Nccl,
            &[
                "_Z31ncclDevKernel_AllGather_RING_LL24ncclDevKernelArgsStorageILm4096EE",
                "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
                "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<(unsigned long)4096>)",
                "ncclKernel_AllReduce_RING_LL_Sum_half(ncclWorkElem)",
            ],
        ),
        (
            Kind::Sampling,
            &[
                "void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float>(float*, float const*, int)",
                "void at::native::<unnamed>::cunn_SoftMaxForward<(int)4, float, float>(T2 *, T1 *, int)",
                "_ZN2at6native43_GLOBAL__N__9a2b_10_SoftMax_cu_9f978f63_111519cunn_SoftMaxForwardILi4EfffEEvPT2_PKT0_i",
            ],
        ),
        (
            Kind::NormAct,
            &[
                "std::enable_if<((8)>(0))&&vllm::_typeConvert<c10::Half>::exists, void>::type vllm::fused_add_rms_norm_kernel<c10::Half, 8>(c10::Half*, long)",
                "void vllm::fused_add_rms_norm_kernel<c10::Half, 8>(c10::Half*, long)",
                "_ZN4vllm25fused_add_rms_norm_kernelIN3c104HalfELi8EEENSt9enable_ifIXaagtT0_Li0EE6existsEvE4typeEPT_l",
            ],
        ),
        (
            Kind::Prefill,
            &[
                "void flashinfer::BatchPrefillWithPagedKVCacheKernel<flashinfer::KTraits>(flashinfer::Params)",
                "BatchPrefillWithPagedKVCacheKernel",
                "batch_prefill_with_paged_kv_cache_kernel",
            ],
        ),
    ];
    for (kind, names) in cases {
        for name in names {
            check(&classifier, name, kind);
        }
    }
}

/// A name that is cut after the part that tells its family keeps its class.
#[test]
fn names_cut_behind_their_family_keep_their_class() {
    let classifier = Classifier::default();
    let cases = [
        (
            "_ZN5flash23flash_fwd_splitkv_kernelI23Flash_fwd_kernel_traitsILi128ELi64ELi128ELi4ELb0ELb0EN7cutlass6half_tEELb0ELb1EEEv16Flash_fwd_params",
            "_ZN5flash23flash_fwd_splitkv".len(),
            Class::Attention,
        ),
        (
            "void vllm::cross_device_reduce_1stage<__half, 4>(vllm::RankData*, vllm::RankSignals)",
            "void vllm::cross_device".len(),
            Class::Communication,
        ),
        (
            "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
            "nccl".len(),
            Class::Communication,
        ),
        (
            "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<2, cute::tuple<cute::C<1> >",
            "void cutlass::device_kernel<flash::".len(),
            Class::Attention,
        ),
        ("nvjet_sm100_tst_256x40_64x5_4x1_v_bz_TNT", "nvjet_".len(), Class::Gemm),
        (
            "triton_poi_fused_add_all_reduce_bitwise_and_embedding_marlin_gemm_3",
            "triton_p".len(),
            Class::Other,
        ),
    ];
    for (name, from, class) in cases {
        for end in from..=name.len() {
            let cut = &name[..end];
            let found = classifier.classify(cut).map_or(Class::Other, |matched| matched.class);
            assert_eq!(found, class, "{cut}");
        }
    }
}
