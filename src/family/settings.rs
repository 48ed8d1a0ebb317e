//! What a feed may say of how its records are read.

use serde::Deserialize;

use crate::family::{RedactionConfig, s3_access};

/// Settings of single families; those of others have no effect, but [`line_members`](Self::line_members), which all have
/// whose lines come in what shippers write.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// All but `s3_access`: members of a shipper's object under which lines are kept, beside the usual ones. Default: none.
    pub line_members: Vec<String>,
    /// `s3_access`: keys of the S3A referrer that are dropped before anything leaves, in every encoding, such as `pr`
    /// (the principal) and `cm` (the command). Default: none.
    pub s3a_drop: Vec<String>,
    /// `s3_access`: names of attributes that applications add to the S3A referrer, so that they are told from what a path
    /// holds. Default: none.
    pub s3a_attributes: Vec<String>,
    /// `s3_access`: what the principal of the S3A referrer, which any client can set, may name. Default: `unmapped`.
    pub s3a_principal: S3aPrincipal,
}

/// Where the principal goes that a client names in the S3A referrer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3aPrincipal {
    /// To `unmapped.s3a.pr`, and nowhere else.
    #[default]
    Unmapped,
    /// To the name of an assumed role's user as well, with the label `claimed_user`.
    Claimed,
}

static NONE: Settings = Settings {
    line_members: Vec::new(),
    s3a_drop: Vec::new(),
    s3a_attributes: Vec::new(),
    s3a_principal: S3aPrincipal::Unmapped,
};

impl Settings {
    /// Nothing is said.
    pub fn none() -> &'static Self {
        &NONE
    }

    /// The settings with what a redaction drops of the S3A referrer, which is read piece by piece anyway.
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
