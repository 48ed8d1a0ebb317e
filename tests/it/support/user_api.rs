//! A small lakeFS: the part of its API that lists users, and the failures that can happen to it.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::receiver::{self, Receiver, Request};

/// The answer to every request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The users (id and address) in the order of their ids, and how many a page holds.
    Users(Vec<(&'static str, Option<&'static str>)>, usize),
    Status(u16),
    /// A redirect to this address.
    Redirect(String),
    /// There is no answer, however long the client waits.
    Silence,
    /// The body stops before its announced length.
    Stalled,
    /// A body of this many bytes, whose length is not announced.
    Oversized(usize),
    Body(&'static str),
    /// Every page names a next page.
    Endless,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Path and query, as they were sent.
    pub target: String,
    pub authorization: String,
}

/// Listens on this machine until the process ends.
#[derive(Clone)]
pub struct UserApi {
    receiver: Receiver,
    answer: Arc<Mutex<Answer>>,
}

impl UserApi {
    pub fn that_answers(answer: Answer) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        Self { receiver: Receiver::with_script(script(Arc::clone(&answer))), answer }
    }

    /// Serves `localhost`, with a certificate that [`receiver::root`] signed.
    pub fn that_answers_over_tls(answer: Answer) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        Self { receiver: Receiver::over_tls(script(Arc::clone(&answer))), answer }
    }

    pub fn url(&self) -> String {
        self.receiver.url()
    }

    /// From now on, gives this answer to every request.
    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = |request: Request| Asked {
            authorization: request.header("authorization").unwrap_or_default().to_owned(),
            target: request.target,
        };
        self.receiver.requests().into_iter().map(asked).collect()
    }
}

fn script(answer: Arc<Mutex<Answer>>) -> impl FnMut(&Request) -> receiver::Answer + Send {
    let mut count = 0;
    move |request| {
        count += 1;
        let json = |status, body: &str| receiver::Answer::says(status, body).with("Content-Type", "application/json");
        match &*answer.lock().unwrap() {
            Answer::Users(users, page) => json(200, &page_of(users, *page, &request.target)),
            Answer::Status(status) => json(*status, r#"{"message":"no"}"#),
            Answer::Redirect(to) => receiver::Answer::status(302).with("Location", to),
            Answer::Silence => receiver::Answer::Silence,
            Answer::Stalled => receiver::Answer::Stalled { status: 200 },
            Answer::Oversized(bytes) => receiver::Answer::Oversized { status: 200, bytes: *bytes },
            Answer::Body(body) => json(200, body),
            Answer::Endless => {
                let body = json!({"pagination": {"has_more": true, "next_offset": format!("u-{count}"), "results": 0, "max_per_page": 1000}, "results": []});
                json(200, &body.to_string())
            }
        }
    }
}

/// The page that follows the id `after` in the target. The target asks for up to 1000 users; the server returns fewer.
fn page_of(users: &[(&str, Option<&str>)], page: usize, target: &str) -> String {
    let after = target.split(['?', '&']).find_map(|part| part.strip_prefix("after=")).unwrap_or_default();
    let mut rest: Vec<_> = users.iter().filter(|(id, _)| *id > after).collect();
    rest.sort_unstable();
    let has_more = rest.len() > page;
    rest.truncate(page);
    let next = if has_more { rest[page - 1].0 } else { "" };
    let results: Vec<_> = rest
        .iter()
        .map(|(id, email)| match email {
            Some(email) => json!({"id": id, "creation_date": 1_700_000_000, "friendly_name": "x", "email": email}),
            None => json!({"id": id, "creation_date": 1_700_000_000}),
        })
        .collect();
    json!({
        "pagination": {"has_more": has_more, "next_offset": next, "results": results.len(), "max_per_page": page},
        "results": results
    })
    .to_string()
}
