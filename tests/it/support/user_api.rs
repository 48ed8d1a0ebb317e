//! A small lakeFS: the part of its API that lists users, and what can go wrong with it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

/// What is answered to every request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The users (id and address) in the order of their ids, so many on a page.
    Users(Vec<(&'static str, Option<&'static str>)>, usize),
    Status(u16),
    /// Another place to ask.
    Redirect(String),
    /// Nothing, for as long as the client waits.
    Silence,
    /// The beginning of a body that is announced to be longer, then nothing.
    Stalled,
    /// A body of this many bytes, whose length is not announced.
    Oversized(usize),
    Body(&'static str),
    /// Every page points to a next one.
    Endless,
}

/// What one request asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Path and query, as they were sent.
    pub target: String,
    pub authorization: String,
}

/// Listens on this machine until the process ends.
#[derive(Clone, Debug)]
pub struct UserApi {
    address: SocketAddr,
    is_secure: bool,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    answer: Answer,
    asked: Vec<Asked>,
}

impl UserApi {
    pub fn that_answers(answer: Answer) -> Self {
        Self::begin(answer, None)
    }

    /// As `localhost`, whose certificate [`root`] has signed.
    pub fn that_answers_over_tls(answer: Answer) -> Self {
        let chain = vec![CertificateDer::from_pem_file(fixture("localhost.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(fixture("localhost.key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::begin(answer, Some(Arc::new(config)))
    }

    fn begin(answer: Answer, tls: Option<Arc<ServerConfig>>) -> Self {
        let is_secure = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared { answer, asked: Vec::new() }));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                std::thread::spawn(move || {
                    // Whoever hangs up has had what they wanted.
                    let _ = welcome(connection, tls, &shared);
                });
            }
        });
        Self { address, is_secure, shared }
    }

    pub fn url(&self) -> String {
        if self.is_secure {
            return format!("https://localhost:{}", self.address.port());
        }
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn answers(&self, answer: Answer) {
        self.shared.lock().unwrap().answer = answer;
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().unwrap().asked.clone()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// The certificate of who signed the API's own.
pub fn root() -> PathBuf {
    fixture("root.pem")
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
        None => serve(&mut { client }, shared),
    }
}

fn serve(client: &mut (impl Read + Write), shared: &Mutex<Shared>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |line: &str| {
        line.split_once(": ")
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.to_owned())
    };
    let authorization = head.lines().find_map(header).unwrap_or_default();
    let (answer, count) = {
        let mut shared = shared.lock().unwrap();
        shared.asked.push(Asked { target: target.clone(), authorization });
        (shared.answer.clone(), shared.asked.len())
    };
    match answer {
        Answer::Users(users, page) => client.write_all(&reply(200, &page_of(&users, page, &target))),
        Answer::Status(status) => client.write_all(&reply(status, r#"{"message":"no"}"#)),
        Answer::Redirect(to) => client.write_all(
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        ),
        Answer::Silence => silent(client),
        Answer::Stalled => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"pagination\"")?;
            silent(client)
        }
        Answer::Oversized(bytes) => {
            client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            client.write_all(&vec![b' '; bytes])
        }
        Answer::Body(body) => client.write_all(&reply(200, body)),
        Answer::Endless => {
            let body = json!({"pagination": {"has_more": true, "next_offset": format!("u-{count}"), "results": 0, "max_per_page": 1000}, "results": []});
            client.write_all(&reply(200, &body.to_string()))
        }
    }
}

/// Waits until the client hangs up.
fn silent(client: &mut impl Read) -> io::Result<()> {
    client.read_to_end(&mut Vec::new()).map(drop)
}

fn reply(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The page behind the `after` of the target, which asks for up to a thousand users; the server hands out fewer.
fn page_of(users: &[(&str, Option<&str>)], page: usize, target: &str) -> String {
    let after = target.split(['?', '&']).find_map(|part| part.strip_prefix("after=")).unwrap_or_default();
    let mut rest: Vec<_> = users.iter().filter(|(id, _)| *id > after).collect();
    rest.sort_unstable();
    let has_more = rest.len() > page;
    rest.truncate(page);
    let next = if has_more { rest[page - 1].0 } else { "" };
    let results: Vec<_> = rest
        .iter()
        .map(|(id, email)| match email {
            Some(email) => json!({"id": id, "creation_date": 1_700_000_000, "friendly_name": "x", "email": email}),
            None => json!({"id": id, "creation_date": 1_700_000_000}),
        })
        .collect();
    json!({
        "pagination": {"has_more": has_more, "next_offset": next, "results": results.len(), "max_per_page": page},
        "results": results
    })
    .to_string()
}
