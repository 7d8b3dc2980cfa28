//! The variables of a process's environment that say where it runs. An environment is full of keys
//! and tokens: only named variables of a checked form leave this file.

/// Longest names of Kubernetes objects, bytes.
const OBJECT_NAME_MAX: usize = 253;

/// What was found; `None` where there is no such variable or it is no name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    pub pod: Option<String>,
    pub namespace: Option<String>,
    /// Of the container, which in a pod is the pod's name unless the pod uses the host's network.
    pub hostname: Option<String>,
    /// setproctitle has overwritten its beginning with zeros: what was inherited is lost.
    pub wiped: bool,
}

impl Environment {
    /// From the bytes of `environ`.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut environment = Self { wiped: bytes.first() == Some(&0), ..Self::default() };
        for variable in bytes.split(|&byte| byte == 0) {
            let Some((key, value)) =
                std::str::from_utf8(variable).ok().and_then(|text| text.split_once('='))
            else {
                continue;
            };
            let field = match key {
                "POD_NAME" | "K8S_POD_NAME" | "MY_POD_NAME" => &mut environment.pod,
                "POD_NAMESPACE" | "K8S_NAMESPACE" | "MY_POD_NAMESPACE" => {
                    &mut environment.namespace
                }
                "HOSTNAME" => &mut environment.hostname,
                _ => continue,
            };
            // As `getenv` does, the first one counts.
            if field.is_none() {
                *field = object_name(value);
            }
        }
        environment
    }
}

/// `text` if Kubernetes could have named an object so.
pub(crate) fn object_name(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty()
        && text.len() <= OBJECT_NAME_MAX
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        });
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_variables_and_nothing_else() {
        let found = Environment::parse(
            b"HF_TOKEN=s3cret\0POD_NAME=llm-0\0POD_NAME=later\0POD_NAMESPACE=serving\0HOSTNAME=llm-0\0VLLM_API_KEY=s3cret\0",
        );
        let expected = Environment {
            pod: Some("llm-0".to_owned()),
            namespace: Some("serving".to_owned()),
            hostname: Some("llm-0".to_owned()),
            wiped: false,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_value_that_is_no_name_is_not_kept() {
        let found =
            Environment::parse(b"POD_NAME=S3cret/Key\0HOSTNAME=\0POD_NAMESPACE\0\xff=\xff\0");
        assert_eq!(found, Environment::default());
        assert_eq!(object_name(&"a".repeat(254)), None);
    }

    #[test]
    fn an_overwritten_environment_says_so() {
        let found = Environment::parse(b"\0\0\0\0\0\0LD_PRELOAD=/x\0OMP_NUM_THREADS=1\0");
        assert_eq!(found, Environment { wiped: true, ..Environment::default() });
    }
}
