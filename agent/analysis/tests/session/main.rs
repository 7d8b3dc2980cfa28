//! Sessions fed by hand and by chance, seen from outside.

mod code;
mod graphs;
mod idle;
mod oracle;
mod processes;
mod properties;
mod protocol;
mod stacks;
mod support;
mod whole;
