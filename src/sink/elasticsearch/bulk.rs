//! The body of a `_bulk` request, and what its answer says about each document.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::batch::{Request, RequestEvent, Selection};
use crate::event::{Choices, EventId, moment};
use crate::sink::http::body::Compression;
use crate::sink::{Delivery, DeliveryError, Receipt, Template};
use crate::transport::TOLD_CHARACTERS;
use crate::visible::visible;

/// The most bytes that are added to an event: the action line with the longest index name, and `@timestamp`.
pub(super) const ENVELOPE_BYTES_MAX: u32 = 365;

/// The problem that is reported if the receiver takes no document ids.
pub(super) const NO_IDS: &str = "it takes no ids, as a serverless collection for time series: set `ids = false`, and expect an event at least once there";

/// Errors of status 400 that are not about the document: an operator must mend the configuration or the receiver.
const NOT_ABOUT_THE_DOCUMENT: &[&str] = &[
    "index_closed_exception",
    "invalid_index_name_exception",
    "invalid_alias_name_exception",
    "cluster_block_exception",
    // The cluster has as many shards as it may have, so that it makes no further index.
    "validation_exception",
    "security_exception",
];

/// How documents are made from events, and what answers mean.
#[derive(Debug)]
pub(super) struct Bulk {
    /// The template of the index or data stream. `None` only in an invalid configuration.
    pub(super) name: Option<Template>,
    pub(super) choices: Choices,
    pub(super) rules: Rules,
    pub(super) compression: Compression,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    pub(super) has_ids: bool,
    pub(super) accepts_failure_store: bool,
}

/// The documents of a request.
pub(super) struct Documents {
    pub(super) body: Bytes,
    /// The number and id of each document's event, in the order of the documents.
    pub(super) sent: Vec<(u32, EventId)>,
    /// The numbers of events that cannot be documents, and the reasons.
    refused: Vec<(u32, Box<str>)>,
}

#[derive(Deserialize)]
struct BulkReply {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

/// The result of one document.
#[derive(Deserialize)]
struct Created {
    #[serde(rename = "_id")]
    id: Option<String>,
    status: u16,
    #[serde(default)]
    error: ItemError,
    failure_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
    /// `None` if the receiver gives no reason.
    reason: Option<String>,
}

/// What became of one document.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    Taken,
    Again(String),
    Refused(String),
    Misconfigured(String),
}

impl Bulk {
    pub(super) fn documents(&self, request: &Request) -> Documents {
        let (mut text, mut sent, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for event in request.events() {
            // Some encodings write no JSON object, such as `raw` for a log in plain text.
            if !event.encoded.starts_with(b"{") {
                let reason = "no JSON object: give the sink an encoding that makes one, such as `ocsf`";
                refused.push((event.number, reason.into()));
                continue;
            }
            self.write_action(&event, &mut text);
            write_document(&event, &mut text);
            sent.push((event.number, event.head.uid));
        }
        Documents { body: self.compression.compressed(text).into(), sent, refused }
    }

    /// Names and ids need no escapes: they have no character that JSON escapes.
    fn write_action(&self, event: &RequestEvent<'_>, text: &mut Vec<u8>) {
        text.extend_from_slice(b"{\"create\":{\"_index\":\"");
        if let Some(name) = &self.name {
            let chosen = self.choices.chosen(event.head.choice, 0);
            text.extend_from_slice(name.render(event.provenance, event.head, chosen).as_bytes());
        }
        if self.rules.has_ids {
            text.extend_from_slice(b"\",\"_id\":\"");
            text.extend_from_slice(event.head.uid.to_string().as_bytes());
        }
        text.extend_from_slice(b"\"}}\n");
    }

    /// Reads the answer to a request that was answered with a success status.
    pub(super) fn delivery(&self, documents: Documents, reply: &[u8]) -> Result<Delivery, DeliveryError> {
        let Documents { sent, mut refused, .. } = documents;
        let BulkReply { items } = serde_json::from_slice(reply).map_err(|error| {
            DeliveryError::Misconfigured(format!(
                "the answer is none of _bulk; is `url` that of Elasticsearch or OpenSearch? {error}"
            ))
        })?;
        if items.len() != sent.len() {
            let reason = format!("the answer has {} items for {} documents", items.len(), sent.len());
            return Err(DeliveryError::unavailable(reason));
        }
        let mut taken = Selection::default();
        let (mut again, mut misconfigured) = (None, None);
        for ((number, uid), Item { create }) in sent.into_iter().zip(items) {
            if self.rules.has_ids && create.id.as_deref() != Some(&*uid.to_string()) {
                return Err(DeliveryError::unavailable("the answer has other ids than the request"));
            }
            match fate(&create, self.rules) {
                Fate::Taken => taken.push(number),
                Fate::Refused(reason) => refused.push((number, reason.into())),
                Fate::Again(reason) => again = again.or(Some(reason)),
                Fate::Misconfigured(reason) => misconfigured = misconfigured.or(Some(reason)),
            }
        }
        refused.sort_unstable_by_key(|(number, _)| *number);
        match (misconfigured, again) {
            (None, None) if refused.is_empty() => Ok(Delivery::Taken(Receipt::accepted())),
            // The documents with a final answer are kept, so that only the other documents are sent again.
            _ if taken.count() > 0 || !refused.is_empty() => Ok(Delivery::Partly { taken, refused, after: None }),
            (Some(reason), _) => Err(DeliveryError::Misconfigured(reason)),
            (None, reason) => Err(DeliveryError::unavailable(reason.unwrap_or_default())),
        }
    }
}

/// Writes the event. If it has no `@timestamp`, adds one: data streams and Kibana need it.
fn write_document(event: &RequestEvent<'_>, text: &mut Vec<u8>) {
    match event.encoded.strip_prefix(b"{") {
        Some(members) if !has_timestamp(event.encoded) => {
            text.extend_from_slice(b"{\"@timestamp\":\"");
            moment::write(text, event.head.time_ms);
            text.extend_from_slice(if members.trim_ascii_start() == b"}" { b"\"" } else { b"\"," });
            text.extend_from_slice(members);
        }
        _ => text.extend_from_slice(event.encoded),
    }
    text.push(b'\n');
}

fn has_timestamp(encoded: &[u8]) -> bool {
    const NAME: &str = "@timestamp";
    if encoded[1..].starts_with(b"\"@timestamp\"") {
        return true;
    }
    memmem::find(encoded, b"\"@timestamp\"").is_some()
        && serde_json::from_slice::<BTreeMap<Cow<'_, str>, IgnoredAny>>(encoded)
            .is_ok_and(|members| members.contains_key(NAME))
}

/// What an item's status and error mean. The id of a document is the uid of its event, so a version conflict means that
/// the receiver has the event already.
fn fate(created: &Created, rules: Rules) -> Fate {
    let kind = &*created.error.kind;
    match created.status {
        200 | 201 if created.failure_store.as_deref() == Some("used") && !rules.accepts_failure_store => {
            Fate::Refused("failure_store: the document is there, and not in its data stream".to_owned())
        }
        200 | 201 => Fate::Taken,
        409 if rules.has_ids && kind == "version_conflict_engine_exception" => Fate::Taken,
        408 | 409 | 429 | 500.. => Fate::Again(told(created)),
        400 if is_about_ids(reason(created)) => Fate::Misconfigured(NO_IDS.to_owned()),
        400 if NOT_ABOUT_THE_DOCUMENT.contains(&kind) || reason(created).contains("no write index is defined") => {
            Fate::Misconfigured(told(created))
        }
        400 | 413 | 422 => Fate::Refused(told(created)),
        _ => Fate::Misconfigured(told(created)),
    }
}

/// The error of OpenSearch Serverless is "Document ID is not supported in create/index operation request".
pub(super) fn is_about_ids(reason: &str) -> bool {
    reason.contains("Document ID is not supported")
}

fn reason(created: &Created) -> &str {
    created.error.reason.as_deref().unwrap_or_default()
}

/// The error's type, status and reason, without the field's value that Elasticsearch quotes. The type comes first:
/// storms are recognised by how a reason begins.
fn told(created: &Created) -> String {
    let kind = Some(&*created.error.kind).filter(|kind| !kind.is_empty()).unwrap_or("no error is named");
    let reason = reason(created).split("Preview of field's value").next().unwrap_or_default().trim_end();
    let mut told = format!("{kind}: status {}", created.status);
    if !reason.is_empty() {
        told.push_str(": ");
    }
    told.push_str(&visible(reason.chars().take(TOLD_CHARACTERS)));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: u16, error: &str, failure_store: &str) -> String {
        let error = match error.split_once(": ") {
            Some((kind, reason)) => format!(",\"error\":{{\"type\":\"{kind}\",\"reason\":{reason:?}}}"),
            None => String::new(),
        };
        let store =
            if failure_store.is_empty() { String::new() } else { format!(",\"failure_store\":\"{failure_store}\"") };
        format!("{{\"_index\":\"a\",\"_id\":\"1\",\"status\":{status}{error}{store}}}")
    }

    const WITH_IDS: Rules = Rules { has_ids: true, accepts_failure_store: false };

    #[test]
    fn each_status_and_error_of_an_item_has_one_meaning() {
        let conflict = "version_conflict_engine_exception: [1]: version conflict, document already exists";
        for (status, error, failure_store, expected) in [
            (201, "", "", "taken"),
            (200, "", "", "taken"),
            (201, "", "used", "refused"),
            (409, conflict, "", "taken"),
            (409, "other_exception: x", "", "again"),
            (429, "es_rejected_execution_exception: queue is full", "", "again"),
            (429, "cluster_block_exception: index [a] blocked by: [TOO_MANY_REQUESTS/12/disk usage]", "", "again"),
            (429, "circuit_breaking_exception: [parent] Data too large", "", "again"),
            (503, "unavailable_shards_exception: primary shard is not active", "", "again"),
            (503, "no_shard_available_action_exception: x", "", "again"),
            (500, "", "", "again"),
            (408, "", "", "again"),
            (400, "mapper_parsing_exception: failed to parse field [a] of type [date]", "", "refused"),
            (400, "document_parsing_exception: [1:2] failed to parse", "", "refused"),
            (400, "document_parsing_exception: [1:2] failed to parse", "failed", "refused"),
            (400, "document_parsing_exception: [1:2] failed to parse", "not_enabled", "refused"),
            (400, "strict_dynamic_mapping_exception: mapping set to strict", "", "refused"),
            (400, "illegal_argument_exception: Limit of total fields [1000] has been exceeded", "", "refused"),
            (400, "x_content_parse_exception: x", "", "refused"),
            (413, "", "", "refused"),
            (
                400,
                "illegal_argument_exception: Document ID is not supported in create/index operation request",
                "",
                "misconfigured",
            ),
            (400, "illegal_argument_exception: no write index is defined for alias [a]", "", "misconfigured"),
            (
                400,
                "validation_exception: this action would add [2] shards, but this cluster currently has [1000]/[1000]",
                "",
                "misconfigured",
            ),
            (400, "index_closed_exception: closed", "", "misconfigured"),
            (400, "invalid_index_name_exception: must be lowercase", "", "misconfigured"),
            (401, "security_exception: x", "", "misconfigured"),
            (403, "security_exception: action is unauthorized", "", "misconfigured"),
            (403, "cluster_block_exception: index read-only", "", "misconfigured"),
            (404, "index_not_found_exception: no such index [a]", "", "misconfigured"),
        ] {
            let text = item(status, error, failure_store);
            let fate = fate(&serde_json::from_str(&text).unwrap(), WITH_IDS);
            let named = match &fate {
                Fate::Taken => "taken",
                Fate::Again(_) => "again",
                Fate::Refused(_) => "refused",
                Fate::Misconfigured(_) => "misconfigured",
            };
            assert_eq!(named, expected, "{text}: {fate:?}");
        }
    }

    #[test]
    fn without_ids_a_conflict_says_nothing_of_the_document() {
        let text = item(409, "version_conflict_engine_exception: x", "");
        let rules = Rules { has_ids: false, accepts_failure_store: true };
        assert!(matches!(fate(&serde_json::from_str(&text).unwrap(), rules), Fate::Again(_)));
        let stored = item(201, "", "used");
        assert_eq!(fate(&serde_json::from_str(&stored).unwrap(), rules), Fate::Taken);
    }

    #[test]
    fn a_reason_begins_with_its_type_and_leaves_out_the_value() {
        let reason = "mapper_parsing_exception: failed to parse field [a] of type [date] in document with id '1'. Preview of field's value: 'hush'";
        let text = item(400, reason, "");
        let told = told(&serde_json::from_str(&text).unwrap());
        assert_eq!(
            told,
            "mapper_parsing_exception: status 400: failed to parse field [a] of type [date] in document with id '1'."
        );
        let hostile = "{\"status\":400,\"error\":{\"type\":\"t\",\"reason\":\"a\\r\\nb\\u2028c\"}}";
        assert_eq!(super::told(&serde_json::from_str(hostile).unwrap()), "t: status 400: a\\r\\nb\\u{2028}c");
    }
}
