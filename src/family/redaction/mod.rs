//! Redaction: fields of a record that are dropped, hashed or masked before anything is made of it.

mod edit;

mod json;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use crate::secret::{Reference, SecretError};

pub(super) use edit::{Edit, applied, offset_in};
pub(super) use json::{Rest, matching};

/// The replacement of a masked value.
pub(super) const MASKED: &str = "***";

/// The prefix of a hashed value; 64 hexadecimal digits follow.
pub(super) const HASHED: &str = "hmac-sha256:";

/// A shorter key could be found by brute force.
const KEY_BYTES_MIN: usize = 16;

/// `[feed.<name>.redact]`: the fields of a record that must not leave as they are, in any encoding.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedactionConfig {
    /// Fields that are left out. Default: none.
    pub drop: Vec<String>,
    /// Fields whose value is replaced by its keyed hash. Default: none.
    pub hash: Vec<String>,
    /// Fields whose value is replaced by `***`. Default: none.
    pub mask: Vec<String>,
    /// Where the key of the hashes is: at least 16 bytes. Default: none; required with `hash`.
    pub key: Option<Reference>,
}

/// What happens to a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Drop,
    Hash,
    Mask,
}

impl RedactionConfig {
    /// The name of each list, its action, and its paths.
    pub fn lists(&self) -> [(&'static str, Action, &[String]); 3] {
        [("drop", Action::Drop, &self.drop), ("hash", Action::Hash, &self.hash), ("mask", Action::Mask, &self.mask)]
    }
}

/// Why a redaction cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RedactionError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{0}: the key has fewer than {KEY_BYTES_MIN} bytes")]
    ShortKey(Reference),
}

/// A feed's redaction, with its key.
#[derive(Clone)]
pub struct Redaction {
    rules: Vec<(String, Action)>,
    key: Option<Hmac<Sha256>>,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Redaction {
    /// Reads the key, if one is configured.
    ///
    /// # Errors
    /// If the key cannot be read or is too short.
    pub fn new(config: &RedactionConfig) -> Result<Self, RedactionError> {
        let key = match &config.key {
            Some(reference) => {
                let secret = reference.read()?;
                let long_enough = Some(secret.reveal().as_bytes()).filter(|key| key.len() >= KEY_BYTES_MIN);
                let key = long_enough.and_then(|key| Hmac::new_from_slice(key).ok());
                Some(key.ok_or_else(|| RedactionError::ShortKey(reference.clone()))?)
            }
            None => None,
        };
        let rules = config.lists().into_iter().flat_map(|(_, action, paths)| {
            let rule = move |path: &String| (path.clone(), action);
            paths.iter().map(rule)
        });
        Ok(Self { rules: rules.collect(), key })
    }

    /// The action for the field with this path.
    pub(super) fn of(&self, path: &str) -> Option<Action> {
        self.rules.iter().find(|(own, _)| own == path).map(|(_, action)| *action)
    }

    /// The actions for the fields whose paths begin with `prefix`, by the rest of their paths.
    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = (&str, Action)> {
        self.rules.iter().filter_map(move |(path, action)| Some((path.strip_prefix(prefix)?, *action)))
    }

    /// Each whole path, and the action for the field that it leads to.
    pub(super) fn rests(&self) -> impl Iterator<Item = Rest<'_>> {
        self.rules.iter().map(|(path, action)| (path.as_str(), *action))
    }

    /// The last part of each path: the name of the field itself.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|(path, _)| path.rsplit('.').next().unwrap_or(path))
    }

    /// The replacement of a value. `None` if the field is dropped. Without a key, a value to be hashed is masked, so
    /// that a missing key never lets it leave.
    pub(super) fn redacted(&self, action: Action, text: &str) -> Option<String> {
        match (action, &self.key) {
            (Action::Drop, _) => None,
            (Action::Hash, Some(key)) => {
                let mut hash = key.clone();
                hash.update(text.as_bytes());
                Some(format!("{HASHED}{}", hex::encode(hash.finalize().into_bytes())))
            }
            (Action::Hash, None) | (Action::Mask, _) => Some(MASKED.to_owned()),
        }
    }
}

/// For families whose records may have any field.
#[expect(clippy::unnecessary_wraps, reason = "other families refuse paths")]
pub(super) fn any_path(_: &str, _: Action) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &std::path::Path) -> RedactionConfig {
        let key = Reference::try_from(format!("file:{}", key.display())).unwrap();
        RedactionConfig { hash: vec!["a".to_owned()], key: Some(key), ..RedactionConfig::default() }
    }

    #[test]
    fn a_hash_is_the_hmac_of_the_values_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let redaction = Redaction::new(&config(&path)).unwrap();
        // printf 'bob@example.com' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "hmac-sha256:bbc8434fd179b429f14ccaf6cb6053ca729b90169559151d0ba9f3e9770a8254";
        assert_eq!(redaction.redacted(Action::Hash, "bob@example.com").as_deref(), Some(expected));
        assert!(!format!("{redaction:?}").contains("0123"), "{redaction:?}");
    }

    #[test]
    fn a_key_that_is_short_or_missing_is_refused_without_being_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(matches!(Redaction::new(&config(&path)), Err(RedactionError::Secret(_))));
        std::fs::write(&path, "0123456789abcde").unwrap();
        let error = Redaction::new(&config(&path)).unwrap_err().to_string();
        assert_eq!(error, format!("file:{}: the key has fewer than 16 bytes", path.display()));
    }
}
