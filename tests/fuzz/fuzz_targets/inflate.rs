//! Any bytes, as a stored object: it inflates within its limits or is refused.
#![no_main]

use std::io::Read;

use auditferry::testing::object::inflate::{Inflate, InflateLimits};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 8 << 20;

fuzz_target!(|content: &[u8]| {
    let limits = InflateLimits { inflated_bytes_max: LIMIT, ratio_max: 1000 };
    let mut inflate = Inflate::new(content, limits);
    let mut room = [0; 64 << 10];
    let mut inflated = 0;
    while let Ok(read @ 1..) = inflate.read(&mut room) {
        inflated += read as u64;
        assert!(inflated <= LIMIT, "more than the limit");
    }
});
