//! Immuta: audit records in a web service's log.

use crate::content;
use crate::delivery::{Delivery, count_lines, name_events, parse_values};
use crate::measure::{Figure, Subject};

const RECORDS: usize = 5_000;

pub(crate) fn measure() {
    let content = content::immuta(RECORDS);
    let delivery = Delivery::of("immuta", "logs/web-0.log");
    let subject = Subject {
        title: "immuta".to_owned(),
        records: RECORDS,
        bytes: content.len(),
        rounds: 60,
        yardstick: "serde_json to Value",
    };
    subject.measure(&[
        Figure::new("memchr line count", || count_lines(&content)),
        Figure::new("serde_json to Value", || parse_values(&content)),
        Figure::new("frame, decode to raw", || delivery.raw().unhashed().run(&content)),
        Figure::new("frame, identity", || name_events(delivery, &content)),
        Figure::new("frame, decode to OCSF", || delivery.unhashed().run(&content)),
        Figure::new("first delivery", || delivery.run(&content)),
    ]);
}
