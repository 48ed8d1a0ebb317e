//! A file sink keeps every line that was ever written to a file, its own and others'.

use super::support::records::{assert_once_each, lines_of, object, records};
use super::support::world::{KEY, World};

/// What a log may say where somebody else has written to the sink's file.
const NOT_OURS: &str = "found bytes behind the committed end that are not ours";

/// Every line below the name of the sink's file, the newest file's last.
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
