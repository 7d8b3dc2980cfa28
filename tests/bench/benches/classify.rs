//! What it costs to classify a kernel: the first time a name is seen, by the kind of name, and
//! when the name is known. With the labelled names of the shared corpus where they are there.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use analysis::classify::{BUILT_IN, BUILT_IN_NAME, Classifier};
use analysis::event::{Event, ProcessInfo};
use analysis::ids::ProcessKey;
use analysis::session::{Options, Session};
use anyhow::{Result, ensure};
use warplens_bench::{figure, median, per};

/// Median of this many passes: one is too short to be told from an interrupt.
const PASSES: usize = 31;

/// Names of every length and dialect; each is decided by a rule.
const NAMES: [&str; 8] = [
    "nvjet_sm100_tst_256x40_64x5_4x1_v_bz_TNT",
    "_fused_qk_rmsnorm_rope_gate_kernel",
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
    "triton_red_fused__to_copy_add_marlin_gemm_mean_mul_pow_rsqrt_0",
    "void vllm::cross_device_reduce_1stage<__half, 4>(vllm::RankData*, vllm::RankSignals, vllm::Signal*, __half*, int, int)",
    "_ZN4vllm3moe10topkGatingILi1ELi1ELi4ELi4ELi32EifLNS0_11ScoringFuncE1EEEvPKT5_PKbPfiPT4_PiiiibPKfdS7_",
    "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>, std::array<char*, 1ul> >(int, at::native::FillFunctor<float>, std::array<char*, 1ul>)",
    "void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128, 64, 128, 4, false, false, cutlass::half_t>, false, true>(flash::Flash_fwd_params)",
];

fn main() -> Result<()> {
    let classifier = Classifier::default();
    for name in NAMES {
        ensure!(classifier.classify(name).is_some(), "no rule knows {name}");
    }
    figure("classify/cold", cold(&classifier, &NAMES), "ns/name");

    let long = format!(
        "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<{}>>(int)",
        "cute::tuple<cute::C<128>, cute::C<64> >, ".repeat(142)
    );
    ensure!(long.len() > 5_800, "{} bytes", long.len());
    figure("classify/cold-6-kB", cold(&classifier, &[&long]) / 1e3, "us/name");

    let corpus =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/kernel_names.tsv");
    if let Ok(text) = fs::read_to_string(corpus) {
        let names: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
        ensure!(names.len() > 1_000, "{} names", names.len());
        figure("classify/cold-corpus", cold(&classifier, &names), "ns/name");
    }
    figure("classify/cached", cached(), "ns/name");
    figure("classify/compile", compile()?, "ms");
    Ok(())
}

/// Nanoseconds a name, rules applied each time.
fn cold(classifier: &Classifier, names: &[&str]) -> f64 {
    let repeats = (20_000 / names.len()).max(1);
    let passes = (0..PASSES).map(|_| {
        let begin = Instant::now();
        for _ in 0..repeats {
            for name in names {
                black_box(classifier.classify(black_box(name)));
            }
        }
        let total = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        per(total, (repeats * names.len()) as u64)
    });
    median(passes.collect())
}

/// Nanoseconds a name that the session has seen, its text given again, as foreign traces do.
fn cached() -> f64 {
    let mut session = Session::new(Options::WHOLE);
    let process = ProcessKey(1);
    session.ingest(Event::Process { process, info: ProcessInfo::default() });
    let repeats = 5_000;
    let passes = (0..PASSES).map(|_| {
        // Whoever reads a trace has the text in any case: its allocation is not counted.
        let mut texts: Vec<(u32, String)> = (0..repeats)
            .flat_map(|_| (0..).zip(NAMES).map(|(id, name)| (id, name.to_owned())))
            .collect();
        let begin = Instant::now();
        for (id, name) in texts.drain(..) {
            session.ingest(Event::Name { process, id, name });
        }
        let total = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        per(total, (repeats * NAMES.len()) as u64)
    });
    median(passes.collect())
}

/// Milliseconds to read and compile the built-in rules.
fn compile() -> Result<f64> {
    let mut passes = Vec::new();
    for _ in 0..PASSES {
        let begin = Instant::now();
        let classifier = Classifier::only(BUILT_IN_NAME, BUILT_IN)?;
        passes.push(begin.elapsed().as_secs_f64() * 1e3);
        ensure!(!classifier.rules().is_empty(), "no rules");
    }
    Ok(median(passes))
}
