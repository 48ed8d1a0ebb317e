//! Any bytes, as a Parquet file and as lines: every record decodes or is refused, in bounded memory.
#![no_main]

use std::io::Read;
use std::sync::Once;

use auditferry::testing::event::Scope;
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::lines::{Item, Lines, Start};
use auditferry::testing::records::rows::{self, Limits, Rows};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|content: &[u8]| {
    // The fuzzer's panic hook ends the process at every panic. Panics of the Parquet decoder are caught, so remove the
    // hook. Panics of this crate still end the process.
    QUIET.call_once(|| drop(std::panic::take_hook()));
    let family = family::named("lakefs").expect("a family of the program's");
    let object = ObjectId::new("b", "year=2025/month=1/day=1/hour=0/a");
    let context = Context::new(family, &object, Scope::Object(&object), None, "fuzz");
    let of_rows = rows::are_in(&object.key, content);
    let mut source: Box<dyn Read> = Box::new(content);
    if of_rows {
        let limits = Limits { rows_max: 100_000, text_bytes_max: 64 << 20, ..Limits::default() };
        let Ok(rows) = Rows::open(Bytes::copy_from_slice(content), limits) else { return };
        source = Box::new(rows);
    }
    let mut lines = Lines::new(family.framing.role(of_rows), 1 << 20, Start::Beginning);
    while let Some(block) = lines.next_block(&mut source).expect("a file that was opened is read to its end") {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                let decoded = (family.decode)(&context, &record, &mut |_| {});
                assert!(decoded.is_ok() || !of_rows, "a row is always an event");
            }
        }
    }
});
