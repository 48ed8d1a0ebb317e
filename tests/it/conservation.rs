//! At every scrape, of each feed and sink: records read = delivered + refused + skipped + under way. The counts also
//! move while an object is read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::daemon::Daemon;
use super::support::http::page;
use super::support::outage::{EXPECTED, Outage};
use super::support::records::{assert_once_each, object, record};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, World, write_whole};

/// The records of the object: each 1000th cannot be decoded, and each 100th of the others is a login.
const RECORDS: u64 = 24_000;
const BROKEN: u64 = 24;
const GOOD: u64 = RECORDS - BROKEN;
const LOGINS: u64 = 240 - BROKEN;

/// What the log says of the lines that cannot be decoded.
const REFUSED: &str = "records cannot be decoded and are quarantined";

/// Samples of one scrape by their name and labels.
type Scrape = BTreeMap<String, f64>;

fn line(number: u64) -> String {
    let record = record(number);
    match number {
        _ if number.is_multiple_of(1000) => record[..record.len() / 2].to_owned(),
        _ if number.is_multiple_of(100) => {
            record.replace("\"clusters\"", "\"accounts\"").replace("\"create\"", "\"login\"")
        }
        _ => record,
    }
}

fn lines(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(line).collect()
}

fn good(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    lines(numbers.into_iter().filter(|number| !number.is_multiple_of(1000)))
}

fn scrape(admin: SocketAddr) -> Option<Scrape> {
    let text = page(admin, "/metrics")?.text();
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Some(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
}

/// The value of a metric for a feed's records to one sink, NaN if the scrape lacks it.
fn of_stream(scrape: &Scrape, (feed, sink): (&str, &str), name: &str, reason: &str) -> f64 {
    let labels = format!("{{feed=\"{feed}\",sink=\"{sink}\"{reason}}}");
    scrape.get(&format!("auditferry_records_{name}{labels}")).copied().unwrap_or(f64::NAN)
}

fn of(scrape: &Scrape, sink: &str, name: &str) -> f64 {
    of_stream(scrape, ("audit", sink), name, "")
}

fn skipped_of(scrape: &Scrape, stream: (&str, &str), reason: &str) -> f64 {
    of_stream(scrape, stream, "skipped_total", &format!(",reason=\"{reason}\""))
}

fn skipped(scrape: &Scrape, sink: &str, reason: &str) -> f64 {
    skipped_of(scrape, ("audit", sink), reason)
}

/// Asserts the law, and that the scrape has every one of its series.
fn assert_law(scrape: &Scrape) {
    for stream in STREAMS {
        let read = of_stream(scrape, stream, "read_total", "");
        let outcomes =
            ["delivered_total", "refused_total", "under_way"].map(|name| of_stream(scrape, stream, name, ""));
        let skipped = ["filtered", "missing", "reread"].map(|reason| skipped_of(scrape, stream, reason));
        let sum: f64 = outcomes.iter().chain(&skipped).sum();
        assert!(
            read == sum,
            "{stream:?}: {read} read; delivered, refused, under way {outcomes:?}; skipped {skipped:?}"
        );
        assert!(outcomes.iter().chain(&skipped).all(|count| *count >= 0.0), "{stream:?}: {outcomes:?} {skipped:?}");
    }
}

/// Scrapes the daemon repeatedly while `work` runs, judges each scrape, and returns them all.
fn watched(daemon: &Daemon, work: impl FnOnce()) -> Vec<Scrape> {
    let admin = daemon.admin().unwrap();
    let (over, scrapes) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            loop {
                let is_last = over.load(Ordering::Acquire);
                if let Some(scrape) = scrape(admin) {
                    assert_law(&scrape);
                    scrapes.lock().unwrap().push(scrape);
                }
                if is_last {
                    return;
                }
                moment(Duration::from_millis(2));
            }
        });
        work();
        over.store(true, Ordering::Release);
        watch.join().unwrap();
    });
    scrapes.into_inner().unwrap()
}

fn counts(daemon: &Daemon, sink: &str, name: &str, expected: u64) {
    let metric = format!("auditferry_records_{name}");
    let of_sink = format!("sink=\"{sink}\"");
    let count = || daemon.metric(&metric, &["feed=\"audit\"", &of_sink]);
    eventually(&format!("{metric} of {sink} is {expected}"), SOON, || count() == expected as f64);
}

/// Feed and sink: `out` takes all records, `logins` those of its filter, `late` is away now and then; the feed `others`
/// has mostly lines that are no record.
const STREAMS: [(&str, &str); 4] = [("audit", "out"), ("audit", "logins"), ("audit", "late"), ("others", "out")];

/// A line of another component of YDB, and an audit record of the same log.
const OTHER: &str = "2022-08-03T22:41:43.100000Z node 1 :TX_PROXY INFO: Actor# [1:7127:1] txid# 281474976710670 DONE\n";
const AUDIT: &str = "2023-03-14T10:41:36.485788Z: {\"paths\":\"[/root/.sys/pdisks]\",\"tx_id\":\"281474976775658\",\"database\":\"/root\",\"remote_address\":\"ipv6:[::1]:1\",\"status\":\"SUCCESS\",\"subject\":\"{none}\",\"operation\":\"DROP TABLE\",\"component\":\"schemeshard\"}\n";

fn world() -> World {
    let world = World::new().impatient().with_directory_feed(&["out", "logins", "late"]);
    let world = world.with_file("out").with_file("late");
    let (logins, others) = (world.output("logins"), world.path("others"));
    std::fs::create_dir_all(&others).unwrap();
    world.with(&format!(
        "[feed.others]\nfamily = \"ydb\"\ndirectory = {others:?}\nscan_every = \"1s\"\nsinks = [\"out\"]\n"
    ))
    .with(&format!(
        "[sink.logins]\ntype = \"file\"\npath = {logins:?}\nencoding = \"raw\"\nfilter = {{ classes = [\"authentication\"] }}\n"
    ))
}

#[test]
fn whatever_happens_no_record_is_unaccounted_for() {
    let world = world();
    let outage = Outage::of(&world.output("late"));
    let daemon = world.run(&[]).expecting(&EXPECTED).expecting(&[REFUSED]).at_work();
    assert_law(&scrape(daemon.admin().unwrap()).unwrap());
    let scrapes = watched(&daemon, || {
        write_whole(
            &world.path("others"),
            &world.path("aside"),
            "a.log",
            format!("{AUDIT}{}", OTHER.repeat(3)).as_bytes(),
        );
        world.write(KEY, &object(&lines(1..=RECORDS)));
        counts(&daemon, "out", "delivered_total", GOOD);
        counts(&daemon, "logins", "delivered_total", LOGINS);
        counts(&daemon, "out", "under_way", 0);
        daemon.counts("auditferry_lines_skipped_total", &["feed=\"others\""], 3.0);
    });
    assert_counts_move(&scrapes);
    let last = scrapes.last().unwrap();
    assert_eq!(of(last, "out", "refused_total"), BROKEN as f64);
    assert_eq!(of(last, "logins", "refused_total"), BROKEN as f64);
    assert_eq!(skipped(last, "logins", "filtered"), (GOOD - LOGINS) as f64);
    assert_eq!(of_stream(last, ("others", "out"), "delivered_total", ""), 1.0, "what is no record is not read as one");
    let quarantined = ["feed=\"audit\"", "kind=\"record\""];
    assert_eq!(daemon.metric("auditferry_records_quarantined_total", &quarantined), BROKEN as f64);
    // Three records vanish before the sink that is away gets them, and come back.
    let scrapes = watched(&daemon, || {
        world.write(KEY, &object(&lines(4..=RECORDS)));
        eventually("it was read again", SOON, || {
            daemon.metric("auditferry_rewrites_total", &["feed=\"audit\""]) >= 1.0
        });
        outage.end();
        counts(&daemon, "late", "delivered_total", GOOD - 3);
    });
    assert_eq!(skipped(scrapes.last().unwrap(), "late", "missing"), 3.0);
    let scrapes = watched(&daemon, || {
        world.write(KEY, &object(&lines(1..=RECORDS)));
        counts(&daemon, "late", "delivered_total", GOOD);
        counts(&daemon, "late", "under_way", 0);
    });
    let last = scrapes.last().unwrap();
    assert_eq!((of(last, "late", "refused_total"), skipped(last, "late", "missing")), (BROKEN as f64, 3.0));
    assert_eq!((of(last, "out", "delivered_total"), skipped(last, "out", "reread")), (GOOD as f64, 0.0));
    assert!(daemon.stop().success());
    assert_once_each(&world.delivered("late"), &good(1..=RECORDS));
}

/// Asserts that the counts of `out` move while its object is read, and not only at its end.
fn assert_counts_move(scrapes: &[Scrape]) {
    let is_within = |count: f64| count > 0.0 && count < GOOD as f64;
    for name in ["read_total", "delivered_total"] {
        assert!(scrapes.iter().any(|scrape| is_within(of(scrape, "out", name))), "{name}");
    }
    let ended =
        |scrape: &&Scrape| scrape.keys().any(|name| name.starts_with("auditferry_objects_total{feed=\"audit\""));
    let during: Vec<&Scrape> = scrapes.iter().take_while(|scrape| !ended(scrape)).collect();
    for name in ["bytes_fetched_total", "bytes_decompressed_total", "events_received_total"] {
        let series = format!("auditferry_{name}{{feed=\"audit\"}}");
        assert!(during.iter().any(|scrape| scrape.get(&series).is_some_and(|count| *count > 0.0)), "{name}");
    }
}

#[test]
fn after_a_restart_the_law_holds_from_the_first_scrape_on() {
    let world = world();
    let daemon = world.run(&[]).expecting(&EXPECTED).expecting(&[REFUSED]).ready();
    let outage = Outage::of(&world.output("late"));
    world.write(KEY, &object(&lines(999..=1010)));
    eventually("a batch is sealed", SOON, || daemon.says("a batch was not delivered") > 0);
    counts(&daemon, "out", "delivered_total", 11);
    daemon.kill();
    let daemon = world.run(&[]).expecting(&EXPECTED).expecting(&[REFUSED]).at_work();
    let first = scrape(daemon.admin().unwrap()).unwrap();
    assert_law(&first);
    assert_eq!(of(&first, "out", "read_total"), 0.0, "counters begin anew");
    watched(&daemon, || {
        daemon.counts("auditferry_records_under_way", &["sink=\"late\""], 12.0);
        outage.end();
        counts(&daemon, "late", "delivered_total", 11);
        counts(&daemon, "late", "refused_total", 1);
        counts(&daemon, "late", "under_way", 0);
    });
    assert!(daemon.stop().success());
    assert_once_each(&world.delivered("late"), &good(999..=1010));
}
