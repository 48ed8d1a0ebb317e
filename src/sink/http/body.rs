//! Makes the body of a request: its events one after another, each in its envelope, compressed or not.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::batch::{Request, RequestEvent, Selection};
use crate::event::Choices;
use crate::sink::Template;

/// The compression levels: the defaults of gzip and zstd, a balance of time and size.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// The body of a request, and which events are in it.
pub(in crate::sink) struct Body {
    pub(in crate::sink) bytes: Bytes,
    pub(in crate::sink) sent: Selection,
    /// Events that the receiver would cut or refuse, and why. They are not in the body.
    pub(in crate::sink) too_long: Vec<(u32, Box<str>)>,
}

/// How the events of a request are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One event per line.
    #[default]
    Ndjson,
    JsonArray,
    /// One event per request.
    Single,
}

impl Format {
    pub(in crate::sink) fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::JsonArray | Self::Single => "application/json",
        }
    }

    pub(in crate::sink) fn begin_event(self, is_first: bool, text: &mut Vec<u8>) {
        match (self, is_first) {
            (Self::JsonArray, true) => text.push(b'['),
            (Self::JsonArray, false) => text.push(b','),
            (Self::Ndjson, false) => text.push(b'\n'),
            (Self::Ndjson, true) | (Self::Single, _) => {}
        }
    }

    pub(in crate::sink) fn end(self, text: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        match self {
            Self::JsonArray => text.push(b']'),
            Self::Ndjson => text.push(b'\n'),
            Self::Single => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(in crate::sink) fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// Compresses `text`. Equal text gives equal bytes: the gzip header has no time.
    pub(in crate::sink) fn compressed(self, text: Vec<u8>) -> Vec<u8> {
        match self {
            Self::None => text,
            Self::Gzip | Self::Zstd => self.compressed_chunks([&text]),
        }
    }

    /// Compresses a text that comes in chunks, as one gzip member or one zstd frame.
    pub(in crate::sink) fn compressed_chunks(self, chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
        let mut chunks = chunks.into_iter();
        let mut write = |out: &mut dyn Write| chunks.try_for_each(|chunk| out.write_all(chunk.as_ref()));
        let mut plain = Vec::new();
        let written = match self {
            Self::None => write(&mut plain).map(|()| plain),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(plain, flate2::Compression::new(GZIP_LEVEL));
                write(&mut encoder).and_then(|()| encoder.finish())
            }
            Self::Zstd => zstd::Encoder::new(plain, ZSTD_LEVEL).and_then(|mut encoder| {
                write(&mut encoder)?;
                encoder.finish()
            }),
        };
        written.expect("writing to memory does not fail")
    }
}

/// What is written around an event. It depends on the event alone, not on the clock or on chance.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::sink) struct Envelope(Vec<EnvelopePart>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sink) enum EnvelopePart {
    Text(String),
    /// The event's time in seconds since the epoch, with three decimals.
    Seconds,
    Uid,
    /// The id of the event's batch.
    Batch,
    Name(EnvelopeName),
    /// The event as a JSON value: unchanged if its encoding is JSON, else as a JSON string.
    Event,
}

/// A name that a template makes for the event. Its characters need no escapes in JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sink) struct EnvelopeName {
    pub(in crate::sink) template: Template,
    /// The choices of the sink's templates. `at` is the index of this template's choice.
    pub(in crate::sink) choices: Choices,
    pub(in crate::sink) at: usize,
}

impl Envelope {
    pub(in crate::sink) fn new(parts: Vec<EnvelopePart>) -> Self {
        Self(parts)
    }

    /// About how many bytes the envelope adds to an event.
    pub(in crate::sink) fn bytes(&self) -> u32 {
        let bytes = self.0.iter().map(|part| match part {
            EnvelopePart::Text(text) => text.len(),
            EnvelopePart::Seconds => 14,
            EnvelopePart::Uid => 36,
            EnvelopePart::Batch => 64,
            EnvelopePart::Name(name) => name.template.bytes_max(),
            EnvelopePart::Event => 0,
        });
        u32::try_from(bytes.sum::<usize>()).unwrap_or(u32::MAX)
    }

    pub(in crate::sink) fn write(
        &self,
        request: &Request,
        event: &RequestEvent<'_>,
        format: Format,
        text: &mut Vec<u8>,
    ) {
        if self.0.is_empty() {
            match format {
                Format::Ndjson => text.extend_from_slice(event.encoded),
                Format::JsonArray | Format::Single => write_json(event.encoded, text),
            }
        }
        for part in &self.0 {
            match part {
                EnvelopePart::Text(own) => text.extend_from_slice(own.as_bytes()),
                EnvelopePart::Seconds => {
                    let ms = event.head.time_ms.max(0);
                    text.extend_from_slice(format!("{}.{:03}", ms / 1000, ms % 1000).as_bytes());
                }
                EnvelopePart::Uid => text.extend_from_slice(event.head.uid.to_string().as_bytes()),
                EnvelopePart::Batch => text.extend_from_slice(request.batch.id.as_bytes()),
                EnvelopePart::Name(EnvelopeName { template, choices, at }) => {
                    let chosen = choices.chosen(event.head.choice, *at);
                    text.extend_from_slice(template.render(event.provenance, event.head, chosen).as_bytes());
                }
                EnvelopePart::Event => write_json(event.encoded, text),
            }
        }
    }
}

/// An encoder may write something that is not JSON: a record as its source wrote it.
fn write_json(encoded: &[u8], text: &mut Vec<u8>) {
    if serde_json::from_slice::<IgnoredAny>(encoded).is_ok() {
        text.extend_from_slice(encoded);
    } else {
        let value = serde_json::Value::String(String::from_utf8_lossy(encoded).into_owned());
        // Some readers take these two characters for line ends.
        let value = value.to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        text.extend_from_slice(value.as_bytes());
    }
}
