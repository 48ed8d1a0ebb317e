//! An HTTP proxy that makes tunnels (CONNECT), and writes down where to.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::receiver::read_head;

/// One on this machine. Whatever host is named, its tunnels lead to this machine; to ports that nobody listens at they do not.
pub struct Tunnel {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heads: Mutex<Vec<String>>,
    is_refusing: AtomicBool,
}

impl Tunnel {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || {
                    // Whoever hangs up has had what they wanted.
                    let _ = serve(client, &shared);
                });
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it wants other credentials (407), or does not any more.
    pub fn refuses(&self, refuses: bool) {
        self.shared.is_refusing.store(refuses, Ordering::Relaxed);
    }

    /// What was asked for so far: heads of requests.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// The hosts that tunnels were asked to.
    pub fn hosts(&self) -> Vec<String> {
        let heads = self.heads();
        let targets = heads.iter().filter_map(|head| head.strip_prefix("CONNECT ")?.split(':').next());
        targets.map(str::to_owned).collect()
    }
}

fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let head = read_head(&mut client)?;
    shared.heads.lock().unwrap().push(head.clone());
    if shared.is_refusing.load(Ordering::Relaxed) {
        return refuse(&mut client, "407 Proxy Authentication Required");
    }
    let port = head.split(' ').nth(1).and_then(|target| target.rsplit(':').next()).and_then(|port| port.parse().ok());
    let Some(Ok(mut service)) = port.map(|port: u16| TcpStream::connect(("127.0.0.1", port))) else {
        return refuse(&mut client, "502 Bad Gateway");
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut answers, mut back) = (service.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    io::copy(&mut client, &mut service).map(drop)
}

fn refuse(client: &mut TcpStream, status: &str) -> io::Result<()> {
    client.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())
}
