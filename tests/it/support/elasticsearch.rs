//! A stand-in for Elasticsearch's `_bulk` that answers for each document as a test needs it. The emulators are real
//! programs, which cannot be made to fail.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::receiver::{Answer, Receiver, Request};

/// Returns an answer to the whole request in place of items, or `None`.
type Whole = Box<dyn FnMut(&Request) -> Option<Answer> + Send>;
/// Returns members for a document's item in place of success, or `None`.
type Verdict = Box<dyn FnMut(&Value) -> Option<Value> + Send>;

pub struct Elasticsearch {
    pub receiver: Receiver,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The stored documents by index and id.
    documents: BTreeMap<(String, String), Value>,
    whole: Option<Whole>,
    verdict: Option<Verdict>,
    /// Documents are stored, but requests get no answer.
    is_mute: bool,
}

impl Elasticsearch {
    pub fn new() -> Self {
        Self::of(|script| Receiver::with_script(script))
    }

    pub fn over_tls() -> Self {
        Self::of(|script| Receiver::over_tls(script))
    }

    fn of(receiver: impl FnOnce(Box<dyn FnMut(&Request) -> Answer + Send>) -> Receiver) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let receiver = receiver(Box::new(move |request| shared.lock().unwrap().answer(request)));
        Self { receiver, state }
    }

    /// From now on, `whole` may answer requests.
    pub fn answers(&self, whole: impl FnMut(&Request) -> Option<Answer> + Send + 'static) {
        self.state.lock().unwrap().whole = Some(Box::new(whole));
    }

    /// From now on, a document is not stored if `verdict` returns members for its item.
    pub fn judges(&self, verdict: impl FnMut(&Value) -> Option<Value> + Send + 'static) {
        self.state.lock().unwrap().verdict = Some(Box::new(verdict));
    }

    pub fn is_mute(&self, is_mute: bool) {
        self.state.lock().unwrap().is_mute = is_mute;
    }

    /// The stored documents by index and id.
    pub fn documents(&self) -> BTreeMap<(String, String), Value> {
        self.state.lock().unwrap().documents.clone()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        if let Some(answer) = self.whole.as_mut().and_then(|whole| whole(request)) {
            return answer;
        }
        let lines = request.lines();
        let items: Vec<Value> = lines.chunks(2).map(|pair| self.item(&pair[0], &pair[1])).collect();
        if self.is_mute {
            return Answer::Silence;
        }
        Answer::says(200, &json!({"took": 3, "errors": false, "items": items}).to_string())
    }

    fn item(&mut self, action: &str, document: &str) -> Value {
        let action: Value = serde_json::from_str(action).unwrap();
        let document: Value = serde_json::from_str(document).unwrap();
        let index = action["create"]["_index"].as_str().unwrap().to_owned();
        let own = format!("made-{}", self.documents.len());
        let id = action["create"]["_id"].as_str().map_or(own, str::to_owned);
        let mut item = json!({"_index": index, "_id": id, "status": 201});
        if let Some(Value::Object(members)) = self.verdict.as_mut().and_then(|verdict| verdict(&document)) {
            item.as_object_mut().unwrap().extend(members);
            return json!({ "create": item });
        }
        match self.documents.entry((index, id)) {
            Entry::Vacant(place) => _ = place.insert(document),
            Entry::Occupied(place) => {
                let id = &place.key().1;
                let reason = format!("[{id}]: version conflict, document already exists (current version [1])");
                item["status"] = json!(409);
                item["error"] = json!({"type": "version_conflict_engine_exception", "reason": reason});
            }
        }
        json!({ "create": item })
    }
}

/// The members of an item for a document that is not stored because of this error.
pub fn error(status: u16, kind: &str, reason: &str) -> Option<Value> {
    Some(json!({"status": status, "error": {"type": kind, "reason": reason}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::http::request;

    /// The answer to `create` on the page "Bulk index or delete documents", and the answer if it is repeated.
    #[test]
    fn it_answers_as_the_documentation_has_it() {
        let receiver = Elasticsearch::new();
        let body = "{\"create\":{\"_index\":\"test\",\"_id\":\"3\"}}\n{\"field1\":\"value3\"}\n";
        let item = || {
            let reply = request(receiver.receiver.address(), "POST", "/_bulk", &[], body.as_bytes()).unwrap();
            let reply: Value = serde_json::from_str(&reply.text()).unwrap();
            reply["items"][0]["create"].clone()
        };
        assert_eq!(item(), json!({"_index": "test", "_id": "3", "status": 201}));
        let again = item();
        assert_eq!(
            (&again["status"], &again["error"]["type"]),
            (&json!(409), &json!("version_conflict_engine_exception"))
        );
        receiver.judges(|_| Some(json!({"failure_store": "used"})));
        assert_eq!(item()["failure_store"], "used");
        assert_eq!(receiver.documents().len(), 1);
    }
}
