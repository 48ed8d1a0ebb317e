//! A file system that does not answer, for tests.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::notification::directory::{Directory, Steps};

/// A pipe without a writer: opening it for reading does not return.
pub(crate) struct Hung {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Hung {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        Self { path, _directory: directory }
    }

    /// A call that does not return.
    pub(crate) fn call(&self) -> impl FnOnce(&Steps) -> io::Result<File> + Send + use<> {
        let path = self.path.clone();
        move |_| File::open(path)
    }

    /// Makes calls of the directory until all its slots are occupied.
    pub(crate) async fn fill(&self, directory: &Directory) {
        loop {
            let call = self.call();
            let error = directory.call(move |_, steps| call(steps)).await.expect_err("nobody writes to the pipe");
            if error.to_string().contains("calls before it") {
                return;
            }
        }
    }

    /// Lets all calls return.
    pub(crate) fn release(&self) {
        OpenOptions::new().read(true).write(true).open(&self.path).expect("the pipe");
    }
}
