//! What the collector asks of the outside: time and chance, queues, places, sinks, and the checkpoint store.

use std::collections::BTreeMap;

use crate::checkpoint::CheckpointStore;
use crate::collector::clock::Clock;
use crate::collector::compute::Compute;
use crate::collector::random::Random;
use crate::identity::Identity;
use crate::object::Place;
use crate::sink::Sink;

/// Everything outside of the collector, made from the configuration or by a test.
pub struct World<Q> {
    pub clock: Clock,
    pub random: Random,
    pub compute: Compute,
    pub store: CheckpointStore,
    /// Where each feed's objects are, by the feed's name.
    pub places: BTreeMap<String, Place>,
    /// By the name that feeds call them by.
    pub queues: BTreeMap<String, Q>,
    /// The lanes of each.
    pub sinks: BTreeMap<String, Vec<Box<dyn Sink>>>,
    /// Whose credentials are looked after.
    pub identities: Vec<Identity>,
}
