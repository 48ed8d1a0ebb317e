//! Measures how fast each kind of log is turned from bytes in memory into OCSF bytes, beside yardsticks of the same
//! run.
//!
//! `cargo bench` measures all families, `cargo bench -- ydb` only one. Compare ratios: absolute numbers differ from
//! machine to machine.

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
    // Arguments that begin with a dash are cargo's.
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, measure) in ALL {
        if named.is_empty() || named.iter().any(|named| named == name) {
            measure();
        }
    }
}
