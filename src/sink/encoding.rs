//! `[sink.<name>.encoding]`: how a sink's events are encoded, and which of these keys have no effect.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, de};

use crate::event::{Column, Columns, Encoder, EncodingName, OcsfVersion, Options};

/// The table `encoding`. A key that is not set has the default of [`Options`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncodingConfig {
    pub name: EncodingName,
    /// The OCSF version to write. Default: 1.8.0. Only with `ocsf`.
    pub ocsf_version: Option<OcsfVersion>,
    /// Whether an event holds its record's text, with secrets masked. Default: false. Only with `ocsf` and `ecs`.
    pub raw_data: Option<bool>,
    /// Whether an event repeats its names and addresses in one list that can be searched. Default: true. Only with
    /// `ocsf` and `ecs`.
    pub observables: Option<bool>,
    /// Whether an event has labels that say how it came about. Default: true. Only with `ocsf` and `ecs`.
    pub labels: Option<bool>,
    /// Whether a raw record is wrapped in an envelope that says what it is and where it was read. Default: false. Only
    /// with `raw`.
    pub envelope: Option<bool>,
    /// Whether secrets are masked in a raw record. Default: false. Only with `raw`: other encodings always mask them.
    pub mask_secrets: Option<bool>,
    /// The name of a built-in table whose columns are written. Only with `columns`, which needs this or the key
    /// `columns`.
    pub table: Option<String>,
    /// More columns, and what each holds. Only with `columns`.
    pub columns: Option<BTreeMap<String, Column>>,
    /// The longest value in bytes that the receiver takes, if its kind has such a limit.
    #[serde(skip)]
    pub value_bytes_max: Option<usize>,
}

/// The value of `encoding` as configured: a table, or the name alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Encoding(pub(super) EncodingConfig);

impl EncodingConfig {
    /// The sink's encoder, without a filter.
    pub fn encoder(&self) -> Encoder {
        self.encoder_of_whole_values().with_values_cut(self.value_bytes_max)
    }

    fn encoder_of_whole_values(&self) -> Encoder {
        if self.name == EncodingName::Columns {
            let table = self.table.as_deref().and_then(Columns::of_table).unwrap_or_default();
            return Encoder::of_columns(table.with(self.columns.clone().unwrap_or_default()));
        }
        let default = Options::default();
        let options = Options {
            raw_data: self.raw_data.unwrap_or(default.raw_data),
            observables: self.observables.unwrap_or(default.observables),
            labels: self.labels.unwrap_or(default.labels),
            ocsf_version: self.ocsf_version.unwrap_or(default.ocsf_version),
            envelope: self.envelope.unwrap_or(default.envelope),
            mask_secrets: self.mask_secrets.unwrap_or(default.mask_secrets),
        };
        Encoder::new(self.name, options)
    }

    /// The keys that are set but have no effect with this encoding.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let only = |names: &[EncodingName]| names.contains(&self.name);
        let is_event = only(&[EncodingName::Ocsf, EncodingName::Ecs]);
        let is_columns = only(&[EncodingName::Columns]);
        let keys = [
            ("ocsf_version", self.ocsf_version.is_some(), only(&[EncodingName::Ocsf])),
            ("raw_data", self.raw_data.is_some(), is_event),
            ("observables", self.observables.is_some(), is_event),
            ("labels", self.labels.is_some(), is_event),
            ("envelope", self.envelope.is_some(), only(&[EncodingName::Raw])),
            ("mask_secrets", self.mask_secrets.is_some(), only(&[EncodingName::Raw])),
            ("table", self.table.is_some(), is_columns),
            ("columns", self.columns.is_some(), is_columns),
        ];
        keys.into_iter().filter(|(_, is_set, has_effect)| *is_set && !has_effect).map(|(key, ..)| key).collect()
    }
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable).map(Self)
    }
}

struct NameOrTable;

impl<'de> de::Visitor<'de> for NameOrTable {
    type Value = EncodingConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoding's name or a table")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<EncodingConfig, E> {
        let name = EncodingName::deserialize(StrDeserializer::new(name))?;
        Ok(EncodingConfig { name, ..EncodingConfig::default() })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<EncodingConfig, A::Error> {
        EncodingConfig::deserialize(MapAccessDeserializer::new(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_said(name: EncodingName) -> EncodingConfig {
        EncodingConfig {
            name,
            ocsf_version: Some(OcsfVersion::V1_3),
            raw_data: Some(true),
            observables: Some(false),
            labels: Some(false),
            envelope: Some(true),
            mask_secrets: Some(true),
            table: Some("databricks_audit".to_owned()),
            columns: Some([("Uid".to_owned(), Column::new("@uid").unwrap())].into()),
            value_bytes_max: None,
        }
    }

    #[test]
    fn what_changes_nothing_in_an_encoding_is_told() {
        for (name, expected) in [
            (EncodingName::Ocsf, &["envelope", "mask_secrets", "table", "columns"][..]),
            (EncodingName::Ecs, &["ocsf_version", "envelope", "mask_secrets", "table", "columns"]),
            (EncodingName::Raw, &["ocsf_version", "raw_data", "observables", "labels", "table", "columns"]),
            (EncodingName::Columns, &["ocsf_version", "raw_data", "observables", "labels", "envelope", "mask_secrets"]),
        ] {
            assert_eq!(all_said(name).without_effect(), expected, "{name:?}");
        }
    }

    #[test]
    fn what_is_said_is_what_the_encoder_does_and_the_rest_is_as_by_default() {
        let said = Options {
            raw_data: true,
            observables: false,
            labels: false,
            ocsf_version: OcsfVersion::V1_3,
            envelope: true,
            mask_secrets: true,
        };
        assert_eq!(all_said(EncodingName::Ocsf).encoder(), Encoder::new(EncodingName::Ocsf, said));
        let nothing = EncodingConfig { name: EncodingName::Ecs, ..EncodingConfig::default() };
        assert_eq!(nothing.encoder(), Encoder::new(EncodingName::Ecs, Options::default()));
        let more = [("Uid".to_owned(), Column::new("@uid").unwrap())];
        let columns = Columns::of_table("databricks_audit").unwrap().with(more);
        assert_eq!(all_said(EncodingName::Columns).encoder(), Encoder::of_columns(columns));
    }
}
