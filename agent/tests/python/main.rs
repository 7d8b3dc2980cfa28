//! Interpreters of every version that is found here, looked at from outside and compared with what they
//! say about themselves.

mod shapes;
mod support;
