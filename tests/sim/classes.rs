//! The crash matrix of the simulation: each class of receiver, with a process that ends at any call.

use std::collections::BTreeMap;

use crate::happening::{Change, Happening};
use crate::plan::{Kind, Rates, Setting};
use crate::scenes::{APPEND, at, holds, holds_with, quiet, refuses, write};
use crate::sink::{Class, Encoding, SinkSetting};
use crate::tally::Tally;
use crate::world::receiver::Mode;

const CLASSES: [Class; 7] = [
    Class::Exact,
    Class::EventId,
    Class::RequestKey,
    Class::ObjectKey,
    Class::AtLeastOnce,
    Class::Picky,
    Class::Acknowledging,
];

/// A sink of this class, with as many requests under way as it can have.
fn busy(class: Class) -> SinkSetting {
    let request_events = Some(3).filter(|_| class != Class::ObjectKey);
    SinkSetting { lanes: 2, in_flight: 2, window: 2, request_events, ..class.into() }
}

fn one(sink: SinkSetting) -> Setting {
    Setting { sinks: vec![sink], ..quiet(&[Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Shelf]) }
}

/// How many events came again and were not recognized as repeats, by reason.
fn repeats(tally: &Tally) -> BTreeMap<&'static str, u64> {
    let mut repeats = tally.repeats.clone();
    repeats.retain(|why, _| !why.starts_with("recognized"));
    repeats
}

#[test]
fn in_the_simulation_each_class_of_receiver_loses_nothing_and_sees_what_it_must_again_wherever_a_process_ends() {
    for class in CLASSES {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for gates in (10..58).step_by(2) {
            let writes = (0..4).map(|object| write(2, object, Change::Append(10)));
            let sent_ms = 2000 + busy(class).gathers_for().map_or(0, |wait| wait.as_millis() as u64);
            let kill = (sent_ms, Happening::Kill { gates });
            let happenings = writes.chain([kill, write(150, 0, APPEND)]).collect();
            let tally = holds(one(busy(class)), 160, happenings);
            assert_eq!(tally.ends["at a gate"], 1, "{class:?}");
            for (why, count) in repeats(&tally) {
                // At its end, a process has at most two requests of three events under way in each of two lanes.
                assert!(count <= 2 * 2 * 3, "{class:?}: {count} events come again: {why}");
                *all.entry(why).or_default() += count;
            }
        }
        println!("{class:?}: {all:?}");
        assert_eq!(all.is_empty(), class.knows_repeats(), "{class:?}: {all:?}");
    }
}

#[test]
fn in_the_simulation_batches_that_were_sealed_under_other_lanes_and_requests_are_sent_as_they_were_sealed() {
    for class in CLASSES {
        let before = busy(class);
        let after = SinkSetting { lanes: 3, in_flight: 1, request_events: before.request_events.map(|_| 2), ..before };
        let happenings = vec![
            refuses(1, 0, 110),
            write(2, 0, APPEND),
            write(2, 1, APPEND),
            at(90, Happening::Reconfigure { sink: 0, to: after }),
            write(220, 0, APPEND),
            at(230, Happening::Kill { gates: 0 }),
            write(300, 1, APPEND),
        ];
        let tally = holds(one(before), 310, happenings);
        assert_eq!(repeats(&tally), BTreeMap::new(), "{class:?}");
        assert_eq!(tally.faults.get("batch cannot be made again"), None, "{class:?}");
    }
}

#[test]
fn in_the_simulation_a_batch_that_was_sealed_in_another_encoding_is_delivered_in_the_new_one() {
    for class in CLASSES {
        let before = busy(class);
        let after = SinkSetting { encoding: Encoding::Ocsf, ..before };
        let happenings = vec![
            refuses(1, 0, 160),
            write(2, 0, APPEND),
            at(90, Happening::Reconfigure { sink: 0, to: after }),
            write(240, 0, APPEND),
        ];
        let tally = holds(one(before), 250, happenings);
        assert!(tally.faults["batch cannot be made again"] > 0, "{class:?}");
        assert_eq!(repeats(&tally), BTreeMap::new(), "{class:?}: the receiver has had nothing of it");
    }
}

#[test]
fn in_the_simulation_what_a_receiver_had_not_acknowledged_when_it_restarted_is_sent_again() {
    let mut lost = 0;
    for seconds in 0..8 {
        let writes = (0..8).map(|turn| write(2 + turn, 0, APPEND));
        let restarts = (0..4).map(|turn| (2_100 + seconds * 50 + turn * 2_000, Happening::Restart { sink: 0 }));
        let mut happenings: Vec<_> = writes.chain(restarts).collect();
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        let tally = holds(one(busy(Class::Acknowledging)), 30, happenings);
        lost += tally.events - 8 * 5;
    }
    assert!(lost > 0, "something was pending at a restart");
}

#[test]
fn in_the_simulation_what_was_taken_while_an_earlier_request_waits_does_not_come_again() {
    for seed in 0..60 {
        let sink = SinkSetting { lanes: 1, in_flight: 3, window: 3, ..busy(Class::AtLeastOnce) };
        let setting = Setting { rates: Rates { late: 400, ..Rates::default() }, ..one(sink) };
        let writes = (0..6).map(|turn| write(2 + turn * 3, turn as usize % 4, Change::Append(4)));
        let kill = (3_000 + seed * 400, Happening::Kill { gates: 0 });
        let mut happenings: Vec<_> = writes.chain([kill]).collect();
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        let tally = holds_with(setting, 60, happenings, seed);
        assert_eq!(tally.ends["at a gate"], 1);
    }
}

#[test]
fn in_the_simulation_only_a_key_by_request_does_not_outlive_answers_that_are_lost_for_ten_minutes() {
    for class in CLASSES.into_iter().filter(|class| class.knows_repeats()) {
        let lost = Happening::Sink { sink: 0, mode: Mode::LosesReplies, for_ms: 1_200_000 };
        let tally = holds(one(busy(class)), 1300, vec![at(1, lost), write(2, 0, APPEND)]);
        // By then the request is sent in halves, since the receiver may fail at one of its events.
        let again = repeats(&tally).remove("its request was cut otherwise").unwrap_or_default();
        assert_eq!(again > 0, class == Class::RequestKey, "{class:?}: {again}");
        assert_eq!(repeats(&tally).len(), usize::from(again > 0), "{class:?}: {:?}", tally.repeats);
    }
}
