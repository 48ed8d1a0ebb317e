//! Any bytes, as a record whose secrets are masked: JSON stays JSON, and text stays text.
#![no_main]

use auditferry::testing::mask::masked;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|record: &[u8]| {
    let Some(left) = masked(record) else { return };
    assert!(std::str::from_utf8(record).is_err() || std::str::from_utf8(&left).is_ok(), "no text any more");
    let is_object = |bytes: &[u8]| bytes.starts_with(b"{") && serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
    assert!(!is_object(record) || is_object(&left), "no JSON any more");
});
