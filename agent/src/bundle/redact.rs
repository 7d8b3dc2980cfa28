//! What must not leave a machine in an issue report, and what stands in its place. Pure: what to look for comes in.
//!
//! The same text always becomes the same stand-in, so that a reader can still tell two hosts or two pods apart.
//! Where in doubt, more is taken out: an address too many costs a reader little.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use regex::{Captures, Regex};

/// Shortest name that is looked for as a word: a user called `a` would be everywhere.
const WORD_MIN: usize = 3;

/// Names that stand for software or roles, not for people.
const COMMON: [&str; 12] = [
    "root", "vllm", "python", "python3", "ray", "cuda", "nvidia", "user", "worker", "engine",
    "server", "warplens",
];

/// What was found and taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Secret,
    Host,
    User,
    Address,
    Path,
    Model,
    Pod,
    Namespace,
    Container,
}

impl Kind {
    /// As stand-ins and the manifest have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Host => "host",
            Self::User => "user",
            Self::Address => "address",
            Self::Path => "path",
            Self::Model => "model",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::Container => "container",
        }
    }
}

/// Names of this machine, to be looked for as words in every text.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub hosts: Vec<String>,
    pub users: Vec<String>,
    /// Home directories, absolute.
    pub homes: Vec<String>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Redactor {
    patterns: Patterns,
    words: BTreeMap<String, Kind>,
    homes: Vec<String>,
    /// Also what a service is called is taken out.
    anonymous: bool,
    stand_ins: BTreeMap<(Kind, String), usize>,
    next: BTreeMap<Kind, usize>,
}

#[derive(Debug)]
struct Patterns {
    /// Keys and tokens that are told by how they begin.
    tokens: Regex,
    /// `password=...`, `Authorization: Bearer ...`.
    named: Regex,
    /// Long words without meaning; only in texts of people and programs, not in names of code.
    opaque: Regex,
    v4: Regex,
    v6: Regex,
    mail: Regex,
    url_user: Regex,
}

/// Names of settings and variables whose value is nobody's business.
const SECRET_NAMES: &str = "pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|authorization|auth|cookie|session[_-]?id";

impl Patterns {
    fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            tokens: Regex::new(
                r"\b(?:hf_|sk-|sk_live_|sk_test_|rk_live_|ghp_|gho_|ghs_|ghu_|github_pat_|glpat-|xox[abpr]-|AKIA|ASIA|AIza|ya29\.|nvapi-|eyJ)[A-Za-z0-9_\-\.]{10,}|-----BEGIN [A-Z ]+-----[A-Za-z0-9+/=\s]*(?:-----END [A-Z ]+-----)?",
            )?,
            named: Regex::new(&format!(
                r#"(?i)((?:--?)?\b[a-z0-9_\-]*(?:{SECRET_NAMES})[a-z0-9_\-]*)("?\s*[=:]\s*|\s+)("[^"]*"|'[^']*'|(?:bearer|basic|digest)\s+[^\s,;]+|[^\s,;&]+)"#
            ))?,
            opaque: Regex::new(r"\b[A-Za-z0-9+/_\-]{32,}={0,2}")?,
            v4: Regex::new(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")?,
            v6: Regex::new(
                r"(?i)\b(?:[0-9a-f]{1,4}:){2,7}(?::?[0-9a-f]{1,4}|:)(?::[0-9a-f]{1,4})*|(?i)\bfe80::[0-9a-f:]+|(?i)::(?:ffff:)?[0-9a-f]{1,4}(?::[0-9a-f]{1,4})+",
            )?,
            mail: Regex::new(r"[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,}")?,
            url_user: Regex::new(r"(://)[^/\s:@]+(?::[^/\s@]*)?@")?,
        })
    }
}

impl Redactor {
    /// # Errors
    /// When a pattern of this module is none.
    pub fn new(known: Known, anonymous: bool) -> Result<Self, regex::Error> {
        let Known { hosts, users, mut homes } = known;
        let mut redactor = Self {
            patterns: Patterns::new()?,
            words: BTreeMap::new(),
            homes: Vec::new(),
            anonymous,
            stand_ins: BTreeMap::new(),
            next: BTreeMap::new(),
        };
        for host in &hosts {
            redactor.learn(host, Kind::Host);
        }
        for user in users {
            redactor.learn(&user, Kind::User);
        }
        homes.retain(|home| home.len() > 1 && home.starts_with('/'));
        // The longer first: one may lie in another.
        homes.sort_by_key(|home| std::cmp::Reverse(home.len()));
        redactor.homes = homes;
        Ok(redactor)
    }

    /// From here on this word is taken out of every text.
    pub fn learn(&mut self, word: &str, kind: Kind) {
        let plain = word.trim();
        let common = matches!(kind, Kind::User | Kind::Host)
            && (COMMON.contains(&plain) || plain.eq_ignore_ascii_case("localhost"));
        if plain.len() >= WORD_MIN && !common {
            self.words.entry(plain.to_owned()).or_insert(kind);
        }
    }

    /// A name of a service: learnt, and taken out, where the report is anonymous.
    pub fn service(&mut self, word: &str, kind: Kind) -> String {
        if word.is_empty() || !self.anonymous {
            return self.text(word);
        }
        self.learn(word, kind);
        self.stand_in(kind, word)
    }

    /// A name of a host as a whole.
    pub fn host(&mut self, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        self.learn(name, Kind::Host);
        self.stand_in(Kind::Host, name)
    }

    /// A text of people or programs: everything is looked for.
    pub fn text(&mut self, text: &str) -> String {
        let text = self.code(text);
        let opaque = self.patterns.opaque.clone();
        self.replace(&opaque, &text, |redactor, found| {
            // Words of people have no digits, and paths have slashes and no end in `=`.
            let word = found.get(0).map_or("", |all| all.as_str());
            let digits = word.bytes().filter(u8::is_ascii_digit).count();
            if digits < 4 || word.matches('/').count() > 2 {
                return word.to_owned();
            }
            redactor.stand_in(Kind::Secret, word)
        })
    }

    /// A name of code, such as a kernel's: long and without meaning by itself, so that is no sign of a secret.
    pub fn code(&mut self, text: &str) -> String {
        let Patterns { tokens, named, v4, v6, mail, url_user, .. } = &self.patterns;
        let (tokens, named, v4, v6, mail, url_user) =
            (tokens.clone(), named.clone(), v4.clone(), v6.clone(), mail.clone(), url_user.clone());
        let whole = |found: &Captures<'_>| found.get(0).map_or("", |all| all.as_str()).to_owned();
        let mut text = self.replace(&url_user, text, |redactor, found| {
            let secret = redactor.stand_in(Kind::Secret, &whole(found));
            format!("://{secret}@")
        });
        text = self.replace(&tokens, &text, |redactor, found| {
            redactor.stand_in(Kind::Secret, &whole(found))
        });
        text = self.replace(&named, &text, |redactor, found| {
            let part = |number| found.get(number).map_or("", |part| part.as_str());
            let (name, between, value) = (part(1), part(2), part(3));
            let bare = between.trim().is_empty();
            // `token budget` is a sentence, `--token abc` is a secret.
            if value.starts_with('[') || bare && !name.starts_with('-') {
                return whole(found);
            }
            format!("{name}{between}{}", redactor.stand_in(Kind::Secret, value))
        });
        text = self
            .replace(&mail, &text, |redactor, found| redactor.stand_in(Kind::User, &whole(found)));
        text = self.replace(&v4, &text, |redactor, found| {
            let address = whole(found);
            let loopback = address.starts_with("127.") || address == "0.0.0.0";
            if loopback { address } else { redactor.stand_in(Kind::Address, &address) }
        });
        text = self.replace(&v6, &text, |redactor, found| {
            let address = whole(found);
            // C++ scopes look alike: an address has a digit, and nothing else than hexadecimal ones.
            let groups = address.split(':').filter(|group| !group.is_empty()).count();
            let is_one = address.bytes().any(|byte| byte.is_ascii_digit()) && groups > 2;
            if is_one { redactor.stand_in(Kind::Address, &address) } else { address }
        });
        text = self.below_homes(&text);
        self.words_out(&text)
    }

    /// A path, with its secrets and what lies below a home directory.
    pub fn path(&mut self, path: &str) -> String {
        self.text(path)
    }

    /// What was taken out, by kind: how many different ones.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (kind, _) in self.stand_ins.keys() {
            *counts.entry(kind.name()).or_default() += 1;
        }
        counts
    }

    /// The name of a setting whose value is nobody's business.
    pub fn is_secret_name(name: &str) -> bool {
        let name = name.to_ascii_lowercase().replace('-', "_");
        [
            "pass",
            "secret",
            "token",
            "api_key",
            "access_key",
            "private_key",
            "credential",
            "auth",
            "cookie",
        ]
        .iter()
        .any(|part| name.contains(part))
    }

    /// A value that is a secret as a whole.
    pub fn secret(&mut self, value: &str) -> String {
        self.stand_in(Kind::Secret, value)
    }

    fn replace(
        &mut self,
        pattern: &Regex,
        text: &str,
        mut with: impl FnMut(&mut Self, &Captures<'_>) -> String,
    ) -> String {
        let mut out = String::with_capacity(text.len());
        let mut last = 0;
        for found in pattern.captures_iter(text) {
            let Some(all) = found.get(0) else {
                continue;
            };
            out.push_str(text.get(last..all.start()).unwrap_or(""));
            out.push_str(&with(self, &found));
            last = all.end();
        }
        out.push_str(text.get(last..).unwrap_or(""));
        out
    }

    /// `/srv/homes/ada/models/x.py` becomes `[home]/[path-1].py`.
    fn below_homes(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        let known: BTreeSet<String> = self.homes.iter().cloned().collect();
        for home in self.homes.clone() {
            text = self.below(&text, &home, 0);
        }
        // Homes of users that this machine does not know, such as those of a container.
        for parent in ["/home", "/Users", "/var/home"] {
            if !known.contains(parent) {
                text = self.below(&text, parent, 1);
            }
        }
        self.below(&text, "/root", 0)
    }

    /// Everything below `home`, of whose own path `more` components follow.
    fn below(&mut self, text: &str, home: &str, more: usize) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(home) {
            let (before, found) = rest.split_at(at);
            out.push_str(before);
            let after = found.get(home.len()..).unwrap_or("");
            let inside =
                before.ends_with(|last: char| last.is_alphanumeric() || "._-".contains(last));
            let ends = after.starts_with('/') || more == 0 && !after.starts_with(in_path);
            if inside || !ends {
                out.push_str(home);
                rest = after;
                continue;
            }
            let length = after.find(|c: char| !in_path(c)).unwrap_or(after.len());
            let (path, after) = after.split_at(length);
            let components = path.split('/').filter(|part| !part.is_empty()).count();
            match components.cmp(&more) {
                Ordering::Less => {
                    out.push_str(home);
                    out.push_str(path);
                }
                Ordering::Equal => out.push_str("[home]"),
                Ordering::Greater => {
                    let end = path.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
                    let end = end.map_or(String::new(), |(_, end)| format!(".{end}"));
                    out.push_str("[home]/");
                    out.push_str(&self.stand_in(Kind::Path, &[home, path].concat()));
                    out.push_str(if end.len() <= 6 { &end } else { "" });
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn words_out(&mut self, text: &str) -> String {
        let found: Vec<(String, Kind)> = self
            .words
            .iter()
            .filter(|(word, _)| text.contains(word.as_str()))
            .map(|(word, &kind)| (word.clone(), kind))
            .collect();
        let mut text = text.to_owned();
        // The longer first: `gpu-7.example` before `gpu-7`.
        let mut found = found;
        found.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        for (word, kind) in found {
            text = self.word_out(&text, &word, kind);
        }
        text
    }

    fn word_out(&mut self, text: &str, word: &str, kind: Kind) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut last: Option<char> = None;
        while let Some(at) = rest.find(word) {
            let (before, found) = rest.split_at(at);
            let after = found.get(word.len()..).unwrap_or("");
            let glued = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let left = before.chars().next_back().or(last);
            out.push_str(before);
            if glued(left) || glued(after.chars().next()) {
                out.push_str(word);
            } else {
                let stand_in = self.stand_in(kind, word);
                out.push_str(&stand_in);
            }
            last = word.chars().next_back();
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn stand_in(&mut self, kind: Kind, text: &str) -> String {
        let next = self.next.entry(kind).or_insert(1);
        let number = self.stand_ins.entry((kind, text.to_owned())).or_insert_with(|| {
            let number = *next;
            *next += 1;
            number
        });
        format!("[{}-{number}]", kind.name())
    }
}

/// Of a path in a text.
fn in_path(c: char) -> bool {
    c.is_alphanumeric() || "/._-+@%~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(anonymous: bool) -> Redactor {
        let known = Known {
            hosts: vec!["gpu-node-7".to_owned(), "gpu-node-7.corp.example".to_owned()],
            users: vec!["ada".to_owned(), "root".to_owned()],
            homes: vec!["/srv/homes/ada".to_owned(), "/srv/homes/bob".to_owned()],
        };
        Redactor::new(known, anonymous).unwrap()
    }

    #[test]
    fn what_identifies_is_taken_out_and_the_rest_stays() {
        let mut redactor = redactor(false);
        for (text, expected) in [
            ("VLLM::Worker_TP0", "VLLM::Worker_TP0"),
            ("on gpu-node-7.corp.example and gpu-node-7", "on [host-1] and [host-2]"),
            ("gpu-node-77", "gpu-node-77"),
            ("by ada, not adamant", "by [user-1], not adamant"),
            ("at 10.1.2.3:8000 and 127.0.0.1:9400", "at [address-1]:8000 and 127.0.0.1:9400"),
            ("at 2001:db8::17 now", "at [address-2] now"),
            ("std::chrono::v1::now", "std::chrono::v1::now"),
            ("/srv/homes/ada/models/secret.py:3", "[home]/[path-1].py:3"),
            ("/srv/homes/ada", "[home]"),
            (
                concat!("/home", "/eve/x and /ro", "ot/.cache/y"),
                "[home]/[path-2] and [home]/[path-3]",
            ),
            ("/srv/homes/bob/z.so", "[home]/[path-4].so"),
            ("/usr/lib/libcuda.so.1", "/usr/lib/libcuda.so.1"),
            ("mail eve@corp.example", "mail [user-2]"),
            ("token hf_abcdefghijKLMNOP123", "token [secret-1]"),
            ("--api-key s3cr3t", "--api-key [secret-2]"),
            ("PASSWORD=hunter2 x", "PASSWORD=[secret-3] x"),
            ("Authorization: Bearer abc.def", "Authorization: [secret-4]"),
            ("https://eve:pw@host/x", "https://[secret-5]@host/x"),
            ("the token budget is 512", "the token budget is 512"),
            ("key 4f1d2c3b4a5968778695a4b3c2d1e0f4aa", "key [secret-6]"),
        ] {
            assert_eq!(redactor.text(text), expected, "{text}");
        }
        assert_eq!(redactor.text("gpu-node-7.corp.example"), "[host-1]", "the same again");
        assert_eq!(redactor.counts()["host"], 2);
    }

    #[test]
    fn names_of_code_stay() {
        let mut redactor = redactor(true);
        for name in [
            "_ZN7cutlass6KernelINS_4gemm6kernel13GemmUniversalIN4cute5tupleIJiiiiEEE12345678901234567890",
            "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<long>>",
            "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
            "masked_softmax_kernel_f16",
            "sk_gemm_kernel_with_a_long_name",
            "triton_poi_fused__to_copy_add_mul_token_0d1d2d3d4d5d6d7d8d9d",
        ] {
            assert_eq!(redactor.code(name), name);
        }
    }

    #[test]
    fn services_keep_their_names_unless_they_are_to_be_anonymous() {
        let mut named = redactor(false);
        assert_eq!(named.service("org/secret-model", Kind::Model), "org/secret-model");
        let mut anonymous = redactor(true);
        assert_eq!(anonymous.service("org/secret-model", Kind::Model), "[model-1]");
        assert_eq!(anonymous.text("of org/secret-model."), "of [model-1].");
        assert_eq!(anonymous.service("llm-0", Kind::Pod), "[pod-1]");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}") {
            drop(redactor(true).text(&text));
        }

        /// Wherever it stands between other words, it is gone.
        #[test]
        fn what_is_known_does_not_remain(
            before in "[a-z ]{0,10}[ =:,(\"/]",
            after in "[ ,;)\"/:][a-z ]{0,10}",
            which in 0_usize..5,
        ) {
            let planted = [
                "gpu-node-7.corp.example",
                "10.77.88.99",
                "/srv/homes/ada/private/thing",
                "hf_AbCdEfGhIjKlMnOpQrSt",
                "AKIAIOSFODNN7EXAMPLE",
            ][which];
            let text = redactor(false).text(&format!("{before}{planted}{after}"));
            prop_assert!(!text.contains(planted), "{text}");
            let telling = ["corp", "77.88", "private", "AbCdEf", "IOSF"][which];
            prop_assert!(!text.contains(telling), "{text}");
        }
    }
}
