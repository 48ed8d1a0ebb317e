//! A file sink that goes away and comes back.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// The second sink goes away now and then.
pub const SINKS: [&str; 2] = ["out", "late"];

/// What the log may say after a kill, or while a sink is away.
pub const EXPECTED: [&str; 7] = [
    "object was rewritten",
    "records vanished from the source before the sink had them",
    "cannot be made again",
    "cannot be read now; trying again",
    "an object has moved on",
    "a batch was not delivered",
    "the sink is parked",
];

/// What the log says with `--once` while a sink is away, or when the store fails.
pub const STOPPED: &str = "stopped by an error";

/// While it lasts, a directory is at the path of a file sink.
#[derive(Debug)]
pub struct Outage {
    path: PathBuf,
}

impl Outage {
    /// Begins in one step: at no moment does a process find the path free.
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

    /// Ends the outage: the file that was at the path is there again.
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
