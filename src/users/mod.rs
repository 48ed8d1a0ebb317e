//! The users of a lakeFS installation, with the e-mail addresses that its API has for them.

mod fetch;

mod lookup;

mod page;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::secret::Reference;
use crate::transport::Endpoint;

pub(crate) use fetch::{FetchError, fetch};
pub use lookup::{LookedUp, Lookup};

/// `[feed.<name>.users]`: the API that lists a lakeFS installation's users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The installation's address, with or without `/api/v1` at its end. `http://` only on this machine.
    pub endpoint: Endpoint,
    /// Where to read the access key's id: `env:NAME`, `file:/path` or `credential:name`.
    pub access_key_id: Reference,
    /// Where to read the secret access key.
    pub secret_access_key: Reference,
    /// How often the users are listed again. Default: 1 hour.
    #[serde(default = "default_lifetime", deserialize_with = "crate::units::time")]
    pub lifetime: Duration,
    /// How long the last listing stays in use while the API fails. Default: 24 hours.
    #[serde(default = "default_max_age", deserialize_with = "crate::units::time")]
    pub max_age: Duration,
    /// How long one page of users may take. Default: 10 seconds.
    #[serde(default = "default_timeout", deserialize_with = "crate::units::time")]
    pub timeout: Duration,
    /// A listing of more users is refused. Default: 100000.
    #[serde(default = "default_users_max")]
    pub users_max: usize,
}

fn default_lifetime() -> Duration {
    Duration::from_secs(3600)
}

fn default_max_age() -> Duration {
    Duration::from_secs(86_400)
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_users_max() -> usize {
    100_000
}

/// The addresses of all users that have one, as listed at one time.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Users(HashMap<Box<str>, Box<str>>);

impl Users {
    /// The address of the user with this id.
    pub fn email(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(|email| &**email)
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<I: Into<Box<str>>, E: Into<Box<str>>> FromIterator<(I, E)> for Users {
    /// From pairs of id and address.
    fn from_iter<T: IntoIterator<Item = (I, E)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(id, email)| (id.into(), email.into())).collect())
    }
}

impl fmt::Debug for Users {
    /// Shows only the number of users, not who they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.len())
    }
}
