//! The profiles read back with the same messages.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use prost::Message;

use super::proto::Profile;
use super::*;
use crate::output::fixture;

fn decode(bytes: &[u8]) -> Profile {
    let mut raw = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut raw).unwrap();
    Profile::decode(raw.as_slice()).unwrap()
}

fn text(profile: &Profile, id: i64) -> &str {
    &profile.string_table[usize::try_from(id).unwrap()]
}

/// `root;...;leaf` of a sample.
fn path(profile: &Profile, sample: &proto::Sample) -> String {
    let names: Vec<&str> = sample
        .location_id
        .iter()
        .rev()
        .map(|&id| {
            let location = &profile.location[usize::try_from(id).unwrap() - 1];
            assert_eq!(location.id, id);
            let function =
                &profile.function[usize::try_from(location.line[0].function_id).unwrap() - 1];
            text(profile, function.name)
        })
        .collect();
    names.join(";")
}

fn labels<'p>(profile: &'p Profile, sample: &proto::Sample) -> BTreeMap<&'p str, String> {
    sample
        .label
        .iter()
        .map(|label| {
            let value = if label.str == 0 {
                label.num.to_string()
            } else {
                text(profile, label.str).to_owned()
            };
            (text(profile, label.key), value)
        })
        .collect()
}

#[test]
fn gpu_profile_has_the_rows_of_the_report() {
    let capture = fixture::capture();
    let profile = decode(&gpu(&capture).unwrap());
    assert_eq!(profile.string_table[0], "");
    assert_eq!(text(&profile, profile.sample_type[0].r#type), "gpu_time");
    assert_eq!(text(&profile, profile.sample_type[0].unit), "nanoseconds");
    assert_eq!(profile.duration_nanos, 1_000);
    let sum: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    assert_eq!(sum, 1_250 + 750 + 100);
    let graph = profile
        .sample
        .iter()
        .find(|sample| path(&profile, sample).contains("[graph 7]"))
        .expect("the graph's row");
    assert_eq!(
        path(&profile, graph),
        format!(
            "GPU 0 SIMULATED;VLLM::Worker_TP0 (pid 10);[cut: root not reached];model_runner;execute<8>;[graph 7];{}",
            fixture::NAMES[1]
        )
    );
    let expected = [
        ("UUID", "SIM-0"),
        ("class", "gemm"),
        ("gpu", "0"),
        ("graph", "7"),
        ("kind", "dense"),
        ("process", "VLLM::Worker_TP0 (pid 10)"),
        ("rank", "TP0"),
        ("role", "worker"),
    ];
    assert_eq!(
        labels(&profile, graph),
        expected.map(|(key, value)| (key, value.to_owned())).into()
    );
    let comments: Vec<&str> = profile.comment.iter().map(|&id| text(&profile, id)).collect();
    assert!(comments.iter().any(|comment| comment.starts_with("SIMULATED")), "{comments:?}");
}

#[test]
fn idle_time_is_labelled_with_its_cause_and_hangs_under_what_the_host_did() {
    let capture = fixture::capture();
    let profile = decode(&gpu(&capture).unwrap());
    let of = |cause: &str| {
        let idle = profile.sample.iter().filter(|sample| {
            labels(&profile, sample).get("cause").is_some_and(|label| label == cause)
        });
        idle.map(|sample| (path(&profile, sample), sample.value[0])).collect::<Vec<_>>()
    };
    let runner = "vllm.v1.worker.gpu_model_runner.GPUModelRunner";
    let worker = "GPU 0 SIMULATED;[idle: host_bound];VLLM::Worker_TP0 (pid 10)";
    assert_eq!(
        of("host_bound"),
        [
            (
                format!(
                    "{worker};_start;{runner}.execute_model;{runner}._prepare_inputs;THPVariable_getitem"
                ),
                60
            ),
            (format!("{worker};[thread not sampled];[asleep]"), 20),
            (format!("{worker};_start;main;attention(Tensor&);[asleep]"), 40),
        ]
    );
    let worker = "GPU 0 SIMULATED;[idle: sync];VLLM::Worker_TP0 (pid 10)";
    assert_eq!(
        of("sync"),
        [(format!("{worker};[cut: root not reached];model_runner;execute<8>"), 30)]
    );
    assert_eq!(of("unknown"), [("GPU 1 SIMULATED;[idle: unknown]".to_owned(), 90)]);
    assert_eq!(of("arming"), [("GPU 0 SIMULATED;[unobserved: arming]".to_owned(), 100)]);
}

#[test]
fn cpu_profile_counts_samples_and_their_time() {
    let profile = decode(&cpu(&fixture::capture()).unwrap());
    let period = 1_000_000_000 / 99;
    assert_eq!(profile.period, period);
    let values: Vec<&[i64]> = profile.sample.iter().map(|sample| sample.value.as_slice()).collect();
    assert_eq!(values, [&[40, 40 * period][..], &[2, 2 * period]]);
}

#[test]
fn an_unresolved_module_is_not_looked_for_by_pprof() {
    let profile = decode(&cpu(&fixture::capture()).unwrap());
    assert_eq!(profile.mapping.len(), 1);
    assert!(profile.mapping[0].has_functions && profile.mapping[0].has_filenames);
}
