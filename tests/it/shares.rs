//! No object in a memory place keeps other objects from being read: neither by the number of such objects nor by a body
//! that does not arrive.

use std::time::Duration;

use super::support::inside::{self, Pace, Shelf};
use super::support::records::records;

#[test]
fn a_feed_with_50_000_objects_that_cannot_be_read_yet_delays_no_other() {
    let full = Shelf::new("full", 0..50_000, |_| Pace::Never);
    // By then the scan of the other feed has read as far as it can.
    let small = Shelf { listing: Duration::from_secs(30), ..Shelf::new("small", 50_000..50_003, |_| Pace::AtOnce) };
    inside::run("", &[full, small], async |delivered| {
        delivered.comes_to(3, Duration::from_secs(31)).await;
        assert_eq!(delivered.lines(), records(50_000..50_003));
    });
}

#[test]
fn a_body_that_is_asked_for_once_more_and_does_not_come_gives_its_job_back() {
    let pace = |number| if number < 3 { Pace::OnlyOnce } else { Pace::AtOnce };
    inside::run("objects_at_once = 3", &[Shelf::new("twice", 0..4, pace)], async |delivered| {
        // In the first ten seconds each of the other bodies arrived once.
        delivered.comes_to(1, Duration::from_secs(25)).await;
        assert_eq!(delivered.lines(), records(3..4));
    });
}
