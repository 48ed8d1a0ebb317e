//! Faults that were found, and promises about rare happenings: each as the few happenings that show it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Waker};

use crate::happening::{Change, Forgery, Happening};
use crate::plan::{BESIDE, Kind, Plan, Rates, Setting};
use crate::run::{play, run};
use crate::sink::Class;
use crate::tally::Tally;
use crate::world::content::Damage;
use crate::world::receiver::Mode;
use crate::world::{World, place};

pub const APPEND: Change = Change::Append(5);

const HOUR_MS: u64 = 3_600_000;

pub fn write(at_secs: u64, object: usize, change: Change) -> (u64, Happening) {
    (at_secs * 1000, Happening::Write { object, change })
}

pub fn refuses(at_secs: u64, sink: usize, for_secs: u64) -> (u64, Happening) {
    (at_secs * 1000, Happening::Sink { sink, mode: Mode::Refuses, for_ms: for_secs * 1000 })
}

fn fails(at_secs: u64, bucket: &'static str, for_secs: u64) -> (u64, Happening) {
    (at_secs * 1000, Happening::Place { bucket, mode: place::Mode::Fails, for_ms: for_secs * 1000 })
}

pub fn at(at_secs: u64, happening: Happening) -> (u64, Happening) {
    (at_secs * 1000, happening)
}

/// Checks that the promises hold in this scene, which is healed at `ends_secs`. Returns what happened.
pub fn holds(setting: Setting, ends_secs: u64, happenings: Vec<(u64, Happening)>) -> Tally {
    holds_with(setting, ends_secs, happenings, 0)
}

pub fn holds_with(setting: Setting, ends_secs: u64, happenings: Vec<(u64, Happening)>, seed: u64) -> Tally {
    let outcome = play(Plan { setting, happenings, ends_ms: ends_secs * 1000 }, seed);
    assert!(outcome.is_good(), "{}", outcome.told());
    outcome.tally
}

/// A setting without random faults, with two sinks and these objects.
pub fn quiet(objects: &[Kind]) -> Setting {
    Setting { objects: objects.into(), ..Setting::quiet(2, 0, "") }
}

/// A setting in which one call in four fails.
fn restless(sinks: usize, objects: usize) -> Setting {
    let quiet = Setting::quiet(sinks, objects, "owe_after = \"30s\"\n");
    Setting { rates: Rates { fail: 250, ..quiet.rates }, ..quiet }
}

#[test]
fn in_the_simulation_objects_that_waited_for_a_sink_do_not_put_each_other_off() {
    for (sinks, limits) in [(1, ""), (2, ""), (2, "owe_after = \"30s\"\n"), (2, "owe_after = \"never\"\n")] {
        let writes = (0..4).map(|object| write(2, object, APPEND));
        let after = (0..4).map(|object| write(120, object, APPEND));
        let happenings = writes.chain([refuses(60, 0, 600)]).chain(after).collect();
        holds(Setting::quiet(sinks, 4, limits), 661, happenings);
    }
}

#[test]
fn in_the_simulation_a_forged_message_makes_no_later_version_vanish() {
    let forge = |at_ms| (at_ms, Happening::Forge { object: 0, forgery: Forgery::Object });
    let happenings =
        vec![write(2, 0, APPEND), forge(10_000), write(20, 0, APPEND), forge(20_001), write(30, 0, APPEND)];
    holds(Setting::quiet(2, 1, ""), 60, happenings);
}

#[test]
fn in_the_simulation_a_record_that_vanished_while_one_sink_was_away_reaches_it_when_it_comes_back() {
    let happenings = vec![
        write(2, 0, APPEND),
        refuses(10, 1, 60),
        // Through another object, the collector notices that the sink takes no events.
        write(11, 1, APPEND),
        write(30, 0, APPEND),
        write(40, 0, Change::Shrink(3)),
        write(120, 0, Change::Regrow),
    ];
    holds(Setting::quiet(2, 2, ""), 200, happenings);
}

#[test]
fn in_the_simulation_an_old_notification_does_not_settle_a_later_version_that_a_sink_has_not_had() {
    for seed in 0..40 {
        let repeats = (0..40).map(|turn| (60_000 + turn * 500, Happening::Repeat { object: 0, version: 0 }));
        let happenings = [write(2, 0, APPEND), refuses(20, 0, 45), write(21, 1, APPEND), write(40, 0, APPEND)];
        let happenings = happenings.into_iter().chain(repeats).collect();
        holds_with(restless(1, 2), 100, happenings, seed);
    }
}

#[test]
fn in_the_simulation_a_gone_object_with_more_messages_than_its_feeds_share_is_given_up() {
    // With `owe_after = "never"` there is no backlog, so messages past a feed's share are put off.
    let setting = Setting { held_max: 10, ..Setting::quiet(1, 1, "owe_after = \"never\"\n") };
    let setting = Setting { objects: vec![Kind::Lines, Kind::Beside], ..setting };
    let writes = (0..20).map(|turn| (100 + turn, Happening::Write { object: 0, change: APPEND }));
    let happenings = [(1, Happening::Kill { gates: 0 })].into_iter().chain(writes);
    holds(setting, 1, happenings.chain([(120, Happening::Write { object: 0, change: Change::Delete })]).collect());
}

#[test]
fn in_the_simulation_a_sink_is_ahead_of_no_store_that_was_not_put_back() {
    // A line that does not decode makes a batch without events, which is not sent to the receiver.
    let happenings = vec![
        write(2, 0, APPEND),
        write(10, 0, Change::Garbled),
        at(20, Happening::Kill { gates: 0 }),
        write(90, 0, APPEND),
    ];
    let tally = holds(Setting::quiet(2, 1, ""), 100, happenings);
    assert_eq!((tally.ends["at a gate"], tally.faults.get("sink is ahead, and that is told")), (1, None));
}

#[test]
fn in_the_simulation_every_form_is_delivered_once_whatever_is_done_to_its_object() {
    let kinds = [Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Beside, Kind::Shelf];
    let changes = [APPEND, Change::Reorder(7), Change::Shrink(2), Change::CopyInPlace, Change::Regrow, APPEND];
    let writes = (0..kinds.len()).flat_map(|object| {
        let changes = changes.clone().into_iter().zip(1..);
        changes.map(move |(change, turn)| write(turn * 90 + object as u64, object, change))
    });
    let mut happenings: Vec<_> = writes.collect();
    happenings.sort_by_key(|(at_ms, _)| *at_ms);
    let tally = holds(quiet(&kinds), 700, happenings);
    // Two appends of 5 lines to each of four objects, and 9 rows, for two sinks.
    assert_eq!((tally.events, tally.repeats), (2 * (4 * 10 + 9), BTreeMap::new()));
}

#[test]
fn in_the_simulation_an_archived_object_is_delivered_once_it_is_restored() {
    for kind in [Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Shelf] {
        let bucket = kind.bucket();
        let happenings = vec![
            // The object is archived before it is first read.
            fails(1, bucket, 60),
            write(2, 0, APPEND),
            at(5, Happening::Archive { object: 0 }),
            at(200, Happening::Thaw { object: 0 }),
        ];
        let tally = holds(quiet(&[kind]), 300, happenings);
        assert_eq!(tally.events, if kind == Kind::Rows { 18 } else { 10 }, "{kind:?}");
    }
}

#[test]
fn in_the_simulation_a_damaged_object_waits_in_quarantine_for_a_sound_version() {
    for (kind, damage, seed) in [
        (Kind::Gzip, Damage::Noise, 0),
        (Kind::Gzip, Damage::Cut, 1),
        (Kind::Gzip, Damage::Flipped, 2),
        (Kind::Rows, Damage::Noise, 3),
        (Kind::Rows, Damage::Cut, 4),
        (Kind::Rows, Damage::Flipped, 5),
    ] {
        let happenings = vec![
            write(2, 0, Change::Damaged(damage)),
            at(10, Happening::Requeue),
            write(60, 0, Change::CopyInPlace),
            write(90, 0, Change::Damaged(damage)),
            at(100, Happening::Requeue),
        ];
        let tally = holds_with(quiet(&[kind]), 200, happenings, seed);
        assert!(tally.events >= 4, "the sound version was read: {tally}");
    }
}

#[test]
fn in_the_simulation_what_was_too_long_is_delivered_once_the_limit_is_raised_and_it_is_requeued() {
    for (kind, keeps) in [(Kind::Lines, 1), (Kind::Gzip, 1000), (Kind::Shelf, 1)] {
        let limits = format!("quarantine_entries_per_object = {keeps}\n");
        let setting = Setting { objects: vec![kind], limits_lines: true, ..Setting::quiet(2, 0, &limits) };
        let happenings = vec![
            write(2, 0, APPEND),
            write(10, 0, Change::Long),
            write(20, 0, Change::Garbled),
            refuses(100, 1, 100),
            write(110, 0, Change::Long),
            write(120, 0, Change::Long),
            at(150, Happening::Requeue),
            write(230, 0, APPEND),
        ];
        let tally = holds(setting, 300, happenings);
        assert_eq!((tally.events, tally.repeats), (2 * (2 * 5 + 3), BTreeMap::new()), "{kind:?}");
    }
}

#[test]
fn in_the_simulation_an_older_store_that_is_put_back_loses_nothing_and_tells_which_sinks_are_ahead() {
    let mut setting = quiet(&[Kind::Lines, Kind::Gzip, Kind::Rows]);
    setting.sinks[1] = Class::AtLeastOnce.into();
    let happenings = vec![
        write(2, 0, APPEND),
        at(10, Happening::Backup),
        write(20, 0, APPEND),
        write(21, 1, APPEND),
        write(22, 2, APPEND),
        at(30, Happening::PutBack),
        write(100, 0, APPEND),
    ];
    let tally = holds(setting, 120, happenings);
    // Only what both sinks had after the backup comes again.
    assert_eq!(tally.repeats, BTreeMap::from([("an older store was put back", 2 * (5 + 5 + 9))]));
    assert_eq!(tally.faults["sink is ahead, and that is told"], 1, "one of them knows what it has had");
}

#[test]
fn in_the_simulation_a_sink_that_is_away_for_long_has_the_batch_that_waited_once() {
    let setting = Setting { sinks: vec![Class::AtLeastOnce.into(); 2], ..quiet(&[Kind::Lines]) };
    let tally = holds(setting, 2000, vec![refuses(1, 0, 1800), write(2, 0, APPEND)]);
    assert_eq!((tally.events, tally.repeats), (10, BTreeMap::new()));
}

#[test]
fn in_the_simulation_outages_of_days_lose_nothing() {
    let hours = |hours: u64| hours * 3600;
    let happenings = vec![
        write(2, 0, APPEND),
        refuses(10, 0, hours(30)),
        fails(20, BESIDE, hours(34)),
        write(30, 0, APPEND),
        write(40, 1, APPEND),
        write(hours(20), 0, Change::Shrink(3)),
        at(hours(24), Happening::Kill { gates: 40 }),
        write(hours(26), 1, Change::Regrow),
        write(hours(33), 0, Change::Regrow),
    ];
    let tally = holds(quiet(&[Kind::Lines, Kind::Beside]), hours(36), happenings);
    assert!(tally.simulated_ms > 36 * HOUR_MS, "{tally}");
}

#[test]
fn in_the_simulation_no_feed_waits_for_one_that_is_refused_slow_silent_or_failing() {
    for mode in [place::Mode::Refuses, place::Mode::Slow, place::Mode::Silent, place::Mode::Fails] {
        let kinds = [Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Beside, Kind::Beside, Kind::Beside];
        let setting = Setting { at_fault: vec![BESIDE], objects_at_once: 3, ..quiet(&kinds) };
        let writes = (0..60).map(|turn| write(2 + turn * 7, turn as usize % kinds.len(), APPEND));
        let fault = at(1, Happening::Place { bucket: BESIDE, mode, for_ms: HOUR_MS });
        let tally = holds(setting, 500, [fault].into_iter().chain(writes).collect());
        assert_eq!((tally.events, tally.lost), (2 * (50 * 5 + 9), 0), "{mode:?}");
    }
}

#[test]
fn in_the_simulation_no_sink_and_no_message_waits_for_one_whose_batches_gather_for_long() {
    let objects = [Kind::Lines, Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Shelf];
    // Naming a bucket at fault, though it has no objects, has the simulator check that each line reaches the first sink
    // within a second.
    let sinks = vec![Class::Exact.into(), Class::ObjectKey.into()];
    // If messages waited for batches, ten would be held and no further one received.
    let setting = Setting { sinks, at_fault: vec![BESIDE], held_max: 10, ..quiet(&objects) };
    let writes = (0..100).map(|turn| write(2 + turn * 3, turn as usize % 4, APPEND));
    let happenings = writes.chain([write(302, 4, APPEND)]).collect();
    let outcome = play(Plan { setting, happenings, ends_ms: 310_000 }, 0);
    assert!(outcome.is_good(), "{}", outcome.told());
    assert_eq!((outcome.tally.events, outcome.tally.lost), (2 * (75 * 5 + 9 + 5), 0));
    // For the first sink, each write is a batch of its own. For the second, five minutes make about one batch a minute.
    assert!(outcome.batches[0] > 60 && (5..12).contains(&outcome.batches[1]), "{:?}", outcome.batches);
}

#[test]
fn in_the_simulation_what_is_gathered_for_long_is_delivered_once_whatever_ends_the_process() {
    for seed in 0..14 {
        let writes = (0..60).map(|turn| write(2 + turn * 10, turn as usize % 3, APPEND));
        let kills = (1..20).map(|turn| at(turn * 31 + seed % 30, Happening::Kill { gates: seed % 7 * 5 }));
        let mut happenings: Vec<_> = writes.chain(kills).chain([refuses(200, 0, 90)]).collect();
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        let setting = Setting { sinks: vec![Class::ObjectKey.into(), Class::Exact.into()], ..restless(2, 3) };
        let tally = holds_with(setting, 620, happenings, seed);
        assert_eq!(tally.lost, 0);
    }
    let alone = Setting { sinks: vec![Class::ObjectKey.into()], ..Setting::quiet(1, 3, "") };
    let writes = (0..60).map(|turn| write(2 + turn * 10, turn as usize % 3, APPEND)).collect();
    assert_eq!(holds(alone, 620, writes).events, 300);
}

#[test]
fn in_the_simulation_what_gathered_alone_and_vanished_before_its_seal_is_told_as_lacking() {
    let setting = Setting { sinks: vec![Class::ObjectKey.into()], ..Setting::quiet(1, 1, "") };
    let kill = at(10, Happening::Kill { gates: 0 });
    let happenings = vec![write(2, 0, APPEND), kill, write(11, 0, Change::Shrink(3)), write(200, 0, Change::Regrow)];
    let outcome = play(Plan { setting, happenings, ends_ms: 210_000 }, 0);
    assert!(outcome.is_good(), "{}", outcome.told());
    assert!(outcome.trace.contains("records vanished from the source before the sink had them"), "{}", outcome.told());
    assert_eq!(outcome.tally.events, 5);
}

#[test]
fn in_the_simulation_a_feed_that_waits_is_noticed() {
    let setting = Setting { at_fault: vec![BESIDE], ..quiet(&[Kind::Lines]) };
    let happenings = vec![refuses(1, 0, 9), write(2, 0, APPEND)];
    let outcome = play(Plan { setting, happenings, ends_ms: 20_000 }, 0);
    let first = outcome.violations.first().unwrap();
    assert!(first.starts_with("a feed waits "), "{first}");
}

#[test]
fn in_the_simulation_nothing_of_the_world_is_called_after_the_end_of_a_process() {
    for gates in 0..80 {
        let writes = (0..4).map(|turn| write(2, turn, APPEND));
        let kill = (1999, Happening::Kill { gates });
        let after = (0..4).map(|turn| write(70, turn, APPEND));
        let happenings = [kill].into_iter().chain(writes).chain(after).collect();
        let tally = holds(quiet(&[Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Shelf]), 80, happenings);
        assert_eq!(tally.ends["at a gate"], 1);
    }
}

#[test]
fn in_the_simulation_a_call_after_the_end_is_noticed() {
    let world = World::new(Setting::quiet(1, 1, ""), "/nowhere".into(), 0);
    assert!(pin!(world.gate("GET")).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(world.state().violations, ["GET is asked for while no process runs"]);
}

#[test]
fn in_the_simulation_a_seed_goes_the_same_way_twice_and_another_seed_another() {
    let [one, again, other] = [1, 1, 2].map(|seed| run(seed, &[]));
    assert_eq!((one.digest, &one.tally), (again.digest, &again.tally));
    assert_ne!(one.digest, other.digest);
}

#[test]
fn in_the_simulation_events_that_a_receiver_refuses_come_to_it_once_it_is_mended_and_they_are_requeued() {
    for seed in 0..30 {
        let setting = Setting { sinks: vec![Class::Picky.into(), Class::Exact.into()], ..restless(2, 3) };
        let writes = (0..3).map(|object| write(2, object, Change::Append(60)));
        let happenings = writes.chain([
            at(100, Happening::Requeue),
            // Most records of one object are gone, and another object is deleted.
            write(200, 0, Change::Shrink(20)),
            write(200, 1, Change::Delete),
            at(300, Happening::Mend),
            at(300, Happening::Requeue),
            (302_000 + seed * 100, Happening::Kill { gates: seed }),
        ]);
        let tally = holds_with(setting, 400, happenings.collect(), seed);
        assert!(tally.faults["events are refused"] > 0, "{tally}");
    }
}

#[test]
fn in_the_simulation_a_stop_midway_settles_nothing_though_a_requeued_event_waits_for_a_sink() {
    for seed in 0..60 {
        let happenings = vec![
            write(2, 0, Change::Append(60)),
            at(20, Happening::Mend),
            (20_001, Happening::Sink { sink: 0, mode: Mode::Hangs, for_ms: 600_000 }),
            at(21, Happening::Requeue),
            write(21, 0, APPEND),
            (21_200 + seed * 100, Happening::Stop),
        ];
        let quiet = Setting { sinks: vec![Class::Picky.into(), Class::Exact.into()], ..Setting::quiet(2, 1, "") };
        let setting = Setting { rates: Rates { body: 800, ..quiet.rates }, ..quiet };
        holds_with(setting, 100, happenings, seed);
    }
}
