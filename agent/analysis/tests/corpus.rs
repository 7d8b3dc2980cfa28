//! How far the classifier agrees with the labelled names of the shared corpus.
//!
//! The corpus is read where it lies and is no part of the repository; without it the test says
//! so and does nothing.

use std::collections::BTreeMap;
use std::path::Path;

use analysis::classify::{Class, Classifier};

/// Least share of rows whose class agrees, in thousandths: a little under what is reached.
const CLASS_FLOOR: usize = 995;
/// Same for class and kind, where the corpus tells the kind.
const KIND_FLOOR: usize = 980;

/// Class and, where the label tells it, kind.
fn expected(label: &str) -> Option<(Class, Option<&str>)> {
    Some(match label {
        "attention" => (Class::Attention, None),
        "communication" => (Class::Communication, None),
        "gemm" => (Class::Gemm, Some("dense")),
        "moe_gemm" => (Class::Gemm, Some("moe")),
        "kv_cache" | "norm_act" | "quant" | "sampling" | "elementwise" | "memory" | "routing"
        | "other" => (Class::Other, Some(label)),
        _ => return None,
    })
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads the corpus, not the library")]
fn classes_agree_with_the_corpus() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/kernel_names.tsv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIP classes_agree_with_the_corpus: {} is not there", path.display());
        return;
    };
    let classifier = Classifier::default();
    let (mut rows, mut class_agrees, mut kind_agrees, mut unmatched) = (0, 0, 0, 0);
    let mut confusion: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut columns = line.split('\t');
        let (Some(name), Some(label)) = (columns.next(), columns.next()) else {
            panic!("a row has no label: {line}");
        };
        let (class, kind) = expected(label).unwrap_or_else(|| panic!("unknown label {label}"));
        let found = classifier.classify(name);
        rows += 1;
        unmatched += usize::from(found.is_none());
        let found_class = found.map_or(Class::Other, |matched| matched.class);
        let found_kind = found.map_or("other", |matched| matched.kind.as_str());
        let same_class = found_class == class;
        // The corpus does not tell gemv from dense.
        let same_kind =
            kind.is_none_or(|kind| kind == found_kind || (kind, found_kind) == ("dense", "gemv"));
        class_agrees += usize::from(same_class);
        kind_agrees += usize::from(same_class && same_kind);
        if !(same_class && same_kind) {
            let found = format!("{found_class}/{found_kind}");
            let short = name.chars().take(110).collect();
            confusion.entry((label.to_owned(), found)).or_default().push(short);
        }
    }
    for ((label, found), names) in &confusion {
        println!("{label} taken for {found}: {}", names.len());
        for name in names {
            println!("    {name}");
        }
    }
    println!(
        "classes agree for {class_agrees} of {rows} names, class and kind for {kind_agrees}; {unmatched} matched no rule"
    );
    assert!(class_agrees * 1000 >= rows * CLASS_FLOOR, "fewer classes agree than the floor");
    assert!(kind_agrees * 1000 >= rows * KIND_FLOOR, "fewer kinds agree than the floor");
}
