//! The listener of the admin server: an address, or a Unix socket with its file.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::config::Listen;

/// The socket's user and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// A bound address or Unix socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds the address, or the path of a socket. The file of a socket whose process has ended is replaced. The socket's
    /// own file is removed when the returned [`SocketFile`] is dropped.
    ///
    /// # Errors
    /// If another process listens there, or if the path names a file that is no socket; that file is not changed.
    pub(crate) async fn bind(listen: &Listen) -> io::Result<(Self, Option<SocketFile>)> {
        match listen {
            Listen::Tcp(address) => Ok((Self::Tcp(TcpListener::bind(address).await?), None)),
            Listen::Unix(path) => {
                let listener = match UnixListener::bind(path) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {
                        remove_stale(path).await?;
                        UnixListener::bind(path)?
                    }
                    bound => bound?,
                };
                let file = SocketFile::at(path)?;
                std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
                Ok((Self::Unix(listener), Some(file)))
            }
        }
    }

    /// The bound address; if port 0 was configured, with the port that the system chose. `None` for a socket.
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }
}

/// The file of a bound socket. Dropping it removes the file, unless another file has its name now.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: file.dev(), inode: file.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = std::fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode)) {
            // If the file stays, the next process replaces it, because nobody listens there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a socket on which no process listens any more.
async fn remove_stale(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "the path names a file that is no socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        // The socket accepts connections, or its queue of waiting connections is full.
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(directory: &tempfile::TempDir) -> Listen {
        Listen::Unix(directory.path().join("admin.sock"))
    }

    #[tokio::test]
    async fn a_socket_is_for_its_user_and_group_and_its_file_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (_listener, file) = Listener::bind(&socket(&directory)).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_file_of_a_process_that_was_killed_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("admin.sock")).unwrap());
        let (listener, _file) = Listener::bind(&socket(&directory)).await.unwrap();
        assert!(listener.address().unwrap().is_none());
        UnixStream::connect(directory.path().join("admin.sock")).await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_on_which_another_process_listens_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (_first, _file) = Listener::bind(&socket(&directory)).await.unwrap();
        let error = Listener::bind(&socket(&directory)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        UnixStream::connect(directory.path().join("admin.sock")).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&socket(&directory)).await.err().unwrap();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Listener::bind(&socket(&directory)).await.is_err());
        assert!(path.is_symlink() && !directory.path().join("elsewhere").exists());
    }

    #[tokio::test]
    async fn a_file_that_took_the_sockets_name_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (_listener, file) = Listener::bind(&socket(&directory)).await.unwrap();
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
