//! What a failed call to AWS means to its caller: wait, or call a person.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::identity::IdentityError;

/// No reason is longer, in bytes.
const REASON_BYTES_MAX: usize = 800;
/// No more is told of a reply that cannot be understood.
const UNPARSED_BYTES_MAX: usize = 300;

/// What helps against a failed call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Time: it was throttled, timed out, reset, or its credentials have just expired.
    Wait,
    /// A person: permissions, policies, keys, names, clocks.
    Person,
}

/// One failed call.
#[derive(Clone, Debug)]
pub struct Fault {
    pub remedy: Remedy,
    /// The HTTP status, where the service answered.
    pub status: Option<u16>,
    /// The service's name for the failure, such as `AccessDenied`; empty where there is none.
    pub code: String,
    /// The whole story in one line, ending in the request id where there is one.
    pub reason: String,
}

impl Fault {
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let remedy = match error {
            SdkError::ServiceError(_) => remedy_for(status, &code),
            SdkError::ConstructionFailure(_) => identity_remedy(error).unwrap_or(Remedy::Person),
            _ => identity_remedy(error).unwrap_or(Remedy::Wait),
        };
        let reason = match error {
            SdkError::ServiceError(refusal) => {
                let words = error.message().map_or_else(|| unparsed(refusal.raw()), str::to_owned);
                spoken(status, &code, &words, error.meta().extra("aws_request_id"))
            }
            // Which step towards the credentials failed is all there is to say.
            _ => cause::<IdentityError>(error).map_or_else(|| chained(error), IdentityError::to_string),
        };
        Self { remedy, status, code, reason }
    }

    /// Whether AWS says that the credentials themselves are no good (any more).
    pub fn blames_credentials(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" | "InvalidClientTokenId"
        )
    }
}

/// An error and what caused it in one line, each part once.
pub fn chained(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !told.ends_with(&part) {
            told.push_str(": ");
            told.push_str(&part);
        }
        cause = error.source();
    }
    shortened(told)
}

/// The cause of type `T` somewhere behind an error.
pub fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn identity_remedy(error: &(dyn Error + 'static)) -> Option<Remedy> {
    cause::<IdentityError>(error).map(|error| match error {
        IdentityError::Unavailable { .. } => Remedy::Wait,
        IdentityError::Refused { .. } | IdentityError::RegionMissing { .. } => Remedy::Person,
    })
}

/// Codes before statuses: S3 says `SlowDown` with 503, but `ExpiredToken` and `RequestTimeout` with 400.
fn remedy_for(status: Option<u16>, code: &str) -> Remedy {
    const WAIT: [&str; 17] = [
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "RequestExpired",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestAbortedException",
        "SlowDown",
        "RequestLimitExceeded",
        "RequestThrottled",
        "OverLimit",
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "IDPCommunicationError",
        "OperationAborted",
        "ConditionalRequestConflict",
    ];
    let throttled = code.to_ascii_lowercase().contains("throttl");
    let later = matches!(status, Some(429 | 500..=599));
    if throttled || later || WAIT.contains(&code) { Remedy::Wait } else { Remedy::Person }
}

/// The beginning of a body that is not as the service writes its refusals: a proxy's, perhaps.
fn unparsed(response: &HttpResponse) -> String {
    let body = response.body().bytes().unwrap_or_default();
    String::from_utf8_lossy(&body[..body.len().min(UNPARSED_BYTES_MAX)]).into_owned()
}

fn spoken(status: Option<u16>, code: &str, message: &str, request_id: Option<&str>) -> String {
    let mut told = shortened(match (code, message) {
        ("", "") => "the service gives no reason".to_owned(),
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code}: {message}"),
    });
    let status = status.map(|status| format!("status {status}"));
    let request = request_id.map(|id| format!("request {id}"));
    let origin: Vec<String> = status.into_iter().chain(request).collect();
    if !origin.is_empty() {
        told.push_str(&format!(" ({})", origin.join(", ")));
    }
    told
}

/// One line of bounded length.
fn shortened(text: String) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > REASON_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_heals_is_waited_for_and_the_rest_needs_a_person() {
        for (status, code, expected) in [
            (503, "SlowDown", Remedy::Wait),
            (400, "ExpiredToken", Remedy::Wait),
            (400, "RequestTimeout", Remedy::Wait),
            (400, "ThrottlingException", Remedy::Wait),
            (403, "RequestThrottled", Remedy::Wait),
            (500, "", Remedy::Wait),
            (429, "", Remedy::Wait),
            (403, "AccessDenied", Remedy::Person),
            (403, "RequestTimeTooSkewed", Remedy::Person),
            (403, "SignatureDoesNotMatch", Remedy::Person),
            (400, "KMS.DisabledException", Remedy::Person),
            (301, "PermanentRedirect", Remedy::Person),
            (404, "", Remedy::Person),
        ] {
            assert_eq!(remedy_for(Some(status), code), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length_that_ends_in_the_request() {
        let long = "x".repeat(10_000);
        let told = spoken(Some(403), "AccessDenied", &long, Some("4442587FB7D0A2F9"));
        assert!(told.starts_with("AccessDenied: xxx"));
        assert!(told.ends_with("(status 403, request 4442587FB7D0A2F9)"));
        assert!(told.len() < 1_000);
        assert_eq!(spoken(None, "", "", None), "the service gives no reason");
        assert_eq!(spoken(Some(502), "", "<html>\n  bad gateway", None), "<html> bad gateway (status 502)");
    }

    #[test]
    fn a_chain_of_causes_names_each_once() {
        let error = IdentityError::RegionMissing { identity: "a".to_owned(), role_arn: "r".to_owned() };
        let outer = std::io::Error::other(error);
        assert!(chained(&outer).matches("no region is known").count() == 1);
        assert!(cause::<IdentityError>(&std::io::Error::other("none of it")).is_none());
    }
}
