//! Standard output and error as commands use them: a reader that went away ends the output, not
//! the command in a panic.

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
    stream.write_all(bytes)?;
    stream.flush()
}

fn tolerate(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
