//! How a feed wants its records read.

use serde::Deserialize;

use crate::family::{RedactionConfig, s3_access};

/// Settings of single families, without effect on others. Only [`line_members`](Self::line_members) is for all families
/// whose lines may come inside objects of shippers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// All but `s3_access`: members of a shipper's object that hold lines, beside the usual ones. Default: none.
    pub line_members: Vec<String>,
    /// `s3_access`: keys of the S3A referrer that are dropped before anything leaves, in every encoding, such as `pr`
    /// (the principal) and `cm` (the command). Default: none.
    pub s3a_drop: Vec<String>,
    /// `s3_access`: names of attributes that applications add to the S3A referrer, to tell them from text in a path.
    /// Default: none.
    pub s3a_attributes: Vec<String>,
    /// `s3_access`: where the principal of the S3A referrer, which any client can set, is written. Default: `unmapped`.
    pub s3a_principal: S3aPrincipal,
}

/// Where the principal that a client names in the S3A referrer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3aPrincipal {
    /// Only to `unmapped.s3a.pr`.
    #[default]
    Unmapped,
    /// Also to the name of the user with an assumed role, with the label `claimed_user`.
    Claimed,
}

static NONE: Settings = Settings {
    line_members: Vec::new(),
    s3a_drop: Vec::new(),
    s3a_attributes: Vec::new(),
    s3a_principal: S3aPrincipal::Unmapped,
};

impl Settings {
    /// No settings.
    pub fn none() -> &'static Self {
        &NONE
    }

    /// Adds the keys of the S3A referrer that a redaction drops, since dropping happens when the referrer is read.
    pub fn with_dropped(mut self, redaction: &RedactionConfig) -> Self {
        self.s3a_drop.extend(s3_access::dropped_keys(&redaction.drop).map(str::to_owned));
        self
    }

    /// Whether the key of an S3A referrer is to be dropped.
    pub fn drops(&self, key: &str) -> bool {
        self.s3a_drop.iter().any(|own| own == key)
    }

    /// Whether an application adds an attribute of that name to the S3A referrer.
    pub fn names(&self, key: &str) -> bool {
        self.s3a_attributes.iter().any(|own| own == key)
    }
}
