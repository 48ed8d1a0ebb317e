//! `[admin]`: where metrics and health are served over HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net;
use std::path::PathBuf;

use serde::Deserialize;

/// The prefix of a `listen` that is the path of a Unix socket.
const UNIX: &str = "unix:";

/// `[admin]`: metrics and health over HTTP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Loopback address and port, such as `127.0.0.1:9598` (port 0: any free one, logged at start), or `unix:` and the
    /// path of a Unix socket. Default: not served.
    pub listen: Option<String>,
    /// Allow addresses that other machines can reach. Default: false.
    #[serde(default)]
    pub allow_remote: bool,
}

impl Admin {
    /// The address to listen on; `None` if `listen` is not set. Addresses that other machines can reach need
    /// `allow_remote`, because metrics name tenants and sinks and there is no authentication.
    pub fn address(&self) -> Result<Option<Listen>, AddressError> {
        let Some(text) = &self.listen else { return Ok(None) };
        if let Some(path) = text.strip_prefix(UNIX) {
            let path = PathBuf::from(path);
            if !path.is_absolute() || path.file_name().is_none() {
                return Err(AddressError::RelativePath);
            }
            return match net::SocketAddr::from_pathname(&path) {
                Ok(_) => Ok(Some(Listen::Unix(path))),
                Err(_) => Err(AddressError::LongPath { bytes: path.as_os_str().len() }),
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| AddressError::Malformed)?;
        if self.allow_remote || address.ip().is_loopback() {
            Ok(Some(Listen::Tcp(address)))
        } else {
            Err(AddressError::NotLoopback)
        }
    }
}

/// The address of the metrics and health server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Why `admin.listen` is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    #[error("expected an address and a port such as \"127.0.0.1:9598\", or \"unix:/path/of/a/socket\"")]
    Malformed,
    #[error(
        "expected a loopback address (127.0.0.1 or [::1]): there is no authentication; `admin.allow_remote = true` allows \
         others"
    )]
    NotLoopback,
    #[error("expected the absolute path of a socket behind `unix:`")]
    RelativePath,
    /// The limit comes from the operating system: `sun_path` of unix(7).
    #[error("expected a path of at most 107 bytes, found {bytes}: the system's limit for a socket")]
    LongPath { bytes: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(listen: &str, allow_remote: bool) -> Result<Option<Listen>, AddressError> {
        Admin { listen: Some(listen.to_owned()), allow_remote }.address()
    }

    #[test]
    fn other_machines_are_served_only_where_that_is_allowed() {
        for remote in ["0.0.0.0:9598", "[::]:9598", "10.1.2.3:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(address(remote, false), Err(AddressError::NotLoopback), "{remote}");
            assert_eq!(address(remote, true), Ok(Some(Listen::Tcp(remote.parse().unwrap()))), "{remote}");
        }
        for local in ["127.0.0.1:9598", "127.8.8.8:0", "[::1]:9598"] {
            assert_eq!(address(local, false), Ok(Some(Listen::Tcp(local.parse().unwrap()))), "{local}");
        }
        assert!(AddressError::NotLoopback.to_string().contains("admin.allow_remote"));
    }

    #[test]
    fn an_address_is_a_number_and_a_port_whatever_is_allowed() {
        for wrong in ["", "9598", "127.0.0.1", "localhost:9598", "http://127.0.0.1:9598", "127.0.0.1:99999", "/run/a"] {
            assert_eq!(address(wrong, true), Err(AddressError::Malformed), "{wrong}");
        }
    }

    #[test]
    fn a_socket_has_an_absolute_path_that_the_system_can_bind() {
        assert_eq!(address("unix:/run/a.sock", false), Ok(Some(Listen::Unix("/run/a.sock".into()))));
        for wrong in ["unix:", "unix:a.sock", "unix:./a.sock", "unix:/", "unix:/run/.."] {
            assert_eq!(address(wrong, false), Err(AddressError::RelativePath), "{wrong}");
        }
        let longest = format!("unix:/{}", "x".repeat(106));
        assert!(address(&longest, false).is_ok());
        assert_eq!(address(&format!("{longest}x"), false), Err(AddressError::LongPath { bytes: 108 }));
    }
}
