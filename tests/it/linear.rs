//! Four times the line costs at most about four times the work and the memory, whatever an attacker writes into it.
//! This holds for every decoder, masker and redaction. It is judged by counted instructions and by peak resident
//! memory, never by a clock.
//!
//! The test runs itself in processes of its own: under callgrind, which counts the instructions of each case, and
//! without callgrind, to measure memory.

use std::fs;
use std::hint::black_box;
use std::process::Command;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context, Redaction, RedactionConfig};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::lines::{Item, Lines, Start};
use serde_json::json;

/// Tells the child process its role: `memory`, or its number among the [`WORKERS`].
const ROLE: &str = "AUDITFERRY_LINEAR";

/// How one kind of cost is measured and judged.
#[derive(Clone, Copy)]
struct Tried {
    /// Bytes of a short line, and of what is added to it once and four times. Decoders probe beginnings of up to 1 KiB,
    /// each by itself, so the cost of the short line is subtracted.
    lengths: (usize, usize),
    /// Growth up to this is ignored.
    slack: u64,
    unit: &'static str,
}

const WORK: Tried = Tried { lengths: (1280, 1024), slack: 0, unit: "instructions" };

/// An allocator keeps some of the memory that is freed.
const MEMORY: Tried = Tried { lengths: (0, 12 << 10), slack: 1 << 10, unit: "KiB" };

/// The most that four added steps may cost relative to one, in hundredths.
const GROWTH_MAX: u64 = 440;

/// What an attacker writes repeatedly.
const PIECES: [&str; 29] = [
    "\"",
    "'",
    "\\\"",
    "\\",
    "\n",
    "{",
    "{\"a\":",
    "[],",
    "/x?a=?",
    "?token=a&",
    "://u:p@",
    "params=x&token=S&",
    "%25",
    "%2",
    ";a=b",
    "--token ",
    "password: \"",
    "PASSWORD '",
    "PASSWORD E'\\",
    "PASSWORD $a$ ",
    "/*",
    "--\n",
    "=======",
    ", operation: CREATE TABLE, path: /a",
    ", protobuf request: A { B: \"",
    ", status: StatusSuccess",
    ", add access: +R:a",
    ", subject=x",
    ", ab=x",
];

/// Makes a line around the attacker's text.
type Line = fn(&str) -> String;

fn ydb_json(text: &str) -> String {
    json!({"@timestamp": "2024-01-15T08:00:00Z", "@log_type": "audit", "component": "x", "operation": "y", "status": "SUCCESS", "query_text": text}).to_string()
}

const LINES: [(&str, &str, Line); 11] = [
    ("databricks", "a parameter", |text| {
        json!({"timestamp": 1_705_305_600_000_i64, "serviceName": "notebook", "actionName": "runCommand", "requestParams": {"commandText": text}}).to_string()
    }),
    ("immuta", "a query", |text| {
        json!({"recordType": "nativeQuery", "dateTime": 1_705_305_600_000_i64, "userId": "a", "query": text})
            .to_string()
    }),
    ("lakefs", "a path", |text| {
        json!({"log_audit": true, "time": "2024-01-15T08:00:00Z", "operation_id": "x", "client": text, "path": format!("/api/v1/{text}")}).to_string()
    }),
    ("lakefs", "a line of text", |text| {
        format!("time=\"2024-01-15T08:00:00Z\" level=info log_audit=true operation_id=x client={}", json!(text))
    }),
    ("ydb", "the audit stream as JSON", ydb_json),
    ("ydb", "the audit stream as text", |text| {
        format!("2024-01-15T08:00:00Z: component=x, operation=y, query_text={text}, status=SUCCESS")
    }),
    ("ydb", "the common log", |text| {
        let text = text.replace('\n', " ");
        format!(
            "2024-01-15T08:00:00Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, database: /R, subject: b, status: S, operation: MODIFY ACL, path: /R/{text}"
        )
    }),
    ("ydb", "a request", |text| {
        let text = text.replace('\n', " ");
        format!(
            "2024-01-15T08:00:00Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, database: /R, subject: b, status: S, operation: MODIFY ACL, path: /R/a, protobuf request: A {{ B: {text}"
        )
    }),
    ("s3_access", "a request", |text| s3_access(&format!("GET /a?{} HTTP/1.1", text.replace('\n', " ")), "-")),
    ("s3_access", "a referrer", |text| s3_access("GET /a HTTP/1.1", &text.replace('\n', " "))),
    ("s3_access", "an S3A referrer", |text| {
        let head = "https://audit.example.org/hadoop/1/op_open/e8ede3c7-8506-4a43-8268-fe8fcbb510a4-00000278/?p1=";
        s3_access("GET /a HTTP/1.1", &format!("{head}{}", text.replace('\n', " ")))
    }),
];

fn s3_access(uri: &str, referrer: &str) -> String {
    format!(
        "79a5 bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::123456789012:user/x ABC REST.GET.OBJECT a/b \"{uri}\" 200 - 113 1718 10 9 \"{referrer}\" \"agent\" - s9lz= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader b.s3.amazonaws.com TLSv1.2"
    )
}

/// A family, a name for the shape, and a function that makes a line of about this many bytes.
type Shape = (&'static str, &'static str, fn(usize) -> String);

/// Lines that are not text in one field: members, lists, lines inside each other.
const SHAPES: [Shape; 13] = [
    ("databricks", "members", |n| databricks(&members(n, |i| format!("\"k{i}\":1")))),
    ("databricks", "a member again and again", |n| databricks(&members(n, |_| "\"password\":\"a\"".to_owned()))),
    ("databricks", "objects in each other", |n| {
        databricks(&format!("{}1{}", "{\"a\":".repeat(n / 12), "}".repeat(n / 12)))
    }),
    ("databricks", "JSON in text in JSON", |n| {
        let inner = (0..5)
            .fold(json!({"password": "x".repeat(n / 32)}), |inner, _| json!({"token": "b", "a": inner.to_string()}));
        databricks(&inner.to_string())
    }),
    ("immuta", "members", |n| {
        members(n, |i| format!("\"k{i}\":1")).replacen('{', "{\"recordType\":\"x\",\"dateTime\":1705305600000,", 1)
    }),
    ("immuta", "members in title case", |n| {
        members(n, |i| format!("\"K{i}a\":1")).replacen('{', "{\"RecordType\":\"x\",\"DateTime\":1705305600000,", 1)
    }),
    ("immuta", "records in a list", |n| {
        let record = json!({"recordType": "x", "dateTime": 1_705_305_600_000_i64});
        json!({"records": vec![record; n / 45]}).to_string()
    }),
    ("immuta", "strings of a shipper's", |n| json!({"host": vec!["{\"recordType\":1}"; n / 22]}).to_string()),
    ("lakefs", "halves of surrogate pairs", |n| {
        format!(
            r#"{{"log_audit":true,"time":"2024-01-15T08:00:00Z","operation_id":"x","a":"{}"}}"#,
            "\\ud800".repeat(n / 6)
        )
    }),
    ("ydb", "fields of its own", |n| {
        format!(
            "2024-01-15T08:00:00Z: component=x, operation=y{}",
            (0..n / 8).map(|i| format!(", k{i}=v")).collect::<String>()
        )
    }),
    ("ydb", "elements of a list", |n| {
        format!("2024-01-15T08:00:00Z: component=x, operation=MODIFY ACL, acl_add=[{}]", vec!["+R:a"; n / 6].join(", "))
    }),
    ("ydb", "operations with requests", |n| {
        let operation = r#", operation: MK, path: /R/a, protobuf request: WorkingDir: "/R" MkDir { Name: "a" }"#;
        let head = "2024-01-15T08:00:00Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, subject: b, status: S";
        format!("{head}{}", operation.repeat(n / operation.len()))
    }),
    ("ydb", "pieces of a line", |n| {
        let piece = "2024-01-15T08:00:00.0Z stdout P {\"component\":\"x\n";
        format!("{}2024-01-15T08:00:00.0Z stdout F x", piece.repeat(n / piece.len()))
    }),
];

fn databricks(parameters: &str) -> String {
    format!(r#"{{"timestamp":1705305600000,"serviceName":"jobs","actionName":"create","requestParams":{parameters}}}"#)
}

fn members(n: usize, member: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for i in 0.. {
        if all.len() >= n {
            break;
        }
        all.push_str(if i == 0 { "" } else { "," });
        all.push_str(&member(i));
    }
    format!("{{{all}}}")
}

/// A family, a name for the case, and a function that makes a line of about this many bytes.
type Case = (&'static str, String, Box<dyn Fn(usize) -> String>);

/// The lengths of a case's three lines: short, one step more, four steps more.
fn lengths((short, step): (usize, usize)) -> [usize; 3] {
    [0, 1, 4].map(|times| short + times * step)
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (family, name, line) in LINES {
        for piece in PIECES {
            let repeated = move |n: usize| line(&piece.repeat(n.div_ceil(piece.len())));
            cases.push((family, format!("{name}: {piece:?}"), Box::new(repeated)));
        }
    }
    for (family, name, line) in SHAPES {
        cases.push((family, name.to_owned(), Box::new(line)));
    }
    cases
}

/// Callgrind finds this function by its name, which no function inside it may contain: it has no closure.
#[inline(never)]
fn one_linear_case(family: &str, content: &str, redaction: &Redaction) {
    black_box(read_all(family, content, redaction));
}

/// Frames, decodes, masks, encodes and redacts a line.
fn read_all(family: &str, content: &str, redaction: &Redaction) -> usize {
    let family = family::named(family).unwrap();
    let object = ObjectId::new("b", "k");
    let encoders = [EncodingName::Ocsf, EncodingName::Ecs]
        .map(|name| Encoder::new(name, Options { raw_data: true, ..Options::default() }));
    let mut lines = Lines::new(family.framing.role(false), 16 << 20, Start::Beginning);
    let mut source = content.as_bytes();
    let mut bytes = 0;
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { continue };
            for redaction in [None, Some(redaction)] {
                let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "f")
                    .with_redaction(redaction);
                let mut out = encoders.each_ref().map(|_| Encoded::default());
                let hash = RecordHash::of(record.bytes);
                // A refused record costs work, too.
                let _ = family::encode_record(&context, &record, &hash, 0, &encoders, &mut out);
                bytes += out.iter().map(|encoded| encoded.bytes.len()).sum::<usize>();
            }
        }
    }
    bytes
}

/// A redaction with paths for every family's records.
fn redaction() -> Redaction {
    let paths = [
        "requestParams.commandText",
        "record.a",
        "query",
        "client",
        "query_text",
        "subject",
        "referrer",
        "operations.path",
    ];
    Redaction::new(&RedactionConfig { mask: paths.map(str::to_owned).into(), ..RedactionConfig::default() }).unwrap()
}

/// The peak resident memory since the last call, in KiB.
fn resident_most() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs this test in a child process with this role.
fn run(role: &str, through: &[&str]) -> String {
    let own = std::env::current_exe().unwrap();
    let command: Vec<&str> = through.iter().copied().chain([own.to_str().unwrap()]).collect();
    let output = Command::new(command[0])
        .args(&command[1..])
        .args([
            "--exact",
            "linear::work_and_memory_grow_with_the_line_and_not_faster",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        // The allocator returns freed memory at once.
        .envs([("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536"), ("MALLOC_ARENA_MAX", "1")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The instructions that a worker counted: three for each case, one for each of its lines.
fn instructions(worker: usize) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let out = format!("--callgrind-out-file={}", directory.path().join("out").display());
    let each = ["--toggle-collect=*one_linear_case", "--dump-after=*one_linear_case"];
    run(&worker.to_string(), &["valgrind", "--tool=callgrind", "--quiet", &out, each[0], each[1]]);
    let total = |number: usize| {
        let file = fs::read_to_string(directory.path().join(format!("out.{number}"))).unwrap();
        let line = file.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap().to_owned();
        line.trim().parse().unwrap()
    };
    (1..=3 * of_worker(worker).count()).map(total).collect()
}

/// How many processes count instructions at once.
const WORKERS: usize = 2;

fn of_worker(worker: usize) -> impl Iterator<Item = Case> {
    cases().into_iter().skip(worker).step_by(WORKERS)
}

fn grown(cases: impl Iterator<Item = Case>, counted: &[u64], tried: Tried) -> Vec<String> {
    let [_, once, four] = lengths(tried.lengths).map(|length| length as u64);
    let mut found = Vec::new();
    for ((family, name, _), counted) in cases.zip(counted.chunks(3)) {
        let more = |longer: u64| longer.saturating_sub(counted[0]);
        // Both must hold: a single step within a small increase is no growth, nor is work that a short line does not
        // need.
        let adds = more(counted[2]) * 100 > (more(counted[1]) + tried.slack) * GROWTH_MAX;
        let is_faster = counted[2] * once * 400 > (counted[1] + tried.slack) * four * GROWTH_MAX;
        if adds && is_faster {
            found.push(format!("{family}, {name}: {counted:?} {}", tried.unit));
        }
    }
    found
}

/// What a child process of this test does.
fn act(role: &str) {
    let redaction = redaction();
    if let Ok(worker) = role.parse() {
        for (family, _, line) in of_worker(worker) {
            lengths(WORK.lengths).into_iter().for_each(|length| one_linear_case(family, &line(length), &redaction));
        }
        return;
    }
    let mut most = Vec::new();
    for (family, _, line) in cases() {
        for length in lengths(MEMORY.lengths) {
            let line = line(length);
            resident_most();
            let before = resident_most();
            one_linear_case(family, &line, &redaction);
            most.push(resident_most().saturating_sub(before));
        }
    }
    println!("\nmost: {}", json!(most));
}

#[test]
fn work_and_memory_grow_with_the_line_and_not_faster() {
    if let Ok(role) = std::env::var(ROLE) {
        return act(&role);
    }
    let memory = run("memory", &[]);
    let memory = memory.lines().find_map(|line| line.strip_prefix("most: ")).unwrap();
    let memory: Vec<u64> = serde_json::from_str(memory).unwrap();
    let mut found = grown(cases().into_iter(), &memory, MEMORY);
    // `tests/run.sh` installs valgrind.
    if Command::new("valgrind").arg("--version").output().is_ok() {
        let workers = (0..WORKERS).map(|worker| std::thread::spawn(move || (worker, instructions(worker))));
        for worker in workers.collect::<Vec<_>>() {
            let (worker, counted) = worker.join().unwrap();
            found.extend(grown(of_worker(worker), &counted, WORK));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
