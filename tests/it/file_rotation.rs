//! A file sink writes each line once, even if its files are compressed, or renamed by others, as logrotate does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::kill::kills;
use super::support::chance::Chance;
use super::support::daemon::Daemon;
use super::support::records::{assert_once_each, object, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, World, key};

/// What the log says when the sink's file was renamed.
const RENAMED: &str = "the sink's file was given another name; continuing in a new one";

/// File names and keys of a sink without compression, with gzip and with zstd.
const FILES: [(&str, &str); 3] =
    [("out.raw", ""), ("out.raw.gz", "compression = \"gzip\"\n"), ("out.raw.zst", "compression = \"zstd\"\n")];

/// A directory feed with a file sink that writes raw records to this file.
fn world(name: &str, keys: &str) -> World {
    let world = World::new().with_directory_feed(&["out"]);
    let path = world.path(name);
    world.with(&format!("[sink.out]\ntype = \"file\"\npath = {path:?}\nencoding = \"raw\"\n{keys}"))
}

/// The lines of a file, which must be well-formed from its beginning to its end.
fn lines(path: PathBuf) -> Vec<String> {
    let stored = std::fs::read(&path).unwrap_or_default();
    let mut text = String::new();
    if stored.is_empty() {
        return Vec::new();
    }
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => {
            flate2::read::MultiGzDecoder::new(&*stored).read_to_string(&mut text).map(drop).unwrap_or_else(|error| {
                panic!("{}: {error}", path.display());
            });
        }
        "zst" => text = String::from_utf8(zstd::decode_all(&*stored).unwrap()).unwrap(),
        _ => text = String::from_utf8(stored).unwrap(),
    }
    assert!(text.is_empty() || text.ends_with('\n'), "{}", path.display());
    text.lines().map(str::to_owned).collect()
}

fn counts(daemon: &Daemon, sent: f64) {
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], sent);
}

#[test]
fn a_file_that_is_renamed_under_a_running_daemon_is_left_for_a_new_one() {
    for (name, keys) in FILES {
        for creates in [false, true] {
            let world = world(name, keys);
            let daemon = world.start();
            world.write(KEY, &object(&records(0..3)));
            counts(&daemon, 3.0);
            let (path, renamed) = (world.path(name), world.path(&format!("1.{name}")));
            std::fs::rename(&path, &renamed).unwrap();
            if creates {
                File::create(&path).unwrap();
            }
            world.write(KEY, &object(&records(0..6)));
            counts(&daemon, 6.0);
            assert_eq!(daemon.log.said(RENAMED).unwrap().level, "INFO");
            assert!(daemon.stop().success());
            assert_once_each(&lines(renamed), &records(0..3));
            assert_once_each(&lines(path), &records(3..6));
        }
    }
}

#[test]
fn a_file_that_was_renamed_while_no_daemon_ran_is_left_for_a_new_one() {
    for (name, keys) in FILES {
        for creates in [false, true] {
            let world = world(name, keys);
            world.write(KEY, &object(&records(0..3)));
            world.once();
            let (path, renamed) = (world.path(name), world.path(&format!("1.{name}")));
            std::fs::rename(&path, &renamed).unwrap();
            if creates {
                File::create(&path).unwrap();
            }
            world.write(KEY, &object(&records(0..6)));
            world.once();
            assert_once_each(&lines(renamed), &records(0..3));
            assert_once_each(&lines(path), &records(3..6));
        }
    }
}

#[test]
fn sighup_opens_a_renamed_file_anew_though_no_event_comes() {
    let world = world("out.raw", "mode = \"0644\"\n");
    let daemon = world.start();
    world.write(KEY, &object(&records(0..3)));
    counts(&daemon, 3.0);
    let (path, renamed) = (world.path("out.raw"), world.path("out.raw.1"));
    // If nothing was renamed, SIGHUP changes nothing.
    daemon.signal(Signal::HUP);
    eventually("SIGHUP is told", SOON, || daemon.says("opening the files of the sinks anew") == 1);
    std::fs::rename(&path, &renamed).unwrap();
    daemon.signal(Signal::HUP);
    eventually("the next file is there", SOON, || path.exists());
    eventually("the renamed file is closed", SOON, || File::open(&renamed).unwrap().try_lock().is_ok());
    eventually("the new file is the daemon's", SOON, || File::open(&path).unwrap().try_lock().is_err());
    world.write(KEY, &object(&records(0..5)));
    counts(&daemon, 5.0);
    assert!(daemon.stop().success());
    assert_once_each(&lines(renamed), &records(0..3));
    assert_once_each(&lines(path), &records(3..5));
}

#[test]
fn a_file_that_is_truncated_in_place_parks_its_sink_until_it_is_moved_away() {
    for (name, keys) in FILES {
        let world = world(name, keys).impatient();
        let daemon = world.run(&[]).expecting(&["the sink is parked", "was removed or truncated"]).ready();
        world.write(KEY, &object(&records(0..3)));
        counts(&daemon, 3.0);
        let (path, copy, cut) = (world.path(name), world.path(&format!("1.{name}")), world.path(&format!("2.{name}")));
        // logrotate does this with `copytruncate`.
        std::fs::copy(&path, &copy).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        world.write(KEY, &object(&records(0..5)));
        let told = "failing: sink out (deliver)";
        eventually("/readyz says what was done and what to do", SOON, || {
            let said = daemon.page("/readyz").text();
            let line = said.lines().find(|line| line.starts_with(told)).unwrap_or_default().to_owned();
            line.contains("another process truncated it") && line.contains("copytruncate") && line.contains(name)
        });
        assert_eq!(daemon.log.said("the sink is parked until it is mended").unwrap().level, "ERROR");
        // A restart changes nothing.
        daemon.stop();
        let daemon = world.run(&[]).expecting(&["the sink is parked", "was removed or truncated"]).at_work();
        eventually("the next daemon says so too", SOON, || daemon.page("/readyz").text().contains("copytruncate"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "nothing is written behind the cut");
        std::fs::rename(&path, &cut).unwrap();
        counts(&daemon, 2.0);
        eventually("nothing fails any more", SOON, || daemon.page("/readyz").text() == "ready\n");
        assert!(daemon.stop().success());
        assert_once_each(&lines(copy), &records(0..3));
        assert_once_each(&lines(path), &records(3..5));
    }
}

#[test]
fn full_compressed_files_get_their_numbers_before_their_ending() {
    let world = world("out.raw.gz", "compression = \"gzip\"\nrotate_bytes = 100\n");
    for end in [5, 10, 15] {
        world.write(KEY, &object(&records(0..end)));
        world.once();
    }
    for (name, expected) in [("out.raw.1.gz", 0..5), ("out.raw.2.gz", 5..10), ("out.raw.gz", 10..15)] {
        assert_once_each(&lines(world.path(name)), &records(expected));
    }
}

/// The files of the sink under their old and new names.
fn files(world: &World, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(world.path(".")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().ends_with(name)).collect()
}

#[test]
fn nothing_is_lost_or_repeated_when_compressed_files_are_renamed_and_processes_killed_at_any_moment() {
    for (name, keys) in FILES {
        let mut chance = Chance::of_this_run(&format!("kill, rename, {name}"));
        let world = world(name, keys);
        let path = world.path(name);
        let (mut written, mut renamed) = (BTreeSet::new(), 0);
        let mut rename = |chance: &mut Chance| {
            renamed += 1;
            if std::fs::rename(&path, world.path(&format!("{renamed}.{name}"))).is_ok() && chance.below(2) == 0 {
                File::create(&path).unwrap();
            }
        };
        for _ in 0..kills(12) {
            // A file may be renamed after the sink looked at it and before it opens it.
            let start = world.run(&[]).expecting(&["a batch was not delivered; trying again"]);
            let daemon = if chance.below(3) == 0 { start.spawn() } else { start.ready() };
            for _ in 0..chance.below(4) {
                let from = written.len() as u64;
                let added: Vec<u64> = (from..from + 1 + chance.below(300) as u64).collect();
                world.write(&key(from), &object(&records(added.iter().copied())));
                written.extend(added);
                moment(Duration::from_millis(chance.below(60) as u64));
                if chance.below(3) == 0 {
                    rename(&mut chance);
                    if chance.below(2) == 0 {
                        daemon.signal(Signal::HUP);
                    }
                }
            }
            moment(Duration::from_millis(chance.below(200) as u64));
            daemon.kill();
            if chance.below(3) == 0 {
                rename(&mut chance);
            }
        }
        world.once();
        let delivered: Vec<String> = files(&world, name).into_iter().flat_map(lines).collect();
        println!("{name}: {} lines in {} files", delivered.len(), files(&world, name).len());
        assert_once_each(&delivered, &records(written));
    }
}
