//! What an event's name says about its object: whether there may be something new to read.

/// What happened to an object, by the name of the event alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Happened {
    /// It was written, or can be read again.
    Written,
    /// It was deleted or has expired.
    Removed,
    /// S3 tests a new notification configuration.
    Tested,
    /// Its content is the same: it was read, tagged, or moved to another storage class.
    Nothing,
    /// The name is unknown. The object is read: a needless read costs one conditional request, an ignored write loses
    /// records.
    Unknown,
}

/// The longest name of an event, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The beginnings of event names, in lower case and with letters and digits only. The same event is spelled differently
/// by S3's own messages (`ObjectRemoved:Delete`), EventBridge (`Object Deleted`), the API (`DeleteObject`), MinIO, Ceph
/// and others. The first entry that fits counts. MinIO, for example, also reports reads: these must not cause a read,
/// or each read would cause the next.
const NAMES: &[(&str, Happened)] = &[
    ("objectcreated", Happened::Written),
    ("objectrestorecompleted", Happened::Written),
    ("testevent", Happened::Tested),
    ("objectremove", Happened::Removed),
    ("objectdeleted", Happened::Removed),
    ("objectsynceddelet", Happened::Removed),
    ("objectlifecycleexpiration", Happened::Removed),
    ("lifecycleexpiration", Happened::Removed),
    ("objectrestore", Happened::Nothing),
    ("objectlifecycletransition", Happened::Nothing),
    ("objecttransition", Happened::Nothing),
    ("lifecycletransition", Happened::Nothing),
    ("intelligenttiering", Happened::Nothing),
    ("objectstorageclasschanged", Happened::Nothing),
    ("objectaccess", Happened::Nothing),
    ("objectdownload", Happened::Nothing),
    ("objecttag", Happened::Nothing),
    ("objectacl", Happened::Nothing),
    ("replication", Happened::Nothing),
    ("reducedredundancylostobject", Happened::Nothing),
    ("putobjecttagging", Happened::Nothing),
    ("putobjectacl", Happened::Nothing),
    ("putobjectretention", Happened::Nothing),
    ("putobjectlegalhold", Happened::Nothing),
    ("deleteobjecttagging", Happened::Nothing),
    ("deleteobject", Happened::Removed),
    ("restoreobject", Happened::Nothing),
    ("getobject", Happened::Nothing),
    ("headobject", Happened::Nothing),
];

/// Calls of the API that write an object, as CloudTrail names them. CloudTrail reports reads and failures in the same
/// form.
const WRITING_CALLS: [&str; 4] = ["PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"];

/// What the event with this name says. A prefix such as `s3:` is ignored.
pub(super) fn happened(event_name: &str) -> Happened {
    if event_name.len() > NAME_BYTES_MAX {
        return Happened::Unknown;
    }
    let is_mark = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let name = match event_name.split_once(':') {
        Some((mark, name)) if is_mark(mark) => name,
        _ => event_name,
    };
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase());
    let spelt: Vec<u8> = letters.collect();
    let known = NAMES.iter().find(|(begins, _)| spelt.starts_with(begins.as_bytes()));
    known.map_or(Happened::Unknown, |(_, happened)| *happened)
}

/// Whether this call of the API writes an object.
pub(super) fn is_writing_call(event_name: &str) -> bool {
    WRITING_CALLS.contains(&event_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_s3_is_known_in_each_spelling() {
        for (names, expected) in [
            (
                &[
                    "ObjectCreated:Put",
                    "s3:ObjectCreated:CompleteMultipartUpload",
                    "s3:ObjectCreated:*",
                    "Object Created",
                    "cos:ObjectCreated:Put",
                    "ObjectRestore:Completed",
                    "Object Restore Completed",
                ][..],
                Happened::Written,
            ),
            (
                &[
                    "ObjectRemoved:Delete",
                    "s3:ObjectRemoved:DeleteMarkerCreated",
                    "Object Deleted",
                    "DeleteObject",
                    "DeleteObjects",
                    "LifecycleExpiration:Delete",
                    "s3:LifecycleExpiration:DeleteMarkerCreated",
                    "s3:ObjectLifecycle:Expiration:Current",
                    "s3:ObjectSynced:Delete",
                    "s3:ObjectSynced:DeletionMarkerCreated",
                ],
                Happened::Removed,
            ),
            (&["s3:TestEvent", "TestEvent"], Happened::Tested),
            (
                &[
                    "ObjectRestore:Post",
                    "ObjectRestore:Delete",
                    "Object Restore Initiated",
                    "Object Restore Expired",
                    "ReducedRedundancyLostObject",
                    "s3:Replication:OperationMissedThreshold",
                    "LifecycleTransition",
                    "IntelligentTiering",
                    "ObjectTagging:Put",
                    "Object Tags Deleted",
                    "ObjectAcl:Put",
                    "Object ACL Updated",
                    "Object Storage Class Changed",
                    "Object Access Tier Changed",
                    "PutObjectAcl",
                    "DeleteObjectTagging",
                ],
                Happened::Nothing,
            ),
            // Events that a read causes, as named by MinIO, by another service, and by the API.
            (
                &["s3:ObjectAccessed:Get", "s3:ObjectAccessed:Head", "ObjectDownloaded:GetObject", "GetObject"],
                Happened::Nothing,
            ),
        ] {
            for name in names {
                assert_eq!(happened(name), expected, "{name}");
            }
        }
    }

    #[test]
    fn what_is_surely_no_other_event_may_be_a_write() {
        let long = format!("ObjectRemoved:{}", "x".repeat(1 << 20));
        for name in ["PutObject", "Copy", "s3:ObjectSynced:Create", "ObjectAppended:Append", "", "s3:", "\u{1b}", &long]
        {
            assert_eq!(happened(name), Happened::Unknown, "{:.40}", name);
        }
    }
}
