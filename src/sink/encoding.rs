//! How a sink's events are encoded, as its table configures it, and which keys of that have no effect.

use crate::event::{Encoder, EncodingName, OcsfVersion, Options};

/// The encoding that a sink's table asks for. Keys that are not set are as [`Options`] has them by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encoding {
    pub name: EncodingName,
    /// The version that OCSF events are written in. Default: 1.8.0. Only with `ocsf`.
    pub ocsf_version: Option<OcsfVersion>,
    /// The record itself as text, secrets masked. Default: false. Not with `raw`.
    pub raw_data: Option<bool>,
    /// The names and addresses of an event once more, as a list to search. Default: true. Not with `raw`.
    pub observables: Option<bool>,
    /// What is to be known of how an event came about. Default: true. Not with `raw`.
    pub labels: Option<bool>,
    /// Whether a raw record stands in an envelope that says what and where it is. Default: false. Only with `raw`.
    pub envelope: Option<bool>,
}

impl Encoding {
    /// The sink's encoder.
    pub fn encoder(&self) -> Encoder {
        let default = Options::default();
        let options = Options {
            raw_data: self.raw_data.unwrap_or(default.raw_data),
            observables: self.observables.unwrap_or(default.observables),
            labels: self.labels.unwrap_or(default.labels),
            ocsf_version: self.ocsf_version.unwrap_or(default.ocsf_version),
            envelope: self.envelope.unwrap_or(default.envelope),
        };
        Encoder::new(self.name, options)
    }

    /// The keys that are set and have no effect with this encoding.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let (is_ocsf, is_raw) = (self.name == EncodingName::Ocsf, self.name == EncodingName::Raw);
        let keys = [
            ("ocsf_version", self.ocsf_version.is_some(), is_ocsf),
            ("raw_data", self.raw_data.is_some(), !is_raw),
            ("observables", self.observables.is_some(), !is_raw),
            ("labels", self.labels.is_some(), !is_raw),
            ("envelope", self.envelope.is_some(), is_raw),
        ];
        keys.into_iter().filter(|(_, is_set, has_effect)| *is_set && !has_effect).map(|(key, ..)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_said(name: EncodingName) -> Encoding {
        Encoding {
            name,
            ocsf_version: Some(OcsfVersion::V1_3),
            raw_data: Some(true),
            observables: Some(false),
            labels: Some(false),
            envelope: Some(true),
        }
    }

    #[test]
    fn what_changes_nothing_in_an_encoding_is_told() {
        assert_eq!(all_said(EncodingName::Ocsf).without_effect(), ["envelope"]);
        assert_eq!(all_said(EncodingName::Ecs).without_effect(), ["ocsf_version", "envelope"]);
        assert_eq!(all_said(EncodingName::Raw).without_effect(), ["ocsf_version", "raw_data", "observables", "labels"]);
    }

    #[test]
    fn what_is_said_is_what_the_encoder_does_and_the_rest_is_as_by_default() {
        let said = Options {
            raw_data: true,
            observables: false,
            labels: false,
            ocsf_version: OcsfVersion::V1_3,
            envelope: true,
        };
        assert_eq!(all_said(EncodingName::Ocsf).encoder(), Encoder::new(EncodingName::Ocsf, said));
        let nothing = Encoding { name: EncodingName::Ecs, ..Encoding::default() };
        assert_eq!(nothing.encoder(), Encoder::new(EncodingName::Ecs, Options::default()));
    }
}
