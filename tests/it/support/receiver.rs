//! A receiver of events over HTTP on this machine: it keeps every request, and answers as a test sets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A whole request. Header names are in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, as they were sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    /// The decompressed body.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match self.header("content-encoding") {
            Some("gzip") => flate2::read::GzDecoder::new(&*self.body).read_to_string(&mut text).map(drop).unwrap(),
            Some("zstd") => text = String::from_utf8(zstd::decode_all(&*self.body).unwrap()).unwrap(),
            _ => text = String::from_utf8(self.body.clone()).unwrap(),
        }
        text
    }

    /// The events of a body, one a line.
    pub fn lines(&self) -> Vec<String> {
        self.text().split_terminator('\n').map(str::to_owned).collect()
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// There is no answer, however long the client waits.
    Silence,
    /// The body stops before its announced length.
    Stalled {
        status: u16,
    },
    /// A body of this many bytes, whose length is not announced.
    Oversized {
        status: u16,
        bytes: usize,
    },
    /// The connection is closed after the request is read.
    HangUp,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn says(status: u16, body: &str) -> Self {
        Self::Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Reply { status, mut headers, body } => {
                headers.push((name, value.into()));
                Self::Reply { status, headers, body }
            }
            other => other,
        }
    }
}

type Script = Box<dyn FnMut(&Request) -> Answer + Send>;

/// Listens on this machine until the process ends.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    is_secure: bool,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    script: Script,
    /// Each request with the status of its answer, if it was answered.
    requests: Vec<(Request, Option<u16>)>,
    /// How many answers clients have read to the end, or broken off.
    heard: usize,
}

impl Receiver {
    pub fn that_answers(answer: Answer) -> Self {
        Self::with_script(move |_| answer.clone())
    }

    pub fn with_script(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        Self::begin(TcpListener::bind("127.0.0.1:0").unwrap(), Box::new(script), None)
    }

    /// Serves `localhost`, with a certificate that [`root`] signed.
    pub fn over_tls(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        Self::begin(TcpListener::bind("127.0.0.1:0").unwrap(), Box::new(script), Some(tls(false)))
    }

    /// Like [`Receiver::over_tls`], for clients with a certificate that `client-root.pem` signed.
    pub fn over_mutual_tls(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        Self::begin(TcpListener::bind("127.0.0.1:0").unwrap(), Box::new(script), Some(tls(true)))
    }

    fn begin(listener: TcpListener, script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let is_secure = tls.is_some();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared { script, requests: Vec::new(), heard: 0 }));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                std::thread::spawn(move || {
                    // A client that hangs up has had what it wanted.
                    let _ = welcome(connection, tls, &shared);
                });
            }
        });
        Self { address, is_secure, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        if self.is_secure {
            return format!("https://localhost:{}", self.address.port());
        }
        format!("http://{}", self.address)
    }

    /// From now on, gives this answer to every request.
    pub fn answers(&self, answer: Answer) {
        self.shared.lock().unwrap().script = Box::new(move |_| answer.clone());
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().unwrap().requests.iter().map(|(request, _)| request.clone()).collect()
    }

    /// How many answers without TLS clients have finished reading: they have hung up.
    pub fn heard(&self) -> usize {
        self.shared.lock().unwrap().heard
    }

    /// All requests so far that were answered with success.
    pub fn taken(&self) -> Vec<Request> {
        let shared = self.shared.lock().unwrap();
        let taken = shared.requests.iter().filter(|(_, status)| status.is_some_and(|status| status < 300));
        taken.map(|(request, _)| request.clone()).collect()
    }

    /// The events of the requests that were answered with success.
    pub fn taken_lines(&self) -> Vec<String> {
        self.taken().iter().flat_map(Request::lines).collect()
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// The root certificate that signed the receiver's certificate.
pub fn root() -> PathBuf {
    fixture("root.pem")
}

fn tls(asks_for_a_certificate: bool) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(fixture("localhost.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("localhost.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.unwrap();
    let config = if asks_for_a_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(fixture("client-root.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

fn welcome(client: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Mutex<Shared>) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut client = StreamOwned::new(connection, client);
            serve(&mut client, shared)?;
            client.conn.send_close_notify();
            client.flush()
        }
        None => {
            let mut client = client;
            let replies = serve(&mut client, shared)?;
            if replies {
                client.shutdown(Shutdown::Write)?;
                // It does not matter how the client hangs up.
                let _ = silent(&mut client);
                shared.lock().unwrap().heard += 1;
            }
            Ok(())
        }
    }
}

/// Answers one request; returns whether it replied.
fn serve(client: &mut (impl Read + Write), shared: &Mutex<Shared>) -> io::Result<bool> {
    let request = read(client)?;
    let answer = {
        let mut shared = shared.lock().unwrap();
        let answer = (shared.script)(&request);
        let status = if let Answer::Reply { status, .. } = &answer { Some(*status) } else { None };
        shared.requests.push((request, status));
        answer
    };
    let replies = matches!(answer, Answer::Reply { .. });
    match answer {
        Answer::Reply { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            client.write_all(format!("{head}\r\n").as_bytes())?;
            client.write_all(&body)
        }
        Answer::Silence => silent(client),
        Answer::Stalled { status } => {
            client.write_all(format!("HTTP/1.1 {status} So\r\nContent-Length: 100\r\n\r\n{{\"pag").as_bytes())?;
            client.flush()?;
            silent(client)
        }
        Answer::Oversized { status, bytes } => {
            client.write_all(format!("HTTP/1.1 {status} So\r\nConnection: close\r\n\r\n").as_bytes())?;
            client.write_all(&vec![b' '; bytes])
        }
        Answer::HangUp => Ok(()),
    }?;
    Ok(replies)
}

/// The head of a request, with the empty line at its end, and nothing of what follows.
pub fn read_head(client: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn read(client: &mut (impl Read + Write)) -> io::Result<Request> {
    let head = read_head(client)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    client.read_exact(&mut request.body)?;
    Ok(request)
}

/// Waits until the client hangs up.
fn silent(client: &mut impl Read) -> io::Result<()> {
    client.read_to_end(&mut Vec::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::http::request;

    #[test]
    fn a_receiver_keeps_what_was_sent_and_answers_as_it_is_told() {
        let receiver = Receiver::that_answers(Answer::says(429, "slow down").with("Retry-After", "7"));
        let reply = request(receiver.address(), "POST", "/in?x=1", &[("X-Key", "a")], b"one\ntwo\n").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (429, "slow down"));
        assert!(reply.headers.contains(&("retry-after".to_owned(), "7".to_owned())));
        receiver.answers(Answer::status(204));
        assert_eq!(request(receiver.address(), "POST", "/", &[], b"").unwrap().status, 204);
        let requests = receiver.requests();
        assert_eq!(
            (&*requests[0].method, &*requests[0].target, requests[0].header("x-key")),
            ("POST", "/in?x=1", Some("a"))
        );
        assert_eq!((requests[0].lines(), requests.len()), (vec!["one".to_owned(), "two".to_owned()], 2));
        receiver.answers(Answer::HangUp);
        assert!(request(receiver.address(), "POST", "/", &[], b"").is_err());
    }
}
