//! A proxy between the daemon and an emulator: it records each exchange, and causes the faults that a test sets.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    /// Path and query, as they were sent.
    pub target: String,
    /// Header names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub status: u16,
}

impl Exchange {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The access key id that signed the request.
    pub fn access_key(&self) -> Option<&str> {
        self.header("authorization")?.split("Credential=").nth(1)?.split('/').next()
    }
}

/// What happens to a request in place of passing it and its answer on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection ends after this many bytes of the body.
    CutAfter(usize),
    /// The answer has this status and no body.
    Status(u16),
    /// The answer has this status and this S3 error code.
    Refused(u16, &'static str),
    /// The answer waits until [`Proxy::release`].
    Held,
    /// The request waits until [`Proxy::release`].
    Delayed,
    /// The body comes at one byte a second until [`Proxy::release`].
    Slow,
}

/// A proxy for one address. It passes one request on each connection, with the `Host` that the client sent, since the
/// signature covers it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    exchanges: Vec<Exchange>,
    /// Each fault applies once, to the next request for an object (GET with a key).
    faults: VecDeque<Fault>,
    /// Each fault applies once, to the next request that writes an object (PUT with a key).
    write_faults: VecDeque<Fault>,
    /// How many requests and answers are held now.
    held: usize,
    open: bool,
}

impl Proxy {
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { upstream, state: Mutex::default(), released: Condvar::new() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || {
                    // A client that hangs up has had what it wanted.
                    let _ = shared.pass(connection);
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next reads of objects have these faults, one each.
    pub fn breaks(&self, faults: &[Fault]) {
        self.shared.state.lock().unwrap().faults.extend(faults);
    }

    /// The next writes of objects have these faults, one each.
    pub fn breaks_writes(&self, faults: &[Fault]) {
        self.shared.state.lock().unwrap().write_faults.extend(faults);
    }

    /// From now on there are no faults.
    pub fn heals(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.faults.clear();
        state.write_faults.clear();
    }

    /// How many requests and answers are held now.
    pub fn held(&self) -> usize {
        self.shared.state.lock().unwrap().held
    }

    /// Releases everything that is held; nothing more is held afterwards.
    pub fn release(&self) {
        self.shared.state.lock().unwrap().open = true;
        self.shared.released.notify_all();
    }

    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.state.lock().unwrap().exchanges.clone()
    }

    /// The reads of objects whose path begins with `/bucket/`, in order.
    pub fn reads(&self, bucket: &str) -> Vec<Exchange> {
        let below = format!("/{bucket}/");
        let exchanges = self.exchanges().into_iter();
        exchanges.filter(|exchange| is_read(&exchange.method, &exchange.target, &below)).collect()
    }
}

fn is_read(method: &str, target: &str, below: &str) -> bool {
    method == "GET" && target.strip_prefix(below).is_some_and(|key| !key.is_empty() && !key.starts_with('?'))
}

impl Shared {
    fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (head, mut body) = read_head(&mut client)?;
        let mut lines = head.split("\r\n");
        let request_line = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length =
            headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
        let missing = length.unwrap_or(0_usize).saturating_sub(body.len());
        let mut rest = vec![0; missing];
        client.read_exact(&mut rest)?;
        body.extend_from_slice(&rest);

        let mut words = request_line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fault = self.fault_for(&method, &target);
        let body_text = String::from_utf8_lossy(&body).into_owned();
        let exchange = Exchange { method, target, headers, body: body_text, status: 0 };
        let refusal = match fault {
            Some(Fault::Status(status)) => Some((status, String::new())),
            Some(Fault::Refused(status, code)) => {
                Some((status, format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>")))
            }
            _ => None,
        };
        if let Some((status, body)) = refusal {
            self.note(exchange, status);
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Broken\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            return client.write_all(format!("{head}{body}").as_bytes());
        }
        if fault == Some(Fault::Delayed) {
            self.hold();
        }
        let mut upstream = TcpStream::connect(self.upstream)?;
        upstream.write_all(&asked_to_close(&head, &body))?;
        let (reply_head, reply_body) = read_head(&mut upstream)?;
        let status = reply_head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if fault == Some(Fault::Held) {
            self.hold();
        }
        self.note(exchange, status);
        client.write_all(&asked_to_close(&reply_head, b""))?;
        if fault == Some(Fault::Slow) {
            return self.trickle(&reply_body, upstream, client);
        }
        let mut left = if let Some(Fault::CutAfter(bytes)) = fault { bytes } else { usize::MAX };
        forward(&reply_body, &mut client, &mut left)?;
        let mut piece = vec![0; 16 << 10];
        while left > 0 {
            let read = upstream.read(&mut piece)?;
            if read == 0 {
                break;
            }
            forward(&piece[..read], &mut client, &mut left)?;
        }
        Ok(())
    }

    fn fault_for(&self, method: &str, target: &str) -> Option<Fault> {
        let (_, key) = target.trim_start_matches('/').split_once('/')?;
        let mut state = self.state.lock().unwrap();
        match method {
            _ if is_read(method, key, "") => state.faults.pop_front(),
            "PUT" if !key.is_empty() && !key.starts_with('?') => state.write_faults.pop_front(),
            _ => None,
        }
    }

    fn note(&self, mut exchange: Exchange, status: u16) {
        exchange.status = status;
        self.state.lock().unwrap().exchanges.push(exchange);
    }

    fn trickle(&self, begun: &[u8], mut upstream: TcpStream, mut client: TcpStream) -> io::Result<()> {
        let mut body = begun.to_vec();
        upstream.read_to_end(&mut body)?;
        let mut state = self.state.lock().unwrap();
        while let Some((next, rest)) = body.split_first().filter(|_| !state.open) {
            client.write_all(&[*next])?;
            body = rest.to_vec();
            state = self.released.wait_timeout(state, Duration::from_secs(1)).unwrap().0;
        }
        drop(state);
        client.write_all(&body)
    }

    fn hold(&self) {
        let mut state = self.state.lock().unwrap();
        state.held += 1;
        while !state.open {
            state = self.released.wait(state).unwrap();
        }
        state.held -= 1;
    }
}

fn forward(bytes: &[u8], client: &mut TcpStream, left: &mut usize) -> io::Result<()> {
    let passed = bytes.len().min(*left);
    client.write_all(&bytes[..passed])?;
    *left -= passed;
    Ok(())
}

/// Reads to the end of the head. Returns the head, and the bytes of the body that came with it.
fn read_head(from: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = received.split_off(end + 4);
            received.truncate(end);
            return Ok((String::from_utf8_lossy(&received).into_owned(), body));
        }
        let read = from.read(&mut piece)?;
        if read == 0 || received.len() > 256 << 10 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&piece[..read]);
    }
}

/// The head with `Connection: close`, and the body after it.
fn asked_to_close(head: &str, body: &[u8]) -> Vec<u8> {
    let kept = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut whole = kept.collect::<Vec<_>>().join("\r\n").into_bytes();
    whole.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    whole.extend_from_slice(body);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::aws::Aws;
    use crate::support::http::page;

    #[test]
    fn an_answer_is_cut_once_and_whole_afterwards() {
        let aws = Aws::emulated();
        let bucket = aws.bucket();
        bucket.put("a.json", b"0123456789");
        let proxy = Proxy::to(aws.address);
        proxy.breaks(&[Fault::CutAfter(4), Fault::Status(503)]);
        let target = format!("/{}/a.json", bucket.name);
        assert_eq!(page(proxy.address, &target).unwrap().text(), "0123");
        assert_eq!(page(proxy.address, &target).unwrap().status, 503);
        assert_eq!(page(proxy.address, &target).unwrap().text(), "0123456789");
        let statuses: Vec<u16> = proxy.reads(&bucket.name).iter().map(|read| read.status).collect();
        assert_eq!(statuses, [200, 503, 200]);
    }
}
