//! The exported functions, one file per subject. Each is a safe function behind [`crate::result::code`].

mod activity;
mod callback;
mod identity;
mod marker;
mod per_subscriber;
mod records;
