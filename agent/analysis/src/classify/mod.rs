//! Which class and kind of work a kernel is, decided from its name alone where that suffices.
//!
//! `rules.txt` is the classifier: an ordered list, first match wins. [`Parsed`] cuts a kernel name
//! into what the rules look at, [`Classifier`] reads and applies them. A name is classified once,
//! when it is interned, never per kernel. Where a name is generic, [`Hints`] may decide.

mod classifier;
mod hints;
mod kinds;
mod matcher;
mod name;
mod syntax;

pub use classifier::{BUILT_IN, BUILT_IN_NAME, Classifier, Explanation, Found, Matched};
pub use hints::Hints;
pub use kinds::{Class, Kind};
pub use name::{Parsed, words};
pub use syntax::{Condition, Demand, Field, Rule, RuleError, Test, read};
