//! A receiver for each kind of sink, which can refuse, stay silent and take, and shows which events it has.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::aws::{Aws, Bucket, REGION};
use super::elasticsearch::Elasticsearch;
use super::emulator::ministack;
use super::outage::Outage;
use super::proxy::{Fault, Proxy};
use super::receiver::{Answer, Receiver, Request};
use super::records::lines_of;
use super::sentinel::{Azure, SECRET};
use super::splunk::{Splunk, TOKEN};
use super::world::World;

/// How a receiver treats what it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Refuses,
    /// The receiver keeps what it is sent, and does not answer.
    Mute,
    Takes,
}

/// A receiver of one kind of sink.
pub trait Receives: Send {
    /// The sink's own keys.
    fn keys(&self) -> String;

    /// Sets the mode from now on.
    fn turn(&mut self, mode: Mode);

    /// The events that the receiver has, as a search there finds them.
    fn events(&self) -> Vec<String>;

    /// How many of the receiver's answers clients have read.
    fn answers(&self) -> usize;

    /// Whether the receiver can hold its answer back, so that a process can be killed before it has all of a step's events.
    fn can_wait(&self) -> bool {
        true
    }

    /// A shell command that stops a process in the middle of writing a batch, for receivers that give no answers.
    fn torn_by(&self) -> Option<&'static str> {
        None
    }
}

/// A kind of sink.
pub struct SinkKind {
    pub name: &'static str,
    /// Whether no event is ever there twice.
    pub is_once: bool,
    /// Keys with which the sink sends one request at a time.
    pub one_by_one: &'static str,
    pub open: fn(&World) -> Box<dyn Receives>,
}

/// Every kind of sink. A further kind over HTTP needs one line.
pub const KINDS: &[SinkKind] = &[
    SinkKind { name: "`file`", is_once: true, one_by_one: "", open: file },
    SinkKind { name: "`file`, gzip", is_once: true, one_by_one: "", open: members },
    SinkKind { name: "`s3`", is_once: true, one_by_one: "", open: |_| Box::new(BucketOutput::new()) },
    SinkKind { name: "`http` with a key", is_once: true, one_by_one: FIFTY, open: |_| over(http(true), lines) },
    SinkKind { name: "`http`", is_once: false, one_by_one: FIFTY, open: |_| over(http(false), lines) },
    SinkKind { name: "`datadog`", is_once: false, one_by_one: ONE, open: datadog },
    SinkKind { name: "`splunk_hec`", is_once: false, one_by_one: ONE, open: |world| Box::new(Collector::of(world)) },
    SinkKind { name: "`elasticsearch`", is_once: true, one_by_one: FIFTY, open: |_| Box::new(Documents::new()) },
    SinkKind { name: "`sentinel`", is_once: false, one_by_one: FIFTY, open: |world| Box::new(Rows::of(world)) },
];

const ONE: &str = "lanes = 1\nin_flight = 1\n";
const FIFTY: &str = "lanes = 1\nin_flight = 1\nrequest_events = 50\n";

struct FileOutput {
    path: PathBuf,
    keys: &'static str,
    outage: Option<Outage>,
}

fn file(world: &World) -> Box<dyn Receives> {
    Box::new(FileOutput { path: world.output("out"), keys: "", outage: None })
}

fn members(world: &World) -> Box<dyn Receives> {
    Box::new(FileOutput { path: world.path("out.raw.gz"), keys: "compression = \"gzip\"\n", outage: None })
}

impl Receives for FileOutput {
    fn keys(&self) -> String {
        format!("type = \"file\"\npath = {:?}\n{}", self.path, self.keys)
    }

    fn turn(&mut self, mode: Mode) {
        match (mode, self.outage.take()) {
            (Mode::Refuses, None) => self.outage = Some(Outage::of(&self.path)),
            (Mode::Refuses, outage) => self.outage = outage,
            (_, outage) => outage.into_iter().for_each(Outage::end),
        }
    }

    fn events(&self) -> Vec<String> {
        if self.keys.is_empty() {
            return lines_of(&self.path);
        }
        // The last gzip member may be incomplete.
        let mut text = Vec::new();
        let file = fs::read(&self.path).unwrap_or_default();
        let _ = MultiGzDecoder::new(&*file).read_to_end(&mut text);
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        String::from_utf8(text[..whole].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    fn answers(&self) -> usize {
        self.events().len()
    }

    /// A compressed file stays below any file size limit that the checkpoint store stays below.
    fn can_wait(&self) -> bool {
        self.torn_by().is_some()
    }

    /// The file size limit is one MiB. The checkpoint store stays below it, and so do compressed files.
    fn torn_by(&self) -> Option<&'static str> {
        self.keys.is_empty().then_some("ulimit -f 2048")
    }
}

/// The state of a receiver over HTTP.
#[derive(Default)]
struct Kept {
    events: Vec<String>,
    keys: BTreeSet<String>,
    mode: Option<Mode>,
}

struct OverHttp {
    receiver: Receiver,
    keys: String,
    kept: Arc<Mutex<Kept>>,
}

/// A receiver that drops a request whose key it knows. In `keys`, `URL` stands for the receiver's URL.
fn over(keys: String, read: fn(&Request) -> Vec<String>) -> Box<dyn Receives> {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let shared = Arc::clone(&kept);
    let receiver = Receiver::with_script(move |request| {
        let mut kept = shared.lock().unwrap();
        if kept.mode == Some(Mode::Refuses) {
            return Answer::HangUp;
        }
        let is_known = request.header("x-known-by").is_some_and(|key| !kept.keys.insert(key.to_owned()));
        if !is_known {
            kept.events.extend(read(request));
        }
        if kept.mode == Some(Mode::Mute) { Answer::Silence } else { Answer::status(200) }
    });
    let keys = keys.replace("URL", &receiver.url());
    Box::new(OverHttp { receiver, keys, kept })
}

impl Receives for OverHttp {
    fn keys(&self) -> String {
        self.keys.clone()
    }

    fn turn(&mut self, mode: Mode) {
        self.kept.lock().unwrap().mode = Some(mode);
    }

    fn events(&self) -> Vec<String> {
        self.kept.lock().unwrap().events.clone()
    }

    fn answers(&self) -> usize {
        self.receiver.heard()
    }
}

fn http(has_key: bool) -> String {
    let key = if has_key { "idempotent = true\nidempotency_header = \"X-Known-By\"\n" } else { "" };
    format!("type = \"http\"\nurl = \"URL/in\"\n{key}")
}

fn lines(request: &Request) -> Vec<String> {
    request.lines()
}

fn datadog(world: &World) -> Box<dyn Receives> {
    let key = world.path("key");
    fs::write(&key, "hush-hush\n").unwrap();
    let keys = format!("type = \"datadog\"\nurl = \"URL/api/v2/logs\"\napi_key = \"file:{}\"\n", key.display());
    over(keys, |request| {
        let logs: Vec<Value> = serde_json::from_str(&request.text()).unwrap();
        logs.iter().map(|log| log["event"].to_string()).collect()
    })
}

/// Receives documents, which it keeps by their ids.
struct Documents(Elasticsearch);

impl Documents {
    fn new() -> Self {
        Self(Elasticsearch::new())
    }
}

impl Receives for Documents {
    fn keys(&self) -> String {
        format!("type = \"elasticsearch\"\nurl = \"{}\"\nindex = \"audit\"\n", self.0.receiver.url())
    }

    fn turn(&mut self, mode: Mode) {
        self.0.is_mute(mode == Mode::Mute);
        self.0.answers(move |_| (mode == Mode::Refuses).then_some(Answer::HangUp));
    }

    fn events(&self) -> Vec<String> {
        self.0.documents().values().map(Value::to_string).collect()
    }

    fn answers(&self) -> usize {
        self.0.receiver.heard()
    }
}

/// Receives rows of a stream.
struct Rows {
    azure: Azure,
    secret: PathBuf,
}

impl Rows {
    fn of(world: &World) -> Self {
        let secret = world.path("secret");
        fs::write(&secret, SECRET).unwrap();
        Self { azure: Azure::with(include_str!("../../../deploy/sentinel/raw.json")), secret }
    }
}

impl Receives for Rows {
    fn keys(&self) -> String {
        let keys = self.azure.keys("sentinel", "Custom-AuditferryRaw_CL");
        keys.replace("env:SECRET", &format!("file:{}", self.secret.display()))
    }

    fn turn(&mut self, mode: Mode) {
        self.azure.is_mute(mode == Mode::Mute);
        self.azure.answers(move |_, _| (mode == Mode::Refuses).then_some(Answer::HangUp));
    }

    fn events(&self) -> Vec<String> {
        self.azure.rows().iter().map(Value::to_string).collect()
    }

    fn answers(&self) -> usize {
        self.azure.monitor.heard()
    }
}

/// Receives objects in a bucket.
struct BucketOutput {
    bucket: Bucket,
    proxy: Proxy,
}

impl BucketOutput {
    fn new() -> Self {
        Self { bucket: Aws::emulated().bucket(), proxy: Proxy::to(ministack().address) }
    }
}

impl Receives for BucketOutput {
    fn keys(&self) -> String {
        let (bucket, url) = (&self.bucket.name, self.proxy.url());
        format!(
            "type = \"s3\"\nbucket = {bucket:?}\nregion = {REGION:?}\nendpoint_url = {url:?}\npath_style = true\n\
             prefix = \"out\"\ncompression = \"none\"\n"
        )
    }

    fn turn(&mut self, mode: Mode) {
        self.proxy.heals();
        match mode {
            Mode::Refuses => self.proxy.breaks_writes(&[Fault::Status(503); 1000]),
            Mode::Mute => self.proxy.breaks_writes(&[Fault::Held; 1000]),
            Mode::Takes => {}
        }
    }

    fn events(&self) -> Vec<String> {
        let texts = self.bucket.keys().into_iter().map(|key| self.bucket.get(&key).text());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn answers(&self) -> usize {
        let exchanges = self.proxy.exchanges();
        exchanges.iter().filter(|exchange| exchange.method == "PUT" && exchange.status == 200).count()
    }
}

/// Receives events in a Splunk collector that acknowledges. It has the events that a search finds.
struct Collector {
    splunk: Splunk,
    token: PathBuf,
}

impl Collector {
    fn of(world: &World) -> Self {
        let token = world.path("token");
        fs::write(&token, TOKEN).unwrap();
        Self { splunk: Splunk::new(), token }
    }
}

impl Receives for Collector {
    fn keys(&self) -> String {
        let (url, token) = (self.splunk.receiver.url(), self.token.display());
        // Splunk reports an acknowledgement once. The process after a killed one waits this long for reports that were
        // lost.
        format!("type = \"splunk_hec\"\nurl = \"{url}\"\ntoken = \"file:{token}\"\nacknowledged_within = \"10s\"\n")
    }

    fn turn(&mut self, mode: Mode) {
        self.splunk.now(|behaviour| {
            (behaviour.is_down, behaviour.is_silent) = (mode == Mode::Refuses, mode == Mode::Mute);
        });
    }

    fn events(&self) -> Vec<String> {
        self.splunk.records().iter().map(Value::to_string).collect()
    }

    fn answers(&self) -> usize {
        self.splunk.receiver.heard()
    }
}
