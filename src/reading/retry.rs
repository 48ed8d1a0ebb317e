//! Records that are or were in quarantine: which are tried again, and which are refused again.

use std::collections::{BTreeMap, BTreeSet};

use crate::delta::Places;
use crate::event::EventId;
use crate::family::Refusal;

/// Events that a sink lacks, by their record's place. The sink has the record's other events.
pub(crate) type LackedEvents = BTreeMap<u64, BTreeSet<EventId>>;

/// Accepted records of an object that are in quarantine.
#[derive(Clone, Debug, Default)]
pub struct QuarantinedPlaces {
    /// Not requeued: no sink gets them, and a sink that passes them does not lack them.
    pub closed: Places,
    /// Requeued and refused again: no sink gets them, and a sink that passes them lacks them.
    pub withheld: Places,
    /// Requeued, to be tried in this reading; each has a quarantine entry of its own.
    pub listed: BTreeSet<u64>,
    /// Requeued, to be tried in this reading; they share one quarantine entry.
    pub further: Places,
    /// Of `listed` and `further`, those that some sink has had: their events were counted then.
    pub delivered: Places,
}

/// Requeued records that cannot be decoded now either.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RefusedAgain {
    /// The reasons by place, for records with an entry of their own.
    pub listed: BTreeMap<u64, String>,
    /// How many records of the shared entry.
    pub further: u64,
    /// The ordinal of the first record of the shared entry, and the reason.
    pub first_further: Option<(u64, String)>,
}

impl QuarantinedPlaces {
    pub(super) fn is_tried_again(&mut self, place: u64) -> bool {
        self.listed.contains(&place) || self.further.contains(place)
    }

    /// Whether the record is tried again, and no sink has had it yet.
    pub(super) fn is_news(&mut self, place: u64) -> bool {
        self.is_tried_again(place) && !self.delivered.contains(place)
    }

    /// Whether no sink gets the record.
    pub(super) fn is_kept_back(&mut self, place: u64) -> bool {
        self.closed.contains(place) || self.withheld.contains(place)
    }
}

impl RefusedAgain {
    /// Notes that the record at `place` was refused again.
    pub(super) fn note(&mut self, quarantined: &QuarantinedPlaces, place: u64, ordinal: u64, refusal: &Refusal) {
        if quarantined.listed.contains(&place) {
            self.listed.insert(place, refusal.to_string());
        } else {
            self.further += 1;
            self.first_further.get_or_insert_with(|| (ordinal, refusal.to_string()));
        }
    }
}
