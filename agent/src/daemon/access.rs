//! Who may read the daemon's figures over HTTP: whoever reaches the port, or whoever knows a token.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, StatusCode, header};
use thiserror::Error;

/// A shorter one is guessed.
const LEAST: usize = 16;
/// A file far larger than any token is another file.
const BYTES_MAX: u64 = 4096;

/// Why a token's file cannot be used.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("read the token in {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the token in {} is {problem}", path.display())]
    Unfit { path: PathBuf, problem: &'static str },
}

/// What a client must know. Never shown.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}

impl Token {
    /// The only line of a file.
    ///
    /// # Errors
    /// [`TokenError`] for a file that holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        let unfit = |problem| TokenError::Unfit { path: path.to_owned(), problem };
        if fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
            return Err(unfit("too long: 4096 bytes at most"));
        }
        let bytes = fs::read(path).map_err(failed)?;
        let token = bytes.trim_ascii();
        if token.len() < LEAST {
            return Err(unfit("too short: 16 characters at least"));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(unfit("no single word of printable characters"));
        }
        Ok(Self(token.to_vec()))
    }

    /// Whether a request shows it: `Authorization: Bearer TOKEN`. Takes as long for a nearly right one as for any other.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        let Some((scheme, shown)) = value.and_then(|value| value.split_at_checked(7)) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && same(shown.trim_ascii(), &self.0)
    }
}

/// Compares every byte, whatever differs. The length is no secret.
fn same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len()
        && shown
            .iter()
            .zip(token)
            .fold(0, |differs, (a, b)| std::hint::black_box(differs | (a ^ b)))
            == 0
}

/// What is answered to who shows none.
pub(super) fn refusal() -> (StatusCode, [(header::HeaderName, &'static str); 1], &'static str) {
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, "Bearer")],
        "show the token: Authorization: Bearer TOKEN\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Result<Token, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Token::read(file.path()).map_err(|error| error.to_string())
    }

    fn shown(token: &Token, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        token.is_shown(&headers)
    }

    #[test]
    fn the_token_and_nothing_else_opens() {
        let token = token("0123456789abcdef\n").unwrap();
        assert!(shown(&token, "Bearer 0123456789abcdef"));
        assert!(shown(&token, "bearer 0123456789abcdef "));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "Bearer",
            "",
        ] {
            assert!(!shown(&token, wrong), "{wrong:?}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn files_without_a_token_are_refused() {
        assert!(token("short\n").unwrap_err().ends_with("16 characters at least"));
        assert!(token("two words, and more of them").unwrap_err().contains("no single word"));
        assert!(token(&"x".repeat(5000)).unwrap_err().contains("too long"));
        assert!(Token::read(Path::new("/nowhere/token")).is_err());
    }
}
