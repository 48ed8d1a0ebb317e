//! Any text, as the body of a message: it is parsed or refused.
#![no_main]

use auditferry::testing::notification::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &str| {
    if let Ok(notices) = parse::parse(body, None) {
        assert!(!notices.is_empty(), "a message that is understood says something");
    }
});
