//! Where health and metrics are served, and how the command line asks for them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use super::support::daemon::Daemon;
use super::support::waiting::{SOON, eventually};
use super::support::world::World;

/// The variables that set where the daemon listens.
const LISTEN: &str = "AUDITFERRY__ADMIN__LISTEN";
const ALLOW_REMOTE: &str = "AUDITFERRY__ADMIN__ALLOW_REMOTE";

fn command(arguments: &[&str], config: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
    command.env_clear().envs(environment.iter().copied());
    command.args(arguments).arg("--config").arg(config).output().unwrap()
}

/// Exit code, standard output and standard error of `auditferry health`.
fn health(arguments: &[&str], config: &Path, environment: &[(&str, &str)]) -> (i32, String, String) {
    let output = command(&[&["health"], arguments].concat(), config, environment);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Writes a configuration file that holds only this text.
fn config(directory: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
    let path = directory.path().join("auditferry.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn becomes_ready(config: &Path, environment: &[(&str, &str)]) {
    eventually("`health --ready` says so", SOON, || health(&["--ready"], config, environment).0 == 0);
}

fn listening(world: &World, listen: &str) -> Daemon {
    let daemon = world.run(&[]).with_environment(LISTEN, listen).at_work();
    assert_eq!(daemon.log.said("admin listens").unwrap().field("listen").unwrap(), listen);
    daemon
}

#[test]
fn a_unix_socket_is_served_asked_and_removed() {
    let world = World::fed_by_directory();
    let (path, config) = (world.path("admin.sock"), world.path("auditferry.toml"));
    let listen = format!("unix:{}", path.display());
    let environment = [(LISTEN, listen.as_str())];
    let daemon = listening(&world, &listen);
    assert_eq!(health(&[], &config, &environment), (0, "live\n".to_owned(), String::new()));
    becomes_ready(&config, &environment);
    assert_eq!(health(&["--ready"], &config, &environment), (0, "ready\n".to_owned(), String::new()));
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.contains("auditferry_"), "{reply}");
    assert!(daemon.stop().success());
    assert!(!path.exists());
    let (code, _, said) = health(&[], &config, &environment);
    assert!(code == 69 && said.contains(&listen), "{code} {said}");
    // A process that is killed leaves its socket's file behind.
    listening(&world, &listen).kill();
    assert!(path.exists());
    let daemon = listening(&world, &listen);
    becomes_ready(&config, &environment);
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_for_other_machines_is_asked_on_this_one() {
    let world = World::fed_by_directory();
    let daemon = world.run(&[]).with_environment(LISTEN, "0.0.0.0:0").with_environment(ALLOW_REMOTE, "true").at_work();
    let listen = daemon.admin().unwrap();
    assert!(listen.ip().is_unspecified());
    let listen = listen.to_string();
    let environment = [(LISTEN, listen.as_str()), (ALLOW_REMOTE, "true")];
    let (config, health_of) =
        (world.path("auditferry.toml"), |variables| health(&[], &world.path("auditferry.toml"), variables));
    assert_eq!(health_of(&environment).0, 0);
    becomes_ready(&config, &environment);
    // Without `allow_remote` each command refuses the address, as the daemon does.
    for command_name in ["health", "check", "run"] {
        let output = command(&[command_name], &config, &environment[..1]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("admin.listen: expected a loopback address"), "{said}");
        assert!(said.contains("admin.allow_remote"), "{said}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn what_health_says_is_in_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = server.local_addr().unwrap();
    // `health` reads only [admin]: the daemon may still run with an earlier version of the file.
    let config = config(&directory, &format!("limts = 1\n[admin]\nlisten = \"{listen}\"\n"));
    for (arguments, page, status, code) in [
        (&[][..], "/livez", "200 OK", 0),
        (&[][..], "/livez", "503 Service Unavailable", 75),
        (&["--ready"][..], "/readyz", "200 OK", 0),
        (&["--ready"][..], "/readyz", "503 Service Unavailable", 75),
        (&["--ready"][..], "/readyz", "404 Not Found", 69),
    ] {
        let (said, request) = std::thread::scope(|scope| {
            let served = scope.spawn(|| {
                let (mut stream, _) = server.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                let body = "one\x1b\ntwo\n";
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
                String::from_utf8(request[..read].to_vec()).unwrap()
            });
            (health(arguments, &config, &[]), served.join().unwrap())
        });
        assert!(request.starts_with(&format!("GET {page} HTTP/1.1\r\n")), "{request}");
        assert_eq!((said.0, said.1.as_str()), (code, "one \ntwo\n"), "{status}: {}", said.2);
    }
}

#[test]
fn health_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let whole = "state_dir = \"/s\"\n[feed.a]\nfamily = \"ydb\"\nbucket = \"b-b\"\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";
    let long = format!("[admin]\nlisten = \"unix:/{}\"\n", "x".repeat(200));
    for (text, code, expected) in [
        (whole, 78, "admin.listen is not configured in "),
        ("[admin]\nlisten = \"127.0.0.1:0\"\n", 78, "port 0"),
        ("[admin]\nlsten = \"127.0.0.1:1\"\n", 78, "auditferry.toml:2: admin.lsten: unknown key"),
        (&long, 78, "admin.listen: expected a path of at most 107 bytes"),
        ("[admin\n", 78, "auditferry.toml:1"),
    ] {
        let (given, _, said) = health(&[], &config(&directory, text), &[]);
        assert!(given == code && said.contains(expected), "{text}\n{given} {said}");
    }
    let (code, _, said) = health(&[], &directory.path().join("none.toml"), &[]);
    assert!(code == 66 && said.contains("none.toml"), "{code} {said}");
}

#[test]
fn a_daemon_that_cannot_have_its_socket_says_so_and_ends() {
    let world = World::fed_by_directory();
    let path = world.path("admin.sock");
    std::fs::write(&path, "precious").unwrap();
    let listen = format!("unix:{}", path.display());
    let daemon = world.run(&[]).with_environment(LISTEN, &listen).expecting(&["stopped by an error"]).spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(69));
    assert!(log.text().contains("is no socket"), "{}", log.end());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
