//! No name makes the classifier fail, and no rule file does.

use analysis::classify::{Classifier, Hints, Kind, read, words};
use proptest::collection::vec;
use proptest::prelude::{any, proptest};

const NAMES: [&str; 5] = [
    "_ZN7cutlass13device_kernelINS_4fmha6kernel3FooILi96ES1_Lb1EEEEEvT_",
    "void at::native::<unnamed>::cunn_SoftMaxForward<(int)4, float>(T2 *, T1 *, int)",
    "triton_red_fused__to_copy_add_marlin_gemm_mean_mul_pow_rsqrt_0",
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
    "bmm_Bfloat16_E4m3E4m3_Fp32_t128x8x128u2_s8_et64x8",
];

proptest! {
    #[test]
    fn any_bytes_are_classified(bytes in vec(any::<u8>(), 0..300)) {
        let classifier = Classifier::default();
        let name = String::from_utf8_lossy(&bytes);
        let found = classifier.classify(&name).map(|matched| matched.kind);
        let explained = classifier.explain(&name, &Hints::default());
        assert_eq!(found, explained.map(|explanation| explanation.rule.kind));
    }

    #[test]
    fn anything_like_a_name_is_classified(text in "(_Z)?[NSTLIE0-9a-zA-Z_<>():&* ,é~$.-]{0,200}") {
        let kind = Classifier::default().classify(&text).map(|matched| matched.kind);
        assert_eq!(kind.map(Kind::class), Classifier::default().classify(&text).map(|m| m.class));
    }

    #[test]
    fn a_name_cut_anywhere_and_spliced_is_classified(
        pieces in vec((0..NAMES.len(), 0..200_usize, 0..200_usize), 1..6)
    ) {
        let name: String = pieces
            .into_iter()
            .map(|(name, from, to)| {
                let name = NAMES[name];
                let (from, to) = (from.min(name.len()), to.min(name.len()));
                name.get(from.min(to)..from.max(to)).unwrap_or("")
            })
            .collect();
        let classifier = Classifier::default();
        assert_eq!(classifier.classify(&name), classifier.clone().classify(&name));
    }

    #[test]
    fn any_rule_file_reads_or_says_why(text in "([a-z=#|\n ]|gemm |dense |function |has |not |e\\.g\\.){0,60}") {
        match read("any", &text) {
            Ok(rules) => drop(Classifier::of(rules)),
            Err(error) => {
                let lines = text.lines().count().max(1);
                assert!((1..=lines).contains(&error.line), "{error}");
                assert!(error.column >= 1, "{error}");
            }
        }
    }

    #[test]
    fn words_are_separated_and_small(text in "\\PC{0,60}") {
        let words = words(&text);
        assert!(words.starts_with('_') && words.ends_with('_'), "{words}");
        assert!(!words.contains("__"), "{words}");
        let small = |c: char| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(words.chars().all(small), "{words}");
    }
}

/// Names that would make a backtracking matcher or a recursive demangler slow or fall over: nests,
/// repeats of what rules look for, unclosed brackets, lengths that lie.
#[test]
fn long_hostile_names_are_classified() {
    let classifier = Classifier::default();
    let hostile = [
        "<".repeat(6_000),
        "f<".repeat(3_000) + "(",
        "void ".repeat(2_000),
        "(anonymous namespace)::".repeat(300),
        "_ZN".to_owned() + &"9".repeat(6_000),
        "_ZN".to_owned() + &"1a".repeat(3_000),
        "_Z".to_owned() + &"L".repeat(6_000),
        "_Z".to_owned() + &"S1_".repeat(2_000),
        "mm_".repeat(2_000),
        "all_reduce_".repeat(600) + "x",
        "aA".repeat(3_000),
        "é".repeat(3_000),
        "\0".repeat(6_000),
    ];
    for name in &hostile {
        assert_eq!(classifier.classify(name), classifier.classify(&format!(" {name} ")), "{name}");
    }
    let long = format!("void vllm::x<{}>(int)", "cute::tuple<cute::C<1> >, ".repeat(300));
    assert_eq!(classifier.classify(&long).map(|matched| matched.kind), None);
    let deep = format!("void flash::flash_fwd_kernel<{}>(int)", "cute::tuple<".repeat(500));
    assert_eq!(classifier.classify(&deep).map(|matched| matched.kind), Some(Kind::Prefill));
}
