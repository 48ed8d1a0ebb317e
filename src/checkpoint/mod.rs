//! The checkpoint store: what was accepted of each object, and what each sink has had. It is SQLite below, and nothing of
//! that shows in the interface.
//!
//! Every change is compare-and-apply: it names where it starts, and is rejected when the store stands elsewhere.

mod sqlite;

pub use sqlite::*;
