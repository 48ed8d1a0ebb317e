//! Tests one sink: opens it, sends it one marked event, and waits until the receiver acknowledges it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::batch::{Batch, BatchPart, Piece, Provenance, Request};
use crate::collector::build;
use crate::collector::clock::Clock;
use crate::collector::error::Error;
use crate::config::Config;
use crate::delta::RecordHash;
use crate::event::{Encoded, Scope};
use crate::family::{self, Context, encode_record};
use crate::notification::ObjectId;
use crate::object::Version;
use crate::records::Record;
use crate::sink::{self, Acknowledgement, Delivery, DeliveryError, Output, Sink, State};
use crate::transport::{Reach, TransportError};

/// The family of the marked event, and the object that it claims to come from.
const FAMILY: &str = "databricks";
const BUCKET: &str = "auditferry-sink-test";
const KEY: &str = "workspaceId=0/sink-test.json";

/// How often a receiver is asked whether it has the event, and for how long at most.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_FOR: Duration = Duration::from_secs(300);

/// Why a sink failed its test.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkTestError {
    #[error("there is no [sink.{0}] in the configuration")]
    Unknown(String),
    #[error("it writes to this machine: `auditferry check` looks at that, and the daemon alone may write there")]
    Local,
    #[error("{0}")]
    Open(#[from] Error),
    #[error("{place} is not found: {reason}; check `url`, and how this machine looks names up")]
    Unresolved { place: String, reason: TransportError },
    #[error("nobody answers at {place}: {reason}; check the port, and firewalls on the way")]
    Unconnected { place: String, reason: TransportError },
    #[error(
        "{place} answers, and {reason}; `tls.ca` names an authority of your own, `tls.cert` and `tls.key` what it is to know us by"
    )]
    Insecure { place: String, reason: TransportError },
    #[error("{0}; the daemon would try again")]
    Unavailable(String),
    #[error("{0}; the daemon would park the sink until that is mended")]
    Misconfigured(String),
    #[error("the receiver refuses the event: {0}; the daemon would put such an event into quarantine")]
    Refused(String),
    #[error("the receiver took the event and did not acknowledge it within {} s", .0.as_secs())]
    Unacknowledged(Duration),
    /// A bug in this program.
    #[error("the marked event cannot be made: {0}")]
    Unmade(String),
}

/// A step of the test that has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SinkTestStep {
    /// Secrets and certificates were read, and the client was made.
    Opened,
    /// The name of the receiver, or of its proxy, resolves to these addresses.
    Resolved { place: String, addresses: Vec<IpAddr> },
    /// The receiver, or its proxy, accepted a TCP connection.
    Connected { address: Option<SocketAddr> },
    /// The TLS handshake succeeded, with this version.
    Secured { version: &'static str },
    /// The receiver accepted our credentials and answered the request.
    Answered,
    /// The receiver has taken the event with this uid. `caveat` says what its answer does not promise.
    Taken { uid: String, caveat: Option<&'static str> },
}

/// Tests the sink of this name, and passes each step to `tell` when it is done.
///
/// # Errors
/// The step that failed, and why: in the receiver's words if it gave any.
pub(crate) async fn test_sink(
    config: &Config,
    name: &str,
    tell: &mut (dyn FnMut(SinkTestStep) + Send),
) -> Result<(), SinkTestError> {
    let table = config.sink.get(name).ok_or_else(|| SinkTestError::Unknown(name.to_owned()))?;
    if matches!(table.kind.output(), Output::File(_) | Output::Console) {
        return Err(SinkTestError::Local);
    }
    let clock = Clock::system();
    let mut lanes = build::lanes(config, name, table, 1).await?;
    let Some(sink) = lanes.pop() else { return Err(SinkTestError::Local) };
    tell(SinkTestStep::Opened);
    if let Some(service) = table.kind.service() {
        reach(&service.reach().map_err(|error| Error::Config(error.to_string()))?, tell).await?;
    }
    let (batch, uid) = marked(table, clock.now_ms())?;
    let request = Request::of(&batch, (0..1).into());
    let pending = send(&*sink, &request, &clock).await?;
    tell(SinkTestStep::Answered);
    if let Some(state) = pending {
        acknowledged(&*sink, state, &clock, table.flow().acknowledged_within.min(ASK_FOR)).await?;
    }
    tell(SinkTestStep::Taken { uid, caveat: table.kind.caveat() });
    Ok(())
}

/// Resolves, connects and shakes hands step by step, so that a failure names its step.
async fn reach(reach: &Reach, tell: &mut (dyn FnMut(SinkTestStep) + Send)) -> Result<(), SinkTestError> {
    let place = reach.place();
    let unresolved = |reason| SinkTestError::Unresolved { place: place.clone(), reason };
    let addresses = reach.resolve().await.map_err(unresolved)?;
    let ips = addresses.iter().map(SocketAddr::ip).collect();
    tell(SinkTestStep::Resolved { place: place.clone(), addresses: ips });
    let unconnected = |reason| SinkTestError::Unconnected { place: place.clone(), reason };
    let connection = reach.connect(&addresses).await.map_err(unconnected)?;
    tell(SinkTestStep::Connected { address: connection.peer_addr().ok() });
    let insecure = |reason| SinkTestError::Insecure { place: place.clone(), reason };
    if let Some(version) = reach.secure(connection).await.map_err(insecure)? {
        tell(SinkTestStep::Secured { version });
    }
    Ok(())
}

/// Sends the request. Returns the state to ask with if the receiver acknowledges later.
async fn send(sink: &dyn Sink, request: &Request, clock: &Clock) -> Result<Option<State>, SinkTestError> {
    match sink.deliver(request, clock.now_ms()).await {
        Ok(Delivery::Taken(_) | Delivery::Begun(_)) => Ok(None),
        Ok(Delivery::Pending(state)) => Ok(Some(state)),
        Ok(Delivery::Partly { taken, .. }) if taken.count() > 0 => Ok(None),
        Ok(Delivery::Partly { refused, .. }) => match refused.into_iter().next() {
            Some((_, reason)) => Err(SinkTestError::Refused(reason.into())),
            None => Err(SinkTestError::Unavailable("the receiver did not take the event now".to_owned())),
        },
        Ok(Delivery::TooLarge(reason)) => Err(SinkTestError::Refused(reason.into())),
        Ok(Delivery::Moved(_)) => Err(SinkTestError::Local),
        Err(DeliveryError::Unavailable { reason, .. }) => Err(SinkTestError::Unavailable(reason)),
        Err(DeliveryError::Refused(reason)) => Err(SinkTestError::Refused(reason)),
        Err(DeliveryError::Misconfigured(reason)) => Err(SinkTestError::Misconfigured(reason)),
    }
}

async fn acknowledged(sink: &dyn Sink, state: State, clock: &Clock, long: Duration) -> Result<(), SinkTestError> {
    let until = Instant::now() + long;
    let states = [state];
    while Instant::now() < until {
        match sink.acknowledged(&states, clock.now_ms()).await {
            Ok(answers) if answers.first() == Some(&Acknowledgement::Taken) => return Ok(()),
            Ok(answers) if answers.first() == Some(&Acknowledgement::NotYet) => sleep(ASK_EVERY).await,
            Ok(_) => return Err(SinkTestError::Unavailable("the receiver lost the event".to_owned())),
            Err(DeliveryError::Misconfigured(reason)) => return Err(SinkTestError::Misconfigured(reason)),
            Err(error) => return Err(SinkTestError::Unavailable(error.to_string())),
        }
    }
    Err(SinkTestError::Unacknowledged(long))
}

/// A batch with only the marked event, as the sink's encoder writes it, and the event's uid.
fn marked(table: &sink::Config, now_ms: i64) -> Result<(Batch, String), SinkTestError> {
    let unmade = |what: &str| SinkTestError::Unmade(what.to_owned());
    let family = family::named(FAMILY).ok_or_else(|| unmade("there is no such family"))?;
    let object = ObjectId::new(BUCKET, KEY);
    let line = format!(
        r#"{{"version":"2.0","auditLevel":"ACCOUNT_LEVEL","timestamp":{now_ms},"orgId":"0","accountId":"auditferry","serviceName":"accounts","actionName":"auditferrySinkTest","requestId":"auditferry-sink-test-{now_ms}","sourceIPAddress":"192.0.2.1","userAgent":"auditferry","userIdentity":{{"email":"sink-test@auditferry.invalid"}},"requestParams":{{"purpose":"auditferry sink test: this event tells of no one"}},"response":{{"statusCode":200}}}}"#
    );
    let context = Context::new(family, &object, Scope::Object(&object), Some(now_ms), "sink-test");
    let encoder = table.encoding.encoder().with_choices(table.kind.choices());
    let mut encoded = vec![Encoded::default()];
    let record = Record::new(0, line.as_bytes());
    let hash = RecordHash::of(line.as_bytes());
    encode_record(&context, &record, &hash, 0, &[encoder], &mut encoded)
        .map_err(|refusal| SinkTestError::Unmade(refusal.to_string()))?;
    let piece: Piece = encoded.pop().unwrap_or_default().into();
    let uid = piece.heads.first().map(|head| head.uid.to_string()).ok_or_else(|| unmade("it gives no event"))?;
    let version = Version { etag: "sink-test".into(), version_id: None, last_modified_ms: Some(now_ms), size_bytes: 0 };
    let provenance = Provenance { feed: "sink-test".into(), family: family.name, object, version };
    let id = format!("auditferry-sink-test-{now_ms}");
    let parts = Arc::new([BatchPart { provenance: Arc::new(provenance), piece }]);
    Ok((Batch { id: id.into(), seq: 1, parts }, uid))
}
