//! How much of the GPU time of every trace is classified, and how much of it as the launching
//! operator implies.

use std::collections::BTreeMap;

use crate::{corpus, implied};

/// The largest share of GPU time that no rule may match.
const UNCLASSIFIED_MAX: f64 = 0.01;
/// The smallest share of the GPU time of telling operators that has their class.
const AGREES_MIN: f64 = 0.99;

#[expect(clippy::cast_precision_loss, reason = "sums of nanoseconds of a trace of seconds")]
fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn check(name: &str) {
    let Some(path) = corpus::find(name, name) else { return };
    let trace = corpus::read(&path);
    let said = corpus::classify(trace.kernels().map(|kernel| kernel.name.as_str()).collect());
    let time: i64 = trace.kernels().map(|kernel| kernel.end - kernel.start).sum();
    let unmatched: Vec<_> =
        trace.kernels().filter(|kernel| said[&kernel.name].rule == "no rule").collect();
    let unmatched_time: i64 = unmatched.iter().map(|kernel| kernel.end - kernel.start).sum();
    let (mut known, mut agrees) = (0, 0);
    let mut differs: BTreeMap<(&str, &str, &str, &str), i64> = BTreeMap::new();
    let mut silent: BTreeMap<&str, i64> = BTreeMap::new();
    for (kernel, operators) in trace.operators() {
        let length = kernel.end - kernel.start;
        let Some((operator, class)) = operators
            .iter()
            .find_map(|&operator| implied::class(operator).map(|class| (operator, class)))
        else {
            *silent.entry(operators.first().copied().unwrap_or("[none]")).or_default() += length;
            continue;
        };
        known += length;
        let found = said[&kernel.name].class.as_str();
        if found == class {
            agrees += length;
        } else {
            *differs.entry((operator, class, found, &kernel.name)).or_default() += length;
        }
    }
    println!(
        "{name}: {:.2} % of GPU time matched no rule; operators tell the class of {:.1} %, of which {:.2} % has it",
        100.0 * share(unmatched_time, time),
        100.0 * share(known, time),
        100.0 * share(agrees, known)
    );
    let told = known + silent.values().sum::<i64>();
    println!(
        "  launched by a graph or by no call of the trace: {:.1} %",
        100.0 * share(time - told, time)
    );
    let mut silent: Vec<_> = silent.into_iter().collect();
    silent.sort_by_key(|&(_, length)| -length);
    for (operator, length) in silent.iter().take(5) {
        println!("  implies nothing: {:.1} % {operator}", 100.0 * share(*length, time));
    }
    assert!(
        share(unmatched_time, time) <= UNCLASSIFIED_MAX,
        "{name}: no rule: {:#?}",
        unmatched.iter().map(|kernel| &kernel.name).collect::<std::collections::BTreeSet<_>>()
    );
    assert!(
        known == 0 || share(agrees, known) >= AGREES_MIN,
        "{name}: operator, implied, found, kernel: {differs:#?}"
    );
}

/// Every trace that has operators and enough kernels to speak of shares.
#[test]
fn a100_graphs() {
    check("hta-a100-graphs-rank0.json.gz");
}

#[test]
fn event_sync() {
    check("hta-event_sync.json.gz");
}

#[test]
fn nccl_data() {
    check("hta-nccl_data.json.gz");
}

#[test]
fn sampled_rank_0() {
    check("hta-sampled_rank-0.json.gz");
}

#[test]
fn sampled_rank_1() {
    check("hta-sampled_rank-1.json.gz");
}

#[test]
fn triton_example() {
    check("hta-triton_example.json.gz");
}

#[test]
fn b200_eager() {
    check("tracelens-b200_eager_trace.json.gz");
}

#[test]
fn h100_nsys() {
    check("nsys-ai-h100_2gpu_1s.sqlite");
}
