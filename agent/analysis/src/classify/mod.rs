//! Which class and kind of work a kernel is, decided from its name alone.
//!
//! `rules.txt` is the classifier: an ordered list, first match wins. This module names the
//! classes; [`name`] cuts a kernel name into what the rules look at; [`rules`] reads and applies
//! them. A name is classified once, when it is interned, never per kernel.

mod kinds;



pub use kinds::{Class, Kind};


