//! Everything outside that the collector depends on: clock and random numbers, queues, places, sinks, the checkpoint
//! store, and scratch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::Store;
use crate::collector::clock::Clock;
use crate::collector::compute::Compute;
use crate::collector::random::Random;
use crate::identity::Identity;
use crate::object::Place;
use crate::reading::Scratch;
use crate::sink::Sink;

/// Everything outside the collector that it uses, made from the configuration or by a test.
pub struct World<Q> {
    pub clock: Clock,
    pub random: Random,
    pub compute: Compute,
    pub store: Store,
    /// Disk space for readings.
    pub scratch: Arc<dyn Scratch>,
    /// The place of each feed's objects, by the feed's name.
    pub places: BTreeMap<String, Place>,
    /// By the name that feeds use for them.
    pub queues: BTreeMap<String, Q>,
    /// The lanes of each sink, by its name.
    pub sinks: BTreeMap<String, Vec<Box<dyn Sink>>>,
    /// The identities whose credentials are checked periodically.
    pub identities: Vec<Identity>,
}
