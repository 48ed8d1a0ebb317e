//! Signals that are no request to stop do not end the daemon.

use rustix::process::Signal;

use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, World};

#[test]
fn signals_that_end_a_process_by_default_are_told_and_change_nothing() {
    const REOPENS: &str = "opening the files of the sinks anew; the configuration is not read again";
    const IGNORED: &str = "the signal has no meaning and is ignored; SIGTERM stops";
    let world = World::fed_by_directory();
    let daemon = world.run(&[]).expecting(&[IGNORED]).ready();
    for (signal, name, message) in
        [(Signal::HUP, "SIGHUP", REOPENS), (Signal::USR1, "SIGUSR1", IGNORED), (Signal::USR2, "SIGUSR2", IGNORED)]
    {
        daemon.signal(signal);
        eventually(&format!("{name} is told"), SOON, || {
            let entries = daemon.log.entries();
            entries.iter().any(|entry| entry.message == message && entry.field("signal").as_deref() == Some(name))
        });
    }
    // A write past a file size limit causes this signal.
    daemon.signal(Signal::XFSZ);
    daemon.signal(Signal::HUP);
    eventually("each SIGHUP is told", SOON, || {
        daemon.log.entries().iter().filter(|entry| entry.message == REOPENS).count() == 2
    });
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let world = World::fed_by_directory();
    let daemon = world.run(&[]).after("exec 2>/dev/full").spawn();
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    assert!(world.run(&["--once"]).after("exec 2>/dev/full").spawn().end().success());
    world.delivered_once_each(&records(0..3));
}
