//! A service that is sent to with credentials: they are read when it is opened, and again when it does not take them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::secret::{Reference, Secret};
use crate::transport::auth::{AuthMaterial, Credentials, sign};
use crate::transport::aws::Signed;
use crate::transport::client::{Route, origin_of};
use crate::transport::headers::FieldName;
use crate::transport::mask::Mask;
use crate::transport::tls::TlsMaterial;
use crate::transport::{
    Auth, AwsSigner, Client, Endpoint, EndpointError, Headers, HttpRequest, Location, Reach, Reply, ServiceError,
    ServiceOpenError, TlsConfig,
};

/// How long a request may take, to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a service is, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceConfig {
    pub url: Option<Location>,
    pub auth: Option<Auth>,
    /// Sent with each request.
    pub headers: Headers,
    pub tls: TlsConfig,
    /// An HTTP proxy. Names are looked up there.
    pub proxy: Option<String>,
    /// Where `user:password` for the proxy is.
    pub proxy_credentials: Option<Reference>,
    pub timeout: Duration,
    /// Whether `http://` may go to other machines.
    pub allow_plaintext: bool,
    /// Whether link-local addresses, and those where clouds hand out credentials, are sent to.
    pub allow_link_local: bool,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            url: None,
            auth: None,
            headers: Headers::default(),
            tls: TlsConfig::default(),
            proxy: None,
            proxy_credentials: None,
            timeout: TIMEOUT,
            allow_plaintext: false,
            allow_link_local: false,
        }
    }
}

impl ServiceConfig {
    /// Reports each key whose value has the right type and is not valid. Reads no file.
    pub fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        if let Some(Location::Url(url)) = &self.url
            && let Err(error) = self.endpoint(url)
        {
            let hint = match error {
                EndpointError::Plain => "; or `allow_plaintext = true`",
                EndpointError::LinkLocal => "; or `allow_link_local = true`",
                _ => "",
            };
            problem("url", &format!("{error}{hint}"));
        }
        if let Some(message) = self.auth.as_ref().and_then(Auth::problem) {
            problem("auth", message);
        }
        if let Some((key, message)) = self.tls.problem() {
            problem("tls", &format!("`{key}`: {message}"));
        }
        if let Some(Err(error)) = self.proxy_endpoint() {
            problem("proxy", &error.to_string());
        }
        if self.proxy_credentials.is_some() && self.proxy.is_none() {
            problem("proxy_credentials", "has no effect without `proxy`");
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > Duration::from_secs(600) {
            problem("timeout", "expected 1 second to 10 minutes");
        }
    }

    /// The way to it.
    ///
    /// # Errors
    /// When a secret or a certificate cannot be had.
    pub fn reach(&self) -> Result<Reach, ServiceOpenError> {
        let material = Material::read(self)?;
        let (endpoint, proxy) = (material.endpoint(self)?, self.proxy_endpoint().transpose()?);
        let tls = material.tls.client(&self.tls)?;
        Ok(Reach::new(&endpoint, proxy.as_ref(), tls, self.allow_link_local, self.timeout))
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(url, self.allow_plaintext, self.allow_link_local)
    }

    /// A proxy is asked in the clear; what goes through it is not.
    fn proxy_endpoint(&self) -> Option<Result<Endpoint, EndpointError>> {
        self.proxy.as_ref().map(|proxy| Endpoint::new(proxy, true, self.allow_link_local))
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// Below the service's URL, with a slash at its beginning; empty for the URL itself.
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: Headers,
    pub body: Bytes,
    /// As much is kept of the answer.
    pub reply_bytes_max: usize,
}

/// What the service answered.
#[derive(Debug)]
pub struct Answer {
    pub reply: Reply,
    /// Its words, or where it points to: short, in one line, without our secrets.
    pub said: String,
}

impl Answer {
    /// Its status and its words, as a reason.
    pub fn reason(&self) -> String {
        let Self { reply, said } = self;
        if said.is_empty() { format!("status {}", reply.status) } else { format!("status {}: {said}", reply.status) }
    }
}

/// A service that is open. All lanes of a sink share it.
pub struct Service {
    config: ServiceConfig,
    /// What signs each request, for a service of AWS.
    signer: Option<AwsSigner>,
    session: Mutex<Arc<Session>>,
}

/// A client with the secrets that it was made with.
struct Session {
    material: Material,
    client: Client,
    endpoint: Endpoint,
    credentials: Credentials,
    mask: Mask,
}

/// All that is read from elsewhere, so that a change can be seen.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    url: Option<Secret>,
    auth: Option<AuthMaterial>,
    proxy: Option<Secret>,
    tls: TlsMaterial,
}

impl Material {
    fn read(config: &ServiceConfig) -> Result<Self, ServiceOpenError> {
        let url = match &config.url {
            Some(Location::Secret(reference)) => Some(reference.read()?),
            _ => None,
        };
        let auth = config.auth.as_ref().map(Auth::read).transpose()?;
        let proxy = config.proxy_credentials.as_ref().map(Reference::read).transpose()?;
        Ok(Self { url, auth, proxy, tls: TlsMaterial::read(&config.tls)? })
    }

    fn endpoint(&self, config: &ServiceConfig) -> Result<Endpoint, EndpointError> {
        config.endpoint(match (&self.url, &config.url) {
            (Some(secret), _) => secret.reveal(),
            (None, Some(Location::Url(url))) => url,
            (None, _) => "",
        })
    }
}

impl Session {
    fn new(config: &ServiceConfig, material: Material) -> Result<Self, ServiceOpenError> {
        let endpoint = material.endpoint(config)?;
        let credentials = Credentials::new(material.auth.as_ref())?;
        let proxy = config.proxy_endpoint().transpose()?.map(|endpoint| (endpoint, material.proxy.clone()));
        let tls = material.tls.client(&config.tls)?;
        let (timeout, allow_link_local) = (config.timeout, config.allow_link_local);
        let client = Client::over(Route { timeout, tls, proxy, allow_link_local })?;
        let mut secrets: Vec<String> = material.auth.iter().flat_map(AuthMaterial::secrets).collect();
        secrets.extend(material.proxy.iter().map(|secret| secret.reveal().to_owned()));
        if material.url.is_some() {
            secrets.extend(endpoint.secrets().map(str::to_owned));
        }
        let mask = Mask::new(secrets.iter().map(String::as_str));
        Ok(Self { material, client, endpoint, credentials, mask })
    }

    async fn post(
        &self,
        config: &ServiceConfig,
        signer: Option<&AwsSigner>,
        post: &Post<'_>,
        now_ms: i64,
    ) -> Result<Answer, ServiceError> {
        let mut headers = config.headers.clone().with(&post.headers);
        let mut mask = self.mask.clone();
        match &self.credentials {
            Credentials::Fixed(fixed) => headers = headers.with(fixed),
            Credentials::Signature { name, key } => {
                headers.set(name, &sign(key, now_ms.div_euclid(1000), &post.body))?;
            }
            Credentials::Token(tokens) => {
                let token = tokens.token(&self.client, now_ms).await?;
                let authorization = FieldName::from_static("authorization");
                headers.set_secret(&authorization, &format!("Bearer {}", token.reveal()))?;
                mask.add(token.reveal());
            }
        }
        if let Some(signer) = signer {
            let url = self.endpoint.at(post.path, post.query);
            let Signed { headers: signed, session_token } = signer.sign(url.as_str(), &post.body, now_ms).await?;
            headers = headers.with(&signed);
            session_token.iter().for_each(|token| mask.add(token));
        }
        let request = HttpRequest {
            endpoint: &self.endpoint,
            path: post.path,
            query: post.query,
            headers,
            body: Some(post.body.clone()),
            reply_bytes_max: post.reply_bytes_max,
        };
        let reply = self.client.send(request).await?;
        let said = match &reply.location {
            Some(location) if (300..400).contains(&reply.status) => match origin_of(location) {
                Some(origin) => format!("it points to {origin}, and credentials follow no redirect"),
                None => "it points to another path, and credentials follow no redirect".to_owned(),
            },
            _ => mask.words(&reply.body),
        };
        Ok(Answer { reply, said })
    }
}

impl Service {
    /// Reads the secrets and certificates. The service itself is not asked.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub fn open(config: ServiceConfig) -> Result<Self, ServiceOpenError> {
        let session = Session::new(&config, Material::read(&config)?)?;
        Ok(Self { config, signer: None, session: Mutex::new(Arc::new(session)) })
    }

    /// The same, with each request signed.
    pub fn signed_by(self, signer: Option<AwsSigner>) -> Self {
        Self { signer, ..self }
    }

    /// Sends and returns what is answered. Where the credentials are not taken, they are read anew, and if they changed it
    /// is sent once more with those. `now_ms` is the time, in milliseconds since the epoch. Cancel-safe.
    ///
    /// # Errors
    /// When there is no answer. A status of any kind is one.
    pub async fn post(&self, post: &Post<'_>, now_ms: i64) -> Result<Answer, ServiceError> {
        let (session, signer) = (self.session(), self.signer.as_ref());
        let answer = session.post(&self.config, signer, post, now_ms).await;
        let is_refused = match &answer {
            Ok(answer) => matches!(answer.reply.status, 401 | 403),
            Err(error) => matches!(error, ServiceError::Misconfigured(_)),
        };
        if !is_refused {
            return answer;
        }
        signer.into_iter().for_each(AwsSigner::distrust);
        match self.renewed(&session).await {
            Some(renewed) => renewed?.post(&self.config, signer, post, now_ms).await,
            None => answer,
        }
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session to try in place of one that was refused; nothing where there is no other.
    async fn renewed(&self, refused: &Arc<Session>) -> Option<Result<Arc<Session>, ServiceError>> {
        let current = self.session();
        if !Arc::ptr_eq(&current, refused) {
            return Some(Ok(current));
        }
        // What cannot be read now is told by the answer that made us look.
        let material = Material::read(&self.config).ok()?;
        if material == refused.material {
            let Credentials::Token(tokens) = &refused.credentials else { return None };
            return tokens.forget().await.then_some(Ok(current));
        }
        let session = match Session::new(&self.config, material) {
            Ok(session) => Arc::new(session),
            Err(error) => return Some(Err(ServiceError::Misconfigured(error.to_string()))),
        };
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&session);
        Some(Ok(session))
    }
}
