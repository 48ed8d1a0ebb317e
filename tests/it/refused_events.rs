//! Events that a receiver refuses for ever are in quarantine, and a requeue sends them to that receiver alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::quarantine::{listed, quarantine, requeue_all};
use super::support::daemon::Daemon;
use super::support::receiver::{Answer, Receiver};
use super::support::records::{assert_once_each, object, record, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, World};

const REFUSED: &str = "the sink refuses events for ever";

/// A receiver that refuses each request with `record(1)` until it is mended.
struct Picky {
    receiver: Receiver,
    is_mended: Arc<AtomicBool>,
}

impl Picky {
    fn new() -> Self {
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let receiver = Receiver::with_script(move |request| {
            let is_taken = mended.load(Ordering::SeqCst) || !request.lines().contains(&record(1));
            if is_taken { Answer::status(200) } else { Answer::says(400, "no such field") }
        });
        Self { receiver, is_mended }
    }

    /// Runs a directory feed to this receiver and to a file, until the receiver has all that it takes.
    fn refuses(&self) -> (World, Daemon) {
        let siem = format!("[sink.siem]\ntype = \"http\"\nurl = \"{}/in\"\nencoding = \"raw\"\n", self.receiver.url());
        let world = World::new().with_directory_feed(&["siem", "out"]).with(&siem).with_file("out");
        let daemon = world.run(&[]).expecting(&[REFUSED, "an object is gone before it was read"]).ready();
        world.write(KEY, &object(&records(0..4)));
        world.comes_to("out", 4);
        eventually("the event is in quarantine", SOON, || listed(&world).len() == 1);
        assert_once_each(&self.receiver.taken_lines(), &records([0, 2, 3]));
        (world, daemon)
    }

    /// Mends the receiver and requeues what it refused; then each sink has each record once.
    fn takes_it_at_last(&self, world: &World, daemon: Daemon) {
        self.is_mended.store(true, Ordering::SeqCst);
        assert_eq!(quarantine(world, &["requeue", "--all", "--sink", "out"]).out, "requeued 0\n");
        let said = quarantine(world, &["requeue", "--all", "--sink", "siem"]);
        assert!(said.out.starts_with("requeued 1"), "{}", said.out);
        eventually("the quarantine is empty", SOON, || listed(world).is_empty());
        assert!(daemon.stop().success());
        assert_once_each(&self.receiver.taken_lines(), &records(0..4));
        world.delivered_once_each(&records(0..4));
    }
}

#[test]
fn an_event_that_a_receiver_refused_comes_to_it_alone_once_it_is_mended() {
    let picky = Picky::new();
    let (world, daemon) = picky.refuses();
    let entry = listed(&world).remove(0);
    let shown = ["kind", "feed", "sink", "reason"].map(|key| entry[key].as_str().unwrap());
    assert_eq!(shown, ["event", "audit", "siem", "status 400: no such field"]);
    assert_eq!((&entry["place"], &entry["event"], &entry["can_requeue"]), (&1.into(), &0.into(), &Value::Bool(true)));
    let id = entry["id"].to_string();
    assert_eq!(quarantine(&world, &["show", &id, "--body"]).out, record(1));
    // An event that is refused again keeps its entry's number.
    let before = picky.receiver.requests().len();
    requeue_all(&world);
    let is_refused = || picky.receiver.requests().len() > before && listed(&world)[0]["requeued"] == false;
    eventually("it is refused once more", SOON, is_refused);
    assert_eq!(listed(&world).iter().map(|entry| entry["id"].to_string()).collect::<Vec<_>>(), [id]);
    picky.takes_it_at_last(&world, daemon);
}

#[test]
fn an_event_whose_object_is_gone_comes_to_its_receiver_as_it_was_encoded() {
    let picky = Picky::new();
    let (world, daemon) = picky.refuses();
    std::fs::remove_file(world.path("source").join(KEY)).unwrap();
    picky.takes_it_at_last(&world, daemon);
}
