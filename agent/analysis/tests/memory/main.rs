//! Verdicts on memory, from outside: shapes drawn at random, and what must hold for any input.

mod directed;
mod live;
mod properties;
mod resident;
mod shapes;
mod told_apart;
mod united;
