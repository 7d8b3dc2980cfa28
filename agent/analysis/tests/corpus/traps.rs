//! The traps that the corpus names, one test each: every name of the corpus that falls under it.
#![expect(clippy::print_stdout, reason = "tests print and panic")]

use analysis::classify::{Class, Classifier};

use crate::rows::{Row, class_of, rows, short};

/// No name that `falls` picks may be classified otherwise than labelled; at least `least` must be
/// picked, so that a trap that nothing falls into is noticed.
fn check(test: &str, least: usize, falls: impl Fn(&Row, &str) -> bool) {
    let Some(rows) = rows(test) else { return };
    let classifier = Classifier::default();
    let fallen: Vec<&Row> =
        rows.iter().filter(|row| falls(row, &row.name.to_lowercase())).collect();
    println!("{test}: {} names", fallen.len());
    assert!(fallen.len() >= least, "{} names, expected {least} or more", fallen.len());
    let wrong = fallen.iter().filter(|row| class_of(&classifier, &row.name) != row.class);
    let wrong: Vec<String> =
        wrong.map(|row| format!("{}: {}", row.label, short(&row.name))).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn mm_stands_in_names_that_are_no_gemm() {
    check("mm_stands_in_names_that_are_no_gemm", 30, |row, name| {
        name.contains("mm") && row.class != Class::Gemm
    });
}

#[test]
fn gemm_stands_in_names_that_are_no_gemm() {
    check("gemm_stands_in_names_that_are_no_gemm", 20, |row, name| {
        name.contains("gemm") && row.class != Class::Gemm
    });
}

#[test]
fn flash_and_attn_stand_in_names_that_are_no_attention() {
    check("flash_and_attn_stand_in_names_that_are_no_attention", 20, |row, name| {
        (name.contains("flash") || name.contains("attn")) && row.class != Class::Attention
    });
}

#[test]
fn attention_without_a_word_that_says_so() {
    let words = ["flash", "attn", "attention", "fmha", "mla"];
    check("attention_without_a_word_that_says_so", 60, |row, name| {
        row.class == Class::Attention && !words.iter().any(|word| name.contains(word))
    });
}

#[test]
fn device_kernel_is_decided_by_its_argument() {
    check("device_kernel_is_decided_by_its_argument", 15, |_, name| {
        name.contains("cutlass::device_kernel<") || name.contains("7cutlass13device_kernel")
    });
}

#[test]
fn inductor_names_hold_the_names_of_neighbours() {
    check("inductor_names_hold_the_names_of_neighbours", 15, |_, name| {
        name.starts_with("triton_") && name.contains("_fused")
    });
}

#[test]
fn reduce_is_not_always_communication() {
    check("reduce_is_not_always_communication", 40, |_, name| name.contains("reduce"));
}

#[test]
fn topk_is_attention_routing_or_sampling() {
    check("topk_is_attention_routing_or_sampling", 40, |_, name| name.contains("topk"));
}

#[test]
fn cache_is_read_by_attention_too() {
    check("cache_is_read_by_attention_too", 40, |_, name| name.contains("cache"));
}

#[test]
fn names_published_as_traps() {
    check("names_published_as_traps", 5, |row, _| row.origin.starts_with("trap"));
}
