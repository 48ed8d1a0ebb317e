//! Writes each log event as one line without hidden characters, even if a text in it came from an attacker.

use std::fmt;
use std::io::{self, Write as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::visible::{is_hidden, visible};

/// The form of log lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) format: LogFormat,
    /// Whether each line begins with its priority, as the journal reads it (sd-daemon(3)).
    pub(super) has_priorities: bool,
}

impl Form {
    /// Writes each line of a text to standard error with the priority of INFO. What cannot be written is lost, like a log
    /// line.
    pub(crate) fn write(self, text: &str) {
        let priority = if self.has_priorities { priority(Level::INFO) } else { "" };
        for line in text.lines() {
            let _ = writeln!(io::stderr(), "{priority}{line}");
        }
    }
}

/// Another format's output as one line without hidden characters.
pub(super) struct OneLine<F> {
    pub(super) format: F,
    pub(super) form: Form,
}

/// The syslog priority of a level.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'n> FormatFields<'n> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.format.format_event(context, Writer::new(&mut text), event)?;
        let line = text.trim_end_matches('\n');
        if self.form.has_priorities {
            writer.write_str(priority(*event.metadata().level()))?;
        }
        match self.form.format {
            _ if !line.contains(is_hidden) => writer.write_str(line)?,
            LogFormat::Readable => writer.write_str(&visible(line.chars()))?,
            LogFormat::Json => escape_json(line, &mut writer)?,
        }
        writer.write_char('\n')
    }
}

/// In JSON hidden characters stand only in texts, where a JSON parser reads an escape as the same character.
fn escape_json(line: &str, writer: &mut Writer<'_>) -> fmt::Result {
    for character in line.chars() {
        if is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{debug, error, info, info_span, warn};

    use super::*;
    use crate::telemetry::subscriber;

    /// A key with control characters, line ends and marks of reading direction, as it was once met.
    const KEY: &str = "databricks/\u{1b}[31mX\nFAKE LOG\r\u{202e}\u{9b}\u{7f}\u{e0041}.json";

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(form: Form, say: impl FnOnce()) -> String {
        let written = Written::default();
        let to = written.clone();
        let subscriber = subscriber(form, "debug".parse().unwrap(), move || to.clone());
        tracing::subscriber::with_default(subscriber, say);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    fn written(format: LogFormat) -> String {
        said(Form { format, has_priorities: false }, || {
            let _span = info_span!("object", object = %KEY).entered();
            info!(key = %KEY, quoted = KEY, debugged = ?KEY, "{KEY}");
        })
    }

    #[test]
    fn in_the_journal_each_line_has_its_priority() {
        for format in [LogFormat::Readable, LogFormat::Json] {
            let text = said(Form { format, has_priorities: true }, || {
                error!("lost");
                warn!("odd");
                info!("begun");
                debug!("read");
            });
            let begins: Vec<&str> = text.lines().map(|line| &line[..3]).collect();
            assert_eq!(begins, ["<3>", "<4>", "<6>", "<7>"], "{text}");
        }
    }

    #[test]
    fn a_readable_event_is_one_line_in_which_all_is_seen() {
        let text = written(LogFormat::Readable);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_hidden), "{line:?}");
        let key = r"databricks/\u{1b}[31mX\nFAKE LOG\r\u{202e}\u{9b}\u{7f}\u{e0041}.json";
        assert!(line.contains(&format!("key={key} ")), "{line}");
    }

    #[test]
    fn an_event_in_json_is_one_line_in_which_all_is_seen_and_means_the_same() {
        let text = written(LogFormat::Json);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_hidden), "{line:?}");
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["key"], &event["quoted"], &event["message"]), (&KEY.into(), &KEY.into(), &KEY.into()));
        assert_eq!(event["span"]["object"], KEY);
    }
}
