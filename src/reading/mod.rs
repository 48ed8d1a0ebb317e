//! Reads one version of one object as a machine: a [`Reader`] asks for input, and emits parts. It has no IO, no clock
//! and never blocks: its driver brings the bytes and takes the parts.
//!
//! Inside, a reading is an async function that awaits its input. [`Reader::step`] polls it until it needs the next
//! input.

mod counts;

mod deliver;

mod fan_out;

mod gaps;

mod input;

mod pass;

mod plan;

mod reader;

mod rebuild;

mod retry;

mod room;

mod scratch;

mod source;

mod supply;

pub(crate) use deliver::Summary;
pub use deliver::{Deliver, deliver};
pub(crate) use fan_out::Offer;
pub use fan_out::Output;
pub use input::{Input, Need};
pub(crate) use plan::ReadingError;
pub use plan::{Contexts, Limits, Plan};
pub(crate) use reader::Reader;
pub use reader::Step;
pub(crate) use rebuild::{Rebuild, rebuild};
pub use retry::QuarantinedPlaces;
pub(crate) use retry::{LackedEvents, RefusedAgain};
pub use room::Scratch;
pub(crate) use supply::SoFar;

#[cfg(test)]
mod tests {
    //! The promise, checked on the real reading: each record is emitted as many times as the version that held most
    //! copies of it held.

    use std::collections::{BTreeSet, HashMap};
    use std::fs::File;
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Advance, Buffers, Form, Part};
    use crate::delta::table::{MemoryTable, ScratchTable};
    use crate::delta::{Fingerprint, Growth, Places, Progress, RecordHash};
    use crate::event::{Activity, Class, Encoder, EncodingName, Event, Namespace, Options, Product, Scope, Text};
    use crate::family::{Context, Family, Refusal};
    use crate::notification::ObjectId;
    use crate::object::Version;
    use crate::records::{Around, Asked, Framing, LineRole, Record, Stream};
    use crate::room::{Purse, Room};

    const PRODUCT: Product = Product { name: "Test", vendor: "Test", log_name: "test" };

    const LIMITS: Limits = Limits {
        line_bytes_max: 40,
        inflated_bytes_max: 1 << 30,
        inflate_ratio_max: 1000,
        fingerprints_in_memory: 1000,
        part_records: 8192,
        part_bytes: 1 << 20,
        entries_per_object: 1000,
    };

    static OVERWRITTEN: Family = Family::of_lines(Growth::Overwritten, |_, _| LineRole::Record, decode);

    static ONCE: Family = Family::of_lines(Growth::Once, |_, _| LineRole::Record, decode);

    static IN_SEQUENCE: Family = {
        let mut family = Family::of_lines(Growth::Once, |_, _| LineRole::Record, decode);
        family.framing = Framing::LinesInSequence(|_, _| LineRole::Record);
        family
    };

    static ON_TWO_STREAMS: Family = Family::of_lines(Growth::Once, on_two_streams, decode);

    /// Refuses a line that begins with `{` and does not end with `}`. Any other line gives one event.
    fn decode(_: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
        if record.bytes.starts_with(b"{") && !record.bytes.ends_with(b"}") {
            return Err(Refusal::new("it has no end"));
        }
        emit(&Event::new(PRODUCT, Activity::of(Class::ApiActivity, 99), Text::from("test"), 1_800_000_000_000));
        Ok(())
    }

    static OF_THREE_EVENTS: Family = Family::of_lines(Growth::Overwritten, |_, _| LineRole::Record, decode_to_three);

    fn decode_to_three(
        context: &Context<'_>,
        record: &Record<'_>,
        emit: &mut dyn FnMut(&Event<'_>),
    ) -> Result<(), Refusal> {
        (0..3).try_for_each(|_| decode(context, record, emit))
    }

    /// `!` before a line puts it on the other stream. `~` makes the line a piece of the next line.
    fn on_two_streams(lines: &[u8], around: &mut Around<'_>) -> LineRole {
        let error = lines.first() == Some(&b'!');
        around.on(if error { Stream::Error } else { Stream::Output });
        match (around.asked(), &lines[usize::from(error)..]) {
            (Asked::Line, [b'~', ..]) => LineRole::Piece,
            (_, [b'~', b'#', ..] | [b'#', ..]) => LineRole::Other,
            _ => LineRole::Record,
        }
    }

    struct OfFamily(&'static Family);

    impl Contexts for OfFamily {
        fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a> {
            Context::new(self.0, object, Scope::Object(object), last_modified_ms, "feed")
        }
    }

    struct InMemory;

    impl Scratch for InMemory {
        fn file(&self) -> std::io::Result<File> {
            tempfile::tempfile()
        }

        fn table(&self) -> Box<dyn ScratchTable> {
            Box::<MemoryTable>::default()
        }
    }

    fn object() -> ObjectId {
        ObjectId::new("b", "k")
    }

    /// An output that has had the first `cursor` records, and has no gap.
    fn at(cursor: u64) -> Output {
        Output { cursor, ..Output::default() }
    }

    /// A first reading of an object, for these outputs.
    fn to(outputs: Vec<Output>) -> Deliver {
        Deliver {
            before: Progress::default(),
            framed_bytes: 0,
            outputs,
            encoders: vec![Encoder::new(EncodingName::Raw, Options::default())],
            quarantined: QuarantinedPlaces::default(),
            holds_unended: false,
        }
    }

    fn plan(family: &'static Family, content: &[u8], limits: Limits) -> Plan {
        let size_bytes = content.len() as u64;
        let version = Version { etag: "e".into(), version_id: None, last_modified_ms: None, size_bytes };
        Plan {
            contexts: Arc::new(OfFamily(family)),
            object: object(),
            version,
            limits,
            scratch: Arc::new(InMemory),
            room: Room::default(),
            buffers: Buffers::default(),
        }
    }

    /// Answers what a reading asks for: `piece` bytes of the body at a time, and as many fingerprints.
    struct Driver<'a> {
        content: &'a [u8],
        accepted: &'a [Fingerprint],
        piece: usize,
    }

    impl Driver<'_> {
        fn drive<I: Send + 'static, T>(&self, mut reader: Reader<I, T>) -> (Vec<I>, Result<T, ReadingError>) {
            let (mut out, mut at, mut input) = (Vec::new(), 0, Input::GoOn);
            loop {
                input = match reader.step(input, &mut out) {
                    Step::Done(ended) => return (out, ended),
                    Step::Emit => Input::GoOn,
                    Step::Need(Need::More) if at == self.content.len() => Input::End,
                    Step::Need(Need::More) => {
                        let piece = &self.content[at..self.content.len().min(at + self.piece)];
                        at += piece.len();
                        Input::Bytes(vec![Bytes::copy_from_slice(piece)])
                    }
                    Step::Need(Need::Range { start, length }) => {
                        Input::Range(Bytes::copy_from_slice(&self.content[start as usize..][..length]))
                    }
                    Step::Need(Need::Fingerprints { from }) => {
                        let rest = &self.accepted[from as usize..];
                        Input::Fingerprints(rest[..rest.len().min(self.piece)].to_vec())
                    }
                    Step::Need(Need::Room(_)) => Input::Room,
                    Step::Need(Need::Reopen) => {
                        at = 0;
                        Input::Reopened
                    }
                };
            }
        }
    }

    /// What a store would keep of one object.
    #[derive(Clone, Debug, Default)]
    struct Known {
        progress: Progress,
        fingerprints: Vec<Fingerprint>,
    }

    /// How a version is read.
    #[derive(Clone, Copy)]
    struct Rules {
        family: &'static Family,
        limits: Limits,
        piece: usize,
        /// How many parts are accepted. The rest is lost, as if the process ended then.
        parts_max: usize,
    }

    const RULES: Rules = Rules { family: &OVERWRITTEN, limits: LIMITS, piece: 1 << 20, parts_max: usize::MAX };

    /// The new records of one reading as text, the ids of their events, and the summary.
    struct Delta {
        texts: Vec<String>,
        ids: Vec<EventIdBytes>,
        summary: Summary,
    }

    type EventIdBytes = [u8; 16];

    impl Known {
        fn deliver(&self, content: &[u8], outputs: Vec<Output>, rules: &Rules) -> (Vec<Offer>, Summary) {
            let deliver = Deliver { before: self.progress.clone(), ..to(outputs) };
            let driver = Driver { content, accepted: &self.fingerprints, piece: rules.piece };
            let (offers, ended) = driver.drive(super::deliver(plan(rules.family, content, rules.limits), deliver));
            (offers, ended.unwrap())
        }

        /// Rebuilds a sealed part, and returns its bytes.
        fn rebuild(&self, content: &[u8], advance: &Advance, rules: &Rules) -> Vec<u8> {
            let rebuild = Rebuild {
                before: self.progress.clone(),
                advance: advance.clone(),
                encoder: Encoder::new(EncodingName::Raw, Options::default()),
                skipped: Places::default(),
                lacked: LackedEvents::default(),
            };
            let driver = Driver { content, accepted: &self.fingerprints, piece: rules.piece };
            let (offers, ended) = driver.drive(super::rebuild(plan(rules.family, content, rules.limits), rebuild));
            ended.unwrap();
            offers.iter().flat_map(|offer| offer.part.piece.bytes.to_vec()).collect()
        }

        /// Accepts the emitted parts, each record once though several outputs got it.
        fn accept(&mut self, offers: &[Offer]) {
            for acceptance in offers.iter().filter_map(|offer| offer.part.acceptance.as_ref()) {
                if acceptance.before == self.progress.accepted {
                    self.progress = acceptance.progress.clone();
                    self.fingerprints.extend(&acceptance.fingerprints);
                }
            }
        }

        /// Reads a version for one sink that has had all accepted records, and accepts the emitted parts.
        fn read(&mut self, content: &[u8], rules: &Rules) -> Delta {
            let accepted = self.progress.accepted;
            let (mut offers, summary) = self.deliver(content, vec![at(accepted)], rules);
            let is_whole = offers.len() <= rules.parts_max;
            offers.truncate(rules.parts_max);
            let (mut texts, mut ids) = (Vec::new(), Vec::new());
            for Offer { part, .. } in offers {
                let acceptance = part.acceptance.expect("all that is given out is new");
                assert_eq!((part.advance.before, acceptance.before), (self.progress.accepted, self.progress.accepted));
                assert_eq!((part.advance.after, acceptance.after), (acceptance.after, acceptance.progress.accepted));
                self.progress = acceptance.progress.clone();
                self.fingerprints.extend(&acceptance.fingerprints);
                texts.extend(lines(&part.piece.bytes));
                ids.extend(part.piece.heads.iter().map(|head| head.uid.0));
            }
            if is_whole && summary.is_complete {
                self.progress = summary.progress.clone();
            }
            Delta { texts, ids, summary }
        }
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        std::str::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn id_of(text: &str, occurrence: u64) -> EventIdBytes {
        Namespace::new("test", Scope::Object(&object())).event(&RecordHash::of(text.as_bytes()), occurrence, 0).0
    }

    /// The texts of the new records of each version, when the versions are read one after another.
    fn delivered(versions: &[&str], piece: usize) -> Vec<Vec<String>> {
        let (mut known, rules) = (Known::default(), Rules { piece, ..RULES });
        versions.iter().map(|version| known.read(version.as_bytes(), &rules).texts).collect()
    }

    #[test]
    fn a_reading_asks_for_memory_beyond_its_base_and_gives_it_back() {
        let line = "x".repeat(1 << 20);
        let content = zstd::encode_all(format!("{line}\nshort\n").as_bytes(), 1).unwrap();
        let (room, left) = Purse::of(0);
        let limits = Limits { line_bytes_max: 2 << 20, ..LIMITS };
        let plan = Plan { room, ..plan(&ONCE, &content, limits) };
        let mut reader = super::deliver(plan, to(vec![at(0)]));
        let (mut out, mut input, mut granted, mut rest) = (Vec::new(), Input::GoOn, 0, Some(content.clone()));
        loop {
            input = match reader.step(input, &mut out) {
                Step::Done(ended) => break assert!(ended.unwrap().is_complete),
                Step::Need(Need::More) => rest.take().map_or(Input::End, |rest| Input::Bytes(vec![rest.into()])),
                Step::Need(Need::Room(bytes)) => {
                    assert!(bytes <= 8 << 20, "{bytes}");
                    assert!(
                        matches!(reader.step(Input::GoOn, &mut out), Step::Need(Need::Room(same)) if same == bytes)
                    );
                    granted += bytes;
                    Input::Room
                }
                Step::Need(_) | Step::Emit => Input::GoOn,
            }
        }
        let texts: Vec<String> = out.iter().flat_map(|offer| lines(&offer.part.piece.bytes)).collect();
        assert_eq!(texts, [line.as_str(), "short"]);
        drop(reader);
        assert!(granted > 0);
        assert_eq!(*left.lock().unwrap(), granted);
    }

    #[test]
    fn only_the_lines_an_overwrite_adds_are_delivered() {
        type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a [&'a str]]);
        let cases: &[Case<'_>] = &[
            ("appended", &["{a}\n{b}\n", "{a}\n{b}\n{c}\n", "{a}\n{b}\n{c}\n"], &[&["{a}", "{b}"], &["{c}"], &[]]),
            ("empty first", &["", "{a}\n"], &[&[], &["{a}"]]),
            ("inserted", &["{a}\n{c}\n", "{a}\n{b}\n{c}\n"], &[&["{a}", "{c}"], &["{b}"]]),
            ("reordered", &["{a}\n{b}\n", "{b}\n{c}\n{a}\n"], &[&["{a}", "{b}"], &["{c}"]]),
            ("real duplicates", &["{a}\n{a}\n", "{a}\n{a}\n{a}\n"], &[&["{a}", "{a}"], &["{a}"]]),
            ("duplicate moved", &["{a}\n{b}\n{a}\n", "{a}\n{a}\n{b}\n"], &[&["{a}", "{b}", "{a}"], &[]]),
            ("shrunk, regrown", &["{a}\n{b}\n", "{a}\n", "{a}\n{b}\n{c}\n"], &[&["{a}", "{b}"], &[], &["{c}"]]),
            ("emptied, back", &["{a}\n", "", "{a}\n{b}\n"], &[&["{a}"], &[], &["{b}"]]),
            ("last without newline", &["{a}\n{b}", "{a}\n{b}\n{c}"], &[&["{a}", "{b}"], &["{c}"]]),
            ("partial line", &["{a}\n{b", "{a}\n{b}\n"], &[&["{a}"], &["{b}"]]),
            ("last line grew", &["{a}\n{b}", "{a}\n{b}}\n"], &[&["{a}", "{b}"], &["{b}}"]]),
            ("crlf now", &["{a}\n{b}\n", "{a}\r\n{b}\r\n{c}\r\n"], &[&["{a}", "{b}"], &["{c}"]]),
            ("bom now", &["{a}\n", "\u{feff}{a}\n{b}\n"], &[&["{a}"], &["{b}"]]),
            (
                "all other",
                &["{a}\n{b}\n", "{c}\n{d}\n", "{c}\n{d}\n{e}\n"],
                &[&["{a}", "{b}"], &["{c}", "{d}"], &["{e}"]],
            ),
        ];
        for (name, versions, expected) in cases {
            for piece in [1, 2, 5, 1000] {
                assert_eq!(delivered(versions, piece), *expected, "{name} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn records_that_reach_into_one_another_are_accepted_once_each_however_often_reading_stops() {
        let rules = Rules { family: &ON_TWO_STREAMS, ..RULES };
        let contents = [
            "a\n~b\n!c\n!d\nb\ne\n",
            "~a\n!~b\na\n~c\n!b\n!d\nc\ne\n!f\n",
            "~#\n!a\n!b\n#\nc\n~d\n!~e\nd\n!e\n",
            "~a\n!b\n!c\n",
        ];
        for content in contents {
            let mut whole = Known::default();
            let expected = whole.read(content.as_bytes(), &rules).ids;
            for part_records in 1..4 {
                let limits = Limits { part_records, ..LIMITS };
                let rules = Rules { limits, parts_max: 1, piece: 3, ..rules };
                let (mut known, mut accepted) = (Known::default(), Vec::new());
                for _ in 0..=expected.len() {
                    accepted.extend(known.read(content.as_bytes(), &rules).ids);
                }
                assert_eq!(accepted, expected, "{content:?} by {part_records}");
            }
        }
        let (offers, _) = Known::default().deliver(contents[0].as_bytes(), vec![at(0)], &rules);
        assert_eq!(offers[0].part.acceptance.as_ref().unwrap().after, 5, "a; ~b to b, two streams mixed; !c; !d; e");
    }

    #[test]
    fn a_rewrite_is_told_from_growth() {
        let mut known = Known::default();
        let mut read = |content: &str| {
            let Summary { is_rewritten, vanished, counts, .. } = known.read(content.as_bytes(), &RULES).summary;
            (is_rewritten, counts.new_records, vanished)
        };
        assert_eq!(read("{a}\n{b}\n"), (false, 2, 0));
        assert_eq!(read("{a}\n{b}\n{c}\n"), (false, 1, 0));
        assert_eq!(read("{d}\n{b}\n"), (true, 1, 2));
        assert_eq!(read("{a}\n{b}\n"), (true, 0, 2));
        assert_eq!(read("{a}\n{b}\n{c}\n{d}\n"), (false, 0, 0));
    }

    /// Lines in sequence are framed from the object's beginning in every reading.
    #[test]
    fn a_rewrite_of_lines_in_sequence_is_told_from_growth() {
        let rules = Rules { family: &IN_SEQUENCE, piece: 3, ..RULES };
        let (mut known, mut other) = (Known::default(), Known::default());
        let read = |known: &mut Known, content: &str| {
            let Summary { is_rewritten, vanished, counts, .. } = known.read(content.as_bytes(), &rules).summary;
            (is_rewritten, counts.new_records, vanished)
        };
        assert_eq!(read(&mut known, "{a}\n{b}"), (false, 2, 0));
        assert_eq!(read(&mut known, "{a}\n{b}\r\n"), (false, 0, 0));
        assert_eq!(read(&mut known, "{a}\n{b}\r\n{c}\n"), (false, 1, 0));
        assert_eq!(read(&mut known, "{a}\n{d}\r\n{c}\n{e}\n"), (true, 1, 0));
        assert_eq!(read(&mut known, "{a}\n"), (true, 0, 3));
        assert_eq!(read(&mut other, "{a}\n{b}"), (false, 2, 0));
        assert_eq!(read(&mut other, "{a}\n{b}{b}\n"), (true, 0, 0), "the last line has grown");
    }

    #[test]
    fn a_line_too_long_is_new_once_whatever_is_added() {
        let long = "x".repeat(50);
        let (mut known, rules) = (Known::default(), Rules { piece: 7, ..RULES });
        let mut read = |content: String| known.read(content.as_bytes(), &rules).summary.counts.new_records;
        assert_eq!(read(format!("{{a}}\n{long}")), 1);
        assert_eq!(read(format!("{{a}}\n{long}\n{{b}}\n")), 2);
        assert_eq!(read(format!("{{b}}\n{long}\n{{a}}\n")), 0);
    }

    #[test]
    fn an_object_written_once_goes_by_position_and_keeps_no_fingerprints() {
        let limits = Limits { part_records: 2, ..LIMITS };
        let once = Rules { family: &ONCE, limits, parts_max: 1, ..RULES };
        let mut first = Known::default();
        assert_eq!(first.read(b"{a}\n{a}\n{a}\n", &once).ids, [id_of("{a}", 0), id_of("{a}", 1)]);
        assert!(first.fingerprints.is_empty());
        assert_eq!(first.clone().read(b"{a}\n{a}\n{a}\n", &once).ids, [id_of("{a}", 2)]);
        let mut rewritten = first.clone();
        let delta = rewritten.read(b"{b}\n{b}\n{b}\n", &once);
        assert_eq!((delta.ids, delta.summary.is_rewritten), (vec![id_of("{b}", 2)], true));
        assert_eq!(rewritten.progress.content_bytes, 12);
        let shorter = rewritten.read(b"{c}\n", &once);
        assert_eq!((shorter.texts.len(), shorter.summary.vanished, rewritten.progress.accepted), (0, 2, 3));
    }

    #[test]
    fn a_reading_that_has_no_sink_left_ends_at_its_next_block() {
        let content = "{a}\n".repeat(2_000_000);
        let mut reader = super::deliver(plan(&ONCE, content.as_bytes(), LIMITS), to(vec![at(0)]));
        let mut out = Vec::new();
        let wants_more = reader.step(Input::GoOn, &mut out);
        assert!(matches!(wants_more, Step::Need(Need::More)), "{wants_more:?}");
        let still = reader.step(Input::WithoutSink(0), &mut out);
        assert!(matches!(still, Step::Need(Need::More)), "{still:?}");
        let mut input = Input::Bytes(vec![Bytes::from(content.clone())]);
        let summary = loop {
            match reader.step(input, &mut out) {
                Step::Done(ended) => break ended.unwrap(),
                _ => input = Input::GoOn,
            }
        };
        assert!(!summary.is_complete && summary.content_bytes < content.len() as u64);
    }

    #[test]
    fn a_reading_that_is_stopped_while_it_waits_ends_at_once_and_tells_of_what_it_emitted() {
        let content = Bytes::from("{a}\n".repeat(2_000_000));
        for given in [0, content.len() / 2] {
            let mut reader = super::deliver(plan(&ONCE, &content, LIMITS), to(vec![at(0)]));
            let (mut out, mut input) = (Vec::new(), Input::GoOn);
            let mut bytes = Some(content.slice(..given)).filter(|bytes| !bytes.is_empty());
            loop {
                input = match reader.step(input, &mut out) {
                    Step::Need(Need::More) if bytes.is_none() => break,
                    Step::Need(Need::More) => Input::Bytes(bytes.take().into_iter().collect()),
                    _ => Input::GoOn,
                }
            }
            let Step::Done(Ok(summary)) = reader.step(Input::Stop, &mut out) else { panic!("it goes on") };
            let emitted: u64 = out.iter().map(|Offer { part, .. }| part.advance.after - part.advance.before).sum();
            assert_eq!((summary.is_complete, summary.counts.new_records), (false, emitted));
            assert_eq!(emitted > 900_000, given > 0);
        }
    }

    #[test]
    fn a_reading_that_is_stopped_before_it_goes_on_ends_at_its_next_block() {
        let content = Bytes::from("{a}\n".repeat(2_000_000));
        let mut reader = super::deliver(plan(&ONCE, &content, LIMITS), to(vec![at(0)]));
        let (mut out, mut input) = (Vec::new(), Input::GoOn);
        while !matches!(reader.step(input, &mut out), Step::Emit) {
            input = Input::Bytes(vec![content.clone()]);
        }
        let stopped = reader.step(Input::Stop, &mut out);
        assert!(matches!(stopped, Step::Emit), "{stopped:?}");
        let Step::Done(Ok(summary)) = reader.step(Input::GoOn, &mut out) else { panic!("it goes on") };
        assert!(!summary.is_complete && summary.content_bytes < content.len() as u64);
    }

    #[test]
    fn what_is_in_quarantine_is_given_to_nobody_and_is_no_gap() {
        let mut known = Known::default();
        known.read(b"{a}\n{b}\n{c}\n{d}\n", &RULES);
        let mut quarantined = QuarantinedPlaces::default();
        assert!(quarantined.closed.insert(1) && quarantined.closed.insert(3));
        let mut filling = at(4);
        assert!(filling.gap.insert(0) && filling.gap.insert(1));
        let (before, outputs, content) = (known.progress.clone(), vec![at(0), filling], b"{b}\n{a}\n");
        let driver = Driver { content, accepted: &known.fingerprints, piece: 100 };
        let deliver = Deliver { before, quarantined, ..to(outputs) };
        let (offers, _) = driver.drive(super::deliver(plan(&OVERWRITTEN, content, LIMITS), deliver));
        let mut given = [Given::default(), Given::default()];
        offers.iter().for_each(|Offer { output, part }| given[*output].take(part));
        let event = || vec![("{a}".to_owned(), id_of("{a}", 0))];
        let expected = [
            Given { onward: event(), opened: BTreeSet::from([2]), ..Given::default() },
            Given { filling: event(), filled: BTreeSet::from([0]), ..Given::default() },
        ];
        assert_eq!(given, expected);
    }

    /// Like [`decode`], but refuses records that begin with `{x`.
    fn decode_less(
        context: &Context<'_>,
        record: &Record<'_>,
        emit: &mut dyn FnMut(&Event<'_>),
    ) -> Result<(), Refusal> {
        if record.bytes.starts_with(b"{x") {
            return Err(Refusal::new("it is of an older kind"));
        }
        decode(context, record, emit)
    }

    static OVERWRITTEN_LESS: Family = Family::of_lines(Growth::Overwritten, |_, _| LineRole::Record, decode_less);

    #[test]
    fn a_known_record_that_cannot_be_decoded_any_more_is_refused_and_lacked_by_who_has_not_had_it() {
        let mut known = Known::default();
        let content = b"{a}\n{x}\n{c}\n{xx}\n";
        known.read(content, &RULES);
        let less = Rules { family: &OVERWRITTEN_LESS, ..RULES };
        // The third sink has the last record in its gap. With it, records go through scratch; for the first sink alone,
        // they are streamed.
        let mut filling = at(4);
        assert!(filling.gap.insert(3));
        for (outputs, refused) in [(vec![at(0)], [1, 3]), (vec![at(0), at(4), filling], [1, 3])] {
            let count = outputs.len();
            let (offers, summary) = known.deliver(content, outputs, &less);
            let mut given: Vec<Given> = (0..count).map(|_| Given::default()).collect();
            offers.iter().for_each(|Offer { output, part }| given[*output].take(part));
            let events = ["{a}", "{c}"].map(|text| (text.to_owned(), id_of(text, 0))).to_vec();
            let first = Given { onward: events, opened: BTreeSet::from([1, 3]), ..Given::default() };
            assert_eq!(given[0], first);
            assert!(given[1..].iter().all(|given| *given == Given::default()), "{given:?}");
            let of = |part: &Part| part.refused.iter().map(|refused| refused.place).collect::<Vec<_>>();
            let mut noted: Vec<u64> = offers.iter().flat_map(|offer| of(&offer.part)).collect();
            noted.sort_unstable();
            assert_eq!(noted, refused, "each once");
            let body = offers.iter().flat_map(|offer| offer.part.refused.iter()).find(|refused| refused.place == 1);
            assert_eq!(zstd::decode_all(&*body.unwrap().body_zstd.clone().unwrap()).unwrap(), b"{x}");
            assert_eq!(summary.counts.refused, 2);
        }
        let mut lacking = at(4);
        assert!(lacking.gap.insert(3));
        let (offers, _) = known.deliver(content, vec![lacking], &less);
        let noted: Vec<u64> = offers.iter().flat_map(|offer| offer.part.refused.iter()).map(|one| one.place).collect();
        assert_eq!(noted, [3], "though nothing is given");
        // Records that are in quarantine already are withheld, and are not refused once more.
        let mut quarantined = QuarantinedPlaces::default();
        assert!(quarantined.withheld.insert(1) && quarantined.withheld.insert(3));
        let driver = Driver { content, accepted: &known.fingerprints, piece: 100 };
        let deliver = Deliver { before: known.progress.clone(), quarantined, ..to(vec![at(0)]) };
        let (offers, summary) = driver.drive(super::deliver(plan(&OVERWRITTEN_LESS, content, LIMITS), deliver));
        let mut given = Given::default();
        offers.iter().for_each(|Offer { part, .. }| given.take(part));
        assert_eq!((given.opened, summary.unwrap().counts.refused), (BTreeSet::from([1, 3]), 0));
        assert!(offers.iter().all(|offer| offer.part.refused.is_empty()));
    }

    #[test]
    fn the_events_of_what_is_tried_again_count_until_some_sink_has_had_them() {
        let mut known = Known::default();
        let content = b"{a}\n{b}\n{c}\n";
        known.read(content, &RULES);
        let mut quarantined = QuarantinedPlaces { listed: BTreeSet::from([0, 1]), ..QuarantinedPlaces::default() };
        assert!(quarantined.delivered.insert(1));
        let driver = Driver { content, accepted: &known.fingerprints, piece: 100 };
        let deliver = Deliver { before: known.progress.clone(), quarantined, ..to(vec![at(0)]) };
        let (_, summary) = driver.drive(super::deliver(plan(&OVERWRITTEN, content, LIMITS), deliver));
        assert_eq!(summary.unwrap().counts.events, 1);
    }

    #[test]
    fn what_is_tried_again_is_given_to_who_lacks_it_and_lacked_where_it_is_refused_once_more() {
        let mut known = Known::default();
        let content = format!("{{a}}\n{{b\n{{c}}\n{}\n{{e\n", "x".repeat(50));
        known.read(content.as_bytes(), &RULES);
        let mut quarantined = QuarantinedPlaces { listed: BTreeSet::from([0, 1]), ..QuarantinedPlaces::default() };
        assert!(quarantined.withheld.insert(2) && quarantined.further.insert(3) && quarantined.closed.insert(4));
        let closed = quarantined.closed.clone();
        let mut filling = at(5);
        (0..4).for_each(|place| _ = filling.gap.insert(place));
        let driver = Driver { content: content.as_bytes(), accepted: &known.fingerprints, piece: 100 };
        let plan = || plan(&OVERWRITTEN, content.as_bytes(), LIMITS);
        for outputs in [vec![at(0)], vec![at(0), filling]] {
            let mut expected = vec![Given::default(), Given::default()];
            let event = || vec![("{a}".to_owned(), id_of("{a}", 0))];
            expected[0] = Given { onward: event(), opened: BTreeSet::from([1, 2, 3]), ..Given::default() };
            if outputs.len() > 1 {
                expected[1] = Given { filling: event(), filled: BTreeSet::from([0]), ..Given::default() };
            }
            let (before, quarantined) = (known.progress.clone(), quarantined.clone());
            let deliver = Deliver { before, quarantined, ..to(outputs) };
            let (offers, summary) = driver.drive(super::deliver(plan(), deliver));
            let mut given = vec![Given::default(), Given::default()];
            offers.iter().for_each(|Offer { output, part }| given[*output].take(part));
            assert_eq!(given, expected);
            let summary = summary.unwrap();
            assert_eq!(summary.counts.events, 1, "once, whoever gets it");
            let RefusedAgain { listed, further, first_further } = summary.refused_again;
            assert!(listed.len() == 1 && listed[&1].contains("it has no end"), "{listed:?}");
            let (ordinal, why) = first_further.unwrap();
            assert!((further, ordinal) == (1, 3) && why.contains("50 bytes long"), "{further}, {ordinal}: {why}");
            for Offer { part: Part { advance, piece, .. }, .. } in offers {
                let encoder = Encoder::new(EncodingName::Raw, Options::default());
                let (before, skipped) = (known.progress.clone(), closed.clone());
                let rebuild = Rebuild { before, advance, encoder, skipped, lacked: LackedEvents::default() };
                let (again, _) = driver.drive(super::rebuild(plan(), rebuild));
                let again = again.iter().flat_map(|offer| lines(&offer.part.piece.bytes));
                assert_eq!(again.collect::<Vec<_>>(), lines(&piece.bytes), "made again");
            }
        }
    }

    #[test]
    fn of_a_record_that_a_sink_has_had_but_for_some_events_it_gets_these_alone_and_they_are_rebuilt() {
        let rules = Rules { family: &OF_THREE_EVENTS, ..RULES };
        let (mut known, content) = (Known::default(), b"{a}\n{b}\n{c}\n{d}\n");
        known.read(content, &rules);
        let id = |text: &str, index| {
            Namespace::new("test", Scope::Object(&object())).event(&RecordHash::of(text.as_bytes()), 0, index)
        };
        let lacked = LackedEvents::from([(1, [id("{b}", 0), id("{b}", 2)].into()), (3, [id("{d}", 1)].into())]);
        let mut output = Output { lacked: lacked.clone(), ..at(4) };
        [1, 2, 3].into_iter().for_each(|place| _ = output.gap.insert(place));
        let encoder = Encoder::new(EncodingName::Ocsf, Options::default());
        let before = known.progress.clone();
        let deliver = Deliver { before: before.clone(), encoders: vec![encoder.clone()], ..to(vec![output]) };
        let driver = Driver { content, accepted: &known.fingerprints, piece: 3 };
        let (offers, ended) = driver.drive(super::deliver(plan(&OF_THREE_EVENTS, content, LIMITS), deliver));
        assert!(ended.unwrap().is_complete && offers.len() == 1);
        let Part { advance, piece, .. } = &offers[0].part;
        let ids: Vec<_> = piece.heads.iter().map(|head| head.uid).collect();
        let whole = (0..3).map(|index| id("{c}", index));
        let expected = [id("{b}", 0), id("{b}", 2)].into_iter().chain(whole).chain([id("{d}", 1)]);
        assert_eq!(ids, expected.collect::<Vec<_>>());
        let rebuild = Rebuild { before, advance: advance.clone(), encoder, skipped: Places::default(), lacked };
        let (again, ended) = driver.drive(super::rebuild(plan(&OF_THREE_EVENTS, content, LIMITS), rebuild));
        ended.unwrap();
        let again: Vec<u8> = again.iter().flat_map(|offer| offer.part.piece.bytes.to_vec()).collect();
        assert_eq!(again, piece.bytes);
    }

    #[test]
    fn an_input_that_was_not_asked_for_changes_nothing() {
        let content = b"{a}\n{b}\n";
        let mut reader = super::deliver(plan(&ONCE, content, LIMITS), to(vec![at(0)]));
        let mut out = Vec::new();
        let others =
            [Input::GoOn, Input::Range(Bytes::from_static(b"{c}\n")), Input::Reopened, Input::Fingerprints(vec![])];
        for other in others {
            assert!(matches!(reader.step(other, &mut out), Step::Need(Need::More)));
        }
        reader.step(Input::Bytes(vec![Bytes::from_static(content)]), &mut out);
        assert!(matches!(reader.step(Input::End, &mut out), Step::Done(Ok(_))));
        assert_eq!(lines(&out[0].part.piece.bytes), ["{a}", "{b}"]);
    }

    /// Lines of YDB: records with a value that may hold line ends, records without such a value, and a line that is no
    /// record.
    const YDB_LINES: [&str; 6] = [
        "2024-01-15T08:00:00Z: component=grpc, subject=a@x, operation=Q, query_text=SELECT 1, status=SUCCESS",
        "2024-01-15T08:00:01Z: component=schemeshard, tx_id=2, subject=b@x, operation=GRANT, status=SUCCESS",
        "2024-01-15T08:00:02Z: {\"component\":\"x\",\"operation\":\"y\",\"status\":\"SUCCESS\"}",
        "2024-01-15T08:00:03Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, subject: c, status: S, operation: O, no path",
        "2024-01-15T08:00:04Z node 1 :X INFO: y",
        "2024-01-15T08:00:05Z stderr F 2024-01-15T08:00:05Z: component=x, operation=R, status=ERROR, reason=no path",
    ];

    fn ydb_line() -> impl Strategy<Value = &'static str> {
        (0..YDB_LINES.len()).prop_map(|which| YDB_LINES[which])
    }

    /// A change from one version of the object to the next.
    #[derive(Clone, Debug)]
    enum Change {
        Append(u8),
        Insert(usize, u8),
        Duplicate(usize),
        Remove(usize),
        Shrink(usize),
        Reorder(usize, usize),
        Regrow,
    }

    /// A version: its changes, its line ends and tail, and how it is read.
    #[derive(Clone, Debug)]
    struct Written {
        changes: Vec<Change>,
        line_end: &'static str,
        tail: &'static str,
        byte_order_mark: bool,
        part_records: u64,
        parts_max: usize,
        fingerprints_in_memory: usize,
        piece: usize,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (0..6_u8).prop_map(Change::Append),
            2 => (any::<usize>(), 0..6_u8).prop_map(|(place, record)| Change::Insert(place, record)),
            2 => any::<usize>().prop_map(Change::Duplicate),
            1 => any::<usize>().prop_map(Change::Remove),
            1 => any::<usize>().prop_map(Change::Shrink),
            2 => (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Change::Reorder(one, other)),
            1 => Just(Change::Regrow),
        ]
    }

    fn written() -> impl Strategy<Value = Written> {
        let line_end = prop_oneof![9 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\n\n")];
        let tail =
            prop_oneof![6 => Just("\n"), 2 => Just(""), 1 => Just("\r"), 1 => Just("\n{partial"), 1 => Just("\n \n")];
        let parts_max = prop_oneof![2 => Just(usize::MAX), 1 => 0..3_usize];
        let in_memory = prop_oneof![3 => Just(1000_usize), 1 => 0..4_usize];
        let piece = prop_oneof![1 => Just(1000_usize), 3 => 1..8_usize];
        let reading = (1..4_u64, parts_max, in_memory, piece);
        (proptest::collection::vec(change(), 0..5), line_end, tail, prop::bool::weighted(0.05), reading).prop_map(
            |(changes, line_end, tail, byte_order_mark, (part_records, parts_max, fingerprints_in_memory, piece))| {
                Written {
                    changes,
                    line_end,
                    tail,
                    byte_order_mark,
                    part_records,
                    parts_max,
                    fingerprints_in_memory,
                    piece,
                }
            },
        )
    }

    impl Written {
        fn rules(&self) -> Rules {
            let Self { part_records, parts_max, fingerprints_in_memory, piece, .. } = *self;
            let limits = Limits { part_records, fingerprints_in_memory, ..LIMITS };
            Rules { family: &OVERWRITTEN, limits, piece, parts_max }
        }

        fn apply(&self, records: &mut Vec<String>, longest: &mut Vec<String>) -> String {
            for change in &self.changes {
                let len = records.len().max(1);
                match *change {
                    Change::Append(record) => records.push(format!("{{{record}}}")),
                    Change::Insert(place, record) => records.insert(place % len, format!("{{{record}}}")),
                    Change::Duplicate(place) if !records.is_empty() => records.push(records[place % len].clone()),
                    Change::Remove(place) if !records.is_empty() => drop(records.remove(place % len)),
                    Change::Shrink(place) => records.truncate(place % len),
                    Change::Reorder(one, other) if !records.is_empty() => records.swap(one % len, other % len),
                    Change::Regrow => records.clone_from(longest),
                    _ => {}
                }
                if records.len() > longest.len() {
                    longest.clone_from(records);
                }
            }
            let mark = if self.byte_order_mark { "\u{feff}" } else { "" };
            match records.as_slice() {
                [] => format!("{mark}{}", self.tail),
                records => format!("{mark}{}{}", records.join(self.line_end), self.tail),
            }
        }
    }

    /// The promise, as simple code: it keeps every accepted text.
    #[derive(Default)]
    struct Reference {
        accepted: Vec<String>,
        delivered: HashMap<String, u64>,
    }

    impl Reference {
        /// Accepts the new records, at most `new_records_max`, and returns their texts and occurrences.
        fn read(&mut self, records: &[String], new_records_max: usize) -> Vec<(String, u64)> {
            let mut seen: HashMap<&String, u64> = HashMap::new();
            let mut new = Vec::new();
            for record in records {
                if new.len() == new_records_max {
                    break;
                }
                let seen = seen.entry(record).or_default();
                *seen += 1;
                let delivered = self.delivered.entry(record.clone()).or_default();
                if *seen > *delivered {
                    new.push((record.clone(), *delivered));
                    *delivered += 1;
                    self.accepted.push(record.clone());
                }
            }
            new
        }

        fn fingerprints(&self) -> Vec<Fingerprint> {
            self.accepted.iter().map(|text| RecordHash::of(text.as_bytes()).fingerprint()).collect()
        }

        /// The places of the accepted records that this content holds. Of equal records, the lowest places count as
        /// held.
        fn held(&self, records: &[String]) -> BTreeSet<u64> {
            let mut copies: HashMap<&String, u64> = HashMap::new();
            records.iter().for_each(|record| *copies.entry(record).or_default() += 1);
            let is_held = |record: &String| match copies.get_mut(record) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            };
            let held = self.accepted.iter().map(is_held).enumerate();
            held.filter(|(_, is_held)| *is_held).map(|(index, _)| index as u64).collect()
        }

        /// The text of an accepted record, and the id of its event.
        fn event(&self, index: u64) -> (String, EventIdBytes) {
            let (before, text) = (&self.accepted[..index as usize], &self.accepted[index as usize]);
            let occurrence = before.iter().filter(|earlier| *earlier == text).count() as u64;
            (text.clone(), id_of(text, occurrence))
        }
    }

    /// What the parts for one sink held: the records of onward parts, the records that fill its gap, and the places
    /// that the parts opened and filled in the gap.
    #[derive(PartialEq, Eq, Debug, Default)]
    struct Given {
        onward: Vec<(String, EventIdBytes)>,
        filling: Vec<(String, EventIdBytes)>,
        opened: BTreeSet<u64>,
        filled: BTreeSet<u64>,
    }

    impl Given {
        fn take(&mut self, part: &Part) {
            let events = lines(&part.piece.bytes).into_iter().zip(part.piece.heads.iter().map(|head| head.uid.0));
            match &part.advance.form {
                Form::Onward { gap } => {
                    self.onward.extend(events);
                    self.opened.extend(gap.iter().flatten());
                }
                Form::Fill { places } => {
                    self.filling.extend(events);
                    self.filled.extend(places.iter().flatten());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

        #[test]
        fn each_record_is_delivered_as_often_as_any_version_held_it(versions in proptest::collection::vec(written(), 1..8)) {
            let (mut records, mut longest) = (Vec::new(), Vec::new());
            let (mut reference, mut known) = (Reference::default(), Known::default());
            for version in versions {
                let content = version.apply(&mut records, &mut longest);
                let before = known.progress.clone();
                let Delta { texts, ids, summary } = known.read(content.as_bytes(), &version.rules());
                let is_whole = texts.len() as u64 == summary.counts.new_records;
                let expected = reference.read(&records, if is_whole { usize::MAX } else { texts.len() });
                let expected_ids: Vec<_> = expected.iter().map(|(text, occurrence)| id_of(text, *occurrence)).collect();
                prop_assert_eq!(&texts, &expected.into_iter().map(|(text, _)| text).collect::<Vec<_>>());
                prop_assert_eq!(ids, expected_ids);

                let progress = &known.progress;
                prop_assert_eq!(progress.accepted, reference.accepted.len() as u64);
                prop_assert_eq!(progress.accepted, before.accepted + texts.len() as u64);
                prop_assert_eq!(&known.fingerprints, &reference.fingerprints());
                let digested = &content.as_bytes()[..(progress.content_bytes as usize).min(content.len())];
                if is_whole || !texts.is_empty() {
                    prop_assert_eq!(progress.digest, *blake3::hash(digested).as_bytes());
                    let in_order = reference.accepted.starts_with(&records[..progress.content_records as usize]);
                    prop_assert_eq!(progress.in_order, in_order);
                }
            }
        }

        #[test]
        fn what_is_told_of_a_record_depends_on_no_beginning_of_a_reading(
            versions in proptest::collection::vec(proptest::collection::vec(ydb_line(), 0..4), 1..5),
            cursor in any::<u64>(),
        ) {
            let family = crate::family::named("ydb").unwrap();
            let limits = Limits { line_bytes_max: 1000, ..LIMITS };
            let encoder = || Encoder::new(EncodingName::Ocsf, Options::default());
            let bytes = |offers: &[Offer]| -> Vec<u8> {
                offers.iter().flat_map(|offer| offer.part.piece.bytes.to_vec()).collect()
            };
            let read = |before: &Progress, content: &str, output: Output| {
                let driver = Driver { content: content.as_bytes(), accepted: &[], piece: 30 };
                let deliver = Deliver { before: before.clone(), encoders: vec![encoder()], ..to(vec![output]) };
                let (offers, ended) = driver.drive(super::deliver(plan(family, content.as_bytes(), limits), deliver));
                let summary = ended.unwrap();
                (offers, summary.progress, summary.is_rewritten)
            };
            let content: String = versions.iter().flatten().map(|line| format!("{line}\n")).collect();
            let (at_once, progress, _) = read(&Progress::default(), &content, at(0));
            let at_once = bytes(&at_once);

            let (mut before, mut so_far, mut piecemeal) = (Progress::default(), String::new(), Vec::new());
            for added in &versions {
                so_far.extend(added.iter().map(|line| format!("{line}\n")));
                let (offers, progress, is_rewritten) = read(&before, &so_far, at(before.accepted));
                prop_assert!(!is_rewritten);
                before = progress;
                piecemeal.extend(bytes(&offers));
                for Offer { part: Part { advance, piece, .. }, .. } in offers {
                    let (skipped, lacked) = (Places::default(), LackedEvents::default());
                    let rebuild = Rebuild { before: before.clone(), advance, encoder: encoder(), skipped, lacked };
                    let driver = Driver { content: so_far.as_bytes(), accepted: &[], piece: 30 };
                    let (again, _) = driver.drive(super::rebuild(plan(family, so_far.as_bytes(), limits), rebuild));
                    prop_assert_eq!(lines(&bytes(&again)), lines(&piece.bytes));
                }
            }
            prop_assert_eq!(lines(&piecemeal), lines(&at_once));
            prop_assert_eq!(&before, &progress);

            // A sink that is behind and a sink with a gap get the same events.
            let cursor = cursor % (progress.accepted + 1);
            let onward = lines(&bytes(&read(&progress, &content, at(cursor)).0));
            prop_assert_eq!(&onward[..], &lines(&at_once)[cursor as usize..]);
            let mut filling = at(progress.accepted);
            (cursor..progress.accepted).for_each(|place| _ = filling.gap.insert(place));
            prop_assert_eq!(lines(&bytes(&read(&progress, &content, filling).0)), onward);
        }

        #[test]
        fn sinks_that_lag_or_have_gaps_get_what_they_have_not_had_and_is_there_now(
            versions in proptest::collection::vec(written(), 1..5),
            sinks in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u64>(), 0..4)), 1..4),
        ) {
            let (mut records, mut longest) = (Vec::new(), Vec::new());
            let (mut reference, mut known) = (Reference::default(), Known::default());
            let (last, earlier) = versions.split_last().unwrap();
            for version in earlier {
                let content = version.apply(&mut records, &mut longest);
                known.read(content.as_bytes(), &RULES);
                reference.read(&records, usize::MAX);
            }
            let content = last.apply(&mut records, &mut longest);
            let accepted = known.progress.accepted;
            let lags = |(cursor, gap): &(u64, Vec<u64>)| {
                let cursor = cursor % (accepted + 1);
                (cursor, gap.iter().filter(|_| cursor > 0).map(|place| place % cursor).collect::<BTreeSet<u64>>())
            };
            let sinks: Vec<(u64, BTreeSet<u64>)> = sinks.iter().map(lags).collect();
            let outputs = sinks.iter().map(|(cursor, gap)| {
                let mut output = at(*cursor);
                gap.iter().for_each(|place| _ = output.gap.insert(*place));
                output
            });
            let (offers, summary) = known.deliver(content.as_bytes(), outputs.collect(), &last.rules());

            let mut given: Vec<Given> = sinks.iter().map(|_| Given::default()).collect();
            let mut at: Vec<u64> = sinks.iter().map(|(cursor, _)| *cursor).collect();
            for Offer { output, part } in &offers {
                let Advance { before, after, form, .. } = &part.advance;
                if let Form::Onward { .. } = form {
                    prop_assert_eq!(*before, at[*output], "parts follow one another");
                    at[*output] = *after;
                }
                given[*output].take(part);
            }
            let held = reference.held(&records);
            reference.read(&records, usize::MAX);
            prop_assert_eq!(summary.progress.accepted, reference.accepted.len() as u64);
            for ((given, (cursor, gap)), at) in given.into_iter().zip(sinks).zip(at) {
                let filled: BTreeSet<u64> = gap.intersection(&held).copied().collect();
                let onward = held.range(cursor..).copied().chain(accepted..reference.accepted.len() as u64);
                let expected = Given {
                    onward: onward.map(|index| reference.event(index)).collect(),
                    filling: filled.iter().map(|index| reference.event(*index)).collect(),
                    opened: (cursor..accepted).filter(|index| !held.contains(index)).collect(),
                    filled,
                };
                prop_assert_eq!(given, expected);
                prop_assert_eq!(at, summary.progress.accepted);
            }

            known.accept(&offers);
            for Offer { part, .. } in &offers {
                let again = known.rebuild(content.as_bytes(), &part.advance, &last.rules());
                prop_assert_eq!(lines(&again), lines(&part.piece.bytes), "made again");
            }
        }
    }
}
