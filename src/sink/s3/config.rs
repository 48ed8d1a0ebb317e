//! The keys of `type = "s3"`.

use serde::Deserialize;

use crate::identity::endpoint;
use crate::sink::KeyTemplate;
use crate::sink::http::body::Compression;

/// `type = "s3"`: which bucket to write to, and how its objects are named and stored.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket's name, or the ARN or alias of an access point to it.
    pub bucket: String,
    /// A template for the beginning of an object's key. A batch becomes one object for each prefix that its events
    /// have.
    pub prefix: KeyTemplate,
    /// How objects are compressed. Default: gzip.
    #[serde(default = "gzip")]
    pub compression: Compression,
    /// The name of an `[identity.<name>]`. Default: the machine's default credentials.
    pub identity: Option<String>,
    /// The bucket's region. Default: the one that the environment names.
    pub region: Option<String>,
    /// The endpoint. Default: that of AWS for the region.
    pub endpoint_url: Option<String>,
    /// Whether plain HTTP is allowed to an endpoint that is not on this machine. Default: false.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Whether requests name the bucket in the path instead of the host. Default: false.
    #[serde(default)]
    pub path_style: bool,
    /// The AWS account that must own the bucket.
    pub expected_bucket_owner: Option<String>,
    /// The storage class of new objects. Default: the bucket's.
    pub storage_class: Option<StorageClass>,
    /// The KMS key that encrypts objects: its id or ARN. Default: the bucket's setting.
    pub kms_key: Option<String>,
}

/// The storage classes whose objects can be read at once, without a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StorageClass {
    Standard,
    IntelligentTiering,
    StandardIa,
    OnezoneIa,
    GlacierIr,
}

const fn gzip() -> Compression {
    Compression::Gzip
}

impl S3Config {
    /// Reports each key whose value has the right type but is not valid.
    pub(super) fn problems(&self, problem: &mut dyn FnMut(&str, &str)) {
        let is_arn = self.bucket.starts_with("arn:");
        if self.bucket.is_empty() || self.bucket.contains('/') && !is_arn || self.bucket.contains(char::is_whitespace) {
            problem("bucket", "expected a bucket's name alone, without `s3://` and without a path (that is `prefix`)");
        }
        if is_arn && self.path_style {
            problem("path_style", "cannot be used with an access point's ARN; use its alias");
        }
        let checked = self.endpoint_url.as_deref().map(|url| endpoint::check(url, self.allow_plain_http));
        if let Some(Err(error)) = checked {
            problem("endpoint_url", &error.to_string());
        }
        let is_account = |owner: &str| owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit());
        if self.expected_bucket_owner.as_deref().is_some_and(|owner| !is_account(owner)) {
            problem("expected_bucket_owner", "expected an account's 12 digits");
        }
        if self.kms_key.as_deref() == Some("") {
            problem("kms_key", "expected a key's id or ARN; leave it out to encrypt as the bucket does");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sink::Kind as _;

    fn config(key: &str, value: serde_json::Value) -> Result<S3Config, serde_json::Error> {
        let mut table = json!({"bucket": "siem", "prefix": "audit/{feed}"});
        table[key] = value;
        serde_json::from_value(table)
    }

    #[test]
    fn what_shapes_the_objects_is_in_the_envelope() {
        let plain = config("region", json!("eu-central-1")).unwrap();
        for (key, value) in [("bucket", json!("other")), ("prefix", json!("x")), ("compression", json!("zstd"))] {
            assert_ne!(config(key, value).unwrap().envelope(), plain.envelope(), "{key}");
        }
        // This setting does not change the objects' keys or content.
        assert_eq!(config("storage_class", json!("STANDARD_IA")).unwrap().envelope(), plain.envelope());
    }
}
