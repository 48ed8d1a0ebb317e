//! Signs requests to AWS services with Signature Version 4, including the hash of the body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4::SigningParams;

use crate::identity::Identity;
use crate::transport::{FieldName, Headers, ServiceError};

/// Signs requests with an identity's credentials, for one service in one region.
pub struct AwsSigner {
    pub identity: Identity,
    pub region: String,
    /// The service's name in signatures, such as `es`.
    pub service: &'static str,
}

/// A signature as header fields.
pub(super) struct Signed {
    pub(super) headers: Headers,
    /// The session token in them, which must not appear in messages: an error of AWS quotes the headers that it
    /// checked.
    pub(super) session_token: Option<String>,
}

impl AwsSigner {
    /// Signs a POST of `body`.
    ///
    /// # Errors
    /// The identity has no credentials.
    pub(super) async fn sign(&self, url: &str, body: &[u8], now_ms: i64) -> Result<Signed, ServiceError> {
        let credentials = self.identity.credentials().await?;
        let session_token = credentials.session_token().map(str::to_owned);
        let headers = sign(credentials, (&self.region, self.service), url, body, now_ms)?;
        Ok(Signed { headers, session_token })
    }

    /// Notes that the service refused the credentials.
    pub(super) fn distrust(&self) {
        self.identity.distrust();
    }
}

fn sign(
    credentials: Credentials,
    (region, service): (&str, &str),
    url: &str,
    body: &[u8],
    now_ms: i64,
) -> Result<Headers, ServiceError> {
    let failed = |error: &dyn std::fmt::Display| ServiceError::Misconfigured(format!("it cannot be signed: {error}"));
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    // OpenSearch Serverless refuses requests without the header `x-amz-content-sha256`.
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let params = SigningParams::builder().identity(&identity).region(region).name(service).time(time);
    let params = params.settings(settings).build().map_err(|error| failed(&error))?;
    let request = SignableRequest::new("POST", url, std::iter::empty(), SignableBody::Bytes(body));
    let request = request.map_err(|error| failed(&error))?;
    let (instructions, _) = sign_request(request, &params.into()).map_err(|error| failed(&error))?.into_parts();
    let mut headers = Headers::default();
    for (name, value) in instructions.headers() {
        headers.set_secret(&FieldName::try_from(name.to_owned())?, value)?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn mac(key: &[u8], text: &str) -> Vec<u8> {
        let mut mac = <Hmac<Sha256>>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// The signature, computed step by step after "Create a signed AWS API request" (IAM user guide).
    fn signature(canonical: &str, secret: &str) -> String {
        let scope = "20150830/eu-west-1/aoss/aws4_request";
        let hash = hex::encode(Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{hash}");
        let parts = ["20150830", "eu-west-1", "aoss", "aws4_request"];
        let key = parts.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
        hex::encode(mac(&key, &to_sign))
    }

    #[test]
    fn a_request_is_signed_with_its_bodys_hash_and_the_session() {
        let credentials = Credentials::new("AKIDEXAMPLE", "hush", Some("session".to_owned()), None, "test");
        let url = "https://x1.eu-west-1.aoss.amazonaws.com/_bulk";
        let headers = sign(credentials, ("eu-west-1", "aoss"), url, b"body", 1_440_938_160_000).unwrap().into_map();
        let body = hex::encode(Sha256::digest("body"));
        let names = "host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        let canonical = format!(
            "POST\n/_bulk\n\nhost:x1.eu-west-1.aoss.amazonaws.com\nx-amz-content-sha256:{body}\n\
             x-amz-date:20150830T123600Z\nx-amz-security-token:session\n\n{names}\n{body}"
        );
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/aoss/aws4_request, SignedHeaders={names}, Signature={}",
            signature(&canonical, "hush")
        );
        assert_eq!(headers["authorization"], expected);
        assert_eq!(headers["x-amz-content-sha256"], body);
        assert_eq!(headers["x-amz-security-token"], "session");
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert!(!format!("{headers:?}").contains("session"));
    }
}
