//! The daemon's log: its entries, and which of them are unexpected.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// What the log says of an object that cannot be read.
pub const READ_FAILED: &str = "a read failed and is tried again";

/// The JSON log of one process, as far as it is written.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    pub level: String,
    pub message: String,
    /// The whole line.
    pub line: String,
    fields: Value,
}

impl Entry {
    pub fn field(&self, name: &str) -> Option<String> {
        match &self.fields[name] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

impl Log {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.text().lines().map(entry).collect()
    }

    /// The first entry with this message.
    pub fn said(&self, message: &str) -> Option<Entry> {
        self.entries().into_iter().find(|entry| entry.message == message)
    }

    /// The first entry of a failed read of this kind.
    pub fn failed_read(&self, kind: &str) -> Option<Entry> {
        let is_told = |entry: &Entry| entry.message == READ_FAILED && entry.field("kind").as_deref() == Some(kind);
        self.entries().into_iter().find(is_told)
    }

    /// The lines at WARN or ERROR, or not in JSON, that contain none of the `expected` texts.
    pub fn unexpected(&self, expected: &[&str]) -> Vec<String> {
        let quiet = |entry: &Entry| matches!(entry.level.as_str(), "INFO" | "DEBUG" | "TRACE");
        let entries = self.entries().into_iter().filter(|entry| !quiet(entry));
        entries.map(|entry| entry.line).filter(|line| !expected.iter().any(|part| line.contains(part))).collect()
    }

    /// The last 60 lines, to show why a test failed.
    pub fn end(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

fn entry(line: &str) -> Entry {
    let parsed: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    let fields = if parsed["fields"].is_object() { parsed["fields"].clone() } else { parsed.clone() };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Entry { level: text(&parsed["level"]), message: text(&fields["message"]), line: line.to_owned(), fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_nobody_expected_is_noticed_and_so_is_what_is_no_json() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let warning = r#"{"level":"WARN","fields":{"message":"object was rewritten","object":"s3://b/k"}}"#;
        std::fs::write(file.path(), format!("{{\"level\":\"INFO\",\"fields\":{{}}}}\n{warning}\nthread panicked\n"))
            .unwrap();
        let log = Log::at(file.path());
        assert_eq!(log.unexpected(&[]), [warning, "thread panicked"]);
        assert_eq!(log.unexpected(&["was rewritten"]), ["thread panicked"]);
        assert_eq!(log.said("object was rewritten").unwrap().field("object").unwrap(), "s3://b/k");
    }
}
