//! Memory is bounded by the configuration, not by what the daemon reads.

use super::support::records::{lines_of, record};
use super::support::world::{KEY, World};

/// Size of the object that the daemon reads.
const OBJECT_BYTES: usize = 64 << 20;

/// The peak resident memory that the process may reach, in a build without optimization.
const RESIDENT_BYTES_MAX: u64 = 150 << 20;

#[test]
fn a_large_object_does_not_have_to_fit_into_memory() {
    let world = World::fed_by_directory();
    let mut content = Vec::with_capacity(OBJECT_BYTES + 1024);
    let mut lines = 0_u64;
    while content.len() < OBJECT_BYTES {
        content.extend_from_slice(record(lines).as_bytes());
        content.push(b'\n');
        lines += 1;
    }
    world.write(KEY, &content);
    drop(content);
    let mut daemon = world.run(&["--once"]).spawn();
    let mut resident_bytes_max = 0;
    super::support::waiting::eventually("the object is delivered", std::time::Duration::from_secs(300), || {
        resident_bytes_max = resident_bytes_max.max(daemon.resident_bytes_max());
        daemon.has_ended()
    });
    assert!(daemon.end().success());
    println!("{lines} records, {OBJECT_BYTES} bytes: {} MiB resident", resident_bytes_max >> 20);
    assert_eq!(lines_of(&world.output("out")).len() as u64, lines);
    assert!(resident_bytes_max > 0 && resident_bytes_max < RESIDENT_BYTES_MAX, "{resident_bytes_max} bytes resident");
}

#[test]
fn objects_that_ask_for_more_memory_than_there_is_take_turns() {
    let limits = "memory_bytes = 109000000\nline_bytes_max = 4000000\nobjects_at_once = 8\nbatch_bytes = 1000000\n";
    let world = World::fed_by_directory().with_limits(limits);
    // The memory suffices for the long lines of four of the eight objects.
    let long = format!("\"requestParams\":{{\"text\":\"{}\",", "x".repeat(3_900_000));
    for number in 0..8 {
        let line = record(number).replacen("\"requestParams\":{", &long, 1);
        let key = KEY.replace("01-01", &format!("01-{:02}", number + 1));
        world.write(&key, format!("{line}\n{}\n", record(number)).as_bytes());
    }
    world.once();
    assert_eq!(lines_of(&world.output("out")).len(), 16);
}
