//! A queue of notifications in SQS.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName, QueueAttributeName,
};
use serde::Deserialize;

use crate::identity::Identity;
use crate::identity::endpoint::{host_of, is_amazons, region_of};
use crate::identity::fault::{Fault, FaultKind, Remedy};
use crate::notification::queue::{
    Attributes, Config, Message, Outcome, Queue, QueueError, REQUEST_MESSAGES_MAX, ReceiptHandle, Redrive,
};

/// The longest long poll (SQS's own limit).
const WAIT_SECS_MAX: u32 = 20;
/// The longest visibility timeout: 12 hours (SQS's own limit).
const VISIBILITY_SECS_MAX: u32 = 43_200;

/// One queue, used with one identity.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    identity: Identity,
    url: String,
    visibility_secs: u32,
}

impl SqsQueue {
    /// Finds the queue: by its URL without a request, or by its name with one.
    ///
    /// # Errors
    /// If the name is unknown or refused, if the request fails, or if no region is known.
    pub async fn connect(config: &Config, identity: &Identity) -> Result<Self, QueueError> {
        let named = config.url.as_ref().or(config.name.as_ref());
        let denied = |reason: &str| QueueError::Denied {
            queue: named.cloned().unwrap_or_default(),
            kind: FaultKind::Misconfigured,
            reason: reason.to_owned(),
        };
        let endpoint_url = config.endpoint_url.clone().or_else(|| config.url.as_deref().and_then(foreign_origin));
        let region = config.region().or_else(|| identity.aws().region().map(|region| region.as_ref().to_owned()));
        let region = match (region, &endpoint_url) {
            (Some(region), _) => region,
            // A stand-in for AWS takes any region; the signature must name one.
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => return Err(denied("no region is known; set `region`")),
        };
        let mut sqs = aws_sdk_sqs::config::Builder::from(identity.aws())
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region));
        if let Some(endpoint_url) = endpoint_url {
            sqs = sqs.endpoint_url(endpoint_url);
        }
        if config.allow_plain_http {
            sqs = sqs.http_client(identity.plain_http());
        }
        let client = Client::from_conf(sqs.build());
        let url = match (&config.url, &config.name) {
            (Some(url), _) => url.clone(),
            (None, Some(name)) => {
                let reply = client.get_queue_url().queue_name(name).send().await;
                let reply = reply.map_err(|error| failed(name, identity, &Fault::of(&error)))?;
                reply.queue_url.ok_or_else(|| denied("the reply holds no URL"))?
            }
            (None, None) => return Err(denied("neither `url` nor `name` is set")),
        };
        let visibility_secs = config.visibility_secs.min(VISIBILITY_SECS_MAX);
        Ok(Self { client, identity: identity.clone(), url, visibility_secs })
    }

    async fn extend_some(&self, handles: &[ReceiptHandle], secs: u32) -> Result<Vec<Outcome>, QueueError> {
        let secs = i32::try_from(secs.min(VISIBILITY_SECS_MAX)).unwrap_or(i32::MAX);
        let entries = handles.iter().enumerate().map(|(index, handle)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&*handle.0)
                .visibility_timeout(secs)
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| self.unbuilt(&error))?;
        let request = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let reply = request.send().await.map_err(|error| self.failed(&Fault::of(&error)))?;
        let done = reply.successful.iter().map(|entry| entry.id.as_str());
        Ok(outcomes(handles.len(), done, &reply.failed))
    }

    async fn delete_some(&self, handles: &[ReceiptHandle]) -> Result<Vec<Outcome>, QueueError> {
        let entries = handles.iter().enumerate().map(|(index, handle)| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(&*handle.0).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| self.unbuilt(&error))?;
        let request = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let reply = request.send().await.map_err(|error| self.failed(&Fault::of(&error)))?;
        let done = reply.successful.iter().map(|entry| entry.id.as_str());
        Ok(outcomes(handles.len(), done, &reply.failed))
    }

    /// All attributes of the queue at this URL.
    async fn told(&self, url: &str) -> Result<HashMap<QueueAttributeName, String>, QueueError> {
        let request = self.client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let reply = request.send().await.map_err(|error| failed(url, &self.identity, &Fault::of(&error)))?;
        Ok(reply.attributes.unwrap_or_default())
    }

    fn unbuilt(&self, error: &dyn std::error::Error) -> QueueError {
        QueueError::Denied { queue: self.url.clone(), kind: FaultKind::Rejected, reason: error.to_string() }
    }

    fn failed(&self, fault: &Fault) -> QueueError {
        failed(&self.url, &self.identity, fault)
    }
}

impl Queue for SqsQueue {
    async fn attributes(&self) -> Result<Attributes, QueueError> {
        let told = self.told(&self.url).await?;
        let text = |name: QueueAttributeName| told.get(&name).map(String::as_str);
        let number = |name: QueueAttributeName| text(name).and_then(|text| text.parse::<u64>().ok());
        let small = |name: QueueAttributeName| number(name).and_then(|number| u32::try_from(number).ok());
        Ok(Attributes {
            visible_messages: number(QueueAttributeName::ApproximateNumberOfMessages).unwrap_or(0),
            in_flight_messages: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).unwrap_or(0),
            delayed_messages: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed).unwrap_or(0),
            visibility_secs: small(QueueAttributeName::VisibilityTimeout),
            retention_secs: small(QueueAttributeName::MessageRetentionPeriod),
            message_bytes_max: number(QueueAttributeName::MaximumMessageSize),
            redrive: text(QueueAttributeName::RedrivePolicy).and_then(redrive),
            is_encrypted: match (
                text(QueueAttributeName::KmsMasterKeyId),
                text(QueueAttributeName::SqsManagedSseEnabled),
            ) {
                (Some(key), _) if !key.is_empty() => Some(true),
                (_, managed) => managed.map(|managed| managed == "true"),
            },
        })
    }

    async fn dead_letters(&self, redrive: &Redrive) -> Result<u64, QueueError> {
        let told = self.told(&dead_letter_url(&self.url, &redrive.dead_letter_arn)).await?;
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        Ok(counts.iter().filter_map(|count| told.get(count)?.parse::<u64>().ok()).sum())
    }

    async fn receive(&self, max: usize, wait_secs: u32) -> Result<Vec<Message>, QueueError> {
        let max = max.clamp(1, REQUEST_MESSAGES_MAX);
        // SQS replies only after the wait if the queue is empty.
        let timeouts = self.identity.timeouts(Duration::from_secs(wait_secs.into()));
        let reply = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max).unwrap_or(1))
            .wait_time_seconds(i32::try_from(wait_secs.min(WAIT_SECS_MAX)).unwrap_or(0))
            .visibility_timeout(i32::try_from(self.visibility_secs).unwrap_or(i32::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .customize()
            .config_override(aws_sdk_sqs::Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| self.failed(&Fault::of(&error)))?;
        Ok(reply.messages.unwrap_or_default().into_iter().filter_map(received).collect())
    }

    async fn extend(&self, handles: &[ReceiptHandle], visibility_secs: u32) -> Result<Vec<Outcome>, QueueError> {
        let mut all = Vec::with_capacity(handles.len());
        for some in handles.chunks(REQUEST_MESSAGES_MAX) {
            let told = self.extend_some(some, visibility_secs).await;
            gather(&mut all, some.len(), told)?;
        }
        Ok(all)
    }

    async fn delete(&self, handles: &[ReceiptHandle]) -> Result<Vec<Outcome>, QueueError> {
        let mut all = Vec::with_capacity(handles.len());
        for some in handles.chunks(REQUEST_MESSAGES_MAX) {
            let told = self.delete_some(some).await;
            gather(&mut all, some.len(), told)?;
        }
        Ok(all)
    }
}

impl Config {
    /// The queue's region: as configured, or else as its URL says.
    pub fn region(&self) -> Option<String> {
        self.region.clone().or_else(|| self.url.as_deref().and_then(region_of))
    }
}

/// The URL of a queue's dead-letter queue, which is in the same account and region (SQS Developer Guide).
fn dead_letter_url(url: &str, dead_letter_arn: &str) -> String {
    let name = dead_letter_arn.rsplit(':').next().unwrap_or_default();
    match url.rsplit_once('/') {
        Some((account, _)) => format!("{account}/{name}"),
        None => name.to_owned(),
    }
}

/// Adds the outcomes of one request. If an earlier request succeeded, an error only concerns the messages of this one.
fn gather(all: &mut Vec<Outcome>, count: usize, told: Result<Vec<Outcome>, QueueError>) -> Result<(), QueueError> {
    match told {
        Ok(outcomes) => all.extend(outcomes),
        Err(error) if all.is_empty() => return Err(error),
        Err(error) => all.extend((0..count).map(|_| Outcome::Failed(error.to_string()))),
    }
    Ok(())
}

/// `None` without a receipt handle: nothing can be done with the message, and it comes again.
fn received(message: aws_sdk_sqs::types::Message) -> Option<Message> {
    let told = message.attributes.unwrap_or_default();
    let number = |name: MessageSystemAttributeName| told.get(&name).and_then(|text| text.parse::<i64>().ok());
    let receives = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
    Some(Message {
        id: message.message_id.unwrap_or_default().into(),
        receipt_handle: ReceiptHandle(message.receipt_handle?.into()),
        body: message.body.unwrap_or_default().into(),
        receive_count: u32::try_from(receives).unwrap_or(u32::MAX).max(1),
        sent_at_ms: number(MessageSystemAttributeName::SentTimestamp),
    })
}

/// Entries are named by their index, since message ids may repeat in one request, which SQS rejects.
fn outcomes<'a>(count: usize, done: impl Iterator<Item = &'a str>, failed: &[BatchResultErrorEntry]) -> Vec<Outcome> {
    let mut all = vec![Outcome::Failed("the reply says nothing of it".to_owned()); count];
    let mut tell = |id: &str, outcome: Outcome| {
        if let Some(slot) = id.parse::<usize>().ok().and_then(|index| all.get_mut(index)) {
            *slot = outcome;
        }
    };
    done.for_each(|id| tell(id, Outcome::Done));
    for entry in failed {
        tell(&entry.id, entry_outcome(&entry.code, entry.message.as_deref().unwrap_or_default()));
    }
    all
}

fn entry_outcome(code: &str, message: &str) -> Outcome {
    let gone = code.ends_with("MessageNotInflight")
        || code.ends_with("ReceiptHandleIsInvalid")
        || message.contains("does not exist or is not available");
    if gone { Outcome::Lost } else { Outcome::Failed(format!("{code}: {message}")) }
}

fn failed(queue: &str, identity: &Identity, fault: &Fault) -> QueueError {
    if fault.blames_credentials() {
        identity.distrust();
    }
    let (queue, kind, reason) = (queue.to_owned(), fault.kind, fault.reason.clone());
    if fault.code.ends_with("QueueDoesNotExist") || fault.code.ends_with("NonExistentQueue") {
        return QueueError::NotFound { queue, reason };
    }
    match fault.remedy {
        Remedy::Wait => QueueError::Unavailable { queue, kind, reason },
        Remedy::Person => QueueError::Denied { queue, kind, reason },
    }
}

#[derive(Deserialize)]
struct RedrivePolicy {
    #[serde(rename = "deadLetterTargetArn")]
    dead_letter_arn: String,
    /// A number, or a number in quotes: SQS returns the policy as it was set.
    #[serde(rename = "maxReceiveCount")]
    receives_max: serde_json::Value,
}

fn redrive(policy: &str) -> Option<Redrive> {
    let policy: RedrivePolicy = serde_json::from_str(policy).ok()?;
    let receives_max = match &policy.receives_max {
        serde_json::Value::String(text) => text.parse().ok()?,
        number => u32::try_from(number.as_u64()?).ok()?,
    };
    Some(Redrive { receives_max, dead_letter_arn: policy.dead_letter_arn })
}

/// Scheme, host and port of a URL. `None` for a public endpoint, which the SDK finds by itself.
fn foreign_origin(url: &str) -> Option<String> {
    let host = host_of(url)?;
    let labels: Vec<&str> = host.split('.').collect();
    if is_amazons(&labels) && !labels.contains(&"vpce") {
        return None;
    }
    let path = url.find("://")? + 3;
    let end = url[path..].find('/').map_or(url.len(), |slash| path + slash);
    Some(url[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_queue_is_in_the_account_and_region_of_its_queue() {
        let arn = "arn:aws:sqs:eu-central-1:123456789012:dead";
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/q";
        assert_eq!(dead_letter_url(url, arn), "https://sqs.eu-central-1.amazonaws.com/123456789012/dead");
        assert_eq!(
            dead_letter_url("http://127.0.0.1:4566/000000000000/q", arn),
            "http://127.0.0.1:4566/000000000000/dead"
        );
    }

    #[tokio::test]
    async fn no_request_goes_to_another_machine_in_the_clear() {
        let endpoint_url = Some("http://192.0.2.1:9".to_owned());
        let config = Config { name: Some("q".to_owned()), endpoint_url, ..Config::default() };
        let connected = SqsQueue::connect(&config, &Identity::invented()).await;
        assert!(matches!(connected, Err(QueueError::Denied { kind: FaultKind::Misconfigured, .. })), "{connected:?}");
    }

    #[test]
    fn a_url_elsewhere_is_its_own_endpoint() {
        for (url, origin) in [
            ("https://sqs.eu-central-1.amazonaws.com/1/q", None),
            ("http://127.0.0.1:4566/000000000000/q", Some("http://127.0.0.1:4566")),
            ("http://localhost/q", Some("http://localhost")),
            (
                "https://vpce-0a-b.sqs.us-east-2.vpce.amazonaws.com/1/q",
                Some("https://vpce-0a-b.sqs.us-east-2.vpce.amazonaws.com"),
            ),
            ("q", None),
        ] {
            assert_eq!(foreign_origin(url).as_deref(), origin, "{url}");
        }
    }

    #[tokio::test]
    async fn a_queue_that_never_answers_is_given_up_and_not_before_its_long_poll_is_over() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/1/q", silent.local_addr().unwrap());
        let config = Config { url: Some(url), ..Config::default() };
        let identity = Identity::invented_within(Duration::from_millis(200));
        let queue = SqsQueue::connect(&config, &identity).await.unwrap();
        let timed_out = |error: QueueError| assert_eq!(error.kind(), FaultKind::Timeout, "{error}");
        timed_out(queue.delete(&[ReceiptHandle("r".into())]).await.unwrap_err());
        let asked = std::time::Instant::now();
        timed_out(queue.receive(10, 1).await.unwrap_err());
        assert!(asked.elapsed() >= Duration::from_secs(1));
    }

    #[test]
    fn each_message_of_a_batch_has_its_own_outcome() {
        let entry = |id: &str, code: &str, message: &str| {
            BatchResultErrorEntry::builder()
                .id(id)
                .code(code)
                .message(message)
                .sender_fault(true)
                .build()
                .expect("all members are given")
        };
        let failed = [
            entry("1", "AWS.SimpleQueueService.MessageNotInflight", "no"),
            entry("2", "InvalidParameterValue", "Value x: Message does not exist or is not available for change."),
            entry("3", "ReceiptHandleIsInvalid", "no"),
            entry("4", "InternalError", "again"),
            entry("99", "InternalError", "no such entry"),
        ];
        assert_eq!(
            outcomes(6, ["0"].into_iter(), &failed),
            [
                Outcome::Done,
                Outcome::Lost,
                Outcome::Lost,
                Outcome::Lost,
                Outcome::Failed("InternalError: again".to_owned()),
                Outcome::Failed("the reply says nothing of it".to_owned()),
            ]
        );
    }

    #[test]
    fn a_redrive_policy_is_read_with_its_count_as_number_or_text() {
        let expected = Some(Redrive { receives_max: 5, dead_letter_arn: "arn:aws:sqs:r:1:d".to_owned() });
        assert_eq!(redrive(r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:d","maxReceiveCount":5}"#), expected);
        assert_eq!(redrive(r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:d","maxReceiveCount":"5"}"#), expected);
        assert_eq!(redrive("{}"), None);
    }

    #[test]
    fn a_failure_after_a_success_is_that_of_its_messages_alone() {
        let error = || QueueError::Unavailable {
            queue: "q".to_owned(),
            kind: FaultKind::Unavailable,
            reason: "reset".to_owned(),
        };
        let mut all = Vec::new();
        assert!(gather(&mut all, 2, Err(error())).is_err());
        gather(&mut all, 1, Ok(vec![Outcome::Done])).expect("some were done");
        gather(&mut all, 2, Err(error())).expect("some were done before");
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], Outcome::Done);
        assert!(matches!(&all[2], Outcome::Failed(reason) if reason.contains("reset")));
    }
}
