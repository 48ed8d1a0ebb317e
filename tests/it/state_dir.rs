//! The state directory: the daemon stops if it disappears, a damaged one is not replaced by an empty one, and nobody
//! else may read it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::aws::{Aws, Depth};
use super::support::daemon::Daemon;
use super::support::records::{assert_once_each, object, records};
use super::support::world::{KEY, Place, World};

/// What the log says of a state directory that disappeared.
const GONE: [&str; 2] = ["stopped by an error", "the state directory"];

/// What the log may say of work under way.
const GRACE: [&str; 2] = ["the grace time is over", "going on without a sink"];

/// Waits until the daemon ends with a failed disk's exit code, having reported which directory is gone and what to do.
fn ends_for_its_state(daemon: Daemon, world: &World) {
    let log = daemon.log.clone();
    let status = daemon.end();
    let said = log.text();
    assert_eq!(status.code(), Some(74), "{said}");
    let expected = format!("the state directory {} was removed or replaced", world.state().display());
    assert!(said.contains(&expected) && said.contains("put it back"), "{said}");
}

#[test]
fn a_state_directory_that_goes_away_under_an_idle_daemon_stops_it() {
    let remove = |state: &Path| std::fs::remove_dir_all(state).unwrap();
    let rename = |state: &Path| std::fs::rename(state, state.with_extension("aside")).unwrap();
    let replace = |state: &Path| {
        std::fs::rename(state, state.with_extension("aside")).unwrap();
        std::fs::create_dir(state).unwrap();
    };
    let copy = |state: &Path| {
        let aside = state.with_extension("aside");
        std::fs::rename(state, &aside).unwrap();
        std::fs::create_dir(state).unwrap();
        for name in ["lock", "checkpoints.sqlite", "checkpoints.sqlite-wal", "checkpoints.sqlite-shm"] {
            std::fs::copy(aside.join(name), state.join(name)).unwrap();
        }
    };
    let database = |state: &Path| std::fs::remove_file(state.join("checkpoints.sqlite")).unwrap();
    let lock = |state: &Path| std::fs::remove_file(state.join("lock")).unwrap();
    let ways: [&dyn Fn(&Path); 6] = [&remove, &rename, &replace, &copy, &database, &lock];
    for take_away in ways {
        let world = World::fed_by_directory();
        let daemon = world.run(&[]).expecting(&GONE).ready();
        take_away(&world.state());
        ends_for_its_state(daemon, &world);
    }
}

#[test]
fn a_daemon_whose_state_is_gone_waits_for_nothing_that_is_under_way() {
    let place = Place::new();
    // Nobody reads the console, and a poll may be under way.
    let through = Aws::emulated().url();
    let world = World::new()
        .impatient()
        .with_feed(&place.feed(&through), &place, &["console"])
        .with("[sink.console]\ntype = \"stdout\"\nencoding = \"raw\"\n")
        .with_limits("shutdown_grace = \"600s\"");
    place.bucket.put(KEY, &object(&records(0..3_000)));
    let daemon = world.run(&[]).expecting(&GONE).expecting(&GRACE).with_unread_output().ready();
    daemon.counts("auditferry_events_received_total", &[], 1.0);
    std::fs::remove_dir_all(world.state()).unwrap();
    ends_for_its_state(daemon, &world);
}

#[test]
fn nothing_is_settled_that_a_state_directory_gone_away_would_have_had_to_remember() {
    let place = Place::new();
    let world = World::fed_by(&place).with_queue("visibility_secs = 10");
    let daemon = world.run(&[]).expecting(&GONE).ready();
    let aside = world.path("aside");
    std::fs::rename(world.state(), &aside).unwrap();
    place.bucket.put(KEY, &object(&records(0..3)));
    ends_for_its_state(daemon, &world);
    assert_ne!(place.queue.depth(), Depth { visible: 0, in_flight: 0 });
    std::fs::rename(aside, world.state()).unwrap();
    let daemon = world.start();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_once_each(&world.delivered("out"), &records(0..3));
}

#[test]
fn a_daemon_ends_once_another_has_taken_over_its_store() {
    let world = World::fed_by_directory();
    let daemon = world.run(&[]).expecting(&["stopped by an error", "has taken over"]).ready();
    let database = rusqlite::Connection::open(world.state().join("checkpoints.sqlite")).unwrap();
    database.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'", []).unwrap();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(75), "{}", log.text());
    assert!(log.text().contains("another collector has taken over the checkpoint store"), "{}", log.text());
    world.write(KEY, &object(&records(0..3)));
    world.once();
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_database_without_content_is_damage_and_nothing_is_delivered_again() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&records(0..3)));
    world.once();
    let database = world.state().join("checkpoints.sqlite");
    std::fs::write(&database, "").unwrap();
    let daemon = world.run(&[]).expecting(&[""]).spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(65), "{}", log.text());
    assert!(log.text().contains("restore a backup"), "{}", log.text());
    world.delivered_once_each(&records(0..3));
}

/// Runs the daemon once under this umask, by way of a shell. The configuration must be written already.
fn once_under_umask(world: &World, umask: &str) {
    let command = format!("umask {umask}; exec \"$0\" run --once --config \"$1\"");
    let config = world.path("auditferry.toml");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command, env!("CARGO_BIN_EXE_auditferry")]).arg(config);
    let ended = shell.env_clear().env("HOME", world.path("")).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn nobody_else_may_read_the_state_whatever_the_umask() {
    for umask in ["000", "022", "077", "277"] {
        let world = World::fed_by_directory();
        world.write(KEY, &object(&records(0..1)));
        world.run(&[]);
        std::fs::remove_dir(world.state()).unwrap();
        once_under_umask(&world, umask);
        assert_eq!(mode(&world.state()), 0o700, "umask {umask}");
        let made = files(&world.state());
        assert!(made.len() >= 2);
        for path in &made {
            assert_eq!(mode(path), 0o600, "{} under umask {umask}", path.display());
            std::fs::set_permissions(path, Permissions::from_mode(0o664)).unwrap();
        }
        once_under_umask(&world, umask);
        for path in files(&world.state()) {
            assert_eq!(mode(&path), 0o600, "{} was wider", path.display());
        }
    }
}
