//! A service that requests are sent to with credentials. The credentials are read when the service is opened, and again
//! when the service refuses them.

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
use crate::units::Time;

/// The default timeout of a request, to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a service is, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceConfig {
    pub url: Option<Location>,
    pub auth: Option<Auth>,
    /// Header fields of every request.
    pub headers: Headers,
    pub tls: TlsConfig,
    /// The URL of an HTTP proxy, which also resolves the names.
    pub proxy: Option<String>,
    /// Refers to `user:password` for the proxy.
    pub proxy_credentials: Option<Reference>,
    pub timeout: Duration,
    /// Whether plain `http://` to other machines is allowed.
    pub allow_plaintext: bool,
    /// Whether it is allowed to send to link-local addresses and to metadata services that hand out credentials.
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
    /// Reports each key whose value has the right type but is not valid. Reads no file.
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
            problem("timeout", &format!("expected 1s to 10m, found {}", Time(self.timeout)));
        }
    }

    /// The first hop to the service, to be tried step by step.
    ///
    /// # Errors
    /// A secret or a certificate cannot be read.
    pub fn reach(&self) -> Result<Reach, ServiceOpenError> {
        let material = Material::read(self)?;
        let (endpoint, proxy) = (material.endpoint(self)?, self.proxy_endpoint().transpose()?);
        let tls = material.tls.client(&self.tls)?;
        Ok(Reach::new(&endpoint, proxy.as_ref(), tls, self.allow_link_local, self.timeout))
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(url, self.allow_plaintext, self.allow_link_local)
    }

    /// The connection to a proxy is plain HTTP; what is sent through it may still be TLS.
    fn proxy_endpoint(&self) -> Option<Result<Endpoint, EndpointError>> {
        self.proxy.as_ref().map(|proxy| Endpoint::new(proxy, true, self.allow_link_local))
    }
}

/// A POST request.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// The path below the service's URL, beginning with a slash. Empty for the URL itself.
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: Headers,
    pub body: Bytes,
    /// The most bytes of the answer that are kept.
    pub reply_bytes_max: usize,
}

/// A service's answer.
#[derive(Debug)]
pub struct Answer {
    pub reply: Reply,
    /// The text of the answer, or the target of a redirect: one short line, secrets masked.
    pub said: String,
}

impl Answer {
    /// The status and the words, as the reason of an error.
    pub fn reason(&self) -> String {
        let Self { reply, said } = self;
        if said.is_empty() { format!("status {}", reply.status) } else { format!("status {}: {said}", reply.status) }
    }
}

/// An open service. All lanes of a sink share it.
pub struct Service {
    config: ServiceConfig,
    /// Signs each request to an AWS service.
    signer: Option<AwsSigner>,
    session: Mutex<Arc<Session>>,
}

/// A client, and the secrets that it was made with.
struct Session {
    material: Material,
    client: Client,
    endpoint: Endpoint,
    credentials: Credentials,
    mask: Mask,
}

/// All secrets and certificates that were read. Compared to find out whether any has changed.
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
    /// Reads the secrets and certificates. Sends nothing to the service.
    ///
    /// # Errors
    /// A secret or a certificate cannot be read.
    pub fn open(config: ServiceConfig) -> Result<Self, ServiceOpenError> {
        let session = Session::new(&config, Material::read(&config)?)?;
        Ok(Self { config, signer: None, session: Mutex::new(Arc::new(session)) })
    }

    /// Makes the service sign each request.
    pub fn signed_by(self, signer: Option<AwsSigner>) -> Self {
        Self { signer, ..self }
    }

    /// Sends a request and returns the answer. If the service refuses the credentials, they are read again; if they
    /// have changed, the request is sent once more with the new ones. `now_ms` is the time in milliseconds since the
    /// epoch. Cancel-safe.
    ///
    /// # Errors
    /// There is no answer. An answer with any status is no error.
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

    /// Another session to try after `refused` was refused. `None` if the credentials have not changed.
    async fn renewed(&self, refused: &Arc<Session>) -> Option<Result<Arc<Session>, ServiceError>> {
        let current = self.session();
        if !Arc::ptr_eq(&current, refused) {
            return Some(Ok(current));
        }
        // If the secrets cannot be read now, the receiver's answer is the error to report.
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
