//! Which class and kind of work a kernel is, decided from its name alone.
//!
//! `rules.txt` is the classifier: an ordered list, first match wins. [`Parsed`] cuts a kernel name
//! into what the rules look at, [`Classifier`] reads and applies them. A name is classified once,
//! when it is interned, never per kernel.

mod kinds;
mod name;
mod rules;

pub use kinds::{Class, Kind};
pub use name::Parsed;
pub use rules::{Classifier, Matched};
