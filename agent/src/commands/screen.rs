//! Standard output and error as commands use them: a reader that went away ends the output, not
//! the command in a panic. Names come from other processes and files: what would command a terminal is not passed on.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes to standard output. A closed pipe is not an error: whoever read has seen enough.
pub fn out(bytes: &[u8]) -> io::Result<()> {
    tolerate(write_all(&mut io::stdout().lock(), bytes))
}

/// Writes one line to standard error. It is for people; that it cannot be written has no
/// consequence.
pub fn say(line: &str) {
    let written = write_all(&mut io::stderr().lock(), format!("{line}\n").as_bytes());
    drop(written);
}

fn write_all(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&harmless(bytes))?;
    stream.flush()
}

/// Control characters but for the ends of lines and tabs are question marks, those of Latin-1 too.
fn harmless(bytes: &[u8]) -> Cow<'_, [u8]> {
    let commands = |at: usize| match bytes[at] {
        b'\n' | b'\t' => false,
        0..0x20 | 0x7f => true,
        // U+0080 to U+009F.
        0x80..=0x9f => at > 0 && bytes[at - 1] == 0xc2,
        0xc2 => bytes.get(at + 1).is_some_and(|next| (0x80..=0x9f).contains(next)),
        _ => false,
    };
    if !(0..bytes.len()).any(commands) {
        return Cow::Borrowed(bytes);
    }
    let shown = |at| if commands(at) { b'?' } else { bytes[at] };
    Cow::Owned((0..bytes.len()).map(shown).collect())
}

fn tolerate(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_command_the_terminal() {
        let check = |text: &str, expected: &str| {
            assert_eq!(harmless(text.as_bytes()), expected.as_bytes(), "{text:?}");
        };
        check("GPU 0\t12 us\n", "GPU 0\t12 us\n");
        check("a\u{1b}[31mred\r\u{7f}", "a?[31mred??");
        check("a\u{9b}31m", "a??31m");
        check("größer, 漢字, \u{a0}", "größer, 漢字, \u{a0}");
    }
}
