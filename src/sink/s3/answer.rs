//! What S3's errors mean to the writer of an object.

use crate::identity::fault::{Fault, FaultKind, Remedy};

/// What an error of S3 means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// An object with this key exists already.
    Exists,
    /// The same request may succeed later.
    Again,
    /// An operator must mend the receiver or the configuration.
    Mend,
}

pub(super) fn meaning(fault: &Fault) -> Meaning {
    match (fault.status, fault.code.as_str()) {
        (Some(412), _) | (_, "PreconditionFailed") => Meaning::Exists,
        // S3 received other bytes than were sent.
        (_, "BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => {
            Meaning::Again
        }
        (Some(501), _) | (_, "NotImplemented") => Meaning::Mend,
        _ => match fault.remedy {
            Remedy::Wait => Meaning::Again,
            Remedy::Person => Meaning::Mend,
        },
    }
}

/// What an operator can do about an error of a write.
pub(super) fn advice(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::KmsDenied => {
            "enable the KMS key, and allow kms:GenerateDataKey and kms:Decrypt in the role's policy and in the key's"
        }
        FaultKind::Denied => {
            "allow s3:PutObject on the prefix in the role's policy and in the bucket's; the bucket must belong to \
             `expected_bucket_owner`"
        }
        _ if fault.status == Some(501) || fault.code == "NotImplemented" => {
            "the service must know PutObject with `If-None-Match: *`: without it a repeat could write over an object"
        }
        kind => kind.advice(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_and_code_of_s3_means_one_thing() {
        let (wait, person) = (Remedy::Wait, Remedy::Person);
        for (status, code, remedy, expected) in [
            (412, "PreconditionFailed", person, Meaning::Exists),
            (412, "", person, Meaning::Exists),
            (409, "ConditionalRequestConflict", wait, Meaning::Again),
            (409, "OperationAborted", wait, Meaning::Again),
            (503, "SlowDown", wait, Meaning::Again),
            (503, "ServiceUnavailable", wait, Meaning::Again),
            (500, "InternalError", wait, Meaning::Again),
            (400, "RequestTimeout", wait, Meaning::Again),
            (400, "ExpiredToken", wait, Meaning::Again),
            (400, "BadDigest", person, Meaning::Again),
            (400, "IncompleteBody", person, Meaning::Again),
            (403, "AccessDenied", person, Meaning::Mend),
            (403, "InvalidAccessKeyId", person, Meaning::Mend),
            (403, "SignatureDoesNotMatch", person, Meaning::Mend),
            (403, "RequestTimeTooSkewed", person, Meaning::Mend),
            (404, "NoSuchBucket", person, Meaning::Mend),
            (301, "PermanentRedirect", person, Meaning::Mend),
            (400, "KMS.DisabledException", person, Meaning::Mend),
            (400, "InvalidStorageClass", person, Meaning::Mend),
            (400, "EntityTooLarge", person, Meaning::Mend),
            (501, "NotImplemented", wait, Meaning::Mend),
        ] {
            let kind = FaultKind::Rejected;
            let fault = Fault { remedy, kind, status: Some(status), code: code.to_owned(), reason: code.to_owned() };
            assert_eq!(meaning(&fault), expected, "{status} {code}");
        }
        let reset = Fault {
            remedy: wait,
            kind: FaultKind::Unreachable,
            status: None,
            code: String::new(),
            reason: "reset".to_owned(),
        };
        assert_eq!(meaning(&reset), Meaning::Again);
    }

    #[test]
    fn a_refusal_is_told_with_what_helps() {
        for (kind, code, expected) in [
            (FaultKind::Denied, "AccessDenied", "s3:PutObject"),
            (FaultKind::KmsDenied, "KMS.DisabledException", "kms:GenerateDataKey"),
            (FaultKind::NoBucket, "NoSuchBucket", "name of the bucket"),
            (FaultKind::WrongRegion, "PermanentRedirect", "`region`"),
            (FaultKind::Unavailable, "NotImplemented", "If-None-Match"),
        ] {
            let (remedy, code) = (Remedy::Person, code.to_owned());
            let fault = Fault { remedy, kind, status: None, code, reason: String::new() };
            assert!(advice(&fault).contains(expected), "{kind:?}");
        }
    }
}
