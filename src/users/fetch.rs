//! Lists all users of a lakeFS installation, page by page.

use crate::secret::SecretError;
use crate::transport::{Client, Headers, HttpRequest, TransportError};
use crate::users::page::Listing;
use crate::users::{Config, Users};

/// The most users that the API returns at once (`PaginationAmount` of its `swagger.yml`).
const PAGE_USERS: &str = "1000";
/// The most pages that are requested: as many as the most users that can be configured fill.
const PAGES_MAX: usize = 1000;
/// The longest page, in bytes: four times what a full page takes with the longest names to expect.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// The end of an endpoint's path; it is added if the endpoint lacks it.
const API_PATH: &str = "/api/v1";

/// Why there is no listing. All of these may pass; the request is not retried here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A person must mend the credentials or their policy.
    #[error("the API answers with status {0}: the credentials are wrong, or lack the permission auth:ListUsers")]
    Refused(u16),
    #[error("the API answers with status {0}")]
    Status(u16),
    #[error("the answer is no list of users (line {line}, column {column})")]
    Malformed { line: usize, column: usize },
    #[error("there are more than {users_max} users; `users_max` sets the limit")]
    TooMany { users_max: usize },
    /// Too many pages, a page that points to itself, or too much time for all pages.
    #[error("the listing does not come to an end")]
    Endless,
}

impl FetchError {
    /// The word under which the error is reported. It never changes.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "no_credentials",
            Self::Transport(_) => "unreachable",
            Self::Refused(_) => "denied",
            Self::Status(_) => "unavailable",
            Self::Malformed { .. } => "malformed",
            Self::TooMany { .. } => "too_many",
            Self::Endless => "endless",
        }
    }
}

/// Lists the users, reading the credentials first. Cancel-safe.
///
/// # Errors
/// The first error. There are no partial listings.
pub(crate) async fn fetch(client: &Client, config: &Config) -> Result<Users, FetchError> {
    let (id, secret) = (config.access_key_id.read()?, config.secret_access_key.read()?);
    let headers = Headers::basic(id.reveal(), &secret);
    let path = if config.endpoint.path().ends_with(API_PATH) { "/auth/users" } else { "/api/v1/auth/users" };
    let mut listing = Listing::new(config.users_max);
    for _ in 0..PAGES_MAX {
        let all = [("amount", PAGE_USERS), ("after", listing.after())];
        let request = HttpRequest {
            endpoint: &config.endpoint,
            path,
            query: if listing.after().is_empty() { &all[..1] } else { &all },
            headers: headers.clone(),
            body: None,
            reply_bytes_max: PAGE_BYTES_MAX,
        };
        let reply = client.send(request).await?;
        match reply.status {
            200 => {}
            refused @ (401 | 403) => return Err(FetchError::Refused(refused)),
            other => return Err(FetchError::Status(other)),
        }
        if listing.take(&reply.whole()?)? {
            return Ok(listing.users());
        }
    }
    Err(FetchError::Endless)
}
