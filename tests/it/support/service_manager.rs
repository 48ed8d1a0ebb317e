//! Stands in for systemd: receives the daemon's notifications.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The socket that `NOTIFY_SOCKET` names to the daemon.
#[derive(Debug)]
pub struct ServiceManager {
    path: PathBuf,
    socket: UnixDatagram,
    heard: Mutex<Vec<String>>,
}

impl ServiceManager {
    pub fn in_directory(directory: &Path) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { path, socket, heard: Mutex::default() }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The value of the last `STATUS=`.
    pub fn status(&self) -> Option<String> {
        let mut heard = self.heard.lock().unwrap();
        let mut datagram = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            heard.extend(String::from_utf8_lossy(&datagram[..length]).lines().map(str::to_owned));
        }
        heard.iter().rev().find_map(|line| line.strip_prefix("STATUS=")).map(str::to_owned)
    }
}
