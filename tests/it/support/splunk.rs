//! A small HTTP Event Collector that follows Splunk's documentation: it numbers requests, and says later which are
//! indexed. It forgets a number once it has reported it as indexed, and all numbers when it restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::receiver::{Answer, Receiver, Request};

pub const TOKEN: &str = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

/// How the collector behaves.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub token: String,
    /// Whether it acknowledges indexed events.
    pub acknowledges: bool,
    /// Whether events are indexed at once; otherwise [`Splunk::index_all`] indexes them.
    pub indexes_at_once: bool,
    /// An event whose text contains this is refused.
    pub refuses: Option<&'static str>,
    /// An event for this index is refused: the token does not allow it.
    pub forbids: Option<&'static str>,
    /// It is busy after this many events of one request.
    pub busy_after: Option<usize>,
    /// It hangs up without an answer.
    pub is_down: bool,
    /// It keeps the events, and gives no answer.
    pub is_silent: bool,
}

#[derive(Debug)]
struct Inside {
    behaviour: Behaviour,
    /// The events that a search finds, in the order of arrival.
    events: Vec<Value>,
    /// By channel: the numbers that were given, and whether they are indexed. A number that was reported as indexed is
    /// removed.
    channels: BTreeMap<String, Channel>,
    /// The channels of events, and those of acknowledgement queries, each in order.
    used: Vec<String>,
    asked: Vec<String>,
}

#[derive(Debug, Default)]
struct Channel {
    next: u64,
    statuses: BTreeMap<u64, bool>,
}

#[derive(Clone)]
pub struct Splunk {
    pub receiver: Receiver,
    inside: Arc<Mutex<Inside>>,
}

impl Splunk {
    pub fn new() -> Self {
        Self::begin(Receiver::with_script)
    }

    pub fn over_tls() -> Self {
        Self::begin(Receiver::over_tls)
    }

    fn begin(listen: impl FnOnce(Box<dyn FnMut(&Request) -> Answer + Send>) -> Receiver) -> Self {
        let behaviour = Behaviour {
            token: TOKEN.to_owned(),
            acknowledges: true,
            indexes_at_once: true,
            refuses: None,
            forbids: None,
            busy_after: None,
            is_down: false,
            is_silent: false,
        };
        let inside =
            Inside { behaviour, events: Vec::new(), channels: BTreeMap::new(), used: Vec::new(), asked: Vec::new() };
        let inside = Arc::new(Mutex::new(inside));
        let serving = Arc::clone(&inside);
        let receiver = listen(Box::new(move |request| serving.lock().unwrap().answer(request)));
        Self { receiver, inside }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub fn now(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.inside().behaviour);
    }

    /// Indexes every request so far.
    pub fn index_all(&self) {
        self.index(|_| true);
    }

    /// Indexes the requests so far whose number in their channel fulfils `has`.
    pub fn index(&self, has: impl Fn(u64) -> bool) {
        for channel in self.inside().channels.values_mut() {
            channel.statuses.iter_mut().for_each(|(number, is_indexed)| *is_indexed |= has(*number));
        }
    }

    /// Forgets the numbers of all requests. Their events stay.
    pub fn restart(&self) {
        self.inside().channels.clear();
    }

    /// Forgets numbers and events, as after a restart that lost what was not on disk.
    pub fn lose_all(&self) {
        let mut inside = self.inside();
        inside.channels.clear();
        inside.events.clear();
    }

    /// How many requests were not reported as indexed yet.
    pub fn awaited(&self) -> usize {
        self.inside().channels.values().map(|channel| channel.statuses.len()).sum()
    }

    pub fn events(&self) -> Vec<Value> {
        self.inside().events.clone()
    }

    /// The records in the events, as they were sent.
    pub fn records(&self) -> Vec<Value> {
        self.events().iter().map(|event| event["event"].clone()).collect()
    }

    /// The channels of events, and those of acknowledgement queries, each in order.
    pub fn channels(&self) -> (Vec<String>, Vec<String>) {
        let inside = self.inside();
        (inside.used.clone(), inside.asked.clone())
    }
}

fn says(status: u16, text: &str, code: u16) -> Answer {
    Answer::says(status, &json!({"text": text, "code": code}).to_string())
}

fn stops(status: u16, text: &str, code: u16, number: usize) -> Answer {
    Answer::says(status, &json!({"text": text, "code": code, "invalid-event-number": number}).to_string())
}

fn is_guid(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex)
}

impl Inside {
    fn answer(&mut self, request: &Request) -> Answer {
        if self.behaviour.is_down {
            return Answer::HangUp;
        }
        match request.header("authorization").map(|value| value.strip_prefix("Splunk ")) {
            None => return says(401, "Token is required", 2),
            Some(None) => return says(401, "Invalid authorization", 3),
            Some(Some(token)) if token != self.behaviour.token => return says(403, "Invalid token", 4),
            Some(Some(_)) => {}
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let channel = request.header("x-splunk-request-channel").or_else(|| query.strip_prefix("channel="));
        let channel = match channel {
            None if self.behaviour.acknowledges => return says(400, "Data channel is missing", 10),
            Some(channel) if !is_guid(channel) => return says(400, "Invalid data channel", 11),
            channel => channel.unwrap_or_default().to_owned(),
        };
        match path {
            "/services/collector/event" => {
                let answer = self.take(request, channel);
                if self.behaviour.is_silent { Answer::Silence } else { answer }
            }
            "/services/collector/ack" if !self.behaviour.acknowledges => says(400, "ACK is disabled", 14),
            "/services/collector/ack" => self.tell(request, channel),
            _ => Answer::says(404, "The requested URL was not found on this server."),
        }
    }

    fn take(&mut self, request: &Request, channel: String) -> Answer {
        let mut count = 0;
        for event in serde_json::Deserializer::from_str(&request.text()).into_iter::<Value>() {
            let Ok(event) = event else { return stops(400, "Invalid data format", 6, count) };
            if self.behaviour.busy_after == Some(count) {
                return stops(503, "Server is busy", 9, count);
            }
            if self.behaviour.forbids.is_some_and(|index| event["index"] == index) {
                return stops(400, "Incorrect index", 7, count);
            }
            match event.get("event") {
                None => return stops(400, "Event field is required", 12, count),
                Some(Value::String(text)) if text.is_empty() => {
                    return stops(400, "Event field cannot be blank", 13, count);
                }
                Some(inner) if self.behaviour.refuses.is_some_and(|text| inner.to_string().contains(text)) => {
                    return stops(400, "Invalid data format", 6, count);
                }
                Some(_) => self.events.push(event),
            }
            count += 1;
        }
        if count == 0 {
            return says(400, "No data", 5);
        }
        if !self.behaviour.acknowledges {
            return says(200, "Success", 0);
        }
        self.used.push(channel.clone());
        let own = self.channels.entry(channel).or_default();
        let number = own.next;
        own.next += 1;
        own.statuses.insert(number, self.behaviour.indexes_at_once);
        Answer::says(200, &json!({"text": "Success", "code": 0, "ackId": number}).to_string())
    }

    fn tell(&mut self, request: &Request, channel: String) -> Answer {
        let asked: Value = serde_json::from_str(&request.text()).unwrap();
        self.asked.push(channel.clone());
        let own = self.channels.entry(channel).or_default();
        let mut acks = BTreeMap::new();
        for number in asked["acks"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()) {
            let is_indexed = own.statuses.get(&number) == Some(&true);
            if is_indexed {
                own.statuses.remove(&number);
            }
            acks.insert(number.to_string(), is_indexed);
        }
        Answer::says(200, &json!({ "acks": acks }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::http::request;

    const CHANNEL: &str = "FE0ECFAD-13D5-401B-847D-77833BD77131";

    fn post(splunk: &Splunk, target: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let reply = request(splunk.receiver.address(), "POST", target, headers, body.as_bytes()).unwrap();
        (reply.status, serde_json::from_str(&reply.text()).unwrap())
    }

    /// The examples of Splunk's "About HTTP Event Collector Indexer Acknowledgment".
    #[test]
    fn it_acknowledges_as_splunks_documentation_shows() {
        let splunk = Splunk::new();
        splunk.now(|now| now.indexes_at_once = false);
        let token = format!("Splunk {TOKEN}");
        let headers = [("Authorization", token.as_str()), ("X-Splunk-Request-Channel", CHANNEL)];
        let send = |body: &str| post(&splunk, "/services/collector/event", &headers, body);
        assert_eq!(send(r#"{"event":"a"}"#), (200, json!({"text": "Success", "code": 0, "ackId": 0})));
        assert_eq!(send(r#"{"event":"b"}{"event":"c"}"#), (200, json!({"text": "Success", "code": 0, "ackId": 1})));
        let ask = |body: &str| {
            let target = format!("/services/collector/ack?channel={CHANNEL}");
            post(&splunk, &target, &headers[..1], body)
        };
        assert_eq!(ask(r#"{"acks":[0,1,4]}"#), (200, json!({"acks": {"0": false, "1": false, "4": false}})));
        splunk.index_all();
        assert_eq!(ask(r#"{"acks":[0]}"#), (200, json!({"acks": {"0": true}})));
        assert_eq!(ask(r#"{"acks":[0,1]}"#), (200, json!({"acks": {"0": false, "1": true}})), "told once");
        splunk.restart();
        assert_eq!(send(r#"{"event":"d"}"#).1["ackId"], 0, "counted anew");
        assert_eq!(splunk.records(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn it_refuses_as_splunks_documentation_shows() {
        let splunk = Splunk::new();
        let events = "/services/collector/event";
        let token = format!("Splunk {TOKEN}");
        let authorization = ("Authorization", token.as_str());
        let channel = ("X-Splunk-Request-Channel", CHANNEL);
        for (headers, body, status, code) in [
            (vec![], "", 401, 2),
            (vec![("Authorization", TOKEN)], "", 401, 3),
            (vec![("Authorization", "Splunk x")], "", 403, 4),
            (vec![authorization], "", 400, 10),
            (vec![authorization, ("X-Splunk-Request-Channel", "x")], "", 400, 11),
            (vec![authorization, channel], "", 400, 5),
        ] {
            let (answered, reply) = post(&splunk, events, &headers, body);
            assert_eq!((answered, &reply["code"]), (status, &json!(code)), "{headers:?}");
        }
        for (body, code, number) in [
            (r#"{"event":"a"}{"event":"#, 6, 1),
            (r#"{"event":"b"}{"event":"c"}{"time":1}"#, 12, 2),
            (r#"{"event":""}"#, 13, 0),
        ] {
            let (status, reply) = post(&splunk, events, &[authorization, channel], body);
            assert_eq!((status, &reply["code"]), (400, &json!(code)), "{body}");
            assert_eq!(reply["invalid-event-number"], json!(number), "{body}");
        }
        splunk.now(|now| now.forbids = Some("secret"));
        let (status, reply) = post(
            &splunk,
            events,
            &[authorization, channel],
            r#"{"event":"d","index":"main"}{"event":"e","index":"secret"}"#,
        );
        assert_eq!((status, reply), (400, json!({"text": "Incorrect index", "code": 7, "invalid-event-number": 1})));
        assert_eq!(splunk.records(), ["a", "b", "c", "d"], "what came before is there");
        splunk.now(|now| now.acknowledges = false);
        let target = format!("/services/collector/ack?channel={CHANNEL}");
        assert_eq!(post(&splunk, &target, &[authorization], r#"{"acks":[0]}"#).1["code"], 14);
        assert_eq!(
            post(&splunk, events, &[authorization], r#"{"event":"e"}"#),
            (200, json!({"text": "Success", "code": 0}))
        );
    }
}
