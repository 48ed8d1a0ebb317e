//! Reads the referrer header in which Hadoop's S3A client says what a request was for.

use std::borrow::Cow;
use std::ops::Range;

use crate::family::Settings;
use crate::family::s3_access::percent;
use crate::family::s3_access::piece::{ID, JI, KNOWN, PR, Piece, TS, is_ordered, ordered, rank};
use crate::family::s3_access::request::Cut;

/// The beginning of each S3A header. The host does not exist.
const BEGIN: &str = "https://audit.example.org/hadoop/";

/// The most pairs that are split. In a longer header (8 KB at most), the rest stays in the value of the last pair.
const PAIRS_MAX: usize = 64;

/// The content of a header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Referrer<'a> {
    /// Each key once, with its value. The operation and the span's id are taken from the path of the address, which
    /// survives when the header is cut off.
    pub pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Keys that the header has more than once, with all their values. All values but one stand in the name of a path,
    /// which a client can choose.
    pub repeated: Vec<(&'a str, Vec<Cow<'a, str>>)>,
    /// The key of the last pair, if the header was cut off in that pair or after it.
    pub partial: Option<Cow<'a, str>>,
    /// Whether the header can be read in several ways.
    pub ambiguous: bool,
    /// The parts of the header that the settings drop.
    pub cuts: Vec<Cut>,
}

impl<'a> Referrer<'a> {
    /// `None` if the header is not S3A's, or has no pairs.
    pub(super) fn read(header: &'a str, settings: &Settings) -> Option<Self> {
        let (from, path, query) = address(header)?;
        let mut own = Self { pairs: Vec::with_capacity(KNOWN.len()), ..Self::default() };
        own.read_path(path, query.is_some(), from, settings);
        if let Some(query) = query {
            own.read_query(query, from + path.len() + 1, settings);
        }
        (!own.pairs.is_empty() || own.partial.is_some()).then_some(own)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Cow<'a, str>> {
        self.pairs.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// Reads `<op>/<span id>/`. The operation may contain slashes.
    fn read_path(&mut self, path: &'a str, is_whole: bool, from: usize, settings: &Settings) {
        let ended = path.strip_suffix('/');
        let (op, id) = op_and_id(path, is_whole);
        for (key, value) in [("op", Some(op)), ("id", id)] {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            if settings.drops(key) {
                let at = from + if key == "op" { 0 } else { op.len() + 1 };
                self.cuts.push((at..at + value.len(), "-"));
                continue;
            }
            let is_cut = !is_whole && ended.is_none() && (key == "id" || id.is_none());
            let decoded = if is_cut { percent::decode_cut(value) } else { percent::decode(value) };
            self.pairs.push((Cow::Borrowed(key), decoded));
            if is_cut {
                self.partial = Some(Cow::Borrowed(key));
            }
        }
    }

    fn read_query(&mut self, query: &'a str, from: usize, settings: &Settings) {
        let mut pieces = Vec::with_capacity(KNOWN.len());
        self.ambiguous |= split(query, settings, &mut pieces);
        let last = match cut_key(query, &mut pieces) {
            Some(key) if !key.is_empty() => Some(key),
            Some(_) => pieces.last().map(|piece| piece.key),
            None => self.last_of(query, &pieces),
        };
        if !settings.s3a_drop.is_empty() {
            self.drop_pieces(&mut pieces, query, from, settings);
        }
        self.settle(&mut pieces, query);
        let is_encoded = memchr::memchr(b'%', query.as_bytes()).is_some();
        let mut met = Met::of(&self.pairs);
        for piece in &pieces {
            let raw = &query[piece.value..piece.at.end];
            let is_cut = piece.at.end == query.len() && last.is_some_and(|last| last == piece.key);
            let value = match is_encoded {
                true if is_cut => percent::decode_cut(raw),
                true => percent::decode(raw),
                false => Cow::Borrowed(raw),
            };
            match piece.rank {
                Some(rank) if met.is_first(rank) => self.pairs.push((Cow::Borrowed(piece.key), value)),
                _ => self.push(piece, value, is_cut),
            }
            met.add(piece.rank);
        }
        self.partial = last.filter(|key| !drops(settings, key)).map(percent::decode);
    }

    fn drop_pieces(&mut self, pieces: &mut Vec<Piece<'a>>, query: &'a str, from: usize, settings: &Settings) {
        let mut cut_to = from;
        pieces.retain(|piece| {
            let dropped = drops(settings, piece.key);
            if dropped {
                // The cut includes the separator before the pair, or for the first pair the one after it.
                let is_first = from + piece.at.start == cut_to;
                let start = from + piece.at.start - usize::from(!is_first);
                cut_to = from + (piece.at.end + usize::from(is_first)).min(query.len());
                self.cuts.push((start..cut_to, ""));
            }
            !dropped
        });
    }

    /// Adds a pair. If its key is there already, the first value counts, which is that of the path.
    fn push(&mut self, piece: &Piece<'a>, value: Cow<'a, str>, is_cut: bool) {
        let key = match percent::decode(piece.key) {
            // These names are used for facts about the header.
            key if matches!(&*key, "partial" | "ambiguous" | "repeated") => Cow::Owned(format!("custom.{key}")),
            key => key,
        };
        let Some(before) = self.get(&key).cloned() else {
            self.pairs.push((key, value));
            return;
        };
        if before == value || is_cut && before.starts_with(&*value) {
            return;
        }
        self.ambiguous = true;
        match self.repeated.iter_mut().find(|(own, _)| *own == piece.key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.repeated.push((piece.key, vec![before, value])),
        }
    }

    /// Decides which value counts for a key with several. S3A writes each key once and in a known order, so the other
    /// values belong to the path before them.
    fn settle(&mut self, pieces: &mut Vec<Piece<'a>>, query: &'a str) {
        let (mut once, mut again) = (0u16, 0u16);
        for rank in pieces.iter().filter_map(|piece| piece.rank) {
            again |= once & 1 << rank;
            once |= 1 << rank;
        }
        if again == 0 {
            self.ambiguous |= !is_ordered(pieces);
            return;
        }
        self.ambiguous = true;
        for rank in (0..KNOWN.len()).filter(|rank| again & 1 << rank != 0) {
            let same = pieces.iter().filter(|piece| piece.rank.map(usize::from) == Some(rank));
            let values = same.map(|piece| percent::decode(&query[piece.value..piece.at.end])).collect();
            self.repeated.push((KNOWN[rank], values));
        }
        let weigh = |piece: &Piece<'_>| {
            let value = percent::decode(&query[piece.value..piece.at.end]);
            match self.get(piece.key) {
                Some(known) if *known == value => 4,
                Some(_) => 0,
                // Requests have a principal; few have a second path.
                None if piece.rank == Some(PR) => 3,
                None => 2,
            }
        };
        let kept = ordered(pieces, &weigh);
        let mut kept = kept.into_iter();
        let mut settled: Vec<Piece<'a>> = Vec::with_capacity(pieces.len());
        for piece in pieces.drain(..) {
            let stays = kept.next().unwrap_or(true);
            match settled.last_mut() {
                Some(before) if !stays || piece.rank.is_none() && before.is_path() => before.at.end = piece.at.end,
                _ => settled.push(piece),
            }
        }
        *pieces = settled;
    }

    /// The last pair's key, unless the header evidently ends there: with the time or the job, which come last, or with
    /// the whole span id.
    fn last_of(&self, query: &'a str, pieces: &[Piece<'a>]) -> Option<&'a str> {
        const MS_DIGITS: usize = 13;
        let last = pieces.last()?;
        let raw = &query[last.value..last.at.end];
        let timed = |piece: &Piece<'_>| {
            let value = &query[piece.value..piece.at.end];
            piece.rank == Some(TS) && value.len() >= MS_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_span = last.rank == Some(ID) && self.get("id").is_some_and(|id| *id == percent::decode(raw));
        let is_whole = last.rank == Some(JI) || is_span || pieces.iter().any(timed);
        (percent::is_cut(raw) || raw.is_empty() || !is_whole).then_some(last.key)
    }
}

/// Which known keys have pairs, so that a key need not be searched among the pairs.
struct Met {
    /// A bit for each key of [`KNOWN`].
    ranks: u16,
    /// Whether there are other keys. Decoded, one of them may be a known key.
    others: bool,
}

impl Met {
    fn of(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> Self {
        let mut met = Self { ranks: 0, others: false };
        pairs.iter().for_each(|(key, _)| met.add(rank(key)));
        met
    }

    const fn is_first(&self, rank: u8) -> bool {
        !self.others && self.ranks & 1 << rank == 0
    }

    const fn add(&mut self, rank: Option<u8>) {
        match rank {
            Some(rank) => self.ranks |= 1 << rank,
            None => self.others = true,
        }
    }
}

/// Whether a key is to be dropped, percent-encoded or not.
fn drops(settings: &Settings, key: &str) -> bool {
    !settings.s3a_drop.is_empty() && (settings.drops(key) || settings.drops(&percent::decode(key)))
}

/// The offset of the address's path, the path, and the query. `None` if the header is not S3A's.
fn address(header: &str) -> Option<(usize, &str, Option<&str>)> {
    let address = header.strip_prefix(BEGIN)?;
    let address = address.trim_start_matches(|digit: char| digit.is_ascii_digit()).strip_prefix('/')?;
    let from = header.len() - address.len();
    Some(match memchr::memchr(b'?', address.as_bytes()) {
        Some(at) => (from, &address[..at], Some(&address[at + 1..])),
        None => (from, address, None),
    })
}

fn op_and_id(path: &str, is_whole: bool) -> (&str, Option<&str>) {
    let left = path.strip_suffix('/').unwrap_or(path);
    let find = if is_whole { memchr::memrchr } else { memchr::memchr };
    find(b'/', left.as_bytes()).map_or((left, None), |at| (&left[..at], Some(&left[at + 1..])))
}

/// The ranges in the header of all values of each key: as they are read, and as a client that chose a path may have
/// written them.
pub(super) fn values<'a>(header: &'a str, settings: &Settings) -> Vec<(Cow<'a, str>, Range<usize>)> {
    let Some((from, path, query)) = address(header) else { return Vec::new() };
    let (op, id) = op_and_id(path, query.is_some());
    let mut values = vec![(Cow::Borrowed("op"), from..from + op.len())];
    let id = id.map(|id| (Cow::Borrowed("id"), from + op.len() + 1..from + op.len() + 1 + id.len()));
    values.extend(id);
    values.retain(|(_, at)| !at.is_empty());
    let Some(query) = query else { return values };
    let mut own = Referrer::default();
    own.read_path(path, true, from, settings);
    let from = from + path.len() + 1;
    let mut pieces = Vec::new();
    split(query, settings, &mut pieces);
    cut_key(query, &mut pieces);
    let place = |piece: &Piece<'a>| (percent::decode(piece.key), from + piece.value..from + piece.at.end);
    values.extend(pieces.iter().map(place));
    own.settle(&mut pieces, query);
    values.extend(pieces.iter().map(place));
    values.dedup();
    values
}

/// Splits the query where a known key begins. An application's own attribute begins only if the value before it is no
/// path, or if the settings name the attribute. Returns whether one may have begun within a path.
fn split<'a>(query: &'a str, settings: &Settings, pieces: &mut Vec<Piece<'a>>) -> bool {
    let mut doubtful = false;
    let mut start = 0;
    while start <= query.len() {
        let end = memchr::memchr(b'&', &query.as_bytes()[start..]).map_or(query.len(), |at| start + at);
        let key = key_of(&query[start..end]);
        if let Some(key) = key.filter(|_| pieces.len() < PAIRS_MAX) {
            let rank = rank(key);
            let within = pieces.last().is_some_and(Piece::is_path);
            if rank.is_some() || !within || settings.names(key) {
                pieces.push(Piece { key, rank, value: start + key.len() + 1, at: start..end });
                start = end + 1;
                continue;
            }
            doubtful = true;
        }
        if let Some(before) = pieces.last_mut() {
            before.at.end = end;
        }
        start = end + 1;
    }
    doubtful
}

/// The beginning of a key at which the header was cut off; it is removed from the value before. Empty if the header
/// ends with `&`.
fn cut_key<'a>(query: &'a str, pieces: &mut [Piece<'a>]) -> Option<&'a str> {
    let last = memchr::memrchr2(b'&', b'=', query.as_bytes());
    let key = match last {
        Some(at) if query.as_bytes()[at] == b'=' => return None,
        Some(at) => &query[at + 1..],
        None => query,
    };
    let begins_known = KNOWN.iter().any(|known| known.starts_with(key));
    match pieces.last_mut() {
        None => (!key.is_empty()).then_some(key),
        // A path or an application's value may end like this.
        Some(before) if !begins_known && (before.rank.is_none() || before.is_path()) => None,
        Some(before) => {
            before.at.end = query.len() - key.len() - 1;
            Some(key)
        }
    }
}

/// The text before the `=` of a pair, if it can be a key.
fn key_of(pair: &str) -> Option<&str> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%');
    let length = pair.bytes().take_while(is_of_name).count();
    (length > 0 && pair.as_bytes().get(length) == Some(&b'=')).then(|| &pair[..length])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: &str = "e8ede3c7-8506-4a43-8268-fe8fcbb510a4-00000278";

    fn header(op: &str, query: &str) -> String {
        format!("https://audit.example.org/hadoop/1/{op}/{SPAN}/?{query}")
    }

    fn read<'a>(header: &'a str) -> Referrer<'a> {
        Referrer::read(header, Settings::none()).unwrap_or_else(|| panic!("nothing in {header}"))
    }

    /// All pairs but the span's id, in the order of their keys.
    fn pairs<'r>(referrer: &'r Referrer<'_>) -> Vec<(&'r str, &'r str)> {
        let mut pairs: Vec<_> = referrer.pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        pairs.retain(|(key, value)| *key != "id" || *value != SPAN);
        pairs.sort_unstable();
        pairs
    }

    fn dropping(keys: &[&str]) -> Settings {
        Settings { s3a_drop: keys.iter().map(|key| (*key).to_owned()).collect(), ..Settings::default() }
    }

    #[test]
    fn every_key_of_the_table_is_read() {
        let query = format!(
            "op=op_rename&p1=s3a://b/x&pr=alice&p2=s3a://b/y&ps=2eac5a04&rg=100-200&ks=5&cm=S3GuardTool$BucketInfo&id={SPAN}&t0=12&fs=af59&ta=attempt_1&t1=13&ts=1617116985923&ji=job_1"
        );
        let header = header("op_rename", &query);
        let referrer = read(&header);
        let expected = [
            ("cm", "S3GuardTool$BucketInfo"),
            ("fs", "af59"),
            ("ji", "job_1"),
            ("ks", "5"),
            ("op", "op_rename"),
            ("p1", "s3a://b/x"),
            ("p2", "s3a://b/y"),
            ("pr", "alice"),
            ("ps", "2eac5a04"),
            ("rg", "100-200"),
            ("t0", "12"),
            ("t1", "13"),
            ("ta", "attempt_1"),
            ("ts", "1617116985923"),
        ];
        assert_eq!(pairs(&referrer), expected);
        assert_eq!((&referrer.partial, referrer.ambiguous, referrer.repeated.len()), (&None, false, 0));
        assert_eq!(referrer.get("id").map(|id| &**id), Some(SPAN));
    }

    #[test]
    fn only_percent_escapes_are_undone_in_a_path() {
        for (raw, path) in [
            ("s3a://b/Screen+Shot+1.png", "s3a://b/Screen+Shot+1.png"),
            ("s3a://b/a;b", "s3a://b/a;b"),
            ("s3a://b/a&b", "s3a://b/a&b"),
            ("s3a://b/a&b=c&d", "s3a://b/a&b=c&d"),
            ("s3a://b/year=2024/month=02", "s3a://b/year=2024/month=02"),
            ("s3a://b/a%2520b", "s3a://b/a%20b"),
            ("s3a://b/a%23frag%22", "s3a://b/a#frag\""),
            ("s3a://b/caf%C3%A9", "s3a://b/café"),
            ("s3a://b/a%FF%zz", "s3a://b/a\u{fffd}%zz"),
            ("/", "/"),
            ("fork-0001/test", "fork-0001/test"),
        ] {
            let header = header("op_open", &format!("op=op_open&p1={raw}&pr=alice&id={SPAN}&ts=1620905165700"));
            let referrer = read(&header);
            assert_eq!(
                pairs(&referrer),
                [("op", "op_open"), ("p1", path), ("pr", "alice"), ("ts", "1620905165700")],
                "{raw}"
            );
        }
    }

    #[test]
    fn what_may_be_an_attribute_in_a_path_is_flagged_unless_it_is_named() {
        let header = header("op_open", &format!("op=op_open&p1=s3a://b/x&team=red&id={SPAN}&ts=1620905165700"));
        let referrer = read(&header);
        assert!(referrer.ambiguous);
        assert_eq!(referrer.get("p1").map(|path| &**path), Some("s3a://b/x&team=red"));
        let settings = Settings { s3a_attributes: vec!["team".to_owned()], ..Settings::default() };
        let referrer = Referrer::read(&header, &settings).unwrap();
        assert_eq!(pairs(&referrer)[1..3], [("p1", "s3a://b/x"), ("team", "red")]);
        assert!(!referrer.ambiguous);
    }

    #[test]
    fn attributes_of_applications_are_kept() {
        let header = header(
            "op_open",
            &format!("zz=k=v&w&op=op_open&p1=s3a://b/t&pr=a&x0=custom&partial=1&id={SPAN}&ts=1620905165700"),
        );
        let referrer = read(&header);
        let value_of = |key: &str| referrer.get(key).map(|value| &**value);
        assert_eq!(value_of("zz"), Some("k=v&w"));
        assert_eq!(value_of("x0"), Some("custom"));
        assert_eq!(value_of("custom.partial"), Some("1"));
        assert_eq!(referrer.partial, None);
    }

    #[test]
    fn operation_and_span_are_those_of_the_address_path() {
        let header = format!("https://audit.example.org/hadoop/1/op/open%3Fx/{SPAN}/?op=op/open?x&pr=alice&id={SPAN}");
        let referrer = read(&header);
        assert_eq!(pairs(&referrer), [("op", "op/open?x"), ("pr", "alice")]);
        assert!(!referrer.ambiguous);
        let header = self::header("op_open", "pr=alice&ts=1620905165700");
        assert_eq!(pairs(&read(&header))[0], ("op", "op_open"));
        let header = self::header("op_open", "op=op_delete&id=evil&ts=1620905165700");
        let referrer = read(&header);
        assert_eq!(pairs(&referrer), [("op", "op_open"), ("ts", "1620905165700")]);
        assert!(referrer.ambiguous);
        assert_eq!(referrer.repeated[0], ("op", vec![Cow::from("op_open"), Cow::from("op_delete")]));
        assert_eq!(referrer.repeated[1].1[1], "evil");
    }

    #[test]
    fn forged_keys_stay_in_the_path_they_were_named_in_and_are_flagged() {
        let forged = "s3a://b/y&pr=mallory&id=evil&op=op_list";
        let query = format!(
            "op=op_rename&p1=s3a://b/x&pr=alice&p2={forged}&ps=235865a0&ks=5&id={SPAN}&t0=12&fs=af59&t1=12&ts=1617116985923"
        );
        let header = header("op_rename", &query);
        let referrer = read(&header);
        let value_of = |key: &str| referrer.get(key).map(|value| &**value);
        assert_eq!((value_of("op"), value_of("pr"), value_of("id")), (Some("op_rename"), Some("alice"), Some(SPAN)));
        assert_eq!((value_of("p2"), value_of("ps")), (Some(forged), Some("235865a0")));
        assert!(referrer.ambiguous);
        let keys: Vec<_> = referrer.repeated.iter().map(|(key, values)| (*key, values.len())).collect();
        assert_eq!(keys, [("op", 2), ("pr", 2), ("id", 2)]);
    }

    /// S3A writes the principal after the first path and before the second.
    #[test]
    fn a_principal_named_in_the_first_path_is_not_the_one_who_acts() {
        for (forged, behind) in [
            ("s3a://b/y&pr=mallory", ""),
            ("s3a://b/y&pr=mallory&id=evil&op=op_list", ""),
            ("s3a://b/y&pr=mallory", "&p2=s3a://b/z"),
            ("s3a://b/y&pr=mallory&pr=eve", "&p2=s3a://b/z&pr=trent"),
            ("s3a://b/y&p2=evil&pr=mallory", ""),
        ] {
            let query = format!("op=op_rename&p1={forged}&pr=alice{behind}&ps=real&id={SPAN}&t0=12&ts=1617116985923");
            let header = header("op_rename", &query);
            let referrer = read(&header);
            let value_of = |key: &str| referrer.get(key).map(|value| &**value);
            assert_eq!(
                (value_of("p1"), value_of("pr"), value_of("ps")),
                (Some(forged), Some("alice"), Some("real")),
                "{query}"
            );
            assert_eq!(value_of("p2"), behind.strip_prefix("&p2="), "{query}");
            assert!(referrer.ambiguous);
        }
    }

    #[test]
    fn a_forged_tail_does_not_replace_the_real_one() {
        let forged = "s3a://b/y&ps=evil&t0=0&fs=evil&t1=0&ts=1000000000000";
        let query = format!("op=op_open&p1={forged}&ps=real&id={SPAN}&t0=12&fs=af59&t1=12&ts=1617116985923");
        let header = header("op_open", &query);
        let referrer = read(&header);
        let value_of = |key: &str| referrer.get(key).map(|value| &**value);
        assert_eq!(
            (value_of("ps"), value_of("ts"), value_of("p1")),
            (Some("real"), Some("1617116985923"), Some(forged))
        );
        assert!(referrer.ambiguous);
    }

    #[test]
    fn a_repeated_path_keeps_all_its_values() {
        let referrer = read("https://audit.example.org/hadoop/1/op_open/s-1/?op=op_open&p1=a&p1=b&id=s-1");
        assert_eq!(referrer.repeated, [("p1", vec![Cow::from("a"), Cow::from("b")])]);
        assert!(referrer.ambiguous);
    }

    #[test]
    fn a_key_out_of_order_is_flagged() {
        let header = header("op_open", &format!("op=op_open&p1=x&ji=evil&ps=1&id={SPAN}&ts=1617116985923"));
        assert!(read(&header).ambiguous);
    }

    #[test]
    fn the_order_of_a_header_with_many_attributes_is_known_too() {
        let header = header(
            "op_rename",
            &format!("op=op_rename&p1=x&pr=a&p2=y&ps=1&ks=1&fs=f&ta=t&id={SPAN}&t0=1&t1=2&ts=1617116985923&ji=j"),
        );
        assert!(!read(&header).ambiguous);
    }

    #[test]
    fn wherever_a_header_is_cut_nothing_wrong_is_read() {
        let query = format!(
            "op=op_rename&p1=s3a://b/path%20one&pr=alice&p2=s3a://b/caf%C3%A9&ps=235865a0&ks=5&id={SPAN}&t0=12&fs=af59&t1=12&ts=1617116985923"
        );
        let header = header("op_rename", &query);
        let whole = read(&header);
        assert_eq!(whole.partial, None);
        for length in 0..header.len() {
            let Some(cut) = Referrer::read(&header[..length], Settings::none()) else {
                assert!(length <= BEGIN.len() + "1/".len(), "{}", &header[..length]);
                continue;
            };
            let mut shorter = Vec::new();
            for (key, value) in &cut.pairs {
                let full = whole.get(key).unwrap_or_else(|| panic!("{key} in {}", &header[..length]));
                assert!(full.starts_with(&**value), "{key}={value} in {}", &header[..length]);
                if full != value {
                    shorter.push(key);
                }
            }
            assert!(shorter.iter().all(|key| Some(*key) == cut.partial.as_ref()), "{}", &header[..length]);
            assert!(!cut.ambiguous && cut.repeated.is_empty(), "{}", &header[..length]);
        }
    }

    #[test]
    fn other_referrers_are_left_alone() {
        for header in [
            "",
            "https",
            "https://audit.example.org",
            "https://audit.example.org/other/1/op/id/",
            "https://example.com/page?x=1",
            "http://audit.example.org/hadoop/1/op_open/s-1/?op=x",
            "https://audit.example.org/hadoop/1",
        ] {
            assert_eq!(Referrer::read(header, Settings::none()), None, "{header}");
        }
    }

    #[test]
    fn what_is_to_be_dropped_is_neither_read_nor_left_in_the_header() {
        let query = format!("pr=alice&op=op_open&p1=s3a://b/x&cm=Tool&pr=al%20ice&id={SPAN}&ts=1617116985923&ji=j");
        let header = header("op_open", &query);
        let cut = |keys: &[&str]| {
            let settings = dropping(keys);
            let referrer = Referrer::read(&header, &settings).unwrap();
            assert!(keys.iter().all(|key| referrer.get(key).is_none()), "{keys:?}");
            assert!(!referrer.repeated.iter().any(|(key, _)| keys.contains(key)), "{keys:?}");
            crate::family::s3_access::request::cut(&header, &referrer.cuts).into_owned()
        };
        let begin = format!("https://audit.example.org/hadoop/1/op_open/{SPAN}/?");
        assert_eq!(cut(&["pr", "cm"]), format!("{begin}op=op_open&p1=s3a://b/x&id={SPAN}&ts=1617116985923&ji=j"));
        assert_eq!(
            cut(&["pr", "op", "ji"]),
            format!("https://audit.example.org/hadoop/1/-/{SPAN}/?p1=s3a://b/x&cm=Tool&id={SPAN}&ts=1617116985923")
        );
        assert_eq!(cut(&["none"]), header);
        assert!(!cut(&["id"]).contains(SPAN));
    }

    #[test]
    fn a_key_is_dropped_however_it_is_spelled() {
        let header = header("op_open", &format!("op=op_open&%70r=alice&id={SPAN}&ts=1617116985923&ji=j"));
        let referrer = Referrer::read(&header, &dropping(&["pr"])).unwrap();
        assert!(referrer.get("pr").is_none());
        assert!(!crate::family::s3_access::request::cut(&header, &referrer.cuts).contains("alice"));
    }

    #[test]
    fn the_values_of_a_key_are_found_wherever_they_stand() {
        let query = format!("op=op_open&p1=s3a://b/x&pr=bob&y=1&%70r=alice&id={SPAN}&ts=1617116985923&ji=j");
        let header = header("op_open", &query);
        let values = values(&header, &Settings::default());
        let of = |key: &str| -> Vec<&str> {
            values.iter().filter(|(own, _)| own == key).map(|(_, at)| &header[at.clone()]).collect()
        };
        assert_eq!(of("op")[..2], ["op_open", "op_open"]);
        assert!(
            of("id").contains(&SPAN)
                && of("pr").contains(&"alice")
                && of("pr").iter().any(|own| own.starts_with("bob"))
        );
        assert!(of("none").is_empty());
        assert!(super::values("https://example.com/?pr=x", &Settings::default()).is_empty());
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_fault(query in "([a-z&=%/;0-9é]|&pr=|&id=|&p1=|&ts=|%C3|&x0=){0,40}", drop in any::<bool>()) {
            let header = header("op_open", &query);
            let settings = if drop { dropping(&["pr", "p1"]) } else { Settings::default() };
            if let Some(referrer) = Referrer::read(&header, &settings) {
                let left = crate::family::s3_access::request::cut(&header, &referrer.cuts);
                prop_assert!(!drop || !left.contains("&pr=") && !left.contains("?pr="));
                let mut keys: Vec<_> = referrer.pairs.iter().map(|(key, _)| key.clone()).collect();
                keys.sort_unstable();
                keys.dedup();
                prop_assert_eq!(keys.len(), referrer.pairs.len());
            }
        }
    }
}
