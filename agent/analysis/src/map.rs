//! The hash map of every table that a record goes through.
//!
//! The standard one guards against chosen keys at some 20 ns a look-up, and a record makes several. This
//! one's hash is seeded anew in every process, which chosen keys have to guess, at a quarter of the cost.

/// `std`'s map with a faster hash.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
