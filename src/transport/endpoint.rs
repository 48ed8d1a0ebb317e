//! Where a service is: an allowed URL, or a secret that holds one.

use reqwest::Url;
use serde::Deserialize;

use crate::identity::endpoint::is_this_machine;
use crate::secret::Reference;
use crate::transport::address;

/// The URL of a service. It has no user or password, but its path may be a secret.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(Url);

/// Why a text is not a valid [`Endpoint`]. The text itself is left out: it may hold a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("expected a URL such as \"https://host\", without user, password and fragment")]
    Malformed,
    #[error("expected a URL without a query")]
    Query,
    #[error("expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost)")]
    Plain,
    #[error("expected no link-local address and no address where a cloud hands out credentials")]
    LinkLocal,
}

/// Accepts a URL without a query, with https, or with http to this machine.
impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        let endpoint = Self::new(&text, false, false)?;
        if endpoint.0.query().is_some() { Err(EndpointError::Query) } else { Ok(endpoint) }
    }
}

impl Endpoint {
    /// Credentials are sent to this URL. So it must have https or lead to this machine, unless `allow_plaintext`.
    ///
    /// # Errors
    /// The text is not a URL, or the URL is not allowed.
    pub fn new(text: &str, allow_plaintext: bool, allow_link_local: bool) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::Malformed)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EndpointError::Malformed)?;
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::Malformed),
        };
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Malformed);
        }
        if !allow_link_local && address::is_refused_host(host) {
            return Err(EndpointError::LinkLocal);
        }
        if is_secure || allow_plaintext || is_this_machine(host.trim_start_matches('[').trim_end_matches(']')) {
            Ok(Self(url))
        } else {
            Err(EndpointError::Plain)
        }
    }

    /// The host and the port.
    pub(super) fn place(&self) -> (&str, u16) {
        (self.0.host_str().unwrap_or_default(), self.0.port_or_known_default().unwrap_or_default())
    }

    pub(super) fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The path that all requests are below, without a slash at its end.
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The endpoint at this path below it.
    pub(super) fn below(&self, path: &str) -> Self {
        Self(self.at(path, &[]))
    }

    /// The parts of a secret URL that must not appear in messages: its path, the path's last segment, and its query.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let last = self.path().rsplit('/').next();
        [Some(self.path()), last, self.0.query()].into_iter().flatten().filter(|text| !text.is_empty())
    }

    pub(super) fn at(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}{path}", self.path()));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// A URL, or a reference to a secret that holds one.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Location {
    /// Not yet checked.
    Url(String),
    Secret(Reference),
}

impl Location {
    /// The URL's scheme, host and port: the rest may contain a secret. `None` if the whole URL is a secret.
    pub(crate) fn origin(&self) -> Option<String> {
        let Self::Url(text) = self else { return None };
        let (scheme, rest) = text.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
        Some(format!("{scheme}://{host}"))
    }
}

/// The error for a text that is not a [`Location`]. The text itself is left out: it may hold a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a URL such as \"https://host/path\", or where the secret is that holds one: `env:NAME`, \
     `file:/absolute/path` or `credential:name`"
)]
pub struct NoLocation;

impl TryFrom<String> for Location {
    type Error = NoLocation;

    fn try_from(text: String) -> Result<Self, NoLocation> {
        if text.contains("://") {
            return Ok(Self::Url(text));
        }
        Reference::try_from(text).map(Self::Secret).map_err(|_| NoLocation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_location_has_no_secret_of_it() {
        let url = |text: &str| Location::Url(text.to_owned()).origin();
        assert_eq!(url("https://u:p@host:8088/token?key=1").as_deref(), Some("https://host:8088"));
        assert_eq!(url("https://host?key=1").as_deref(), Some("https://host"));
        assert_eq!(Location::try_from("env:URL".to_owned()).unwrap().origin(), None);
    }

    fn endpoint(text: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::try_from(text.to_owned())
    }

    #[test]
    fn credentials_go_over_tls_or_stay_on_this_machine() {
        for good in [
            "https://lake.example.com",
            "https://lake/api/v1/",
            "http://127.0.0.1:8000",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for plain in
            ["http://lake.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.nip.io"]
        {
            assert_eq!(endpoint(plain), Err(EndpointError::Plain), "{plain}");
            assert!(Endpoint::new(plain, true, false).is_ok(), "{plain}");
        }
        for malformed in ["lake", "", "https://", "ftp://lake", "https://me:hush@lake", "https://lake#a"] {
            assert_eq!(endpoint(malformed), Err(EndpointError::Malformed), "{malformed}");
        }
        assert_eq!(endpoint("https://lake?a=b"), Err(EndpointError::Query));
        assert!(Endpoint::new("https://lake?a=b", false, false).is_ok());
    }

    #[test]
    fn nobody_sends_to_where_a_cloud_hands_out_credentials_however_it_is_spelled() {
        for refused in [
            "http://169.254.169.254/latest/meta-data",
            "https://169.254.1.2",
            "https://2852039166/",
            "https://0xa9fea9fe",
            "https://[fe80::1]",
            "https://[::ffff:169.254.169.254]",
            "https://[64:ff9b::a9fe:a9fe]",
            "https://[fd00:ec2::254]",
            "https://100.100.100.200",
            "https://metadata.google.internal/computeMetadata",
            "https://METADATA.google.internal.",
        ] {
            assert_eq!(Endpoint::new(refused, true, false), Err(EndpointError::LinkLocal), "{refused}");
            assert!(Endpoint::new(refused, true, true).is_ok(), "{refused}");
        }
    }

    #[test]
    fn what_is_asked_for_stands_below_the_endpoints_path_and_its_values_are_escaped() {
        for base in ["https://lake/api/v1", "https://lake/api/v1/"] {
            let url = endpoint(base).unwrap().at("/auth/users", &[("amount", "1000"), ("after", "a&b=c d")]);
            assert_eq!(url.as_str(), "https://lake/api/v1/auth/users?amount=1000&after=a%26b%3Dc+d");
        }
        assert_eq!(endpoint("https://lake").unwrap().path(), "");
    }

    #[test]
    fn a_url_is_used_as_it_stands_where_nothing_below_it_is_asked_for() {
        for url in ["https://hook.example/in/", "https://hook.example/in?sig=a%2Fb"] {
            assert_eq!(Endpoint::new(url, false, false).unwrap().at("", &[]).as_str(), url);
        }
        let endpoint = Endpoint::new("https://hook.example:8443/in/T0K3N?sig=1", false, false).unwrap();
        assert_eq!(endpoint.secrets().collect::<Vec<_>>(), ["/in/T0K3N", "T0K3N", "sig=1"]);
    }

    #[test]
    fn a_url_may_be_a_secret() {
        let of = |text: &str| Location::try_from(text.to_owned());
        assert_eq!(of("https://a/b"), Ok(Location::Url("https://a/b".to_owned())));
        assert_eq!(of("env:URL"), Ok(Location::Secret(Reference::Variable("URL".to_owned()))));
        assert_eq!(of("/run/url"), Err(NoLocation));
    }
}
