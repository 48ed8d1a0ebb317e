//! A file sink keeps every line that was ever written to its file, by itself or by others.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::process::{getegid, geteuid, getgroups};

use super::support::records::{assert_once_each, lines_of, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, World};

/// What the log may say if another process has written to the sink's file.
const NOT_OURS: &str = "found bytes behind the committed end that are not ours";

/// The lines of all the sink's files, those of the newest file last.
fn lines_of_all_files(world: &World, sink: &str) -> Vec<String> {
    let current = world.output(sink);
    let name = current.file_name().unwrap().to_str().unwrap().to_owned();
    let number =
        |path: &std::path::PathBuf| path.file_name()?.to_str()?.strip_prefix(&format!("{name}."))?.parse::<u64>().ok();
    let entries = std::fs::read_dir(current.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut numbered: Vec<_> = entries.filter_map(|path| Some((number(&path)?, path))).collect();
    numbered.sort();
    let files = numbered.into_iter().map(|(_, path)| path).chain([current]);
    files.flat_map(|path| lines_of(&path)).collect()
}

#[test]
fn delivered_files_outlive_the_loss_of_the_state() {
    let world = World::fed_by_directory().with("rotate_bytes = 1000\n");
    for end in [5, 10, 15] {
        world.write(KEY, &object(&records(0..end)));
        world.once();
    }
    std::fs::remove_dir_all(world.state()).unwrap();
    std::fs::remove_dir_all(world.path("source")).unwrap();
    for end in [18, 21, 24] {
        world.write(KEY, &object(&records(15..end)));
        world.once_expecting(&[NOT_OURS]);
    }
    assert_once_each(&lines_of_all_files(&world, "out"), &records(0..24));
}

#[test]
fn a_line_that_somebody_else_wrote_while_the_sink_was_at_work_is_kept_and_counted() {
    use std::io::Write;
    let world = World::fed_by_directory();
    let daemon = world.run(&[]).expecting(&[NOT_OURS]).ready();
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 3.0);
    let mut file = std::fs::File::options().append(true).open(world.output("out")).unwrap();
    file.write_all(b"FOREIGN-LINE\n").unwrap();
    world.write(KEY, &object(&records(0..6)));
    world.comes_to("out", 7);
    daemon.counts("auditferry_foreign_bytes_total", &["sink=\"out\""], 13.0);
    assert!(daemon.stop().success());
    let (foreign, ours): (Vec<String>, Vec<String>) =
        world.delivered("out").into_iter().partition(|line| line == "FOREIGN-LINE");
    assert_eq!(foreign.len(), 1);
    assert_once_each(&ours, &records(0..6));
}

#[test]
fn a_daemon_whose_file_another_one_writes_is_parked_and_neither_loses_a_line() {
    let world = World::fed_by_directory();
    let first = world.start();
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    // A second daemon, with a source and a state of its own, writes to the same file.
    let out = world.output("out");
    let other = World::new()
        .impatient()
        .with_directory_feed(&["theirs"])
        .with(&format!("[sink.theirs]\ntype = \"file\"\npath = {out:?}\nencoding = \"raw\"\n"));
    other.write(KEY, &object(&records(10..12)));
    let parked = other.run(&[]).expecting(&["the sink is parked"]).at_work();
    let log = parked.log.clone();
    eventually("the second daemon says why it is parked", SOON, || {
        log.said("the sink is parked until it is mended")
            .is_some_and(|entry| entry.line.contains("out.ndjson is locked"))
    });
    world.write(KEY, &object(&records(0..6)));
    world.comes_to("out", 6);
    assert!(first.stop().success());
    parked.stop();
    world.delivered_once_each(&records(0..6));
}

/// The variable that changes the path of the sink `out`.
const PATH: &str = "AUDITFERRY__SINK__OUT__PATH";

#[test]
fn a_sink_with_another_path_begins_a_file_there_and_repeats_nothing() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&records(0..3)));
    world.once();
    let new = world.path("new.ndjson");
    world.write(KEY, &object(&records(0..5)));
    let daemon = world.run(&["--once"]).with_environment(PATH, new.to_str().unwrap()).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success());
    assert_eq!(log.said("the sink's path is another; beginning the file there").unwrap().level, "INFO");
    world.delivered_once_each(&records(0..3));
    assert_once_each(&lines_of(&new), &records(3..5));
    // Back to the first path.
    world.write(KEY, &object(&records(0..6)));
    world.once_expecting(&[NOT_OURS]);
    assert_once_each(&world.delivered("out"), &[records(0..3), records(5..6)].concat());
    assert_once_each(&lines_of(&new), &records(3..5));
}

#[test]
fn a_sink_whose_file_is_gone_goes_on_with_another_path() {
    let world = World::fed_by_directory().impatient();
    world.write(KEY, &object(&records(0..3)));
    world.once();
    std::fs::remove_file(world.output("out")).unwrap();
    let daemon = world.run(&[]).expecting(&["the sink is parked"]).at_work();
    world.write(KEY, &object(&records(0..5)));
    let log = daemon.log.clone();
    eventually("the sink is parked, and the way out is named", SOON, || {
        let parked = log.said("the sink is parked until it is mended");
        parked.is_some_and(|entry| entry.line.contains("is gone") && entry.line.contains("another `path`"))
    });
    daemon.stop();
    assert!(!world.output("out").exists());
    let new = world.path("new.ndjson");
    let daemon = world.run(&["--once"]).with_environment(PATH, new.to_str().unwrap()).spawn();
    assert!(daemon.end().success());
    assert_once_each(&lines_of(&new), &records(3..5));
}

/// A group that the daemon may give its files, if possible not its own.
fn another_group() -> u32 {
    if geteuid().is_root() {
        return 54321;
    }
    getgroups().unwrap().last().map_or(getegid().as_raw(), |group| group.as_raw())
}

#[test]
fn every_file_has_the_configured_mode_and_group_whatever_the_umask() {
    let group = another_group();
    for (umask, keys, expected) in [
        ("umask 0", String::new(), (0o640, None)),
        ("umask 0077", String::new(), (0o640, None)),
        ("umask 0077", format!("mode = \"0664\"\ngroup = \"{group}\"\n"), (0o664, Some(group))),
        ("umask 0", format!("mode = \"600\"\ngroup = {group}\n"), (0o600, Some(group))),
    ] {
        let world = World::fed_by_directory().with("rotate_bytes = 1000\n").with(&keys);
        for end in [5, 10, 15] {
            world.write(KEY, &object(&records(0..end)));
            let daemon = world.run(&["--once"]).after(umask).spawn();
            assert!(daemon.end().success());
        }
        for name in ["out.ndjson", "out.ndjson.1", "out.ndjson.2"] {
            let file = std::fs::metadata(world.path(name)).unwrap();
            let of_directory = std::fs::metadata(world.path(".")).unwrap().gid();
            let is = (file.mode() & 0o7777, file.gid());
            assert_eq!(is, (expected.0, expected.1.unwrap_or(of_directory)), "{name} after {umask} with {keys:?}");
        }
    }
}

#[test]
fn a_file_that_is_there_is_given_what_is_configured_and_else_left_as_it_is() {
    let world = World::fed_by_directory().with("rotate_bytes = 1000\n");
    let mode = |name: &str| std::fs::metadata(world.path(name)).unwrap().mode() & 0o7777;
    world.write(KEY, &object(&records(0..2)));
    world.once();
    std::fs::set_permissions(world.output("out"), std::fs::Permissions::from_mode(0o600)).unwrap();
    world.write(KEY, &object(&records(0..3)));
    world.once();
    assert_eq!(mode("out.ndjson"), 0o600, "nobody said that others may read it");
    for end in [4, 5] {
        world.write(KEY, &object(&records(0..end)));
        let start = world.run(&["--once"]).with_environment("AUDITFERRY__SINK__OUT__MODE", "0644");
        assert!(start.spawn().end().success());
    }
    assert_eq!((mode("out.ndjson.1"), mode("out.ndjson")), (0o644, 0o644));
    world.write(KEY, &object(&records(0..6)));
    let start = world.run(&["--once"]).with_environment("AUDITFERRY__SINK__OUT__MODE", "0600");
    assert!(start.spawn().end().success());
    assert_eq!(mode("out.ndjson.1"), 0o644, "a full file keeps what it had");
}

#[test]
fn a_sink_whose_group_may_not_be_set_is_parked_and_says_why() {
    let world = World::fed_by_directory().impatient().with("group = 54322\n");
    let start = world.run(&[]).expecting(&["the sink is parked"]);
    // Root may set any group unless this capability is gone.
    let start = if geteuid().is_root() { start.after("exec setpriv --bounding-set=-chown \"$@\"") } else { start };
    let daemon = start.at_work();
    world.write(KEY, &object(&records(0..3)));
    eventually("the sink is parked, and the group is named", SOON, || {
        let parked = daemon.log.said("the sink is parked until it is mended");
        parked.is_some_and(|entry| entry.line.contains("cannot be given the group 54322"))
    });
    daemon.stop();
    assert!(world.delivered("out").is_empty());
    // Nothing is lost: the next process, with a group that it may set, delivers the records.
    let start = world.run(&["--once"]).with_environment("AUDITFERRY__SINK__OUT__GROUP", &another_group().to_string());
    assert!(start.spawn().end().success());
    world.delivered_once_each(&records(0..3));
}
