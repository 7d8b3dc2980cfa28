//! The arguments of `vllm-rs frontend`: one of them is a JSON object with all of the server's
//! options, keys and tokens among them.

use serde::Deserialize;
use serde_json::Value;

use super::options::Options;

/// The fields that are read; serde passes over the others without keeping them.
#[derive(Deserialize)]
struct Arguments {
    #[serde(default, alias = "model")]
    model_tag: Option<Value>,
    #[serde(default)]
    served_model_name: Option<Value>,
    #[serde(default)]
    host: Option<Value>,
    #[serde(default)]
    port: Option<Value>,
    #[serde(default)]
    tensor_parallel_size: Option<Value>,
    #[serde(default)]
    pipeline_parallel_size: Option<Value>,
}

/// What the arguments behind `frontend` say.
pub(super) fn parse(arguments: &[&str]) -> Options {
    let after = |option: &str| {
        let at = arguments.iter().position(|argument| *argument == option)?;
        arguments.get(at + 1).copied()
    };
    let mut options = Options::default();
    if let Some(size) = after("--data-parallel-size") {
        options.set_named("data-parallel-size", size);
    }
    let Some(Ok(json)) = after("--args-json").map(serde_json::from_str::<Arguments>) else {
        return options;
    };
    for (key, value) in [
        ("model", json.model_tag),
        ("served-model-name", json.served_model_name),
        ("host", json.host),
        ("port", json.port),
        ("tensor-parallel-size", json.tensor_parallel_size),
        ("pipeline-parallel-size", json.pipeline_parallel_size),
    ] {
        match first(value) {
            Some(Value::String(text)) => options.set_named(key, &text),
            Some(Value::Number(number)) => options.set_named(key, &number.to_string()),
            _ => {}
        }
    }
    options
}

fn first(value: Option<Value>) -> Option<Value> {
    match value? {
        Value::Array(values) => values.into_iter().next(),
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_fields_and_nothing_else() {
        let json = r#"{"api_key":["s3cret"],"hf_token":"s3cret","host":"0.0.0.0","model_tag":"org/m","port":8002,"served_model_name":["name","other"],"tensor_parallel_size":2}"#;
        let line = ["--listen-fd", "3", "--data-parallel-size", "2", "--args-json", json];
        let options = parse(&line);
        assert_eq!(options.model.as_deref(), Some("org/m"));
        assert_eq!(options.served_name.as_deref(), Some("name"));
        assert_eq!(
            (options.port, options.sizes.data, options.sizes.tensor),
            (Some(8002), Some(2), Some(2))
        );
        assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
    }

    #[test]
    fn any_text_is_survived() {
        for json in [
            "",
            "{",
            "[]",
            "null",
            r#"{"model_tag":{"x":1}}"#,
            r#"{"port":-1}"#,
            r#"{"served_model_name":[]}"#,
        ] {
            assert_eq!(parse(&["--args-json", json]), Options::default(), "{json}");
        }
        assert_eq!(parse(&["--args-json"]), Options::default());
    }
}
