//! Interpreters of every version that is found here, looked at from outside and compared with what they
//! say about themselves.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod hostile;
mod lines;
mod lives;
mod peer;
mod shapes;
mod support;
mod threads;
