//! The daemon's process: started, watched, stopped, killed.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::http::{Reply, page};
use super::log::Log;
use super::waiting::{SOON, eventually, within};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running daemon. It ends at the latest when dropped, and its log is judged when it ends.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pub log: Log,
    expected: Vec<&'static str>,
}

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Start {
    arguments: Vec<String>,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    expected: Vec<&'static str>,
    stdout: Output,
    before: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    Closed,
    Piped,
}

impl Start {
    /// `auditferry` with these arguments. `directory` is its home and holds its log. It sees nothing of this machine's
    /// AWS configuration.
    pub fn new(arguments: &[&str], directory: &Path) -> Self {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        Self {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            directory: directory.to_owned(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            expected: Vec::new(),
            stdout: Output::Closed,
            before: None,
        }
    }

    /// Shell commands that run in the process before it becomes the daemon, such as `umask 0`.
    pub fn after(mut self, commands: &str) -> Self {
        self.before = Some(commands.to_owned());
        self
    }

    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes the access key that daemons get by default: the daemon has to find other credentials.
    pub fn without_access_key(mut self) -> Self {
        self.environment.retain(|(name, _)| !matches!(&**name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY"));
        self
    }

    /// Log lines at WARN or ERROR that contain one of `parts` do not fail the test.
    pub fn expecting(mut self, parts: &[&'static str]) -> Self {
        self.expected.extend_from_slice(parts);
        self
    }

    /// Makes standard output a pipe that nobody reads until [`Daemon::read_output`].
    pub fn with_unread_output(mut self) -> Self {
        self.stdout = Output::Piped;
        self
    }

    /// Starts the process.
    pub fn spawn(&self) -> Daemon {
        let path = self.directory.join(super::aws::fresh("log"));
        let stdout = if self.stdout == Output::Piped { Stdio::piped() } else { Stdio::null() };
        let program = env!("CARGO_BIN_EXE_auditferry");
        let mut command = match &self.before {
            Some(commands) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{commands}\nexec \"$@\""), "sh", program]);
                shell
            }
            None => Command::new(program),
        };
        let child = command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.directory)
            .env("TMPDIR", &self.directory)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        Daemon { child, log: Log::at(&path), expected: self.expected.clone() }
    }

    /// Starts the process and waits until it reports that it is ready.
    pub fn ready(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.becomes_ready();
        daemon
    }
}

impl Start {
    /// Starts the process and waits until it collects, whether or not all of its sinks can be reached.
    pub fn at_work(&self) -> Daemon {
        let mut daemon = self.spawn();
        let works = within(SOON, || daemon.has_ended() || daemon.log.said("collecting").is_some());
        assert!(works && !daemon.has_ended(), "the daemon did not begin its work:\n{}", daemon.log.end());
        daemon
    }
}

impl Daemon {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn becomes_ready(&mut self) {
        let ready = within(SOON, || {
            self.has_ended()
                || self.admin().and_then(|admin| page(admin, "/readyz")).is_some_and(|reply| reply.status == 200)
        });
        assert!(ready && !self.has_ended(), "the daemon did not become ready:\n{}", self.log.end());
    }

    /// The address of the daemon's pages, once the log names it.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.log.said("admin listens")?.field("listen")?.parse().ok()
    }

    /// The reply to a request for one of the daemon's pages; empty, with status 0, while the daemon does not answer.
    pub fn page(&self, target: &str) -> Reply {
        let reply = self.admin().and_then(|admin| page(admin, target));
        reply.unwrap_or_else(|| Reply { status: 0, headers: Vec::new(), body: Vec::new() })
    }

    /// The sum of a metric's samples whose labels contain all of `labels` (such as `kind="line"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let Some(metrics) = self.admin().and_then(|admin| page(admin, "/metrics")) else { return 0.0 };
        let text = metrics.text();
        let samples = text.lines().filter(|line| {
            let after = line.strip_prefix(name);
            after.is_some_and(|after| after.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The peak resident memory so far, in bytes; 0 once the process has ended.
    pub fn resident_bytes_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
    }

    /// Asks the daemon to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the process, as `kill -9` does, and judges its log.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.judge();
    }

    /// Asks the daemon to stop, waits for its end and judges its log.
    pub fn stop(self) -> ExitStatus {
        self.terminate();
        self.end()
    }

    /// Waits for the daemon's end and judges its log.
    pub fn end(mut self) -> ExitStatus {
        let ended = within(PATIENCE, || self.has_ended());
        assert!(ended, "the daemon did not end:\n{}", self.log.end());
        self.judge();
        self.child.wait().unwrap()
    }

    /// Reads standard output to its end in a thread, which returns the text.
    pub fn read_output(&mut self) -> std::thread::JoinHandle<String> {
        let mut output = self.child.stdout.take().expect("begun with a piped output");
        std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text
        })
    }

    /// How many log entries have a message that contains `part`.
    pub fn says(&self, part: &str) -> usize {
        self.log.entries().iter().filter(|entry| entry.message.contains(part)).count()
    }

    /// Waits until the metric is at least `least`.
    pub fn counts(&self, name: &str, labels: &[&str], least: f64) {
        let what = format!("{name} {labels:?} is at least {least}");
        eventually(&what, SOON, || self.metric(name, labels) >= least);
    }

    fn judge(&self) {
        let unexpected = self.log.unexpected(&self.expected);
        assert!(unexpected.is_empty(), "the daemon said what it should not:\n{}", unexpected.join("\n"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            println!("the end of the daemon's log:\n{}", self.log.end());
        } else {
            self.judge();
        }
    }
}
