//! How fast each kind of log goes from bytes in memory to OCSF bytes, beside yardsticks measured in the same run.
//!
//! `cargo bench` measures all of them, `cargo bench -- ydb` one. Absolute numbers differ from machine to machine, ratios
//! travel.

#![allow(clippy::unwrap_used)]

mod content;

mod databricks;

mod delivery;

mod immuta;

mod lakefs;

mod measure;

mod s3_access;

mod ydb;

const ALL: &[(&str, fn())] = &[
    ("databricks", databricks::measure),
    ("lakefs", lakefs::measure),
    ("s3_access", s3_access::measure),
    ("immuta", immuta::measure),
    ("ydb", ydb::measure),
];

fn main() {
    // What begins with a dash is cargo's own.
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, measure) in ALL {
        if named.is_empty() || named.iter().any(|named| named == name) {
            measure();
        }
    }
}
