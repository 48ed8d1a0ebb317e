//! Faults that were met, each as the few happenings that show it.

use crate::plan::{Change, Forgery, Happening, Plan, Rates, Setting};
use crate::run::play;
use crate::world::receiver::{Class, Mode};

const APPEND: Change = Change::Append(5);

fn write(at_secs: u64, object: usize, change: Change) -> (u64, Happening) {
    (at_secs * 1000, Happening::Write { object, change })
}

fn refuses(at_secs: u64, sink: usize, for_secs: u64) -> (u64, Happening) {
    (at_secs * 1000, Happening::Sink { sink, mode: Mode::Refuses, for_ms: for_secs * 1000 })
}

/// The scene keeps the promises, from a healing at `ends_secs` on.
fn holds(setting: Setting, ends_secs: u64, happenings: Vec<(u64, Happening)>) {
    holds_with(setting, ends_secs, happenings, 0);
}

fn holds_with(setting: Setting, ends_secs: u64, happenings: Vec<(u64, Happening)>, seed: u64) {
    let outcome = play(Plan { setting, happenings, ends_ms: ends_secs * 1000 }, seed);
    assert!(outcome.is_good(), "{}", outcome.told());
}

/// As a quiet setting, where one call in four fails.
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
        // The sink is found not to take events by another object.
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
fn in_the_simulation_events_that_a_receiver_refuses_come_to_it_once_they_are_requeued() {
    for seed in 0..30 {
        let setting = Setting { sinks: vec![Class::Picky, Class::Exact], ..restless(2, 3) };
        let writes = (0..3).map(|object| write(2, object, Change::Append(60)));
        // Of one object the records are gone, and another is gone whole.
        let gone = [write(200, 0, Change::Shrink(20)), write(200, 1, Change::Delete)];
        let kill = (302_000 + seed * 100, Happening::Kill { gates: seed });
        let happenings = writes.chain(gone).chain([(300_000, Happening::Requeue), kill]).collect();
        holds_with(setting, 400, happenings, seed);
    }
}
