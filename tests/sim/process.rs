//! Runs one process: the real collector in the world, until it ends by itself or at a gate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use auditferry::testing::checkpoint::{DiskScratch, Durability, SqliteStore, Store, Writing};
use auditferry::testing::collector::clock::Clock;
use auditferry::testing::collector::compute::Compute;
use auditferry::testing::collector::random::Random;
use auditferry::testing::collector::shutdown::{self, Stop};
use auditferry::testing::collector::{self, Error, Mode, world};
use auditferry::testing::config::Config;
use auditferry::testing::object::Place as AnyPlace;
use tokio::time::Instant;

use crate::log;
use crate::world::World;
use crate::world::place::Place;
use crate::world::queue::EventQueue;

/// The page limit of a store that is not full.
const PAGES_MAX: u32 = 1 << 20;

/// How a process ended.
pub enum End {
    /// A gate ended it.
    Killed,
    Itself(Result<(), Error>),
}

/// Happenings beside the collector, at their own times.
pub trait Beside {
    /// When the next thing happens, in milliseconds since the beginning.
    fn next_ms(&self) -> u64;
    /// Does the next thing.
    fn happen(&mut self, world: &World, stop: &Stop);
}

/// Runs a process on the state directory until it ends.
pub fn run(world: &World, config: Config, seed: u64, beside: &mut impl Beside) -> End {
    let _logging = log::into_trace(world);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let end = live(world, config, seed, beside).await;
        // Paused time can only be read within the runtime.
        world.ends();
        end
    })
}

async fn live(world: &World, config: Config, seed: u64, beside: &mut impl Beside) -> End {
    let opened = SqliteStore::open_apart(&config.state_dir, config.limits.quarantine(), Durability::Process);
    let (store, writing) = opened.unwrap();
    let store = Store::new(store);
    let memory = config.memory();
    world.begin(store.clone(), memory.sinks.values().map(|share| share.lane_bytes).collect());
    let began = (Instant::now(), world.state().now_ms());
    tokio::spawn(write(world.clone(), writing));
    let (stop, hears) = shutdown::channel();
    let collector = async {
        let around = around(world, &config, store, seed).await;
        collector::run_in(around, config, Mode::Daemon, hears).await
    };
    tokio::pin!(collector);
    loop {
        let next = began.0 + Duration::from_millis(beside.next_ms().saturating_sub(began.1));
        tokio::select! {
            biased;
            () = world.ended() => return End::Killed,
            ended = &mut collector => return End::Itself(ended),
            () = tokio::time::sleep_until(next) => beside.happen(world, &stop),
        }
    }
}

/// Commits what the collector writes, when the gates let it.
async fn write(world: World, mut writing: Writing) {
    while writing.asked().await {
        // The simulated disk fails only when it is full: any other failure rightly ends the process.
        let _ = world.gate("commit").await;
        let is_full = {
            let state = world.state();
            state.full_until_ms > state.now_ms()
        };
        writing.limit_pages(if is_full { 1 } else { PAGES_MAX }).unwrap();
        let committed = writing.commit();
        let _ = world.gate("commit's answer").await;
        committed.answer();
    }
}

/// How many lanes the sink has. Waits until the store has room to record the number; a daemon would end, and be
/// restarted.
async fn lanes(store: &Store, name: &str, wanted: u16) -> u16 {
    loop {
        match store.positions.settle_lanes(name.into(), wanted).await {
            Ok(lanes) => return lanes,
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn around(world: &World, config: &Config, store: Store, seed: u64) -> world::World<EventQueue> {
    let place = |bucket| AnyPlace::Memory(Arc::new(Place { world: world.clone(), bucket }));
    let places = world.state().setting.buckets();
    let mut sinks = BTreeMap::new();
    for (name, table) in &config.sink {
        let lanes = lanes(&store, name, table.flow().lanes).await;
        sinks.insert(name.clone(), table.kind.open(lanes, None).unwrap());
    }
    let clock = world.clone();
    world::World {
        clock: Clock::of(move || {
            let mut state = clock.state();
            state.is_asked("the clock");
            state.wall_ms()
        }),
        random: Random::seeded(seed),
        compute: Compute::InPlace,
        store,
        scratch: Arc::new(DiskScratch(config.state_dir.clone())),
        places: places.into_iter().map(|bucket| (bucket.to_owned(), place(bucket))).collect(),
        queues: [("events".to_owned(), EventQueue { world: world.clone() })].into(),
        sinks,
        identities: Vec::new(),
    }
}
