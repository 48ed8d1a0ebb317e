//! What the owner of the buckets and queues does in the emulated AWS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::emulator::ministack;
use super::http::{Reply, page, percent_encoded, request};
use super::waiting::{SOON, eventually};

pub const ACCOUNT: &str = "000000000000";
pub const REGION: &str = "us-east-1";

/// The services behind one address. The requests' signatures are dummies: the emulators check them only in tests of
/// permissions.
#[derive(Clone, Copy, Debug)]
pub struct Aws {
    pub address: SocketAddr,
}

/// How many messages of a queue are visible, and how many are in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Depth {
    pub visible: u64,
    pub in_flight: u64,
}

/// An SQS queue.
#[derive(Clone, Debug)]
pub struct Queue {
    aws: Aws,
    pub name: String,
    pub url: String,
}

/// An S3 bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    aws: Aws,
    pub name: String,
}

/// A name that no other test uses.
pub fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Aws {
    pub fn emulated() -> Self {
        Self { address: ministack().address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bucket(self) -> Bucket {
        self.bucket_named(&fresh("audit-logs"))
    }

    pub fn bucket_named(self, name: &str) -> Bucket {
        self.s3("PUT", &format!("/{name}"), b"");
        Bucket { aws: self, name: name.to_owned() }
    }

    pub fn queue(self) -> Queue {
        self.queue_with(json!({}))
    }

    /// A queue, and its dead-letter queue, which gets each message that was received `receives_max` times.
    pub fn queue_with_dead_letters(self, receives_max: u32) -> (Queue, Queue) {
        let dead = self.queue();
        let redrive = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": receives_max.to_string() });
        (self.queue_with(json!({ "RedrivePolicy": redrive.to_string() })), dead)
    }

    fn queue_with(self, attributes: Value) -> Queue {
        self.queue_named(&fresh("events"), attributes)
    }

    pub fn queue_named(self, name: &str, attributes: Value) -> Queue {
        let reply = self.sqs("CreateQueue", &json!({ "QueueName": name, "Attributes": attributes }));
        Queue { aws: self, name: name.to_owned(), url: reply["QueueUrl"].as_str().unwrap().to_owned() }
    }

    /// A topic that forwards its messages to the queue, wrapped; returns the topic's ARN.
    pub fn topic_for(self, queue: &Queue) -> String {
        let name = fresh("topic");
        let topic = self.form("sns", &[("Action", "CreateTopic"), ("Name", &name)]).element("TopicArn").unwrap();
        let subscribe =
            [("Action", "Subscribe"), ("TopicArn", &topic), ("Protocol", "sqs"), ("Endpoint", &queue.arn())];
        self.form("sns", &subscribe);
        topic
    }

    /// Creates a rule that forwards EventBridge's events about the bucket to the queue.
    pub fn rule_for(self, bucket: &Bucket, queue: &Queue) {
        let rule = fresh("rule");
        let pattern = json!({ "source": ["aws.s3"], "detail": { "bucket": { "name": [bucket.name] } } });
        self.json("events", "AWSEvents.PutRule", &json!({ "Name": rule, "EventPattern": pattern.to_string() }));
        let targets = json!([{ "Id": "queue", "Arn": queue.arn() }]);
        self.json("events", "AWSEvents.PutTargets", &json!({ "Rule": rule, "Targets": targets }));
    }

    /// A role that the principals of the trust policy may assume; returns its ARN.
    pub fn role(self, trust: &Value, permissions: &Value) -> String {
        let name = fresh("reader");
        let create = [("Action", "CreateRole"), ("RoleName", &name), ("AssumeRolePolicyDocument", &trust.to_string())];
        let arn = self.form("iam", &create).element("Arn").unwrap();
        let permissions = permissions.to_string();
        let allow = [
            ("Action", "PutRolePolicy"),
            ("RoleName", &name),
            ("PolicyName", "allowed"),
            ("PolicyDocument", &permissions),
        ];
        self.form("iam", &allow);
        arn
    }

    /// Creates an access point to the bucket; returns its alias.
    pub fn access_point(self, bucket: &Bucket) -> String {
        self.new_access_point(bucket).element("Alias").unwrap()
    }

    /// An access point to the bucket: its ARN.
    pub fn access_point_arn(self, bucket: &Bucket) -> String {
        self.new_access_point(bucket).element("AccessPointArn").unwrap()
    }

    fn new_access_point(self, bucket: &Bucket) -> Reply {
        let body = format!(
            "<CreateAccessPointRequest xmlns=\"http://awss3control.amazonaws.com/doc/2018-08-20/\"><Bucket>{}</Bucket></CreateAccessPointRequest>",
            bucket.name
        );
        let target = format!("/v20180820/accesspoint/{}", fresh("reading"));
        self.send("s3", "PUT", &target, &[("x-amz-account-id", ACCOUNT)], body.as_bytes())
    }

    /// Calls a service whose protocol is forms and XML.
    pub fn form(self, service: &str, fields: &[(&str, &str)]) -> Reply {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value, ""))).collect();
        let content = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send(service, "POST", "/", &content, body.join("&").as_bytes())
    }

    fn json(self, service: &str, target: &str, body: &Value) -> Value {
        let headers = [("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.0")];
        let reply = self.send(service, "POST", "/", &headers, body.to_string().as_bytes());
        serde_json::from_slice(&reply.body).unwrap_or(Value::Null)
    }

    fn sqs(self, action: &str, body: &Value) -> Value {
        self.json("sqs", &format!("AmazonSQS.{action}"), body)
    }

    fn s3(self, method: &str, target: &str, body: &[u8]) -> Reply {
        self.send("s3", method, target, &[], body)
    }

    /// # Panics
    /// When the service refuses.
    fn send(self, service: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        let reply = request(self.address, method, target, &all, body).unwrap();
        assert!(reply.status < 300, "{service} {method} {target}: {} {}", reply.status, reply.text());
        reply
    }
}

/// S3's own message about these writes: bucket, key as S3 encodes it, entity tag, sequencer.
pub fn told_by_s3(writes: &[(&str, &str, &str, &str)]) -> String {
    let records = writes.iter().map(|(bucket, key, etag, sequencer)| {
        json!({
            "eventVersion": "2.6",
            "eventSource": "aws:s3",
            "awsRegion": REGION,
            "eventTime": "2026-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": { "name": bucket, "arn": format!("arn:aws:s3:::{bucket}") },
                "object": { "key": key, "size": 1, "eTag": etag, "sequencer": sequencer },
            },
        })
    });
    json!({ "Records": records.collect::<Vec<_>>() }).to_string()
}

impl Bucket {
    pub fn put(&self, key: &str, content: &[u8]) {
        self.aws.s3("PUT", &self.target(key), content);
    }

    pub fn delete(&self, key: &str) {
        self.aws.s3("DELETE", &self.target(key), b"");
    }

    pub fn etag(&self, key: &str) -> String {
        let reply = self.aws.s3("GET", &self.target(key), b"");
        let etag = reply.headers.iter().find(|(name, _)| name == "etag").unwrap();
        etag.1.trim_matches('"').to_owned()
    }

    /// The keys of all objects of the bucket, which has at most 1000.
    pub fn keys(&self) -> Vec<String> {
        let listing = self.aws.s3("GET", &format!("/{}?list-type=2", self.name), b"").text();
        assert!(!listing.contains("<IsTruncated>true"), "there are more than a page has");
        let keys = listing.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        keys.map(str::to_owned).collect()
    }

    pub fn get(&self, key: &str) -> Reply {
        self.aws.s3("GET", &self.target(key), b"")
    }

    /// From now on S3 notifies the queue of every write and removal, in S3's own form.
    pub fn tells_queue(&self, queue: &Queue) {
        self.tells("Queue", "Queue", &queue.arn());
    }

    /// From now on S3 notifies the topic of every write and removal.
    pub fn tells_topic(&self, topic: &str) {
        self.tells("Topic", "Topic", topic);
    }

    pub fn tells_event_bridge(&self) {
        self.configure("<EventBridgeConfiguration/>");
    }

    fn tells(&self, configuration: &str, element: &str, arn: &str) {
        self.configure(&format!(
            "<{configuration}Configuration><{element}>{arn}</{element}><Event>s3:ObjectCreated:*</Event>\
             <Event>s3:ObjectRemoved:*</Event></{configuration}Configuration>"
        ));
    }

    fn configure(&self, configuration: &str) {
        let body = format!("<NotificationConfiguration>{configuration}</NotificationConfiguration>");
        self.aws.s3("PUT", &format!("/{}?notification", self.name), body.as_bytes());
    }

    fn target(&self, key: &str) -> String {
        format!("/{}/{}", self.name, percent_encoded(key, "/"))
    }
}

impl Queue {
    pub fn arn(&self) -> String {
        format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", self.name)
    }

    pub fn send(&self, body: &str) {
        self.aws.sqs("SendMessage", &json!({ "QueueUrl": self.url, "MessageBody": body }));
    }

    /// Waits for the next `count` messages and deletes them; returns their bodies.
    pub fn take(&self, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        eventually(&format!("{} holds {count} messages", self.name), SOON, || {
            for message in self.receive(30) {
                bodies.push(message["Body"].as_str().unwrap().to_owned());
                let handle = &message["ReceiptHandle"];
                self.aws.sqs("DeleteMessage", &json!({ "QueueUrl": self.url, "ReceiptHandle": handle }));
            }
            bodies.len() >= count
        });
        bodies
    }

    /// Waits until at least `visible` messages are visible: the emulator sends a notification soon after a write, not
    /// at once.
    pub fn holds(&self, visible: u64) {
        let what = format!("{} holds {visible} messages", self.name);
        eventually(&what, SOON, || self.depth().visible >= visible);
    }

    /// The receive count of each message in the queue.
    pub fn receives(&self) -> Vec<u64> {
        let target = format!("/_ministack/sqs/messages?QueueUrl={}", percent_encoded(&self.url, ""));
        let told: Value = serde_json::from_slice(&page(self.aws.address, &target).unwrap().body).unwrap();
        let messages = told["messages"][ACCOUNT][REGION][&self.url].as_array().unwrap();
        messages.iter().map(|message| message["ReceiveCount"].as_u64().unwrap()).collect()
    }

    /// Receives up to ten visible messages, which are then invisible for `visibility_secs`.
    pub fn receive(&self, visibility_secs: u32) -> Vec<Value> {
        let asked = json!({
            "QueueUrl": self.url,
            "MaxNumberOfMessages": 10,
            "VisibilityTimeout": visibility_secs,
            "WaitTimeSeconds": 0,
            "AttributeNames": ["All"],
        });
        self.aws.sqs("ReceiveMessage", &asked)["Messages"].as_array().cloned().unwrap_or_default()
    }

    pub fn depth(&self) -> Depth {
        let asked = json!({ "QueueUrl": self.url, "AttributeNames": ["All"] });
        let attributes = self.aws.sqs("GetQueueAttributes", &asked);
        let number = |name: &str| attributes["Attributes"][name].as_str().unwrap().parse().unwrap();
        Depth {
            visible: number("ApproximateNumberOfMessages"),
            in_flight: number("ApproximateNumberOfMessagesNotVisible"),
        }
    }

    /// Waits until every message of the queue is settled.
    pub fn drained(&self) {
        let what = format!("every message of {} is settled", self.name);
        eventually(&what, SOON, || self.depth() == Depth { visible: 0, in_flight: 0 });
    }
}
