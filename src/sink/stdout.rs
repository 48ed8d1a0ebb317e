//! Writes events to standard output, as JSON or as readable lines. At least once, since the reader acknowledges
//! nothing.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::batch::{Batch, Request};
use crate::identity::Identity;
use crate::sink::{Answer, Delivery, DeliveryError, Flow, Kind, OpenError, Output, Receipt, Sink};
use crate::visible::is_hidden;

/// The default size at which a batch is cut.
const BATCH_BYTES: usize = 8 << 20;

/// `type = "stdout"`. At least once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// `json` (the default) or `readable`: a short line per event for people.
    #[serde(default)]
    pub style: StdoutStyle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdoutStyle {
    #[default]
    Json,
    Readable,
}

impl Kind for StdoutConfig {
    fn flow(&self) -> Flow {
        Flow::serial(BATCH_BYTES)
    }

    fn output(&self) -> Output<'_> {
        Output::Console
    }

    fn check(&self, _problem: &mut dyn FnMut(&str, &str)) {}

    fn open(&self, _lanes: u16, _identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        Ok(vec![Box::new(StdoutSink { style: self.style })])
    }
}

struct StdoutSink {
    style: StdoutStyle,
}

impl Sink for StdoutSink {
    fn deliver<'a>(&'a self, request: &'a Request, _now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(self.write(&request.batch))
    }
}

impl StdoutSink {
    async fn write(&self, batch: &Batch) -> Result<Delivery, DeliveryError> {
        let mut out = tokio::io::stdout();
        let written = async {
            match self.style {
                StdoutStyle::Json => {
                    for bytes in batch.chunks() {
                        out.write_all(bytes).await?;
                    }
                }
                StdoutStyle::Readable => {
                    let lines: String = batch.lines().map(readable).collect();
                    out.write_all(lines.as_bytes()).await?;
                }
            }
            out.flush().await
        };
        match written.await {
            Ok(()) => Ok(Delivery::Taken(Receipt::accepted())),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Err(DeliveryError::Misconfigured("nobody reads standard output any more".to_owned()))
            }
            Err(error) => Err(DeliveryError::unavailable(format!("cannot write to standard output: {error}"))),
        }
    }
}

/// One OCSF event as a readable line: when, who, what, how it ended, from where. Other encodings stay as they are.
fn readable(line: &[u8]) -> String {
    let Ok(event) = serde_json::from_slice::<Value>(line) else {
        return String::from_utf8_lossy(line).into_owned();
    };
    let (Some(time_ms), Some(class)) = (event["time"].as_i64(), event["class_name"].as_str()) else {
        return String::from_utf8_lossy(line).into_owned();
    };
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let when = jiff::Timestamp::from_millisecond(time_ms).map(|time| time.to_string()).unwrap_or_default();
    let user = &event["actor"]["user"];
    let who = ["name", "email_addr", "uid"]
        .iter()
        .find_map(|field| user[field].as_str())
        .or(text("/user/name"))
        .unwrap_or("unknown");
    let what = text("/metadata/event_code").or(text("/activity_name")).unwrap_or("?");
    let mut out = format!(
        "{when:<24}  {:<28}  {:<32}  {:<18}  {:<8}",
        printable(who),
        printable(what),
        printable(class),
        text("/status").unwrap_or("-")
    );
    if let Some(ip) = text("/src_endpoint/ip") {
        let _ = write!(out, "  {}", printable(ip));
    }
    let mut out = out.trim_end().to_owned();
    out.push('\n');
    out
}

/// Replaces hidden characters: they could drive the reader's terminal, or make one name look like another.
fn printable(text: &str) -> String {
    text.chars().map(|char| if is_hidden(char) { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_when_who_what_and_how_it_ended() {
        let line = br#"{"time":1704067200000,"class_name":"Authentication","status":"Success","actor":{"user":{"name":"ann"}},"metadata":{"event_code":"accounts/login"},"src_endpoint":{"ip":"192.0.2.1"}}"#;
        let words: Vec<String> = readable(line).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["2024-01-01T00:00:00Z", "ann", "accounts/login", "Authentication", "Success", "192.0.2.1"]);
    }

    #[test]
    fn what_the_source_wrote_cannot_drive_the_terminal() {
        let line = br#"{"time":1,"class_name":"x","actor":{"user":{"name":"\u001b[2Jann"}}}"#;
        assert!(!readable(line).contains('\u{1b}'));
    }

    #[test]
    fn a_record_that_is_no_event_is_shown_as_it_is() {
        assert_eq!(readable(b"plain text\n"), "plain text\n");
    }
}
