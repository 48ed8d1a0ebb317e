//! Any bytes, as lines of a Databricks delivery.
#![no_main]

use auditferry::testing::family::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    auditferry_fuzz::decode_lines("databricks", "workspaceId=1/date=2024-01-15/a.json", Settings::none(), content);
});
