//! External ids, which a role's trust policy may require besides the caller. Some operators treat them as secrets.

use serde::Deserialize;

use crate::identity::validate::within;
use crate::secret::{NoReference, Reference, SecretError};

const CHARS_MAX: usize = 1224;
/// An external id, or a reference to it. An id that begins like a reference itself can only be given by a reference.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub enum ExternalId {
    Text(String),
    Secret(Reference),
}

impl TryFrom<String> for ExternalId {
    type Error = NoReference;

    fn try_from(text: String) -> Result<Self, NoReference> {
        if Reference::is_meant_by(&text) {
            return Reference::try_from(text).map(Self::Secret);
        }
        Ok(Self::Text(text))
    }
}

/// Why there is no external id that STS would accept. The messages do not contain the id.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExternalIdError {
    #[error("the external id cannot be read: {0}")]
    Unreadable(#[from] SecretError),
    #[error("the external id in {0}: expected 2 to 1224 letters, digits or `_+=,.@:/-`")]
    Malformed(Reference),
}

impl ExternalId {
    /// Whether STS accepts the id. A reference is assumed to be good: its secret is checked when it is read.
    pub(super) fn is_allowed(&self) -> bool {
        match self {
            Self::Text(text) => is_allowed(text),
            Self::Secret(_) => true,
        }
    }

    /// The external id itself.
    ///
    /// # Errors
    /// If the reference cannot be read, or its secret is an id that STS would refuse.
    pub(super) fn read(&self) -> Result<String, ExternalIdError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Secret(reference) => {
                let secret = reference.read()?;
                if is_allowed(secret.reveal()) {
                    Ok(secret.reveal().to_owned())
                } else {
                    Err(ExternalIdError::Malformed(reference.clone()))
                }
            }
        }
    }
}

fn is_allowed(text: &str) -> bool {
    within(text, 2, CHARS_MAX, "_+=,.@:/-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<ExternalId, NoReference> {
        ExternalId::try_from(text.to_owned())
    }

    #[test]
    fn an_external_id_stands_in_the_configuration_or_where_that_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        std::fs::write(&path, "tenant:4711/audit\n").unwrap();
        let read = |text: &str| of(text).unwrap().read();
        assert_eq!(read("tenant:4711/audit").unwrap(), "tenant:4711/audit");
        assert_eq!(read(&format!("file:{}", path.display())).unwrap(), "tenant:4711/audit");
        assert!(of("file:relative").is_err() && of("env:").is_err());
        let missing = read("file:/not/there").unwrap_err().to_string();
        assert!(missing.starts_with("the external id cannot be read: file:/not/there: "), "{missing}");
    }

    #[test]
    fn an_external_id_that_sts_would_refuse_is_told_without_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        std::fs::write(&path, "se cret").unwrap();
        let reference = format!("file:{}", path.display());
        let told = of(&reference).unwrap().read().unwrap_err().to_string();
        assert_eq!(told, format!("the external id in {reference}: expected 2 to 1224 letters, digits or `_+=,.@:/-`"));
        assert!(!of("se cret").unwrap().is_allowed());
    }
}
