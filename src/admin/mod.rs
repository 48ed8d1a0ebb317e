//! Metrics and health over HTTP, without authentication.

mod client;

mod listener;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{self, Now};

pub(crate) use client::{Answer, AskError, ask};
pub(crate) use listener::{Listener, SocketFile};

/// The longest life of one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The most connections that are open at once.
const CONNECTIONS_MAX: usize = 64;
/// The most bytes of request line and headers that are read.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// The state that the pages show.
#[derive(Clone)]
pub(crate) struct State {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub now: Arc<dyn Fn() -> Now + Send + Sync>,
}

/// Answers requests. Past [`CONNECTIONS_MAX`] connections the oldest is closed, so that a client with many silent
/// connections does not keep others from an answer. Returns only when the listener fails, for example because no
/// descriptor is free; call it again after a while. Cancel-safe: dropping it closes the connections being answered.
///
/// `GET /metrics`: OpenMetrics text. `GET /livez`: 200 while the supervisor's loop runs. `GET /readyz`: 200 once the
/// store and every sink were opened and every identity was asked for credentials, before that 503 with the missing
/// parts. Once 200, it stays so, because a restart would not help. In either case a line for each failing feed, queue,
/// sink and identity says since when and why. `GET /status`: everything known about these parts, as JSON.
pub(crate) async fn serve(listener: &Listener, state: &State) -> io::Error {
    let mut connections = FuturesUnordered::new();
    // A connection is closed when its sender in this queue is dropped.
    let mut open: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    loop {
        let connection = tokio::select! {
            biased;
            Some(()) = connections.next() => {
                open.retain(|connection| !connection.is_closed());
                continue;
            }
            accepted = accept(listener, state) => match accepted {
                Ok(connection) => connection,
                // The client closed the connection while it waited to be accepted.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
                Err(error) => return error,
            },
        };
        if open.len() == CONNECTIONS_MAX {
            open.pop_front();
        }
        let (stays, ends) = oneshot::channel();
        open.push_back(stays);
        connections.push(async move {
            tokio::select! {
                biased;
                _ = ends => {}
                () = connection => {}
            }
        });
    }
}

/// Waits for a connection and returns the future that answers it. A connection that fails or takes too long affects
/// only its own client.
async fn accept<'s>(listener: &Listener, state: &'s State) -> io::Result<BoxFuture<'s, ()>> {
    Ok(match listener {
        Listener::Tcp(listener) => connection(listener.accept().await?.0, state).boxed(),
        Listener::Unix(listener) => connection(listener.accept().await?.0, state).boxed(),
    })
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send, state: &State) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let response = answer(request.method(), request.uri().path(), state);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}

fn answer(method: &Method, path: &str, state: &State) -> Response<Full<Bytes>> {
    if !["/metrics", "/livez", "/readyz", "/status"].contains(&path) {
        return text(StatusCode::NOT_FOUND, "not found\n".to_owned());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let now = (state.now)();
    match path {
        "/metrics" => {
            status::measure(&state.health, &state.metrics);
            let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            typed(StatusCode::OK, openmetrics, state.metrics.text(now.wall_ms))
        }
        "/status" => {
            let told = status::status(&state.health, &state.metrics, now);
            typed(StatusCode::OK, "application/json", format!("{told:#}\n"))
        }
        "/livez" if state.health.live(now.uptime_ms) => text(StatusCode::OK, "live\n".to_owned()),
        "/livez" => text(StatusCode::SERVICE_UNAVAILABLE, "the supervisor is silent\n".to_owned()),
        _ => {
            let ready = state.health.unready().is_empty();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(status, status::readiness(&state.health, &state.metrics, now))
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::telemetry::health::{Activity, Failure, Part, PartKind, Patience};

    fn state(uptime_ms: u64) -> State {
        let health = Health::default();
        health.announce(Part::new(PartKind::Sink, "out"));
        State {
            metrics: Arc::new(Metrics::new(0)),
            health: Arc::new(health),
            now: Arc::new(move || Now { wall_ms: 0, uptime_ms }),
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn metrics_and_health_are_answered_and_nothing_else() {
        let state = state(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = state.clone();
        let server = tokio::spawn(async move { serve(&Listener::Tcp(listener), &served).await });
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
            ("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
            ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "503 Service Unavailable"),
            ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
            ("GET /status HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
            ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
            ("GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
            ("nonsense\r\n\r\n", "400 Bad Request"),
        ] {
            let reply = ask(address, request).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{request:?} was answered with {reply}");
        }
        let sink = Part::new(PartKind::Sink, "out");
        state.health.worked(&sink, Activity::Deliver, 0);
        let reply = ask(address, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(reply.ends_with("\r\n\r\nready\n"), "{reply}");
        let failure = Failure { kind: "unavailable", reason: "the disk is full".to_owned() };
        state.health.failed(&sink, Activity::Deliver, failure, Patience::NONE, 0);
        let reply = ask(address, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "a restart would not help: {reply}");
        assert!(reply.contains("\r\n\r\nready\nfailing: sink out (deliver)"), "{reply}");
        assert!(reply.ends_with("unavailable: the disk is full\n"), "{reply}");
        server.abort();
    }

    #[tokio::test]
    async fn however_many_connections_send_nothing_a_request_is_answered_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { serve(&Listener::Tcp(listener), &state(0)).await });
        let mut idle = VecDeque::new();
        for number in 0..3 * CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Every other client stops in the middle of its request.
            if number % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\nHo").await.unwrap();
            }
            idle.push_back(stream);
        }
        let reply = ask(address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        let reply = tokio::time::timeout(CONNECTION_TIMEOUT / 2, reply).await.expect("it does not wait for the others");
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
        // The oldest was closed, the youngest is still open.
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(CONNECTION_TIMEOUT / 2, idle[0].read_to_end(&mut rest)).await;
        assert!(closed.is_ok());
        assert!(
            idle.pop_back().unwrap().try_read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        );
        server.abort();
    }

    #[tokio::test]
    async fn headers_without_end_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { serve(&Listener::Tcp(listener), &state(0)).await });
        let request = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(2 * REQUEST_BYTES_MAX));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close the connection before the whole request is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        assert!(!reply.starts_with(b"HTTP/1.1 200"));
        server.abort();
    }

    #[test]
    fn a_stuck_supervisor_is_told() {
        let reply = answer(&Method::GET, "/livez", &state(Health::SILENCE_MAX_MS + 1));
        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
