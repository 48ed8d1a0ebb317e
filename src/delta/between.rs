//! The whole comparison over content in memory, as one function from what was known to what is known now.

use crate::delta::comparison::Comparison;
use crate::delta::ledger::MemoryLedger;
use crate::delta::prefix::{self, Prefix};
use crate::delta::{DeltaError, Fingerprint, Growth, Place, Progress, RecordHash, Summary};
use crate::records::Role;
use crate::records::lines::{Item, Lines, LinesError, Start};

/// What is remembered of one object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    pub progress: Progress,
    /// Of all accepted records, in order; of objects written once, none.
    pub fingerprints: Vec<Fingerprint>,
}

/// How an object's content is read.
#[derive(Clone, Copy)]
pub struct Rules {
    pub growth: Growth,
    pub role: Role,
    pub line_bytes_max: usize,
    pub fingerprints_in_memory: usize,
    /// Whether a last line without a line end is a record.
    pub decodes: fn(record: &[u8]) -> bool,
    /// At most so many new records are accepted, as when a batch is full, and those that the last of them reaches into.
    pub new_records_max: usize,
}

/// A record that was not accepted before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    pub ordinal: u64,
    pub index: u64,
    pub occurrence: u64,
    /// Empty for a line longer than allowed.
    pub bytes: Vec<u8>,
}

/// What one reading adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    pub new: Vec<NewRecord>,
    pub after: Known,
    pub summary: Summary,
    /// Whether all that was known was passed over by its digest.
    pub by_digest: bool,
}

/// Reads `now` and says what it holds beyond `before`.
///
/// # Errors
/// When `before` contradicts itself.
pub fn between(before: &Known, now: &[u8], rules: &Rules) -> Result<Delta, DeltaError> {
    let mut source = now;
    if before.progress.covers_accepted()
        && let Ok(Prefix::Holds(held)) = prefix::check(&before.progress, &mut source)
    {
        let start = held.start;
        let comparison =
            Comparison::after(held, &before.progress, rules.growth, ledger(before), rules.fingerprints_in_memory);
        if let Some(delta) = read(before, comparison, start, source, rules)? {
            return Ok(Delta { by_digest: true, ..delta });
        }
    }
    let comparison = Comparison::whole(&before.progress, rules.growth, ledger(before), rules.fingerprints_in_memory)?;
    let held = u64::try_from(before.fingerprints.len()).unwrap_or(u64::MAX);
    let incomplete = DeltaError::Incomplete { held, accepted: before.progress.accepted };
    read(before, comparison, Start::Beginning, now, rules)?.ok_or(incomplete)
}

fn ledger(known: &Known) -> Box<MemoryLedger> {
    Box::new(MemoryLedger::new(known.fingerprints.clone()))
}

/// Nothing, when the line before the start has grown.
fn read(
    before: &Known,
    mut comparison: Comparison,
    start: Start,
    mut source: &[u8],
    rules: &Rules,
) -> Result<Option<Delta>, DeltaError> {
    let mut lines = Lines::new(rules.role, rules.line_bytes_max, start);
    let mut fingerprints = before.fingerprints.clone();
    let mut new = Vec::new();
    let ended = |new: Vec<NewRecord>, progress, fingerprints, summary| {
        Ok(Some(Delta { new, after: Known { progress, fingerprints }, summary, by_digest: false }))
    };
    loop {
        let block = match lines.next_block(&mut source) {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(LinesError::LastLineGrew | LinesError::Source(_)) => return Ok(None),
        };
        let mut end_offset = block.offset;
        for item in block.items() {
            // Reading could not go on between records that reach into one another.
            let reaches = std::mem::replace(&mut end_offset, item.end_offset()) == item.end_offset();
            let (bytes, hash) = match item {
                Item::Unended { record, .. } if !(rules.decodes)(record.bytes) => continue,
                Item::Whole { record, .. } | Item::Unended { record, .. } => {
                    (record.bytes, RecordHash::of(record.bytes))
                }
                Item::TooLong(line) if line.unended => continue,
                Item::TooLong(line) => (&[][..], RecordHash(line.sha256)),
            };
            if new.len() >= rules.new_records_max && !reaches {
                let progress = comparison.progress(&block);
                return ended(new, progress, fingerprints, comparison.summary());
            }
            if let Place::New { index, occurrence } = comparison.place(hash.fingerprint(), item.end_offset())? {
                new.push(NewRecord { ordinal: item.ordinal(), index, occurrence, bytes: bytes.to_vec() });
                if rules.growth == Growth::Overwritten {
                    fingerprints.push(hash.fingerprint());
                }
            }
        }
        comparison.pass(&block);
    }
    ended(new, comparison.progress_passed(), fingerprints, comparison.summary())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::records::{Around, Asked, LineRole, Stream};

    const RULES: Rules = Rules {
        growth: Growth::Overwritten,
        role: |_, _| LineRole::Record,
        line_bytes_max: 40,
        fingerprints_in_memory: 1000,
        decodes: |record| record.ends_with(b"}"),
        new_records_max: usize::MAX,
    };

    /// The records that each version of an object delivers when the versions are read one after another.
    fn delivered(versions: &[&str]) -> Vec<Vec<String>> {
        let mut known = Known::default();
        versions.iter().map(|version| step(&mut known, version).new.iter().map(text).collect()).collect()
    }

    fn step(known: &mut Known, version: &str) -> Delta {
        let delta = between(known, version.as_bytes(), &RULES).unwrap();
        *known = delta.after.clone();
        delta
    }

    fn text(record: &NewRecord) -> String {
        String::from_utf8(record.bytes.clone()).unwrap()
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
            assert_eq!(delivered(versions), *expected, "{name}");
        }
    }

    /// `!` before a line puts it on the other stream, `~` makes it a piece of the next.
    fn on_two_streams(lines: &[u8], around: &mut Around) -> LineRole {
        let error = lines.first() == Some(&b'!');
        around.on(if error { Stream::Error } else { Stream::Output });
        match (around.asked(), &lines[usize::from(error)..]) {
            (Asked::Line, [b'~', ..]) => LineRole::Piece,
            (_, [b'~', b'#', ..] | [b'#', ..]) => LineRole::Other,
            _ => LineRole::Record,
        }
    }

    #[test]
    fn records_that_reach_into_one_another_are_accepted_once_each_however_often_reading_stops() {
        let rules = Rules { growth: Growth::Once, role: on_two_streams, decodes: |_| true, ..RULES };
        let contents = [
            "a\n~b\n!c\n!d\nb\ne\n",
            "~a\n!~b\na\n~c\n!b\n!d\nc\ne\n!f\n",
            "~#\n!a\n!b\n#\nc\n~d\n!~e\nd\n!e\n",
            "~a\n!b\n!c\n",
        ];
        for content in contents {
            let whole = between(&Known::default(), content.as_bytes(), &rules).unwrap().new;
            for new_records_max in 1..4 {
                let rules = Rules { new_records_max, ..rules };
                let (mut known, mut accepted) = (Known::default(), Vec::new());
                for _ in 0..=whole.len() {
                    let delta = between(&known, content.as_bytes(), &rules).unwrap();
                    accepted.extend(delta.new);
                    known = delta.after;
                }
                assert_eq!(accepted, whole, "{content:?} by {new_records_max}");
            }
        }
        let texts: Vec<String> =
            between(&Known::default(), contents[0].as_bytes(), &rules).unwrap().new.iter().map(text).collect();
        assert_eq!(texts, ["a", "~b\n!c\n!d\nb", "!c", "!d", "e"]);
    }

    #[test]
    fn what_is_known_is_passed_over_by_its_digest_while_an_object_only_grows() {
        let mut known = Known::default();
        let by_digest: Vec<_> =
            ["{a}\n", "{a}\n{b}", "{a}\n{b}\n", "{a}\n{b}\n\n{c", "{c}\n{a}\n{b}\n", "{c}\n{a}\n{b}\n{d}\n"]
                .iter()
                .map(|version| step(&mut known, version).by_digest)
                .collect();
        assert_eq!(by_digest, [false, true, true, true, false, true]);
        assert!(!known.progress.in_order);
    }

    #[test]
    fn a_rewrite_is_told_from_growth() {
        let mut known = Known::default();
        let grown = |known, new, in_order| Summary { known, new, vanished: 0, in_order };
        assert_eq!(step(&mut known, "{a}\n{b}\n").summary, grown(0, 2, true));
        assert_eq!(step(&mut known, "{a}\n{b}\n{c}\n").summary, grown(2, 1, true));
        assert_eq!(step(&mut known, "{d}\n{b}\n").summary, Summary { known: 1, new: 1, vanished: 2, in_order: false });
        assert_eq!(step(&mut known, "{a}\n{b}\n").summary, Summary { known: 2, new: 0, vanished: 2, in_order: true });
        assert_eq!(step(&mut known, "{a}\n{b}\n{c}\n{d}\n").summary, grown(4, 0, true));
    }

    #[test]
    fn a_line_too_long_is_new_once_whatever_is_added() {
        let long = "x".repeat(50);
        let mut known = Known::default();
        assert_eq!(step(&mut known, &format!("{{a}}\n{long}")).new.len(), 1);
        assert_eq!(step(&mut known, &format!("{{a}}\n{long}\n{{b}}\n")).new.len(), 2);
        assert_eq!(step(&mut known, &format!("{{b}}\n{long}\n{{a}}\n")).new.len(), 0);
    }

    #[test]
    fn an_object_written_once_goes_by_position_and_keeps_no_fingerprints() {
        let once = Rules { growth: Growth::Once, new_records_max: 2, ..RULES };
        let first = between(&Known::default(), b"{a}\n{a}\n{a}\n", &once).unwrap();
        let occurrences = |delta: &Delta| delta.new.iter().map(|new| new.occurrence).collect::<Vec<_>>();
        assert_eq!(occurrences(&first), [0, 1]);
        assert!(first.after.fingerprints.is_empty());
        let rest = between(&first.after, b"{a}\n{a}\n{a}\n", &once).unwrap();
        assert_eq!((occurrences(&rest), rest.by_digest), (vec![2], true));
        let rewritten = between(&first.after, b"{b}\n{b}\n{b}\n", &once).unwrap();
        assert_eq!((occurrences(&rewritten), rewritten.by_digest), (vec![2], false));
        assert_eq!(rewritten.after.progress.content_bytes, 12);
        let shorter = between(&rewritten.after, b"{c}\n", &once).unwrap();
        assert_eq!((shorter.new.len(), shorter.summary.vanished, shorter.after.progress.accepted), (0, 2, 3));
    }

    /// A record written in the object's next version, or what happens to the records before it.
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

    /// How the version ends, and how it is read.
    #[derive(Clone, Debug)]
    struct Version {
        changes: Vec<Change>,
        line_end: &'static str,
        tail: &'static str,
        byte_order_mark: bool,
        new_records_max: usize,
        fingerprints_in_memory: usize,
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

    fn version() -> impl Strategy<Value = Version> {
        let line_end = prop_oneof![9 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\n\n")];
        let tail =
            prop_oneof![6 => Just("\n"), 2 => Just(""), 1 => Just("\r"), 1 => Just("\n{partial"), 1 => Just("\n \n")];
        let cut = prop_oneof![2 => Just(usize::MAX), 1 => 0..5_usize];
        let in_memory = prop_oneof![3 => Just(1000_usize), 1 => 0..4_usize];
        (proptest::collection::vec(change(), 0..5), line_end, tail, prop::bool::weighted(0.05), cut, in_memory)
            .prop_map(|(changes, line_end, tail, byte_order_mark, new_records_max, fingerprints_in_memory)| Version {
                changes,
                line_end,
                tail,
                byte_order_mark,
                new_records_max,
                fingerprints_in_memory,
            })
    }

    impl Version {
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

    /// The promise, in its plainest form: of each record, as many are delivered as any version ever held at once.
    #[derive(Default)]
    struct Reference {
        accepted: Vec<String>,
        delivered: HashMap<String, u64>,
    }

    impl Reference {
        /// The new records as (ordinal, index, occurrence, text), and how many records were read.
        fn read(&mut self, records: &[String], new_records_max: usize) -> (Vec<(u64, u64, u64, String)>, usize) {
            let mut seen: HashMap<&String, u64> = HashMap::new();
            let mut new = Vec::new();
            for (ordinal, record) in records.iter().enumerate() {
                if new.len() == new_records_max {
                    return (new, ordinal);
                }
                let seen = seen.entry(record).or_default();
                *seen += 1;
                let delivered = self.delivered.entry(record.clone()).or_default();
                if *seen > *delivered {
                    new.push((ordinal as u64, self.accepted.len() as u64, *delivered, record.clone()));
                    *delivered += 1;
                    self.accepted.push(record.clone());
                }
            }
            (new, records.len())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

        #[test]
        fn each_record_is_delivered_as_often_as_any_version_held_it(versions in proptest::collection::vec(version(), 1..8)) {
            let (mut records, mut longest) = (Vec::new(), Vec::new());
            let mut reference = Reference::default();
            let mut known = Known::default();
            for version in versions {
                let content = version.apply(&mut records, &mut longest);
                let Version { new_records_max, fingerprints_in_memory, .. } = version;
                let rules = Rules { new_records_max, fingerprints_in_memory, ..RULES };
                let before = known.progress.clone();
                let delta = between(&known, content.as_bytes(), &rules).unwrap();
                let new: Vec<_> =
                    delta.new.iter().map(|new| (new.ordinal, new.index, new.occurrence, text(new))).collect();
                let (expected, read) = reference.read(&records, new_records_max);
                prop_assert_eq!(&new, &expected);

                let progress = &delta.after.progress;
                prop_assert_eq!(progress.accepted, reference.accepted.len() as u64);
                prop_assert_eq!(progress.accepted, before.accepted + new.len() as u64);
                let digested = &content.as_bytes()[..progress.content_bytes as usize];
                prop_assert_eq!(progress.digest, *blake3::hash(digested).as_bytes());
                let in_order = reference.accepted.starts_with(&records[..progress.content_records as usize]);
                prop_assert_eq!(progress.in_order, in_order);
                prop_assert_eq!(delta.by_digest || progress.content_records == read as u64, true);
                let fingerprints: Vec<_> =
                    reference.accepted.iter().map(|text| RecordHash::of(text.as_bytes()).fingerprint()).collect();
                prop_assert_eq!(&delta.after.fingerprints, &fingerprints);
                known = delta.after;
            }
        }

        #[test]
        fn a_sink_that_lags_finds_every_record_at_its_number(versions in proptest::collection::vec(version(), 1..5)) {
            let (mut records, mut longest, mut known) = (Vec::new(), Vec::new(), Known::default());
            let mut content = String::new();
            for version in versions {
                content = version.apply(&mut records, &mut longest);
                known = between(&known, content.as_bytes(), &RULES).unwrap().after;
            }
            let ledger = Box::new(MemoryLedger::new(known.fingerprints.clone()));
            let mut comparison = Comparison::again(&known.progress, Growth::Overwritten, ledger, 1000).unwrap();
            let mut lines = Lines::new(RULES.role, RULES.line_bytes_max, Start::Beginning);
            let mut source = content.as_bytes();
            let mut copies: HashMap<Fingerprint, u64> = HashMap::new();
            while let Some(block) = lines.next_block(&mut source).unwrap() {
                for item in block.items() {
                    let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { continue };
                    if !(RULES.decodes)(record.bytes) {
                        continue;
                    }
                    let fingerprint = RecordHash::of(record.bytes).fingerprint();
                    let place = comparison.place(fingerprint, item.end_offset()).unwrap();
                    let Place::Known { index, occurrence } = place else { panic!("{place:?}") };
                    prop_assert_eq!(known.fingerprints[index as usize], fingerprint);
                    let copies = copies.entry(fingerprint).or_default();
                    prop_assert_eq!(occurrence, *copies);
                    *copies += 1;
                }
                comparison.pass(&block);
            }
            let progress = comparison.progress_passed();
            prop_assert_eq!(progress.accepted, known.progress.accepted);
            prop_assert_eq!(progress.content_records, known.progress.content_records);
            prop_assert_eq!(progress.in_order, known.progress.in_order);
        }
    }
}
