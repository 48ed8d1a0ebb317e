//! Any bytes, as lines of an access log, with whole referrers and with parts of them redacted.
#![no_main]

use auditferry::testing::family::Settings;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789";

fuzz_target!(|content: &[u8]| {
    auditferry_fuzz::decode_lines("s3_access", KEY, Settings::none(), content);
    let dropping = Settings { s3a_drop: vec!["pr".to_owned(), "id".to_owned()], ..Settings::default() };
    auditferry_fuzz::decode_lines("s3_access", KEY, &dropping, content);
});
