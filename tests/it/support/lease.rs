//! A file whose opening does not return, as on a dead mount.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Holds a write lease on each file, and ignores the signal that another process wants to open it.
const HOLDER: &str = "
import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
files = [open(path, 'r+b') for path in sys.argv[1:]]
for file in files:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

/// Blocks each opening of one of the files until this is dropped, or until the kernel has waited for 45 s.
pub struct Lease(Child);

impl Lease {
    pub fn on<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut holder = Command::new("python3");
        holder.arg("-c").arg(HOLDER).args(paths).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = holder.spawn().unwrap();
        let mut held = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut held).unwrap();
        assert_eq!(held, "held\n");
        Self(child)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
