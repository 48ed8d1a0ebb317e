//! Keeps a feed's user directory fresh: lists the users at start and once per lifetime. Events are never held up for
//! it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use crate::collector::backoff::Backoff;
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::telemetry::metrics::Metrics;
use crate::transport::Client;
use crate::users::{self, FetchError, LookedUp, Lookup, Users};

/// The longest wait between two tries while the API fails, unless the lifetime is shorter.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// How long one listing may take, with all its pages.
const LISTING_MAX: Duration = Duration::from_secs(600);

/// The users of one feed's installation, as they were last listed.
pub(super) struct UserDirectory {
    feed: Arc<str>,
    config: users::Config,
    kept: RwLock<Option<Kept>>,
}

/// A listing, and when it was requested.
struct Kept {
    users: Arc<Users>,
    since: Instant,
}

impl UserDirectory {
    pub(super) fn new(feed: Arc<str>, config: users::Config) -> Self {
        Self { feed, config, kept: RwLock::default() }
    }

    /// A lookup among the users listed last. It finds no user if the last listing is too old.
    pub(super) fn lookup(&self) -> Lookup {
        Lookup::among(self.users())
    }

    fn users(&self) -> Option<Arc<Users>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.as_ref().filter(|kept| kept.since.elapsed() <= self.config.max_age)?;
        Some(Arc::clone(&fresh.users))
    }

    /// Lists the users once per lifetime, until dropped.
    pub(super) async fn run(&self, random: &Random, reporter: &Reporter) {
        let longest = RETRY_MAX.min(self.config.lifetime);
        let mut backoff = Backoff::new(random).up_to(longest);
        let mut client = None;
        let mut reads = false;
        loop {
            let since = Instant::now();
            let wait = match self.list(&mut client).await {
                Ok(users) => {
                    let (feed, users_count) = (&self.feed, users.len());
                    match std::mem::replace(&mut reads, true) {
                        true => debug!(%feed, users = users_count, "the user directory is read again"),
                        false => info!(%feed, users = users_count, "the user directory is read"),
                    }
                    let kept = Kept { users: Arc::new(users), since };
                    *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                    backoff.reset();
                    self.config.lifetime
                }
                Err(error) => {
                    // The next try makes a new client, which reads the system's root certificates again.
                    client = None;
                    reads = false;
                    self.report(reporter, &error);
                    backoff.wait()
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn list(&self, client: &mut Option<Client>) -> Result<Users, FetchError> {
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::new(self.config.timeout)?),
        };
        let listing = tokio::time::timeout(LISTING_MAX, users::fetch(client, &self.config));
        listing.await.unwrap_or(Err(FetchError::Endless))
    }

    /// Logs a failure, by its kind and by whether an earlier listing is still used.
    fn report(&self, reporter: &Reporter, error: &FetchError) {
        let (feed, kind) = (&self.feed, error.kind());
        let subject = format!("{feed} {kind}");
        if self.users().is_some() {
            limited!(
                reporter, WARN, &subject, "the user directory cannot be read; the last listing is used on",
                %feed, kind, %error
            );
        } else {
            limited!(
                reporter, WARN, &subject, "the user directory cannot be read; events go without e-mail addresses",
                %feed, kind, %error
            );
        }
    }
}

/// Counts user lookups for a feed's records, by result.
pub(super) fn count(metrics: &Metrics, feed: &str, looked_up: LookedUp) {
    for (result, users) in looked_up.by_result().into_iter().filter(|(_, users)| *users > 0) {
        metrics.enrichment.add([feed, result], users);
    }
}
