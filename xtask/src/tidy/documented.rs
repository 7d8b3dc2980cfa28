//! Every environment key and every metric stands in the documents, and the documents name none that
//! does not exist.

use std::collections::BTreeMap;

use crate::tidy::source::split;
use crate::tidy::{Finding, Text};

const ENVIRONMENT: &str = "docs/environment.md";
const METRICS: &str = "docs/metrics.md";

pub(crate) fn check_environment(texts: &[Text]) -> Vec<Finding> {
    let is_key = |character: char| {
        character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_'
    };
    let used =
        used_in(texts, "WARPLENS_", is_key, |text| !text.name().starts_with("xtask/src/tidy/"));
    compare(texts, ENVIRONMENT, &used, |quoted| names(quoted, "WARPLENS_", is_key))
}

pub(crate) fn check_metrics(texts: &[Text]) -> Vec<Finding> {
    let is_name = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
    };
    let used = used_in(texts, "warplens_", is_name, |text| {
        text.name().starts_with("agent/src/output/prometheus")
    });
    let used = used.into_iter().map(|(name, place)| (family(&name), place)).collect();
    compare(texts, METRICS, &used, |quoted| {
        names(quoted, "warplens_", is_name).iter().map(|name| family(name)).collect()
    })
}

/// The exporter adds these to a family's name; documents name what is scraped.
fn family(name: &str) -> String {
    ["_total", "_info", "_bucket", "_count", "_sum"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
        .to_owned()
}

/// Names in string literals (Rust) or anywhere (Python, shell, C), with where they stand first.
fn used_in(
    texts: &[Text],
    prefix: &str,
    part: impl Fn(char) -> bool + Copy,
    wanted: impl Fn(&Text) -> bool,
) -> BTreeMap<String, Finding> {
    let mut used = BTreeMap::new();
    for text in texts.iter().filter(|text| wanted(text)) {
        let extension = text.path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let lines: Vec<(usize, String)> = match extension.as_str() {
            "rs" => split(&text.content)
                .into_iter()
                .enumerate()
                .map(|(index, line)| (index, line.strings.join("\n")))
                .collect(),
            "py" | "sh" | "c" => text.content.lines().map(str::to_owned).enumerate().collect(),
            _ => continue,
        };
        for (index, line) in lines {
            for name in names(&line, prefix, part) {
                used.entry(name.clone()).or_insert_with(|| Finding::at(text, index + 1, name));
            }
        }
    }
    used
}

fn compare(
    texts: &[Text],
    document: &str,
    used: &BTreeMap<String, Finding>,
    names: impl Fn(&str) -> Vec<String>,
) -> Vec<Finding> {
    let content =
        texts.iter().find(|text| text.name() == document).map_or("", |text| &text.content);
    // Only what stands in backticks is documented; prose may speak of families such as WARPLENS_SIM_*.
    let documented: Vec<String> = content
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .flat_map(names)
        .collect();
    let missing =
        used.iter().filter(|(name, _)| !documented.contains(name)).map(|(name, place)| Finding {
            what: format!("`{name}` is not described in {document}"),
            ..place.clone()
        });
    let stale = documented
        .iter()
        .filter(|name| !used.contains_key(*name))
        .map(|name| Finding::of(document, format!("describes `{name}`, which nothing uses")));
    missing.chain(stale).collect()
}

/// Every name with the prefix. One that ends in `_` is a prefix itself, not a name.
fn names(text: &str, prefix: &str, part: impl Fn(char) -> bool + Copy) -> Vec<String> {
    text.match_indices(prefix)
        .filter(|(at, _)| {
            !text[..*at].chars().next_back().is_some_and(|before| part(before) || before == '_')
        })
        .map(|(at, _)| {
            text[at..].chars().take_while(|&character| part(character)).collect::<String>()
        })
        .filter(|name| name.len() > prefix.len() && !name.ends_with('_'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, content: &str) -> Text {
        Text { path: name.into(), content: content.to_owned() }
    }

    #[test]
    fn undocumented_and_stale_keys_are_both_found() {
        let texts = [
            text("a.rs", "env(\"WARPLENS_A\"); env(\"WARPLENS_B\"); // WARPLENS_C"),
            text(ENVIRONMENT, "`WARPLENS_B`, `WARPLENS_D`, WARPLENS_E, `WARPLENS_SIM_*`"),
        ];
        let found: Vec<String> =
            check_environment(&texts).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a.rs:1: `WARPLENS_A` is not described in docs/environment.md",
                "docs/environment.md: describes `WARPLENS_D`, which nothing uses",
            ]
        );
    }
}
