//! Patterns of the deny-list: `*` stands for any text, `?` for one character, everything else for
//! itself without regard to the case of ASCII letters. Total: every text is a pattern.

/// A pattern that a whole text must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<char>);

impl Pattern {
    pub fn parse(text: &str) -> Self {
        let mut characters: Vec<char> =
            text.chars().map(|character| character.to_ascii_lowercase()).collect();
        characters.dedup_by(|a, b| *a == '*' && *b == '*');
        Self(characters)
    }

    /// At most length of the pattern times length of the text steps: only the last `*` is ever gone
    /// back to, as what an earlier one swallowed can be swallowed by the later one as well.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> =
            text.chars().map(|character| character.to_ascii_lowercase()).collect();
        let (mut at, mut read) = (0, 0);
        // Behind the last `*`, and the text it has swallowed up to.
        let mut star: Option<(usize, usize)> = None;
        while let Some(&here) = text.get(read) {
            match self.0.get(at) {
                Some('*') => {
                    at += 1;
                    star = Some((at, read));
                }
                Some(&wanted) if wanted == '?' || wanted == here => {
                    at += 1;
                    read += 1;
                }
                Some(_) | None => {
                    let Some((behind, swallowed)) = star else {
                        return false;
                    };
                    star = Some((behind, swallowed + 1));
                    at = behind;
                    read = swallowed + 1;
                }
            }
        }
        self.0[at..].iter().all(|&rest| rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Pattern::parse(pattern).matches(text), expected, "{pattern} {text}");
        };
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("**a**", "bab", true);
        check("a*b*c", "aXbXbXc", true);
        check("a*b*c", "aXbXcX", false);
        check("?", "", false);
        check("nvidia h?00*", "NVIDIA H200 NVL", true);
        check("h200", "NVIDIA H200", false);
        check("ä?", "äß", true);
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::parse(&"a*".repeat(2000));
        assert!(!pattern.matches(&("a".repeat(1999) + "b")));
    }

    /// The definition, by recursion.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', behind)), None) => by_definition(behind, text),
            (Some(('*', behind)), Some((_, rest))) => {
                by_definition(behind, text) || by_definition(pattern, rest)
            }
            (Some(_), None) => false,
            (Some((wanted, behind)), Some((here, rest))) => {
                (*wanted == '?' || wanted == here) && by_definition(behind, rest)
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&characters(&pattern), &characters(&text));
            prop_assert_eq!(Pattern::parse(&pattern).matches(&text), expected);
        }

        #[test]
        fn any_text_matches_itself_and_nothing_panics(text in "\\PC{0,40}", other in "\\PC{0,40}") {
            prop_assert!(Pattern::parse(&text).matches(&text));
            Pattern::parse(&other).matches(&text);
        }
    }
}
