//! Any bytes, as lines of an access log: every record decodes or is refused.
#![no_main]

use auditferry::event::Scope;
use auditferry::family::{self, Context, Settings};
use auditferry::notification::ObjectId;
use auditferry::records::Framing;
use auditferry::records::lines::{Item, Lines, Start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    let family = family::named("s3_access").expect("a family of the program's");
    let Framing::Lines(role) = family.framing else { return };
    let object = ObjectId::new("b", "logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789");
    let settings = Settings { s3a_drop: vec!["pr".to_owned(), "id".to_owned()], ..Settings::default() };
    let plain = Context::new(family, &object, Scope::Object(&object), None, "fuzz");
    let dropping = Context::new(family, &object, Scope::Object(&object), Some(1_707_724_800_000), "fuzz");
    let dropping = dropping.with_settings(&settings);
    let mut lines = Lines::new(role, 1 << 20, Start::Beginning);
    let mut source = content;
    let mut parsed = Vec::new();
    while let Some(block) = lines.next_block(&mut source).expect("bytes in memory are read") {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                let _ = (family.decode)(&plain, &record, &mut |_| {});
                let _ = (family.decode)(&dropping, &record, &mut |_| {});
                parsed.clear();
                let _ = (family.parsed)(&plain, &record, &mut parsed);
            }
        }
    }
});
