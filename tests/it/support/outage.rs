//! A file sink that goes away and comes back.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// The second one goes away now and then.
pub const SINKS: [&str; 2] = ["out", "late"];

/// What a process that follows a killed one, or finds a sink away, may say.
pub const EXPECTED: [&str; 7] = [
    "object was rewritten",
    "records vanished from the source before the sink had them",
    "cannot be made again",
    "cannot be read now; trying again",
    "an object has moved on",
    "a batch was not delivered",
    "the sink is parked",
];

/// What a process says whose sink is away with `--once`, or whose store fails.
pub const STOPPED: &str = "stopped by an error";

/// While it lasts a directory stands on the path of a file sink.
#[derive(Debug)]
pub struct Outage {
    path: PathBuf,
}

impl Outage {
    /// Begins at one moment: no process finds the path free meanwhile.
    pub fn of(path: &Path) -> Self {
        let outage = Self { path: path.to_owned() };
        std::fs::create_dir(outage.aside()).unwrap();
        if path.exists() {
            outage.exchange()
        } else {
            std::fs::rename(outage.aside(), path).unwrap()
        }
        outage
    }

    /// Ends: what was there before is there again.
    pub fn end(self) {
        if self.aside().exists() {
            self.exchange();
            std::fs::remove_dir(self.aside()).unwrap();
        } else {
            std::fs::remove_dir(&self.path).unwrap();
        }
    }

    fn aside(&self) -> PathBuf {
        self.path.with_extension("aside")
    }

    fn exchange(&self) {
        renameat_with(CWD, &self.path, CWD, self.aside(), RenameFlags::EXCHANGE).unwrap();
    }
}
