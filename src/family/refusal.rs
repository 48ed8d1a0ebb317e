//! Why a record is refused.

use std::borrow::Cow;
use std::fmt;

/// Why a record cannot be decoded. It goes to quarantine with its coordinates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Short, without content of the record.
    pub reason: Cow<'static, str>,
}

impl Refusal {
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}
