//! Tokens of an Azure managed identity. The virtual machine or the Azure service that the program runs on hands them
//! out.

use serde::Deserialize;

use crate::secret::{Reference, Secret};
use crate::transport::client::Route;
use crate::transport::oauth::TokenRequest;
use crate::transport::tls::TlsMaterial;
use crate::transport::{Client, Endpoint, FieldName, Headers, ServiceError, ServiceOpenError, TlsConfig};

/// Azure's instance metadata service. It is the same on every virtual machine, and is never reached through a proxy.
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const METADATA_VERSION: &str = "2018-02-01";
/// Environment variables of App Service and Container Apps: the URL that hands out tokens there, and a secret to send
/// with the request.
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
const HEADER: &str = "IDENTITY_HEADER";
const ENDPOINT_VERSION: &str = "2019-08-01";
/// The timeout of a request for a token.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// `auth = { type = "managed_identity", ... }`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManagedIdentityConfig {
    /// The client id of a user-assigned identity. Default: the system-assigned identity.
    pub client_id: Option<String>,
    /// The resource that the token is for. Default: Azure Monitor.
    pub resource: String,
}

impl Default for ManagedIdentityConfig {
    fn default() -> Self {
        Self { client_id: None, resource: "https://monitor.azure.com".to_owned() }
    }
}

/// A managed identity, and the endpoint that hands out its tokens.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ManagedIdentity {
    config: ManagedIdentityConfig,
    endpoint: Endpoint,
    /// The secret that the environment names for the endpoint. `None` on a virtual machine.
    header: Option<Secret>,
}

impl ManagedIdentityConfig {
    /// Reads from the environment which endpoint hands out tokens.
    pub(super) fn read(&self) -> Result<ManagedIdentity, ServiceOpenError> {
        let variable = |name: &str| Reference::Variable(name.to_owned()).read().ok();
        self.of(variable(ENDPOINT).zip(variable(HEADER)))
    }

    fn of(&self, service: Option<(Secret, Secret)>) -> Result<ManagedIdentity, ServiceOpenError> {
        let (url, header) = match &service {
            Some((url, header)) => (url.reveal(), Some(header.clone())),
            None => (METADATA, None),
        };
        // Only this request may be sent to an address that hands out credentials.
        let endpoint = Endpoint::new(url, true, true)?;
        Ok(ManagedIdentity { config: self.clone(), endpoint, header })
    }
}

impl ManagedIdentity {
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.header.as_ref()
    }

    pub(super) fn request(&self) -> Result<TokenRequest, ServiceError> {
        let mut headers = Headers::default();
        let version = match &self.header {
            Some(header) => {
                headers.set_secret(&FieldName::from_static("x-identity-header"), header.reveal())?;
                ENDPOINT_VERSION
            }
            None => {
                headers.set(&FieldName::from_static("metadata"), "true")?;
                METADATA_VERSION
            }
        };
        let mut query = vec![("api-version", version.to_owned()), ("resource", self.config.resource.clone())];
        query.extend(self.config.client_id.clone().map(|id| ("client_id", id)));
        Ok(TokenRequest { endpoint: self.endpoint.clone(), query, headers, body: None })
    }

    /// A client that may send to link-local addresses, and uses no proxy.
    pub(super) fn client() -> Result<Client, ServiceOpenError> {
        let tls = TlsMaterial::default().client(&TlsConfig::default())?;
        Ok(Client::over(Route { timeout: TIMEOUT, tls, proxy: None, allow_link_local: true })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(config: &ManagedIdentityConfig, service: Option<(&str, &str)>) -> TokenRequest {
        let secret = |text| Secret::new(text).unwrap();
        config.of(service.map(|(url, header)| (secret(url), secret(header)))).unwrap().request().unwrap()
    }

    #[test]
    fn a_virtual_machine_asks_the_metadata_service() {
        let TokenRequest { endpoint, query, headers, body } = request(&ManagedIdentityConfig::default(), None);
        assert_eq!(endpoint.as_str(), "http://169.254.169.254/metadata/identity/oauth2/token");
        let expected = [("api-version", "2018-02-01".to_owned()), ("resource", "https://monitor.azure.com".to_owned())];
        assert_eq!((query, body), (expected.to_vec(), None));
        assert_eq!(headers.into_map()["metadata"], "true");
    }

    #[test]
    fn a_service_is_asked_where_the_environment_says_and_shown_its_secret() {
        let config = ManagedIdentityConfig { client_id: Some("app".to_owned()), ..ManagedIdentityConfig::default() };
        let TokenRequest { endpoint, query, headers, .. } =
            request(&config, Some(("http://169.254.130.2:8081/msi/token", "hush")));
        assert_eq!(endpoint.as_str(), "http://169.254.130.2:8081/msi/token");
        assert_eq!(query[0], ("api-version", "2019-08-01".to_owned()));
        assert_eq!(query[2], ("client_id", "app".to_owned()));
        let headers = headers.into_map();
        assert_eq!(headers["x-identity-header"], "hush");
        assert!(!format!("{headers:?}").contains("hush"));
    }
}
