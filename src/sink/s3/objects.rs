//! Makes the objects of a batch: one for each prefix that its events have. They depend on the batch alone, not on the
//! clock or on chance.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::batch::{Request, Selection};
use crate::event::Choices;
use crate::sink::Template;
use crate::sink::http::body::Compression;

/// How a sink's objects are named and compressed.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) prefix: Template,
    /// The choices that the prefix makes.
    pub(super) choices: Choices,
    pub(super) compression: Compression,
}

/// An object to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Object {
    pub(super) key: String,
    /// The events of the request that are in the object.
    pub(super) events: Selection,
    pub(super) bytes: Bytes,
    /// The SHA-256 of the content before compression, in hex. Another version of the library may compress to other
    /// bytes.
    pub(super) sha256: String,
}

/// The most objects that are written for one request. Further requests write the rest of the batch.
pub(super) const OBJECTS_MAX: usize = 64;

/// The objects of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Made {
    pub(super) objects: Vec<Object>,
    /// Whether the request has events of further objects.
    pub(super) is_more: bool,
}

#[derive(Default)]
struct Content<'a> {
    lines: Vec<&'a [u8]>,
    events: Selection,
}

impl Layout {
    /// The first objects that have events of the request, in the order of their first events. An object always holds
    /// all events of the batch that have its prefix, whichever of them are in the request.
    pub(super) fn objects(&self, request: &Request) -> Made {
        let all = Request::of(&request.batch, (0..u32::try_from(request.batch.events()).unwrap_or(u32::MAX)).into());
        let mut wanted = request.events.numbers().peekable();
        let mut contents: Vec<(String, Content<'_>)> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for event in all.events() {
            let chosen = self.choices.chosen(event.head.choice, 0);
            let prefix = self.prefix.render(event.provenance, event.head, chosen);
            let at = *known.entry(prefix).or_insert_with_key(|prefix| {
                contents.push((prefix.clone(), Content::default()));
                contents.len() - 1
            });
            let content = &mut contents[at].1;
            content.lines.push(event.encoded);
            if wanted.next_if_eq(&event.number).is_some() {
                content.events.push(event.number);
            }
        }
        let mut asked_for = contents.into_iter().filter(|(_, content)| content.events.count() > 0);
        let first = asked_for.by_ref().take(OBJECTS_MAX);
        let objects = first.map(|(prefix, content)| self.object(&prefix, &request.batch.id, content)).collect();
        Made { objects, is_more: asked_for.next().is_some() }
    }

    fn object(&self, prefix: &str, batch: &str, Content { lines, events }: Content<'_>) -> Object {
        let key = format!("{prefix}/{batch}.{}", suffix(self.compression));
        let mut sha256 = Sha256::new();
        let text = lines.into_iter().flat_map(|line| [line, b"\n"]).inspect(|piece| sha256.update(piece));
        let bytes = self.compression.compressed_chunks(text).into();
        let sha256 = hex::encode(sha256.finalize());
        Object { key, events, bytes, sha256 }
    }
}

fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "ndjson",
        Compression::Gzip => "ndjson.gz",
        Compression::Zstd => "ndjson.zst",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::batch::tests::batch;
    use crate::batch::{Batch, BatchPart};
    use crate::sink::KeyTemplate;

    fn layout(prefix: &str, compression: Compression) -> Layout {
        let KeyTemplate(prefix) = serde_json::from_value(json!(prefix)).unwrap();
        Layout { prefix, choices: Choices::default(), compression }
    }

    /// A batch with one part for each of these feeds.
    fn of_feeds(feeds: &[(&str, &[&str])]) -> Batch {
        let lines: Vec<&[&str]> = feeds.iter().map(|(_, lines)| *lines).collect();
        let plain = batch(&lines);
        let part = |(part, (feed, _)): (&BatchPart, &(&str, &[&str]))| {
            let mut part = part.clone();
            Arc::make_mut(&mut part.provenance).feed = (*feed).into();
            part
        };
        Batch { parts: plain.parts.iter().zip(feeds).map(part).collect(), ..plain }
    }

    fn selection(numbers: &[u32]) -> Selection {
        numbers.iter().copied().collect()
    }

    #[test]
    fn a_batch_is_an_object_for_each_prefix_with_its_events_in_order() {
        let batch = of_feeds(&[("one", &["a", "b"]), ("two", &["c"]), ("one", &["d"])]);
        let found = layout("out/{feed}", Compression::None).objects(&Request::of(&batch, (0..4).into())).objects;
        let [one, two] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (&*one.key, &*one.bytes, &one.events),
            ("out/one/b.ndjson", &b"a\nb\nd\n"[..], &selection(&[0, 1, 3]))
        );
        assert_eq!((&*two.key, &*two.bytes, &two.events), ("out/two/b.ndjson", &b"c\n"[..], &selection(&[2])));
        // printf 'c\n' | sha256sum
        assert_eq!(two.sha256, "a3a5e715f0cc574a73c3f9bebb6bc24f32ffd5b67b387244c2c909da779a1478");
    }

    #[test]
    fn an_object_is_the_same_whichever_of_its_events_are_still_to_be_sent() {
        let batch = of_feeds(&[("one", &["a", "b"]), ("two", &["c"]), ("one", &["d"])]);
        let layout = layout("{feed}", Compression::Gzip);
        let all = layout.objects(&Request::of(&batch, (0..4).into()));
        assert_eq!(layout.objects(&Request::of(&batch, (0..4).into())), all);
        let rest = layout.objects(&Request::of(&batch, selection(&[1, 3])));
        assert_eq!(rest.objects, [Object { events: selection(&[1, 3]), ..all.objects[0].clone() }]);
    }

    #[test]
    fn a_request_is_64_objects_at_most_and_the_rest_of_its_batch_are_others() {
        let names: Vec<String> = (0..150).map(|number| format!("f{number:03}")).collect();
        let feeds: Vec<(&str, &[&str])> = names.iter().map(|name| (&**name, &["a", "b"][..])).collect();
        let batch = of_feeds(&feeds);
        let layout = layout("{feed}", Compression::None);
        let (mut left, mut requests) = (selection(&(0..300).collect::<Vec<_>>()), Vec::new());
        let mut keys = Vec::new();
        loop {
            let made = layout.objects(&Request::of(&batch, left));
            requests.push(made.objects.len());
            keys.extend(made.objects.iter().map(|object| object.key.clone()));
            if !made.is_more {
                break;
            }
            let last = made.objects.last().unwrap().events.last().unwrap();
            left = selection(&(last + 1..300).collect::<Vec<_>>());
        }
        assert_eq!(requests, [64, 64, 22]);
        assert_eq!(keys, names.iter().map(|name| format!("{name}/b.ndjson")).collect::<Vec<_>>());
    }

    #[test]
    fn any_reader_unpacks_it_and_no_time_is_in_it() {
        let batch = of_feeds(&[("one", &["a", "b"])]);
        let request = Request::of(&batch, (0..2).into());
        let [packed, zstd] =
            [Compression::Gzip, Compression::Zstd].map(|it| layout("x", it).objects(&request).objects.remove(0));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed.bytes).read_to_string(&mut text).unwrap();
        assert_eq!((&*packed.key, &*text), ("x/b.ndjson.gz", "a\nb\n"));
        // RFC 1952: bytes 4 to 7 are the time; 0 means that there is none.
        assert_eq!(packed.bytes[4..8], [0; 4]);
        assert_eq!((&*zstd.key, zstd::decode_all(&*zstd.bytes).unwrap()), ("x/b.ndjson.zst", b"a\nb\n".to_vec()));
        assert_eq!(packed.sha256, zstd.sha256);
    }
}
