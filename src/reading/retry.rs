//! Records that are, or were, in quarantine: which of them are tried again, and which are refused once more.

use std::collections::{BTreeMap, BTreeSet};

use crate::delta::Places;
use crate::event::EventId;
use crate::family::Refusal;

/// Of records by their places: the events alone that a sink lacks of them.
pub(crate) type LackedEvents = BTreeMap<u64, BTreeSet<EventId>>;

/// Accepted records of an object that are in quarantine.
#[derive(Clone, Debug, Default)]
pub struct QuarantinedPlaces {
    /// Nobody has asked for them: no sink gets them, and one that passes them does not lack them.
    pub closed: Places,
    /// They were requeued and refused again: no sink gets them, and one that passes them lacks them.
    pub withheld: Places,
    /// They are tried again, and have an entry each.
    pub listed: BTreeSet<u64>,
    /// They are tried again, and share an entry.
    pub further: Places,
    /// Of those that are tried again, those that some sink has had: their events were counted then.
    pub delivered: Places,
}

/// Records that were tried again and cannot be decoded now either.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RefusedAgain {
    /// Those with an entry each by their places, and why.
    pub listed: BTreeMap<u64, String>,
    /// How many of those that share an entry.
    pub further: u64,
    /// The ordinal of the first of these, and why.
    pub first_further: Option<(u64, String)>,
}

impl QuarantinedPlaces {
    pub(super) fn is_tried_again(&mut self, place: u64) -> bool {
        self.listed.contains(&place) || self.further.contains(place)
    }

    /// Whether the record is tried again and no sink has had it.
    pub(super) fn is_news(&mut self, place: u64) -> bool {
        self.is_tried_again(place) && !self.delivered.contains(place)
    }

    /// Whether no sink gets the record.
    pub(super) fn is_kept_back(&mut self, place: u64) -> bool {
        self.closed.contains(place) || self.withheld.contains(place)
    }
}

impl RefusedAgain {
    /// Notes the record at a place.
    pub(super) fn note(&mut self, quarantined: &QuarantinedPlaces, place: u64, ordinal: u64, refusal: &Refusal) {
        if quarantined.listed.contains(&place) {
            self.listed.insert(place, refusal.to_string());
        } else {
            self.further += 1;
            self.first_further.get_or_insert_with(|| (ordinal, refusal.to_string()));
        }
    }
}
