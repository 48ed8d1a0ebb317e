//! References to secrets: a configuration says where a secret is, and the secret itself is read when the daemon starts.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use serde::Deserialize;

/// The longest secret that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The variable with the directory in which systemd puts a service's credentials (systemd.exec, `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret is. Contains no secret itself, so it may be logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Reference {
    /// `env:NAME`: an environment variable.
    Variable(String),
    /// `file:/path`: a file, by its absolute path.
    File(PathBuf),
    /// `credential:name`: a credential that systemd hands to the service.
    Credential(String),
}

/// The text is no reference to a secret. The error does not repeat it, since it may be the secret itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected where the secret is: `env:NAME`, `file:/absolute/path` or `credential:name`")]
pub struct NoReference;

impl Reference {
    /// Whether a text begins like a reference. It may be malformed.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        matches!(text.split_once(':'), Some(("env" | "file" | "credential", _)))
    }
}

impl TryFrom<String> for Reference {
    type Error = NoReference;

    fn try_from(text: String) -> Result<Self, NoReference> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Variable(name.to_owned())),
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            Some(("credential", name)) if is_credential(name) => Ok(Self::Credential(name.to_owned())),
            _ => Err(NoReference),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// systemd allows the same names for credentials as for files.
fn is_credential(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..")
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{0}: the environment has no such variable")]
    NoVariable(Reference),
    #[error("{0}: systemd handed over no credentials ($CREDENTIALS_DIRECTORY is not set)")]
    NoCredentials(Reference),
    #[error("{0}: there is no such file")]
    Missing(Reference),
    #[error("{reference}: {source}")]
    Unreadable { reference: Reference, source: io::Error },
    #[error("{0}: it is no regular file")]
    NoFile(Reference),
    #[error("{0}: it is empty")]
    Empty(Reference),
    #[error("{0}: it is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong(Reference),
    #[error("{0}: it is no UTF-8")]
    NoText(Reference),
}

impl Reference {
    /// Reads the secret, without a line end at its end.
    ///
    /// # Errors
    /// If the secret does not exist, cannot be read, is empty, is no UTF-8, or is longer than 64 KiB.
    pub fn read(&self) -> Result<Secret, SecretError> {
        self.read_with(|name| env::var_os(name))
    }

    fn read_with(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Secret, SecretError> {
        let bytes = match self {
            Self::Variable(name) => {
                variable(name).ok_or_else(|| SecretError::NoVariable(self.clone()))?.into_encoded_bytes()
            }
            Self::File(path) => self.content(path)?,
            Self::Credential(name) => {
                let directory =
                    variable(CREDENTIALS_DIRECTORY).ok_or_else(|| SecretError::NoCredentials(self.clone()))?;
                self.content(&Path::new(&directory).join(name))?
            }
        };
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            return Err(SecretError::TooLong(self.clone()));
        }
        let text = String::from_utf8(bytes).map_err(|_| SecretError::NoText(self.clone()))?;
        let line = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() { Err(SecretError::Empty(self.clone())) } else { Ok(Secret(line.into())) }
    }

    /// The file's content, cut at one byte more than a secret may have.
    fn content(&self, path: &Path) -> Result<Vec<u8>, SecretError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => SecretError::Missing(self.clone()),
            _ => SecretError::Unreadable { reference: self.clone(), source },
        };
        // Opening a pipe would block.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(SecretError::NoFile(self.clone()));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }
}

/// A secret. It is never empty, and `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// A secret that does not come from a reference. `None` if the text is empty.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The secret in plain text, for the code that sends or uses it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Result<Reference, NoReference> {
        Reference::try_from(text.to_owned())
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let secret = reference(text).unwrap().read_with(variable);
        secret.map(|secret| secret.reveal().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_is_read_from_where_its_reference_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "in a file\r\n").unwrap();
        let at = directory.path().to_str().unwrap();
        assert_eq!(read("env:KEY", &[("KEY", "in a variable")]).unwrap(), "in a variable");
        assert_eq!(read(&format!("file:{at}/key"), &[]).unwrap(), "in a file");
        assert_eq!(read("credential:key", &[("CREDENTIALS_DIRECTORY", at)]).unwrap(), "in a file");
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_told_by_its_reference() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_str().unwrap();
        std::fs::write(directory.path().join("long"), vec![b'x'; 65_537]).unwrap();
        std::fs::write(directory.path().join("empty"), "\n").unwrap();
        std::fs::write(directory.path().join("bytes"), [0xff]).unwrap();
        let of = |name: &str| read(&format!("file:{at}/{name}"), &[]).unwrap_err();
        assert_eq!(read("env:KEY", &[]).unwrap_err(), "env:KEY: the environment has no such variable");
        assert!(read("credential:key", &[]).unwrap_err().contains("$CREDENTIALS_DIRECTORY is not set"));
        assert_eq!(of("long"), format!("file:{at}/long: it is longer than 65536 bytes"));
        assert_eq!(of("empty"), format!("file:{at}/empty: it is empty"));
        assert_eq!(of("bytes"), format!("file:{at}/bytes: it is no UTF-8"));
        assert_eq!(of("."), format!("file:{at}/.: it is no regular file"));
        assert_eq!(of("none"), format!("file:{at}/none: there is no such file"));
    }

    #[test]
    fn what_is_no_reference_is_refused_without_being_repeated() {
        for text in ["hush-hush", "env:", "env:A=B", "file:key", "credential:../key", "credential:", "vault:key", ""] {
            let error = reference(text).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = reference("env:KEY").unwrap().read_with(|_| Some("hush-hush".into())).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(reference("file:/run/key").unwrap().to_string(), "file:/run/key");
    }
}
