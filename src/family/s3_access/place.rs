//! Finds the account and the region of a log in its key, and in ARNs and host names.

/// The account and the region that a partitioned object name holds:
/// `PREFIX/ACCOUNT/REGION/BUCKET/yyyy/mm/dd/yyyy-mm-dd-HH-MM-SS-UNIQUE` (S3 user guide, "Log object key format").
pub(super) fn of_key(key: &str) -> Option<(&str, &str)> {
    const DATE: &[u8] = b"/0000/00/00";
    let before = &key[..memchr::memrchr(b'/', key.as_bytes())?];
    let (bucket, date) = before.as_bytes().split_last_chunk::<{ DATE.len() }>()?;
    if !date.iter().zip(DATE).all(|(byte, like)| if *like == b'/' { byte == like } else { byte.is_ascii_digit() }) {
        return None;
    }
    let mut segments = before[..bucket.len()].rsplit('/');
    let (_bucket, region, account) = (segments.next()?, segments.next()?, segments.next()?);
    (is_region(region) && is_account(account)).then_some((account, region))
}

/// The region of `arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME`.
pub(super) fn of_arn(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| is_region(region))
}

/// The account and the resource of `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`. Without a resource, that is empty.
pub(super) fn of_principal(arn: &str) -> Option<(&str, &str)> {
    let mut fields = arn.strip_prefix("arn:")?.splitn(5, ':').skip(["partition", "service", "region"].len());
    Some((fields.next()?, fields.next().unwrap_or_default()))
}

/// The region of one of S3's own host names, such as `bucket.s3.eu-west-2.amazonaws.com`.
pub(super) fn of_host(host: &str) -> Option<&str> {
    let host = host.split_once(':').map_or(host, |(name, _port)| name);
    let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    // For names as short as regions, `memchr` is slower.
    let last = name.bytes().rposition(|byte| byte == b'.').map_or(name, |dot| &name[dot + 1..]);
    let region = last.strip_prefix("s3-website-").or_else(|| last.strip_prefix("s3-")).unwrap_or(last);
    is_region(region).then_some(region)
}

/// Whether a text is a region, such as `us-gov-west-1`: words, each followed by a hyphen, and a number.
fn is_region(text: &str) -> bool {
    let mut words = 0;
    let mut before = b'-';
    for byte in text.bytes() {
        let fits = match byte {
            b'a'..=b'z' => !before.is_ascii_digit(),
            b'-' => before.is_ascii_lowercase(),
            b'0'..=b'9' => !before.is_ascii_lowercase(),
            _ => false,
        };
        if !fits {
            return false;
        }
        words += u32::from(byte == b'-');
        before = byte;
    }
    before.is_ascii_digit() && words >= 2
}

/// Whether a text is an account's id: twelve digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partitioned_name_tells_account_and_region_and_a_flat_one_nothing() {
        let partitioned = "logs/123456789012/us-gov-west-1/b/2024/02/12/2024-02-12-08-00-00-0A1B2C3D4E5F6789";
        assert_eq!(of_key(partitioned), Some(("123456789012", "us-gov-west-1")));
        assert_eq!(of_key(&partitioned["logs/".len()..]), Some(("123456789012", "us-gov-west-1")));
        for flat in ["logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789", "a/b/c/2024/02/12/x", "2024-02-12-08-00-00-0A", ""] {
            assert_eq!(of_key(flat), None, "{flat}");
        }
    }

    #[test]
    fn a_region_is_read_from_hosts_of_s3_and_access_points() {
        assert_eq!(of_host("b.s3.eu-west-2.amazonaws.com"), Some("eu-west-2"));
        assert_eq!(of_host("b.s3-us-west-2.amazonaws.com:443"), Some("us-west-2"));
        assert_eq!(of_host("b.s3-website-us-east-1.amazonaws.com"), Some("us-east-1"));
        assert_eq!(of_host("s3.cn-north-1.amazonaws.com.cn"), Some("cn-north-1"));
        assert_eq!(of_host("b.s3.amazonaws.com"), None);
        assert_eq!(of_host("data.example.com"), None);
        assert_eq!(of_arn("arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP"), Some("us-west-1"));
        assert_eq!(of_arn("arn:aws:s3:::b"), None);
    }
}
