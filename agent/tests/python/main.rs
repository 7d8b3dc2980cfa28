//! Interpreters of every version that is found here, looked at from outside and compared with what they
//! say about themselves.

mod hostile;
mod lines;
mod lives;
mod peer;
mod shapes;
mod support;
mod threads;
