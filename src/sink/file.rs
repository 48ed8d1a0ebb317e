//! Writes events as lines into a file, each event once: the position remembers the file's committed length.

mod access;

mod config;

mod identity;

mod members;

mod numbered;

mod opened;

mod position;

mod writer;

mod written;

use std::time::Duration;

use tokio::sync::Mutex;

use self::config::compression_of;
use self::writer::Writer;
use crate::batch::{Manifest, Request};
use crate::identity::Identity;
use crate::sink::http::body::Compression;
use crate::sink::{Answer, Delivery, Flow, Kind, LaneState, Moved, OpenError, Output, Resumed, Sink};

pub(crate) use access::Group;
pub use config::FileConfig;
pub(crate) use numbered::unnumbered;
pub(crate) use position::file_state;

/// The default size at which a batch is cut. It is large since each batch costs an fsync.
const BATCH_BYTES: usize = 8 << 20;

impl Kind for FileConfig {
    fn flow(&self) -> Flow {
        Flow::serial(BATCH_BYTES)
    }

    fn output(&self) -> Output<'_> {
        Output::File(&self.path)
    }

    fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        if !self.path.is_absolute() || self.path.file_name().is_none() {
            problem("path", "expected the absolute path of a file");
        }
        if compression_of(&self.path) != self.compression {
            // Other programs recognise a compressed file by its name.
            problem(
                "path",
                match self.compression {
                    Compression::None => "ends as a compressed file does: set `compression`, or give it another ending",
                    Compression::Gzip => "expected a name that ends in .gz, since `compression` is gzip",
                    Compression::Zstd => "expected a name that ends in .zst, since `compression` is zstd",
                },
            );
        }
        if self.rotate_bytes == Some(0) {
            problem("rotate_bytes", "expected at least 1 byte");
        }
        if self.rotate_after.is_some_and(|after| after < Duration::from_secs(1)) {
            problem("rotate_after", "expected at least 1s");
        }
        if let Some(Err(error @ OpenError::NoGroup { .. })) = self.group.as_ref().map(Group::id) {
            problem("group", &error.to_string());
        }
    }

    fn open(&self, _lanes: u16, _identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        Ok(vec![Box::new(FileSink(Mutex::new(Writer::new(self.clone())?)))])
    }
}

/// The one writer of the file. Concurrent calls wait for each other.
struct FileSink(Mutex<Writer>);

impl Sink for FileSink {
    fn resume<'a>(&'a self, lane: &'a LaneState, sealed: &'a [&'a Manifest], now_ms: i64) -> Answer<'a, Resumed> {
        Box::pin(async move { self.0.lock().await.resume(lane, sealed, now_ms).await })
    }

    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(async move { self.0.lock().await.deliver(&request.batch, now_ms).await })
    }

    fn take_back<'a>(&'a self, manifest: &'a Manifest, now_ms: i64) -> Answer<'a, Option<Moved>> {
        Box::pin(async move { self.0.lock().await.take_back(manifest, now_ms).await })
    }

    fn reopen(&self) -> Answer<'_, Option<Moved>> {
        Box::pin(async move { self.0.lock().await.reopen().await })
    }
}
