//! The options of `vllm serve` that tell what a server is. An option that is not named here is
//! passed over together with whatever follows it.

use super::text::display_name;

/// What is known of a server by its arguments; `None` and 0 where they do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub model: Option<String>,
    /// The name clients and metrics use: the first of `--served-model-name`.
    pub served_name: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    /// No HTTP on this node: its engines are served from another one.
    pub headless: bool,
    pub sizes: Sizes,
    pub executor: Option<Executor>,
    /// A file with more of these.
    pub config: Option<String>,
}

/// Sizes of the parallel groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub data: Option<u32>,
    pub pipeline: Option<u32>,
    pub prefill_context: Option<u32>,
    pub tensor: Option<u32>,
    pub decode_context: Option<u32>,
    pub api_servers: Option<u32>,
    pub expert: bool,
}

/// What runs the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// In the engine core's process.
    InEngine,
    Processes,
    Ray,
    Other,
}

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    /// Everything up to the next option.
    Many,
}

/// The options read, in the spelling of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Model,
    ServedName,
    Host,
    Port,
    Headless,
    Config,
    Executor,
    Data,
    Pipeline,
    PrefillContext,
    Tensor,
    DecodeContext,
    ApiServers,
    Expert,
    /// Often stands before the model; takes nothing.
    Switch,
}

impl Key {
    /// vLLM takes underscores for dashes.
    fn of(option: &str) -> Option<Self> {
        Some(match option.replace('_', "-").as_str() {
            "--model" | "--model-tag" => Self::Model,
            "--served-model-name" => Self::ServedName,
            "--host" => Self::Host,
            "--port" => Self::Port,
            "--headless" => Self::Headless,
            "--config" => Self::Config,
            "--distributed-executor-backend" => Self::Executor,
            "--data-parallel-size" | "-dp" => Self::Data,
            "--pipeline-parallel-size" | "-pp" => Self::Pipeline,
            "--prefill-context-parallel-size" | "-pcp" => Self::PrefillContext,
            "--tensor-parallel-size" | "-tp" => Self::Tensor,
            "--decode-context-parallel-size" | "-dcp" => Self::DecodeContext,
            "--api-server-count" | "-asc" => Self::ApiServers,
            "--enable-expert-parallel" | "-ep" => Self::Expert,
            "--enforce-eager"
            | "--trust-remote-code"
            | "--enable-prefix-caching"
            | "--enable-chunked-prefill"
            | "--async-scheduling"
            | "--enable-auto-tool-choice"
            | "--disable-log-requests"
            | "--disable-log-stats" => Self::Switch,
            _ => return None,
        })
    }

    fn takes(self) -> Takes {
        match self {
            Self::Headless | Self::Expert | Self::Switch => Takes::Nothing,
            Self::ServedName => Takes::Many,
            _ => Takes::One,
        }
    }
}

impl Options {
    /// From what follows `serve`. The model is the first word that belongs to no option; behind an
    /// option that is not known here, a word may be its value, and that may be a key.
    pub fn parse(arguments: &[&str]) -> Self {
        let mut options = Self::default();
        let mut trusted = true;
        let mut words = arguments.iter().copied().peekable();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                if trusted && options.model.is_none() {
                    options.model = Some(display_name(word));
                }
                continue;
            }
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (word, None),
            };
            let Some(key) = Key::of(option) else {
                trusted &= value.is_some();
                continue;
            };
            let value = match (key.takes(), value) {
                (Takes::Nothing, _) => Some(""),
                (_, Some(value)) => Some(value),
                (Takes::One | Takes::Many, None) => words.next_if(|next| !next.starts_with('-')),
            };
            if key.takes() == Takes::Many {
                while words.next_if(|next| !next.starts_with('-')).is_some() {}
            }
            if let Some(value) = value {
                options.set(key, value);
            }
        }
        options
    }

    /// One `key: value` of a configuration file, whose keys are the long options without dashes.
    pub(super) fn set_named(&mut self, key: &str, value: &str) {
        let Some(key) = Key::of(&format!("--{key}")) else {
            return;
        };
        // A switch is on in a file only where it says so.
        if key.takes() != Takes::Nothing || value.eq_ignore_ascii_case("true") {
            self.set(key, value);
        }
    }

    fn set(&mut self, key: Key, value: &str) {
        let number = || value.parse().ok().filter(|&number| number > 0);
        let text = || Some(display_name(value)).filter(|text| !text.is_empty());
        let sizes = &mut self.sizes;
        match key {
            Key::Model => self.model = text(),
            Key::ServedName => self.served_name = text(),
            Key::Host => self.host = text(),
            Key::Port => self.port = value.parse().ok(),
            Key::Headless => self.headless = true,
            Key::Config => self.config = Some(value.to_owned()),
            Key::Executor => {
                self.executor = Some(match value {
                    "uni" => Executor::InEngine,
                    "mp" => Executor::Processes,
                    "ray" => Executor::Ray,
                    _ => Executor::Other,
                });
            }
            Key::Data => sizes.data = number(),
            Key::Pipeline => sizes.pipeline = number(),
            Key::PrefillContext => sizes.prefill_context = number(),
            Key::Tensor => sizes.tensor = number(),
            Key::DecodeContext => sizes.decode_context = number(),
            Key::ApiServers => sizes.api_servers = number(),
            Key::Expert => sizes.expert = true,
            Key::Switch => {}
        }
    }

    /// This, and `other` where this does not say.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (mine, theirs) = (self.sizes, other.sizes);
        Self {
            model: self.model.or(other.model),
            served_name: self.served_name.or(other.served_name),
            host: self.host.or(other.host),
            port: self.port.or(other.port),
            headless: self.headless || other.headless,
            sizes: Sizes {
                data: mine.data.or(theirs.data),
                pipeline: mine.pipeline.or(theirs.pipeline),
                prefill_context: mine.prefill_context.or(theirs.prefill_context),
                tensor: mine.tensor.or(theirs.tensor),
                decode_context: mine.decode_context.or(theirs.decode_context),
                api_servers: mine.api_servers.or(theirs.api_servers),
                expert: mine.expert || theirs.expert,
            },
            executor: self.executor.or(other.executor),
            config: self.config.or(other.config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Options {
        Options::parse(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn the_usual_line() {
        let options = parse(
            "org/m --served-model-name a b --host 0.0.0.0 --port 8001 --tensor-parallel-size 2 \
             -dp=4 --pipeline_parallel_size 3 --enable-expert-parallel --api-server-count 2 \
             --distributed-executor-backend ray --config /etc/vllm.yaml",
        );
        assert_eq!(
            options,
            Options {
                model: Some("org/m".to_owned()),
                served_name: Some("a".to_owned()),
                host: Some("0.0.0.0".to_owned()),
                port: Some(8001),
                headless: false,
                sizes: Sizes {
                    data: Some(4),
                    pipeline: Some(3),
                    tensor: Some(2),
                    api_servers: Some(2),
                    expert: true,
                    ..Sizes::default()
                },
                executor: Some(Executor::Ray),
                config: Some("/etc/vllm.yaml".to_owned()),
            }
        );
    }

    #[test]
    fn the_model_wherever_it_stands() {
        let model = |line: &str| parse(line).model;
        for line in
            ["m", "--port 1 m", "--enforce-eager m", "--model m", "--model=m --port 1", "--foo=1 m"]
        {
            assert_eq!(model(line).as_deref(), Some("m"), "{line}");
        }
        assert_eq!(model("--port 1").as_deref(), None);
    }

    #[test]
    fn what_follows_an_unknown_option_is_never_the_model() {
        for line in
            ["--api-key s3cret", "--api-key s3cret m", "--hf-token s3cret --port 8", "-k s3cret"]
        {
            let options = parse(line);
            assert!(!format!("{options:?}").contains("s3cret"), "{line}: {options:?}");
            assert_eq!(options.model, None, "{line}");
        }
        assert_eq!(parse("m --api-key s3cret x").model.as_deref(), Some("m"));
    }

    #[test]
    fn nonsense_is_passed_over() {
        for line in [
            "--port",
            "--port abc",
            "--port 99999",
            "-tp 0",
            "-tp -1",
            "--served-model-name",
            "= == -=",
            "--tensor-parallel-size=4294967296",
        ] {
            let options = parse(line);
            assert_eq!((options.port, options.sizes.tensor), (None, None), "{line}");
        }
    }

    #[test]
    fn what_the_arguments_say_comes_before_the_file() {
        let file = parse("file --port 1 --headless -tp 8");
        let both = parse("--port 2 -dp 2").or(file);
        assert_eq!((both.model.as_deref(), both.port), (Some("file"), Some(2)));
        assert_eq!((both.sizes.data, both.sizes.tensor, both.headless), (Some(2), Some(8), true));
    }
}
