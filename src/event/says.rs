//! Whether an event says anything.

use crate::event::{Event, HttpRequest, Text};

impl Event<'_> {
    /// The action of a record that names none.
    pub const UNKNOWN_ACTION: &'static str = "unknown";

    /// Whether the event has an action, a service, an actor, a source, a message or a request.
    pub fn says_something(&self) -> bool {
        let HttpRequest { method, url, path, .. } = &self.http_request;
        let (email, service) = (&self.actor.user.email, &self.api.service);
        self.action.as_held() != Self::UNKNOWN_ACTION
            || self.src.is_some()
            || self.actor.user.is_known()
            || [email, service, &self.message, method, url, path].into_iter().flatten().any(Text::says_something)
    }
}
