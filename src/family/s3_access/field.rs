//! The fields of a line of a server access log, and their names.

/// The fields in the order in which a line has them (S3 user guide, "Amazon S3 server access log format").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Field {
    BucketOwner,
    Bucket,
    Time,
    RemoteIp,
    Requester,
    RequestId,
    Operation,
    Key,
    RequestUri,
    HttpStatus,
    ErrorCode,
    BytesSent,
    ObjectSize,
    TotalTime,
    TurnAroundTime,
    Referrer,
    UserAgent,
    VersionId,
    HostId,
    SignatureVersion,
    CipherSuite,
    AuthenticationType,
    HostHeader,
    TlsVersion,
    AccessPointArn,
    AclRequired,
}

pub(super) const FIELDS: usize = 26;

/// The name of each field.
pub(super) const NAMES: [(Field, &str); FIELDS] = [
    (Field::BucketOwner, "bucket_owner"),
    (Field::Bucket, "bucket"),
    (Field::Time, "time"),
    (Field::RemoteIp, "remote_ip"),
    (Field::Requester, "requester"),
    (Field::RequestId, "request_id"),
    (Field::Operation, "operation"),
    (Field::Key, "key"),
    (Field::RequestUri, "request_uri"),
    (Field::HttpStatus, "http_status"),
    (Field::ErrorCode, "error_code"),
    (Field::BytesSent, "bytes_sent"),
    (Field::ObjectSize, "object_size"),
    (Field::TotalTime, "total_time"),
    (Field::TurnAroundTime, "turn_around_time"),
    (Field::Referrer, "referrer"),
    (Field::UserAgent, "user_agent"),
    (Field::VersionId, "version_id"),
    (Field::HostId, "host_id"),
    (Field::SignatureVersion, "signature_version"),
    (Field::CipherSuite, "cipher_suite"),
    (Field::AuthenticationType, "authentication_type"),
    (Field::HostHeader, "host_header"),
    (Field::TlsVersion, "tls_version"),
    (Field::AccessPointArn, "access_point_arn"),
    (Field::AclRequired, "acl_required"),
];
