//! The keys of `type = "sentinel"` and `type = "sentinel_databricks"`.

use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer};

use crate::event::{Column, EncodingName};
use crate::sink::EncodingConfig;
use crate::sink::http::body::Compression;
use crate::sink::network::{NO_URL, networked};
use crate::sink::sentinel::SentinelKind;
use crate::sink::sentinel::rows::Rows;
use crate::units::Size;

/// The receiver cuts values longer than 64 KB.
const VALUE_BYTES_MAX: usize = 64_000;
/// The most bytes of a request, both compressed and uncompressed.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// The columns of Microsoft's table for Databricks, and its stream.
const DATABRICKS_TABLE: &str = "databricks_audit";
const DATABRICKS_STREAM: &str = "Custom-DatabricksAudit_CL";
/// The column that identifies repeats. Microsoft's table lacks it.
const UID_COLUMN: &str = "EventUid";

/// The keys that only these two types have.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentinelConfig {
    /// The immutable id of the data collection rule.
    pub dcr_immutable_id: String,
    /// The stream that the rule declares. Default for `sentinel_databricks`: `Custom-DatabricksAudit_CL`.
    pub stream: String,
    /// How request bodies are compressed. Default: `gzip`.
    pub compression: Compression,
    /// The most bytes of a request, uncompressed. Default: 1000000.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub request_bytes: u64,
    /// The most events of a request. Default: 10000.
    pub request_events: u32,
}

impl Default for SentinelConfig {
    fn default() -> Self {
        Self {
            dcr_immutable_id: String::new(),
            stream: String::new(),
            compression: Compression::Gzip,
            request_bytes: 1_000_000,
            request_events: 10_000,
        }
    }
}

/// Which rows a sink sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SentinelTable {
    /// Events in the configured encoding.
    Events,
    /// Rows of Microsoft's table `DatabricksAudit_CL`.
    Databricks,
}

impl<'de> DeserializeSeed<'de> for SentinelTable {
    type Value = SentinelKind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SentinelKind, D::Error> {
        let (service, mut config) = networked::<SentinelConfig, D>(deserializer)?;
        if self == Self::Databricks && config.stream.is_empty() {
            DATABRICKS_STREAM.clone_into(&mut config.stream);
        }
        let mut problems = config.problems();
        if service.url.is_none() {
            problems.push(("url", NO_URL.to_owned()));
        }
        if service.auth.is_none() {
            let types = "\"entra\" or \"managed_identity\"";
            problems.push(("auth", format!("expected how the receiver knows us: `type = {types}`")));
        }
        let rows = Rows { has_envelope: true, compression: config.compression };
        Ok(SentinelKind { service, config, table: self, rows, problems })
    }
}

impl SentinelTable {
    /// The encoding of the rows, and what is wrong with the configured one, if anything.
    pub(super) fn encoding(self, configured: Option<EncodingConfig>) -> (EncodingConfig, Option<String>) {
        let mut encoding = match (self, configured) {
            (Self::Databricks, None) => {
                let uid = Column::new("@uid").ok().map(|uid| [(UID_COLUMN.to_owned(), uid)].into());
                EncodingConfig {
                    name: EncodingName::Columns,
                    table: Some(DATABRICKS_TABLE.to_owned()),
                    columns: uid,
                    ..EncodingConfig::default()
                }
            }
            (_, configured) => configured.unwrap_or_default(),
        };
        let is_table = encoding.name == EncodingName::Columns && encoding.table.as_deref() == Some(DATABRICKS_TABLE);
        let problem = match self {
            Self::Databricks if !is_table => {
                Some(format!("expected none, or `columns` with the table \"{DATABRICKS_TABLE}\""))
            }
            // A row must be a JSON object.
            Self::Events if encoding.name == EncodingName::Raw => {
                let problem = (encoding.envelope == Some(false)).then(|| "expected `envelope = true`".to_owned());
                encoding.envelope = Some(true);
                problem
            }
            _ => None,
        };
        encoding.value_bytes_max = Some(VALUE_BYTES_MAX);
        (encoding, problem)
    }
}

impl SentinelConfig {
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut problem = |key, message: String| problems.push((key, message));
        let is_id = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        if !self.dcr_immutable_id.starts_with("dcr-") || !self.dcr_immutable_id.chars().all(is_id) {
            let example = "\"dcr-00000000000000000000000000000000\"";
            problem(
                "dcr_immutable_id",
                format!("expected the immutable id of the data collection rule, such as {example}"),
            );
        }
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        let is_stream = ["Custom-", "Microsoft-"].iter().any(|kind| self.stream.starts_with(kind));
        if !is_stream || !self.stream.chars().all(is_name) {
            problem("stream", "expected a stream of the rule, such as \"Custom-AuditferryOcsf_CL\"".to_owned());
        }
        if self.compression == Compression::Zstd {
            problem("compression", "expected `gzip` or `none`: the Logs Ingestion API takes no other".to_owned());
        }
        if !(10_000..=REQUEST_BYTES_MAX).contains(&self.request_bytes) {
            problem(
                "request_bytes",
                format!("expected 10 kB to {}, found {}", Size(REQUEST_BYTES_MAX), Size(self.request_bytes)),
            );
        }
        if !(1..=100_000).contains(&self.request_events) {
            problem("request_events", format!("expected 1 to 100000, found {}", self.request_events));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sink::Kind as _;

    fn kind(table: SentinelTable, keys: &Value) -> SentinelKind {
        let mut all = json!({
            "url": "https://dce.ingest.monitor.azure.com",
            "auth": {"managed_identity": {}},
            "dcr_immutable_id": "dcr-00000000000000000000000000000000",
            "stream": "Custom-Audit_CL",
        });
        for (key, value) in keys.as_object().unwrap() {
            all[key] = value.clone();
        }
        table.deserialize(all).unwrap()
    }

    #[test]
    fn a_key_that_is_not_valid_is_told() {
        for (keys, key) in [
            (json!({"dcr_immutable_id": "my-rule"}), "dcr_immutable_id"),
            (json!({"dcr_immutable_id": "dcr-1/../2"}), "dcr_immutable_id"),
            (json!({"stream": "Audit_CL"}), "stream"),
            (json!({"stream": "Custom-a?b"}), "stream"),
            (json!({"compression": "zstd"}), "compression"),
            (json!({"request_bytes": 1_048_577}), "request_bytes"),
            (json!({"request_events": 0}), "request_events"),
            (json!({"url": "http://dce.example"}), "url"),
            (json!({"url": "http://169.254.169.254/"}), "url"),
            (json!({"auth": {"entra": {"tenant": "t", "client_id": "c"}}}), "auth"),
        ] {
            let mut wrong = Vec::new();
            kind(SentinelTable::Events, &keys).check(&mut |key, _| wrong.push(key.to_owned()));
            assert_eq!(wrong, [key], "{keys}");
        }
        let mut wrong = Vec::new();
        SentinelTable::Events.deserialize(json!({})).unwrap().check(&mut |key, _| wrong.push(key.to_owned()));
        assert_eq!(wrong, ["dcr_immutable_id", "stream", "url", "auth"]);
    }

    /// The encoding, whether rows have an envelope, and the keys that are reported as wrong.
    fn encoded(table: SentinelTable, configured: Option<EncodingConfig>) -> (EncodingConfig, bool, Vec<String>) {
        let mut kind = kind(table, &json!({}));
        let encoding = kind.encoding(configured);
        let mut wrong = Vec::new();
        kind.check(&mut |key, _| wrong.push(key.to_owned()));
        (encoding, kind.rows.has_envelope, wrong)
    }

    fn of(name: EncodingName) -> EncodingConfig {
        EncodingConfig { name, ..EncodingConfig::default() }
    }

    #[test]
    fn rows_are_objects_whose_values_the_receiver_does_not_cut() {
        for (configured, has_envelope, wrong) in [
            (None, true, &[][..]),
            (Some(of(EncodingName::Ecs)), true, &[]),
            (Some(of(EncodingName::Columns)), false, &[]),
            (Some(of(EncodingName::Raw)), true, &[]),
            (Some(EncodingConfig { envelope: Some(false), ..of(EncodingName::Raw) }), true, &["encoding"]),
        ] {
            let (encoding, found, problems) = encoded(SentinelTable::Events, configured.clone());
            assert_eq!(
                (found, problems),
                (has_envelope, wrong.iter().map(|key| (*key).to_owned()).collect()),
                "{configured:?}"
            );
            assert_eq!(encoding.value_bytes_max, Some(64_000));
            assert_eq!(encoding.envelope, (encoding.name == EncodingName::Raw).then_some(true));
        }
    }

    #[test]
    fn the_table_of_databricks_is_as_microsoft_has_it_and_holds_the_uid() {
        let (encoding, has_envelope, wrong) = encoded(SentinelTable::Databricks, None);
        assert_eq!((encoding.name, encoding.table.as_deref()), (EncodingName::Columns, Some("databricks_audit")));
        assert_eq!(encoding.columns.unwrap()["EventUid"], Column::new("@uid").unwrap());
        assert_eq!((has_envelope, wrong), (false, Vec::new()));
        let (.., wrong) = encoded(SentinelTable::Databricks, Some(of(EncodingName::Ocsf)));
        assert_eq!(wrong, ["encoding"]);
        let own = EncodingConfig { table: Some("databricks_audit".to_owned()), ..of(EncodingName::Columns) };
        assert!(encoded(SentinelTable::Databricks, Some(own)).2.is_empty());
        assert_eq!(kind(SentinelTable::Databricks, &json!({"stream": ""})).config.stream, "Custom-DatabricksAudit_CL");
    }
}
