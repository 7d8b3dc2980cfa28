//! The rows of the corpus and what their labels mean.
#![expect(clippy::print_stdout, clippy::panic, reason = "tests print and panic")]

use std::path::Path;

use analysis::classify::{Class, Classifier, Matched};

/// One labelled name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) origin: String,
    pub(crate) class: Class,
}

/// Every row, or `None` where the corpus is not there.
#[expect(clippy::disallowed_methods, reason = "the test reads the corpus, not the library")]
pub(crate) fn rows(test: &str) -> Option<Vec<Row>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/kernel_names.tsv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIP {test}: {} is not there", path.display());
        return None;
    };
    let rows = text.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, label, origin] = columns[..] else {
            panic!("a row has no three columns: {line}")
        };
        Row {
            name: name.to_owned(),
            label: label.to_owned(),
            origin: origin.to_owned(),
            class: class(label),
        }
    });
    Some(rows.collect())
}

fn class(label: &str) -> Class {
    match label {
        "attention" => Class::Attention,
        "communication" => Class::Communication,
        "gemm" | "moe_gemm" => Class::Gemm,
        "kv_cache" | "norm_act" | "quant" | "sampling" | "elementwise" | "memory" | "routing"
        | "other" => Class::Other,
        _ => panic!("unknown label {label}"),
    }
}

impl Row {
    /// Whether `found` is the kind the label tells, as far as it tells one.
    pub(crate) fn agrees_in_kind(&self, found: Option<Matched>) -> bool {
        let kind = found.map_or("other", |matched| matched.kind.as_str());
        match self.label.as_str() {
            "attention" | "communication" => true,
            // The corpus does not tell gemv from dense.
            "gemm" => kind == "dense" || kind == "gemv",
            "moe_gemm" => kind == "moe",
            label => kind == label,
        }
    }
}

pub(crate) fn class_of(classifier: &Classifier, name: &str) -> Class {
    classifier.classify(name).map_or(Class::Other, |matched| matched.class)
}

/// The start of a name, for messages.
pub(crate) fn short(name: &str) -> String {
    name.chars().take(110).collect()
}
