//! Requests a page from a running daemon, at the address or socket on which it listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Listen;

/// How long the whole exchange may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body that is read, in bytes.
const BODY_BYTES_MAX: usize = 256 << 10;

/// The daemon's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("admin.listen has port 0, so that the daemon's port is not known; configure a port")]
    AnyPort,
    #[error("cannot connect to the daemon at {listen}: {source}")]
    Unreachable { listen: Listen, source: io::Error },
    #[error("the daemon at {listen} did not answer within {limit:?}")]
    Silent { listen: Listen, limit: Duration },
    /// Another program listens at that address, or the connection broke.
    #[error("what listens at {listen} gave no HTTP answer: {reason}")]
    Garbled { listen: Listen, reason: String },
}

/// Requests a page, such as `/livez`, from the daemon that is configured to listen at `listen`.
pub(crate) async fn ask(listen: &Listen, page: &str) -> Result<Answer, AskError> {
    ask_within(ANSWER_TIMEOUT, listen, page).await
}

async fn ask_within(limit: Duration, listen: &Listen, page: &str) -> Result<Answer, AskError> {
    match tokio::time::timeout(limit, connect(listen, page)).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::Silent { listen: listen.clone(), limit }),
    }
}

async fn connect(listen: &Listen, page: &str) -> Result<Answer, AskError> {
    let unreachable = |source| AskError::Unreachable { listen: listen.clone(), source };
    let answer = match listen {
        Listen::Tcp(address) if address.port() == 0 => return Err(AskError::AnyPort),
        Listen::Tcp(address) => {
            let stream = TcpStream::connect(reachable(*address)).await.map_err(unreachable)?;
            exchange(stream, page).await
        }
        Listen::Unix(path) => exchange(UnixStream::connect(path).await.map_err(unreachable)?, page).await,
    };
    answer.map_err(|reason| AskError::Garbled { listen: listen.clone(), reason })
}

/// Replaces an address that means all interfaces by the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Sends one request and returns its answer; the error is a reason for people.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, page: &str) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(page).header(HOST, "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answered = async move {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    // The connection ends once the request is answered and the sender is dropped.
    let (answer, _) = tokio::join!(answered, connection);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that reads the request and answers `reply`.
    async fn asked(reply: &'static [u8]) -> Result<Answer, AskError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = Listen::Tcp(listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /livez HTTP/1.1\r\n"));
            stream.write_all(reply).await.unwrap();
        };
        tokio::join!(ask(&listen, "/livez"), server).0
    }

    #[tokio::test]
    async fn status_and_body_are_told() {
        let answer = asked(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbad\n").await.unwrap();
        assert_eq!(answer, Answer { status: StatusCode::SERVICE_UNAVAILABLE, body: "bad\n".to_owned() });
    }

    #[tokio::test]
    async fn another_program_and_a_broken_connection_are_no_answer() {
        for reply in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nliv", b""] {
            let error = asked(reply).await.unwrap_err();
            assert!(matches!(error, AskError::Garbled { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_accepts_and_says_nothing_is_told_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("silent.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = ask_within(Duration::from_millis(20), &Listen::Unix(path), "/livez").await.unwrap_err();
        assert!(matches!(error, AskError::Silent { .. }), "{error}");
    }

    #[tokio::test]
    async fn where_nobody_listens_and_a_port_that_is_not_known_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let nobody = Listen::Unix(directory.path().join("gone.sock"));
        assert!(matches!(ask(&nobody, "/livez").await, Err(AskError::Unreachable { .. })));
        let any = Listen::Tcp("127.0.0.1:0".parse().unwrap());
        assert!(matches!(ask(&any, "/livez").await, Err(AskError::AnyPort)));
    }

    #[test]
    fn a_daemon_on_all_addresses_is_asked_on_this_machine() {
        for (configured, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(reachable(configured.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
