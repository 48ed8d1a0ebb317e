//! One HTTP/1.1 request on a connection of its own: enough for the emulators and the daemon's own pages.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply. Header names are in lower case.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element `name`.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let begin = text.find(&format!("<{name}>"))? + name.len() + 2;
        let end = begin + text[begin..].find(&format!("</{name}>"))?;
        Some(text[begin..end].to_owned())
    }
}

/// Sends a request and reads the reply to its end.
///
/// # Errors
/// The connection's error, or `InvalidData` if the reply is not HTTP.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Reply> {
    let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.set_nodelay(true)?;
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut sent = head.into_bytes();
    sent.extend_from_slice(body);
    connection.write_all(&sent)?;
    let mut received = Vec::new();
    connection.read_to_end(&mut received)?;
    parse(&received).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP reply"))
}

/// A page of the daemon or of an emulator; `None` if it does not answer.
pub fn page(address: SocketAddr, target: &str) -> Option<Reply> {
    request(address, "GET", target, &[], b"").ok()
}

fn parse(received: &[u8]) -> Option<Reply> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let rest = &received[end + 4..];
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    Some(Reply { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// Percent-encodes all but letters, digits, `-._~` and what `kept` names.
pub fn percent_encoded(text: &str, kept: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || "-._~".contains(byte as char) || kept.contains(byte as char) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_reply_is_put_together() {
        let reply = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
            .unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "abcde"));
    }

    #[test]
    fn keys_keep_their_slashes_and_nothing_else() {
        assert_eq!(percent_encoded("a=b/x y.json", "/"), "a%3Db/x%20y.json");
    }
}
