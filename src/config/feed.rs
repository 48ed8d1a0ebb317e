//! `[feed.<name>]`: one source of logs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::family::{self, RedactionConfig, Settings};
use crate::records::Framing;
use crate::users;

/// One configured source: a log family, a place, an identity, a queue, and the sinks that get its events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The kind of log, such as `databricks`.
    pub family: String,
    /// The bucket's name, an access point's ARN or its alias. Either this or `directory`.
    pub bucket: Option<String>,
    /// The key prefixes that belong to this feed, without a leading slash. Default: the whole bucket.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Another S3 endpoint.
    pub endpoint_url: Option<String>,
    /// Whether S3, and a queue without a table of its own, may be reached without TLS on other machines. Default:
    /// false.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Address the bucket in the path, not in the host name. Default: false.
    #[serde(default)]
    pub path_style: bool,
    /// The account that must own the bucket; sent with every request.
    pub expected_bucket_owner: Option<String>,
    /// A map from a bucket's name in notifications to the access point (ARN or alias) through which it is read.
    #[serde(default)]
    pub read_through: BTreeMap<String, String>,
    /// A local directory laid out like a bucket.
    pub directory: Option<PathBuf>,
    /// The credentials to read the objects with: an `[identity.<name>]`. Default: the default chain.
    pub identity: Option<String>,
    /// The queue of the notifications: a URL, the name of a `[queue.<name>]`, or an SQS queue's name. Default: none;
    /// the place is scanned.
    pub queue: Option<String>,
    /// The sinks that get the feed's events, each a `[sink.<name>]`.
    pub sinks: Vec<String>,
    /// Globs over the whole key of the keys that belong to the feed. Default: those of the family.
    pub keys: Option<Vec<String>>,
    /// Globs over the whole key of keys that are left out on purpose, whatever `prefixes` and `keys` say. Default:
    /// none.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// What an event's id depends on: the record and its place (`object`, the default), or the record alone (`record`),
    /// so that the same record from two delivery configurations is one event.
    #[serde(default)]
    pub identity_scope: IdentityScope,
    /// Settings of single families for reading their records. Default: none.
    #[serde(default)]
    pub settings: Settings,
    /// Fields that must not reach any sink, in any encoding. Default: none.
    pub redact: Option<RedactionConfig>,
    /// `lakefs`: the API that gives the e-mail addresses of the records' users. Default: none.
    pub users: Option<users::Config>,
    /// Whether the place is scanned at start. Default: true without a queue, false with one.
    pub scan_at_start: Option<bool>,
    /// How often the place is scanned. Default: every minute without a queue, never with one.
    #[serde(default, deserialize_with = "crate::units::some_time")]
    pub scan_every: Option<Duration>,
}

impl Config {
    /// A feed of a bucket, without sinks.
    pub(crate) fn of_bucket(family: &str, bucket: &str) -> Self {
        Self {
            family: family.to_owned(),
            bucket: Some(bucket.to_owned()),
            prefixes: Vec::new(),
            region: None,
            endpoint_url: None,
            allow_plain_http: false,
            path_style: false,
            expected_bucket_owner: None,
            read_through: BTreeMap::new(),
            directory: None,
            identity: None,
            queue: None,
            sinks: Vec::new(),
            keys: Some(vec!["**".to_owned()]),
            ignore: Vec::new(),
            identity_scope: IdentityScope::default(),
            settings: Settings::default(),
            redact: None,
            users: None,
            scan_at_start: None,
            scan_every: None,
        }
    }

    /// Whether the feed's objects may be Parquet files.
    pub fn reads_rows(&self) -> bool {
        family::named(&self.family).is_some_and(|family| matches!(family.framing, Framing::Rows(_)))
    }

    /// Whether the place is scanned at start: as configured, otherwise only without a queue.
    pub fn scans_at_start(&self) -> bool {
        self.scan_at_start.unwrap_or(self.queue.is_none())
    }

    /// How often the place is scanned: as configured, otherwise every minute without a queue. `None` means never.
    pub fn scan_interval(&self) -> Option<Duration> {
        self.scan_every.or_else(|| self.queue.is_none().then_some(Duration::from_secs(60)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityScope {
    #[default]
    Object,
    Record,
}
