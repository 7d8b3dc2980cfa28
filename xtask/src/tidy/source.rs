//! Rust text split into code, comments and string literals, line by line: enough to look for words
//! where they mean something. Not a parser.

/// One line of a source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without comments; string literals are left out, their quotes stay.
    pub code: String,
    /// Text of comments, without the slashes.
    pub comment: String,
    /// Content of string literals that end on this line.
    pub strings: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// Depth: Rust's block comments nest.
    BlockComment(usize),
    /// Number of `#`; `None` where backslashes escape.
    Str(Option<usize>),
}

/// Splits a whole file.
pub(crate) fn split(text: &str) -> Vec<Line> {
    let characters: Vec<char> = text.chars().collect();
    let mut lines = Vec::new();
    let mut line = Line::default();
    let mut state = State::Code;
    let mut literal = String::new();
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let here = rest[0];
        if here == '\n' {
            lines.push(std::mem::take(&mut line));
            if state == State::LineComment {
                state = State::Code;
            }
            at += 1;
            continue;
        }
        at += match state {
            State::LineComment => {
                line.comment.push(here);
                1
            }
            State::BlockComment(depth) => {
                if rest.starts_with(&['*', '/']) {
                    state = if depth == 1 { State::Code } else { State::BlockComment(depth - 1) };
                    2
                } else if rest.starts_with(&['/', '*']) {
                    state = State::BlockComment(depth + 1);
                    2
                } else {
                    line.comment.push(here);
                    1
                }
            }
            State::Str(hashes) => {
                let step = in_string(rest, hashes, &mut literal);
                if let Step::End(length) = step {
                    line.strings.push(std::mem::take(&mut literal));
                    line.code.push('"');
                    state = State::Code;
                    length
                } else {
                    step.length()
                }
            }
            State::Code => {
                let (next, length) = in_code(&characters, at, &mut line.code);
                state = next;
                length
            }
        };
    }
    if line != Line::default() {
        lines.push(line);
    }
    lines
}

enum Step {
    Inside(usize),
    End(usize),
}

impl Step {
    fn length(&self) -> usize {
        match self {
            Self::Inside(length) | Self::End(length) => *length,
        }
    }
}

fn in_string(rest: &[char], hashes: Option<usize>, literal: &mut String) -> Step {
    match hashes {
        None if rest[0] == '\\' => {
            literal.push(rest.get(1).copied().unwrap_or('\\'));
            // A backslash before the line's end: the newline is the loop's to see.
            Step::Inside(if rest.get(1) == Some(&'\n') { 1 } else { 2 })
        }
        None if rest[0] == '"' => Step::End(1),
        Some(count)
            if rest[0] == '"'
                && rest.iter().skip(1).take_while(|&&mark| mark == '#').count() >= count =>
        {
            Step::End(1 + count)
        }
        _ => {
            literal.push(rest[0]);
            Step::Inside(1)
        }
    }
}

/// What begins here, and how many characters that takes.
fn in_code(characters: &[char], at: usize, code: &mut String) -> (State, usize) {
    let rest = &characters[at..];
    let after_word = at > 0 && (characters[at - 1].is_alphanumeric() || characters[at - 1] == '_');
    if rest.starts_with(&['/', '/']) {
        return (State::LineComment, 2);
    }
    if rest.starts_with(&['/', '*']) {
        return (State::BlockComment(1), 2);
    }
    if rest[0] == '"' {
        code.push('"');
        return (State::Str(None), 1);
    }
    // r"..." and r#"..."#, with or without b or c in front of it.
    if rest[0] == 'r' && (!after_word || matches!(characters[at - 1], 'b' | 'c')) {
        let hashes = rest.iter().skip(1).take_while(|&&mark| mark == '#').count();
        if rest.get(1 + hashes) == Some(&'"') {
            code.push('"');
            return (State::Str(Some(hashes)), 2 + hashes);
        }
    }
    // A character literal, so that '"' opens no string; a lifetime has no closing quote.
    if rest[0] == '\'' {
        let length = match rest {
            ['\'', '\\', _, tail @ ..] => {
                tail.iter().position(|&mark| mark == '\'').map(|found| found + 4)
            }
            ['\'', _, '\'', ..] => Some(3),
            _ => None,
        };
        if let Some(length) = length {
            code.push_str("' '");
            return (State::Code, length);
        }
    }
    code.push(rest[0]);
    (State::Code, 1)
}

/// Whether `text` has `word` with no word character on either side.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(is_word)
            && !text[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, comment: &str, strings: &[&str]) {
        let line = split(text).into_iter().next_back().unwrap_or_default();
        assert_eq!(line.code.trim(), code, "{text}");
        assert_eq!(line.comment.trim(), comment, "{text}");
        assert_eq!(line.strings, strings, "{text}");
    }

    #[test]
    fn code_comments_and_strings_come_apart() {
        check("let a = 1; // why", "let a = 1;", "why", &[]);
        check("let a = \"// no\"; // yes", "let a = \"\";", "yes", &["// no"]);
        check("f(r#\"a \" b\"#, '\"', b'\\'') // c", "f(\"\", ' ', b' ')", "c", &["a \" b"]);
        check("a /* b /* c */ d */ e", "a  e", "b  c  d", &[]);
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}", "", &[]);
        check("let s = \"one\ntwo\";", "\";", "", &["onetwo"]);
        check("\"a \\\" b\"", "\"\"", "", &["a \" b"]);
    }

    #[test]
    fn a_word_is_not_a_part_of_one() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("known", "now"));
    }
}
