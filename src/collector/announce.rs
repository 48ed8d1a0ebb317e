//! The start: registers every part with health and metrics, and logs how each is configured.

use tracing::info;

use crate::collector::build;
use crate::collector::report::Reporter;
use crate::config::{Config, feed};
use crate::identity::{self, Identity};
use crate::sink::{self, Output};
use crate::telemetry::health::{Part, PartKind};
use crate::transport::Location;

/// Registers every part that the configuration names, so that each is visible from the start, and logs one line for each
/// identity, feed and sink. A queue's line follows once the queue has been asked (`src/collector/watched.rs`). The
/// `identities` are those that `upkeep` asks for credentials from time to time.
pub(super) fn announce(reporter: &Reporter, config: &Config, identities: &[Identity]) {
    reporter.announce(Part::store());
    let feeds = config.feed.keys().map(|name| Part::new(PartKind::Feed, name));
    let sinks = config.sink.keys().map(|name| Part::new(PartKind::Sink, name));
    let queues = build::queues(config).into_keys().map(|name| Part::new(PartKind::Queue, &name));
    let identities = identities.iter().map(|identity| Part::new(PartKind::Identity, identity.name()));
    feeds.chain(sinks).chain(queues).chain(identities).for_each(|part| reporter.announce(part));
    for (feed, table) in &config.feed {
        table.sinks.iter().for_each(|sink| reporter.metrics().announce(feed, sink));
    }
    config.identity.iter().for_each(|(name, table)| log_identity(name, table));
    config.feed.iter().for_each(|(name, table)| log_feed(name, table));
    config.sink.iter().for_each(|(name, table)| log_sink(name, table));
}

/// Logs the roles that will be assumed. Another line follows once there are credentials.
fn log_identity(identity: &str, table: &identity::Config) {
    let roles: Vec<&str> = table.assume_role.iter().map(|role| role.role_arn.as_str()).collect();
    let (begins_from, roles) = (table.profile.as_deref().unwrap_or("the default chain"), roles.join(" -> "));
    info!(identity, begins_from, roles, "identity");
}

fn log_feed(feed: &str, table: &feed::Config) {
    let feed::Config { family, bucket, prefixes, directory, identity, queue, sinks, .. } = table;
    let directory = directory.as_ref().map(|directory| directory.display().to_string());
    let scan_every_secs = table.scan_interval().map(|every| every.as_secs());
    info!(
        feed,
        family,
        bucket,
        prefixes = prefixes.join(","),
        directory,
        identity,
        queue,
        scan_at_start = table.scans_at_start(),
        scan_every_secs,
        sinks = sinks.join(","),
        "feed"
    );
}

fn log_sink(sink: &str, table: &sink::Config) {
    let to = match table.kind.output() {
        Output::File(path) => path.display().to_string(),
        Output::Console => "standard output".to_owned(),
        Output::Bucket { bucket, below, .. } => format!("s3://{bucket}/{below}"),
        Output::Shared => {
            let url = table.kind.service().and_then(|service| service.url.as_ref());
            url.and_then(Location::origin).unwrap_or_else(|| "its service".to_owned())
        }
    };
    let flow = table.flow();
    let (encoding, required, lanes) = (table.encoding.name.name(), table.required, flow.lanes);
    info!(sink, to, encoding, required, lanes, "sink");
}
