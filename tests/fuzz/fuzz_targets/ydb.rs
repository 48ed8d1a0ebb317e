//! Any bytes, as a log that holds YDB's records.
#![no_main]

use auditferry::testing::family::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| auditferry_fuzz::decode_lines("ydb", "ydb.log", Settings::none(), content));
