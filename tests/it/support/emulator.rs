//! An emulator's process: started on a free loopback port, ended with the process that started it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::http::page;
use super::waiting::within;

/// Ends the emulator when standard input ends. Only the tests' process holds the input's other end, so the emulator
/// does not outlive that process, however it ends.
const UNTIL_INPUT_ENDS: &str = r#""$@" & emulator=$!; cat >/dev/null; kill -9 "$emulator"; wait"#;

/// How often another port is tried: another process may take a free port before the emulator listens on it.
const ATTEMPTS: usize = 5;

/// An emulator that listens.
#[derive(Debug)]
pub struct Emulator {
    pub address: SocketAddr,
    child: Child,
    /// Where the emulator writes its files.
    directory: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Emulator {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// MiniStack: S3, SQS, SNS, EventBridge, IAM and STS without permissions. One process serves all tests, which use
/// different names.
pub fn ministack() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        start("ministack", "/_ministack/health", |port| {
            let mut command = Command::new("sh");
            command.args(["-c", UNTIL_INPUT_ENDS, "sh"]).arg(tool("ministack"));
            // By default, the IoT broker listens on every address.
            command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string()).env("IOT_MTLS_ENABLED", "0");
            command
        })
    })
}

/// Moto, which checks signatures, policies and trust once a test turns that on. Each call starts one.
pub fn moto() -> Emulator {
    start("moto", "/moto-api/", |port| {
        let mut command = Command::new("sh");
        command.args(["-c", UNTIL_INPUT_ENDS, "sh"]).arg(tool("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    })
}

/// Elasticsearch's HTTP interface by noida-db. One process serves all tests.
pub fn noida() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        start("noida", "/", |port| {
            let mut command = Command::new("sh");
            // The package's own script passes no signals on.
            command.args(["-c", UNTIL_INPUT_ENDS, "sh"]).arg(packaged("noida_db/noida-db"));
            command.args(["start", "--data-dir", "data", "--only", "elasticsearch", "--elasticsearch-port"]);
            command.arg(port.to_string());
            command
        })
    })
}

/// OpenSearch's HTTP interface by osmem-server. One process serves all tests.
pub fn osmem() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        start("osmem", "/", |port| {
            let mut command = Command::new("sh");
            command.args(["-c", UNTIL_INPUT_ENDS, "sh"]).arg(packaged("osmem_server/bin/osmem-server"));
            command.args(["-addr", &format!("127.0.0.1:{port}"), "-no-stdin-watch"]);
            command
        })
    })
}

fn start(name: &str, health: &str, command: impl Fn(u16) -> Command) -> Emulator {
    for _ in 0..ATTEMPTS {
        let directory = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let child = command(address.port())
            .current_dir(directory.path())
            .env("TMPDIR", directory.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let emulator = Emulator { address, child, directory };
        if within(Duration::from_secs(60), || page(address, health).is_some_and(|reply| reply.status == 200)) {
            return emulator;
        }
        println!("{name} did not answer on {address}: {}", last_of(&emulator.directory.path().join("log")));
    }
    panic!("{name} did not start, {ATTEMPTS} times");
}

fn tool(name: &str) -> PathBuf {
    installed(&tools().join("venv/bin"), name)
}

/// The path of a program in an installed Python package.
fn packaged(name: &str) -> PathBuf {
    let versions = std::fs::read_dir(tools().join("venv/lib")).unwrap();
    let python = versions.map(|entry| entry.unwrap().path()).find(|path| path.join("site-packages").exists());
    installed(&python.unwrap().join("site-packages"), name)
}

fn installed(below: &Path, name: &str) -> PathBuf {
    let program = below.join(name);
    assert!(program.exists(), "{} is missing: run tests/run.sh once, it installs it", program.display());
    program
}

/// Where `tests/run.sh` put the emulators.
fn tools() -> PathBuf {
    std::env::var_os("AUDITFERRY_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"), PathBuf::from)
}

fn last_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
