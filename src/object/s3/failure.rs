//! What S3's errors mean for the reader of an object, and what a person should look at first.

use crate::identity::fault::{Fault, FaultKind, Remedy};
use crate::notification::ObjectId;
use crate::notification::scan::S3Client;
use crate::object::version::ReadError;

pub(super) fn failed(client: &S3Client, object: &ObjectId, fault: &Fault) -> ReadError {
    if fault.blames_credentials() {
        client.identity.distrust();
    }
    read_error(object, fault)
}

fn read_error(object: &ObjectId, fault: &Fault) -> ReadError {
    let (object, kind, reason) = (object.clone(), fault.kind, fault.reason.clone());
    match (fault.status, fault.code.as_str()) {
        (_, "NoSuchKey" | "NoSuchVersion") | (Some(404), "" | "NotFound") => ReadError::NotFound { object },
        (_, "InvalidObjectState") => ReadError::Archived { object, reason },
        (_, "PreconditionFailed") | (Some(412), _) => ReadError::Changed { object },
        (_, "InvalidRange") | (Some(416), _) => ReadError::Damaged { object, reason },
        _ => match fault.remedy {
            Remedy::Wait => ReadError::Unavailable { object, kind, reason },
            Remedy::Person => {
                let reason = match hint(fault) {
                    Some(hint) => format!("{reason}; {hint}"),
                    None => reason,
                };
                ReadError::Denied { object, kind, reason }
            }
        },
    }
}

/// What a person should look at first.
fn hint(fault: &Fault) -> Option<&'static str> {
    let of_kms = fault.code.starts_with("KMS.") || fault.reason.contains("kms:");
    match fault.code.as_str() {
        _ if of_kms => Some(
            "the object is encrypted with a KMS key: it must be enabled, and the role needs kms:Decrypt in its own \
             policy and in the key's",
        ),
        "AccessDenied" | "AllAccessDisabled" | "" if fault.status == Some(403) => Some(
            "the role needs s3:GetObject on it, in its own policy and the bucket's or access point's; the bucket must \
             belong to the expected owner; and without s3:ListBucket an object that is gone is refused like this too",
        ),
        "NoSuchBucket" => Some("there is no such bucket; was it deleted, or is another endpoint meant?"),
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => {
            Some("the bucket is in another region than configured")
        }
        _ if fault.status == Some(301) => Some("the bucket is in another region than configured"),
        "RequestTimeTooSkewed" => Some("this machine's clock is wrong"),
        _ => None,
    }
}

pub(super) fn unavailable(object: &ObjectId, reason: &str) -> ReadError {
    ReadError::Unavailable { object: object.clone(), kind: FaultKind::Unavailable, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> ObjectId {
        ObjectId::new("logs", "a.json")
    }

    fn told(status: u16, code: &str, message: &str, remedy: Remedy) -> ReadError {
        let reason = format!("{code}: {message}");
        let kind = FaultKind::Denied;
        read_error(&object(), &Fault { remedy, kind, status: Some(status), code: code.to_owned(), reason })
    }

    #[test]
    fn each_refusal_is_what_its_reader_must_do() {
        let person = |status, code| told(status, code, "", Remedy::Person);
        assert!(matches!(person(404, "NoSuchKey"), ReadError::NotFound { .. }));
        assert!(matches!(person(404, ""), ReadError::NotFound { .. }));
        assert!(matches!(person(404, "NoSuchBucket"), ReadError::Denied { .. }));
        assert!(matches!(person(403, "InvalidObjectState"), ReadError::Archived { .. }));
        assert!(matches!(person(412, "PreconditionFailed"), ReadError::Changed { .. }));
        assert!(matches!(person(412, ""), ReadError::Changed { .. }));
        assert!(matches!(person(416, "InvalidRange"), ReadError::Damaged { .. }));
        assert!(matches!(person(403, "AccessDenied"), ReadError::Denied { .. }));
        assert!(matches!(person(400, "KMS.DisabledException"), ReadError::Denied { .. }));
        assert!(matches!(person(301, "PermanentRedirect"), ReadError::Denied { .. }));
        assert!(matches!(told(503, "SlowDown", "", Remedy::Wait), ReadError::Unavailable { .. }));
        assert!(matches!(told(400, "ExpiredToken", "", Remedy::Wait), ReadError::Unavailable { .. }));
    }

    #[test]
    fn a_refused_read_says_where_to_look() {
        for (status, code, message, expected) in [
            (403, "AccessDenied", "Access Denied", "without s3:ListBucket an object that is gone is refused like this"),
            (403, "AccessDenied", "not authorized to perform: kms:Decrypt", "the role needs kms:Decrypt"),
            (400, "KMS.DisabledException", "key is disabled", "it must be enabled"),
            (404, "NoSuchBucket", "", "there is no such bucket"),
            (301, "PermanentRedirect", "", "another region than configured"),
            (403, "RequestTimeTooSkewed", "", "clock is wrong"),
        ] {
            let text = told(status, code, message, Remedy::Person).to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.starts_with("reading s3://logs/a.json is refused"), "{text}");
        }
    }
}
