//! Databricks records, and whether each was delivered as often as expected.

use std::collections::BTreeMap;
use std::path::Path;

/// How often each line occurs.
pub type Multiset = BTreeMap<String, u64>;

/// The `n`th record: a line of the Databricks audit log, without its line end.
pub fn record(n: u64) -> String {
    format!(
        r#"{{"version":"2.0","auditLevel":"WORKSPACE_LEVEL","timestamp":{},"workspaceId":"3049059095686970","sourceIPAddress":"10.20.30.40","userAgent":"curl/7.64.1","sessionId":"s1","userIdentity":{{"email":"bob@example.com","subjectName":null}},"serviceName":"clusters","actionName":"create","requestId":"request-{n}","requestParams":{{"cluster_name":"c{n}"}},"response":{{"statusCode":200,"errorMessage":null,"result":"{{}}"}}}}"#,
        1_767_225_600_000 + n
    )
}

/// The first lines of an access log. Quarantine keeps such records whole.
pub fn access_lines(count: usize) -> Vec<String> {
    let log = std::fs::read_to_string("tests/fixtures/s3_access/2024-02-12-08-00-00-0A1B2C3D4E5F6789").unwrap();
    log.lines().take(count).map(str::to_owned).collect()
}

pub fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(record).collect()
}

/// An object of these records, one a line.
pub fn object(records: &[String]) -> Vec<u8> {
    let mut content = Vec::new();
    for record in records {
        content.extend_from_slice(record.as_bytes());
        content.push(b'\n');
    }
    content
}

pub fn counted<'a>(lines: impl IntoIterator<Item = &'a String>) -> Multiset {
    let mut counts = Multiset::new();
    for line in lines {
        *counts.entry(line.clone()).or_default() += 1;
    }
    counts
}

/// The whole lines of a file, which may be written to at the same time; empty if there is no file.
pub fn lines_of(path: &Path) -> Vec<String> {
    let mut content = std::fs::read(path).unwrap_or_default();
    let end = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    content.truncate(end);
    String::from_utf8(content).unwrap().lines().map(str::to_owned).collect()
}

/// Asserts that each line came exactly as often as it is expected.
///
/// # Panics
/// Names what was lost and what was repeated.
pub fn assert_once_each(delivered: &[String], expected: &[String]) {
    let (delivered, expected) = (counted(delivered), counted(expected));
    let lost = missing(&expected, &delivered);
    let repeated = missing(&delivered, &expected);
    assert!(
        lost.is_empty() && repeated.is_empty(),
        "{} lost, {} repeated or never written; lost: {:?}; too much: {:?}",
        lost.values().sum::<u64>(),
        repeated.values().sum::<u64>(),
        lost.iter().take(3).collect::<Vec<_>>(),
        repeated.iter().take(3).collect::<Vec<_>>(),
    );
}

/// The lines that `whole` has more often than `part`, and how much more often.
pub fn missing(whole: &Multiset, part: &Multiset) -> Multiset {
    let lacking = |line: &String, count: &u64| count.saturating_sub(part.get(line).copied().unwrap_or_default());
    whole.iter().map(|(line, count)| (line.clone(), lacking(line, count))).filter(|(_, lacking)| *lacking > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_is_noticed() {
        let noticed = std::panic::catch_unwind(|| assert_once_each(&records([1, 2, 2]), &records([1, 2])));
        assert!(noticed.is_err());
    }

    #[test]
    fn a_lost_line_is_noticed() {
        let noticed = std::panic::catch_unwind(|| assert_once_each(&records([1]), &records([1, 1])));
        assert!(noticed.is_err());
    }
}
