//! The file of `--config`: YAML whose top-level keys are long options. Only plain `key: value` lines
//! are read, so what is nested, quoted over lines or an anchor is not known rather than wrong.

use super::options::Options;

/// Lines looked at. vLLM has about 300 options.
const LINES_MAX: usize = 4096;

/// What the text of a configuration file says.
pub(crate) fn from_config(text: &str) -> Options {
    let mut options = Options::default();
    let mut list: Option<&str> = None;
    for line in text.lines().take(LINES_MAX) {
        // The first entry of a list is the name that counts.
        if let (Some(key), Some(entry)) = (list, line.trim_start().strip_prefix("- ")) {
            options.set_named(key, scalar(entry));
            list = None;
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        if key.is_empty() || key.starts_with([' ', '\t', '#', '-', '"', '\'']) {
            continue;
        }
        let value = scalar(value);
        let plain = !value.starts_with(['[', '{', '|', '>', '&', '*', '!']);
        list = value.is_empty().then_some(key);
        if plain && !value.is_empty() {
            options.set_named(key, value);
        }
    }
    options
}

/// Without a comment and quotes.
fn scalar(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            return inner.split(quote).next().unwrap_or(inner);
        }
    }
    match value.split_once(" #") {
        Some((value, _)) => value.trim_end(),
        None if value.starts_with('#') => "",
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_first_level() {
        let options = from_config(
            "# model: no\nmodel: \"org/m\" # the model\napi-key: s3cret\nport: 8005\n\
             served-model-name:\n  - first\n  - second\ntensor_parallel_size: 2 # two\n\
             headless: false\nenable-expert-parallel: true\nspeculative-config:\n  model: draft\n\
             hf-token: |\n  port: 1\n",
        );
        assert_eq!(options.model.as_deref(), Some("org/m"));
        assert_eq!(options.served_name.as_deref(), Some("first"));
        assert_eq!((options.port, options.sizes.tensor), (Some(8005), Some(2)));
        assert!(!options.headless && options.sizes.expert);
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn other_yaml_is_not_guessed_at() {
        for text in
            ["", ":", "a", "model: [x, y]", "model: &anchor", "model: >\n  folded", "- model: x"]
        {
            assert_eq!(from_config(text), Options::default(), "{text:?}");
        }
    }
}
