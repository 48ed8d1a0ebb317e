//! A scan fills no more than its feed's share of what may wait.

use std::time::Duration;

use super::support::inside::{self, Pace, Shelf};
use super::support::records::records;

#[test]
fn a_feed_with_50_000_objects_that_cannot_be_read_yet_delays_no_other() {
    let full = Shelf::new("full", 0..50_000, Pace::Never);
    // By then the other scan has come as far as it can.
    let small = Shelf { listing: Duration::from_secs(30), ..Shelf::new("small", 50_000..50_003, Pace::AtOnce) };
    inside::run("", &[full, small], async |delivered| {
        delivered.comes_to(3, Duration::from_secs(31)).await;
        assert_eq!(delivered.lines(), records(50_000..50_003));
    });
}
