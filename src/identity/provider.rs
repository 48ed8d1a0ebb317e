//! Keeps credentials fresh: refreshes them before they expire, one refresh at a time, and uses the old ones until they
//! expire if a refresh fails.
//!
//! Outside the collector only this file reads the clock: it decides whether credentials are still good, and the SDK
//! asks for them in the middle of a request.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::identity::chain::CredentialChain;
use crate::identity::fault::{cause, chained};
use crate::identity::http::Http;
use crate::identity::sources::Sources;
use crate::identity::{Config, IdentityError, Step};

/// Credentials are refreshed this long before they expire, or at half of their life if that is later.
const AHEAD_MIN: Duration = Duration::from_secs(300);
/// Longer sessions are refreshed earlier, so that an hour's outage of STS goes unnoticed.
const AHEAD_MAX: Duration = Duration::from_secs(3600);
/// Credentials without an expiry are fetched again after this time, because their file may have changed.
const TIMELESS: Duration = Duration::from_secs(900);
/// The longest wait between two tries while the last good credentials still work.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The shortest wait between two tries: many requests may ask at once.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// After a refusal younger credentials are kept: the refused request may have been signed with the earlier ones.
const DISTRUST_MIN: Duration = Duration::from_secs(30);
/// The longest time of one refresh, with all its steps and their retries.
const REFRESH_MAX: Duration = Duration::from_secs(60);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long STS, and other sources of credentials, may take to answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The SDK's own tries of one request for credentials, with its own backoff between them.
const ATTEMPTS_MAX: u32 = 3;

/// An identity: gives out its credentials, and the configuration for every AWS client.
#[derive(Clone, Debug)]
pub struct Identity {
    name: Arc<str>,
    fresh: Arc<Fresh>,
    aws: SdkConfig,
    /// A client that may also reach other machines without TLS.
    plain_http: SharedHttpClient,
}

/// Prepares an identity without calls to STS: `Identity::verify` or the first request makes them.
///
/// `default_region` is the region of the feed or queue that uses the identity; without it the environment's region is
/// used. Requests of this identity's clients fail after `request_timeout` without an answer.
///
/// # Errors
/// `RegionMissing` if there is a role to assume and no region is known; `Misconfigured` if the environment names an
/// unusable proxy or unusable certificates.
pub(crate) async fn credentials(
    name: &str,
    config: &Config,
    default_region: Option<&str>,
    request_timeout: Duration,
) -> Result<Identity, IdentityError> {
    let http = Http::from_environment()
        .map_err(|error| IdentityError::Misconfigured { identity: name.to_owned(), reason: error.to_string() })?;
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.client(false))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(timeouts);
    if let Ok(app) = AppName::new("auditferry") {
        loader = loader.app_name(app);
    }
    if let Some(region) = default_region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    let aws = loader.no_credentials().load().await;
    let base = Sources::new(name, config.profile.as_deref(), &aws);
    let chain = CredentialChain::new(name, &config.assume_role, base, &aws, &http)?;
    let clients = for_clients(&aws, request_timeout);
    Ok(Identity::new(name, SharedCredentialsProvider::new(chain), &clients, &http, SystemTime::now))
}

/// Whether the environment or a profile names a region. The instance's metadata, which may have one too, is not asked.
pub(crate) async fn has_region() -> bool {
    let from_files = ProfileFileRegionProvider::new();
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(from_files)
        .region()
        .await
        .is_some()
}

/// The configuration for AWS clients. Their requests time out and are not retried: the collector retries, because it
/// knows what else waits. The time to obtain credentials does not count for a request.
fn for_clients(aws: &SdkConfig, request_timeout: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(request_timeout))
        .read_timeout(request_timeout)
        .disable_operation_timeout()
        .disable_operation_attempt_timeout();
    aws.to_builder()
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(request_timeout).build())
        .build()
}

impl Identity {
    fn new(
        name: &str,
        source: SharedCredentialsProvider,
        aws: &SdkConfig,
        http: &Http,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let fresh = Arc::new(Fresh {
            identity: name.to_owned(),
            source,
            kept: Mutex::new(Kept::default()),
            turn: tokio::sync::Mutex::new(()),
            now: Box::new(now),
        });
        // The clients cache no credentials, so that each request is signed with the fresh ones from here.
        let aws =
            aws.to_builder().credentials_provider(shared(&fresh)).identity_cache(IdentityCache::no_cache()).build();
        Self { name: name.into(), fresh, aws, plain_http: http.client(true) }
    }

    /// An identity with credentials that a stand-in for AWS accepts.
    #[cfg(test)]
    pub(crate) fn invented() -> Self {
        Self::invented_within(Duration::from_secs(30))
    }

    /// Such an identity with this timeout for each request.
    #[cfg(test)]
    pub(crate) fn invented_within(request_timeout: Duration) -> Self {
        let credentials = Credentials::new("AKIAINVENTED", "secret", None, None, "test");
        let http = Http::from_environment().expect("nothing wrong in the environment");
        let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).http_client(http.client(false));
        let clients = for_clients(&aws.build(), request_timeout);
        Self::new("invented", SharedCredentialsProvider::new(credentials), &clients, &http, SystemTime::now)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration for AWS clients: these credentials, the region, timeouts, no retries.
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// An HTTP client like that of [`Identity::aws`] that may also reach other machines without TLS.
    pub fn plain_http(&self) -> SharedHttpClient {
        self.plain_http.clone()
    }

    /// The timeouts of a request for which the service has `more` time to answer.
    pub fn timeouts(&self, more: Duration) -> TimeoutConfig {
        TimeoutConfig::builder().read_timeout(self.request_timeout() + more).build()
    }

    /// How long a request may wait for its answer, and a body for its next byte.
    pub fn request_timeout(&self) -> Duration {
        self.aws.timeout_config().and_then(TimeoutConfig::read_timeout).unwrap_or(READ_TIMEOUT)
    }

    pub fn provider(&self) -> SharedCredentialsProvider {
        shared(&self.fresh)
    }

    /// Walks the whole chain now, unless there are good credentials already.
    ///
    /// # Errors
    /// The step that failed and why.
    pub async fn verify(&self) -> Result<(), IdentityError> {
        self.credentials().await.map(|_| ())
    }

    /// Credentials that are good now.
    ///
    /// # Errors
    /// The step that failed and why.
    pub async fn credentials(&self) -> Result<Credentials, IdentityError> {
        self.fresh.give().await
    }

    /// When the present credentials expire, in milliseconds since the epoch; `None` if there are none, or they never
    /// expire.
    pub fn expires_at_ms(&self) -> Option<i64> {
        let expiry = self.fresh.kept().credentials.as_ref().and_then(Credentials::expiry)?;
        i64::try_from(expiry.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    /// The AWS account of the present credentials, if their source names it.
    pub fn account(&self) -> Option<String> {
        let kept = self.fresh.kept();
        kept.credentials.as_ref()?.account_id().map(|account| account.as_str().to_owned())
    }

    /// Why the last refresh failed, if it did. The present credentials may still be good.
    pub fn failing(&self) -> Option<IdentityError> {
        self.fresh.kept().failure.clone()
    }

    /// How often credentials were obtained since the start.
    pub fn refreshes(&self) -> u64 {
        self.fresh.kept().refreshes
    }

    /// Reports that AWS refused credentials that should be good: the next request tries to replace them.
    pub fn distrust(&self) {
        let now = (self.fresh.now)();
        let mut kept = self.fresh.kept();
        let young = kept.obtained_at.is_some_and(|at| now < at + DISTRUST_MIN && now >= at);
        if !young && kept.credentials.is_some() {
            kept.refresh_at = Some(kept.retry_at.unwrap_or(now));
        }
    }
}

/// Remembers the last good credentials of a source.
struct Fresh {
    identity: String,
    source: SharedCredentialsProvider,
    kept: Mutex<Kept>,
    /// The task that holds this lock refreshes.
    turn: tokio::sync::Mutex<()>,
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

#[derive(Default)]
struct Kept {
    credentials: Option<Credentials>,
    obtained_at: Option<SystemTime>,
    refresh_at: Option<SystemTime>,
    refreshes: u64,
    failure: Option<IdentityError>,
    /// The earliest time for another try after a failed refresh.
    retry_at: Option<SystemTime>,
}

enum Standing {
    Good(Credentials),
    /// The credentials are still good, but due for a refresh.
    Due(Credentials),
    /// There are no good credentials, and the last try has only just failed.
    Failed(IdentityError),
    Needed,
}

impl Kept {
    fn standing(&self, now: SystemTime) -> Standing {
        let good = |credentials: &&Credentials| credentials.expiry().is_none_or(|expiry| now < expiry);
        match self.credentials.as_ref().filter(good) {
            Some(credentials) if self.refresh_at.is_some_and(|at| at <= now) => Standing::Due(credentials.clone()),
            Some(credentials) => Standing::Good(credentials.clone()),
            None => match &self.failure {
                Some(failure) if self.retry_at.is_some_and(|at| now < at) => Standing::Failed(failure.clone()),
                _ => Standing::Needed,
            },
        }
    }

    fn succeed(&mut self, credentials: Credentials, now: SystemTime) {
        let wait = match credentials.expiry() {
            Some(expiry) => {
                let life = expiry.duration_since(now).unwrap_or_default();
                let ahead = (life / 4).clamp(AHEAD_MIN, AHEAD_MAX).min(life / 2);
                (life - ahead).max(RETRY_MIN)
            }
            None => TIMELESS,
        };
        let refreshes = self.refreshes + 1;
        let (obtained_at, refresh_at) = (Some(now), Some(now + wait));
        let credentials = Some(credentials);
        *self = Self { credentials, obtained_at, refresh_at, refreshes, failure: None, retry_at: None };
    }

    fn fail(&mut self, failure: IdentityError, now: SystemTime) {
        let left = self.credentials.as_ref().and_then(Credentials::expiry);
        let left = left.and_then(|expiry| expiry.duration_since(now).ok());
        let wait = match left {
            Some(left) => (left / 4).clamp(RETRY_MIN, RETRY_MAX),
            None if self.credentials.is_some() => RETRY_MAX,
            None => RETRY_MIN,
        };
        self.failure = Some(failure);
        self.retry_at = Some(now + wait);
        self.refresh_at = Some(now + wait);
    }
}

impl Fresh {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Standing {
        self.kept().standing((self.now)())
    }

    async fn give(&self) -> Result<Credentials, IdentityError> {
        match self.standing() {
            Standing::Good(credentials) => Ok(credentials),
            Standing::Failed(failure) => Err(failure),
            Standing::Due(credentials) => match self.turn.try_lock() {
                Ok(_turn) => Ok(self.refresh().await.unwrap_or(credentials)),
                Err(_) => Ok(credentials),
            },
            Standing::Needed => {
                let _turn = self.turn.lock().await;
                match self.standing() {
                    Standing::Good(credentials) | Standing::Due(credentials) => Ok(credentials),
                    Standing::Failed(failure) => Err(failure),
                    Standing::Needed => self.refresh().await,
                }
            }
        }
    }

    /// The caller must hold `turn`.
    async fn refresh(&self) -> Result<Credentials, IdentityError> {
        let result = match tokio::time::timeout(REFRESH_MAX, self.source.provide_credentials()).await {
            Ok(result) => result,
            Err(_) => Err(CredentialsError::provider_timed_out(REFRESH_MAX)),
        };
        let now = (self.now)();
        match result {
            Ok(credentials) if credentials.expiry().is_some_and(|expiry| expiry <= now) => {
                let is_last = self.kept().credentials.as_ref() == Some(&credentials);
                let reason = if is_last {
                    "the last ones have expired and their source gives no others; can it be reached?".to_owned()
                } else {
                    "they have expired already; is this machine's clock right?".to_owned()
                };
                Err(self.failed(IdentityError::Unavailable {
                    identity: self.identity.clone(),
                    step: Step::Base,
                    reason,
                }))
            }
            Ok(credentials) => {
                self.kept().succeed(credentials.clone(), now);
                Ok(credentials)
            }
            Err(error) => Err(self.failed(self.named(&error))),
        }
    }

    fn failed(&self, failure: IdentityError) -> IdentityError {
        self.kept().fail(failure.clone(), (self.now)());
        failure
    }

    fn named(&self, error: &CredentialsError) -> IdentityError {
        cause::<IdentityError>(error).cloned().unwrap_or_else(|| IdentityError::Unavailable {
            identity: self.identity.clone(),
            step: Step::Base,
            reason: chained(error),
        })
    }
}

impl ProvideCredentials for Fresh {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.give().await.map_err(CredentialsError::provider_error) })
    }
}

fn shared<P: ProvideCredentials + 'static>(provider: &Arc<P>) -> SharedCredentialsProvider {
    let provider: Arc<dyn ProvideCredentials> = Arc::clone(provider) as Arc<dyn ProvideCredentials>;
    SharedCredentialsProvider::new(provider)
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A source that gives the configured answers in turn, and counts the calls.
    #[derive(Debug, Default)]
    struct Script {
        answers: Mutex<VecDeque<Result<Credentials, IdentityError>>>,
    }

    impl ProvideCredentials for Script {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Err(outage("asked too often")));
            future::ProvideCredentials::new(async move {
                tokio::task::yield_now().await;
                answer.map_err(CredentialsError::provider_error)
            })
        }
    }

    struct World {
        identity: Identity,
        script: Arc<Script>,
        secs: Arc<Mutex<u64>>,
    }

    impl World {
        fn new() -> Self {
            let (script, secs) = (Arc::new(Script::default()), Arc::new(Mutex::new(0)));
            let clock = Arc::clone(&secs);
            let (aws, http) = (SdkConfig::builder().build(), Http::from_environment().unwrap());
            let identity = Identity::new("reader", shared(&script), &aws, &http, move || at(*clock.lock().unwrap()));
            Self { identity, script, secs }
        }

        fn will_give(&self, key: &str, expiry_secs: Option<u64>) {
            let credentials = Credentials::new(key, "secret", None, expiry_secs.map(at), "test");
            self.script.answers.lock().unwrap().push_back(Ok(credentials));
        }

        fn will_fail(&self, reason: &str) {
            self.script.answers.lock().unwrap().push_back(Err(outage(reason)));
        }

        async fn key_at(&self, secs: u64) -> Result<String, String> {
            *self.secs.lock().unwrap() = secs;
            let given = self.identity.provider().provide_credentials().await;
            given.map(|credentials| credentials.access_key_id().to_owned()).map_err(|error| chained(&error))
        }
    }

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + secs)
    }

    fn outage(reason: &str) -> IdentityError {
        IdentityError::Unavailable { identity: "reader".to_owned(), step: Step::Base, reason: reason.to_owned() }
    }

    #[tokio::test]
    async fn credentials_are_refreshed_ahead_of_their_expiry() {
        for (life, last_old, first_new) in
            [(3600, 2699, 2700), (900, 599, 600), (400, 199, 200), (43_200, 39_599, 39_600)]
        {
            let world = World::new();
            world.will_give("first", Some(life));
            world.will_give("second", Some(2 * life));
            assert_eq!(world.key_at(0).await.unwrap(), "first");
            assert_eq!(world.key_at(last_old).await.unwrap(), "first", "a session of {life} s");
            assert_eq!(world.key_at(first_new).await.unwrap(), "second", "a session of {life} s");
            assert_eq!(world.identity.refreshes(), 2);
            assert_eq!(world.identity.expires_at_ms(), Some((1_000_000 + 2 * life as i64) * 1000));
        }
    }

    #[tokio::test]
    async fn the_last_good_credentials_are_used_until_they_expire_when_a_refresh_fails() {
        let world = World::new();
        world.will_give("first", Some(3600));
        world.will_fail("sts is down");
        world.will_fail("sts is still down");
        world.will_fail("sts is down for ever");
        world.will_give("second", Some(9000));
        assert_eq!(world.key_at(0).await.unwrap(), "first");
        assert_eq!(world.key_at(3000).await.unwrap(), "first");
        assert!(world.identity.failing().unwrap().to_string().contains("sts is down"));
        assert_eq!(world.key_at(3029).await.unwrap(), "first", "not tried again within 30 s");
        assert_eq!(world.key_at(3599).await.unwrap(), "first");
        let told = world.key_at(3600).await.unwrap_err();
        assert!(told.contains("sts is down for ever"), "{told}");
        assert_eq!(world.key_at(3602).await.unwrap(), "second");
        assert!(world.identity.failing().is_none());
    }

    #[tokio::test]
    async fn one_refresh_serves_all_who_wait() {
        let world = World::new();
        world.will_give("only", Some(3600));
        let provider = world.identity.provider();
        let (a, b, c) = tokio::join!(
            provider.provide_credentials(),
            provider.provide_credentials(),
            provider.provide_credentials()
        );
        for given in [a, b, c] {
            assert_eq!(given.unwrap().access_key_id(), "only");
        }
        assert_eq!(world.identity.refreshes(), 1);
    }

    #[tokio::test]
    async fn one_failure_answers_all_who_wait() {
        let world = World::new();
        world.will_fail("no");
        let provider = world.identity.provider();
        let (a, b) = tokio::join!(provider.provide_credentials(), provider.provide_credentials());
        for given in [a, b] {
            assert!(chained(&given.unwrap_err()).ends_with("failed for now: no"));
        }
    }

    #[tokio::test]
    async fn credentials_without_an_expiry_are_asked_for_again_now_and_then() {
        let world = World::new();
        world.will_give("file", None);
        world.will_give("edited file", None);
        assert_eq!(world.key_at(0).await.unwrap(), "file");
        assert_eq!(world.identity.expires_at_ms(), None);
        assert_eq!(world.key_at(899).await.unwrap(), "file");
        assert_eq!(world.key_at(900).await.unwrap(), "edited file");
    }

    #[tokio::test]
    async fn distrusted_credentials_are_replaced_unless_they_are_young() {
        let world = World::new();
        world.will_give("revoked", Some(3600));
        world.will_give("new", Some(3600));
        assert_eq!(world.key_at(0).await.unwrap(), "revoked");
        world.identity.distrust();
        assert_eq!(world.key_at(29).await.unwrap(), "revoked");
        world.key_at(30).await.unwrap();
        world.identity.distrust();
        assert_eq!(world.key_at(30).await.unwrap(), "new");
    }

    #[tokio::test]
    async fn credentials_that_come_expired_are_no_credentials() {
        let world = World::new();
        world.will_give("stale", Some(10));
        assert!(world.key_at(20).await.unwrap_err().contains("clock"));
    }

    #[tokio::test]
    async fn a_source_that_gives_its_last_credentials_again_once_they_expired_is_told_as_such() {
        let world = World::new();
        for _ in 0..2 {
            world.will_give("only", Some(10));
        }
        assert_eq!(world.key_at(0).await.unwrap(), "only");
        let told = world.key_at(10).await.unwrap_err();
        assert!(told.contains("their source gives no others") && !told.contains("clock"), "{told}");
    }
}
