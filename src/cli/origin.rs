//! Opens the content to decode: a file, standard input, or an object of a bucket or feed.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::cli::content::Source;
use crate::cli::{Status, collector_status};
use crate::collector::{FetchError, fetch, owner, owner_of_file};
use crate::config::Config;
use crate::event::Scope;
use crate::family::{Context, Family};
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::ReadError;
use crate::reading::Contexts;

/// The bucket's name for a file that belongs to no feed.
const BUCKET: &str = "local";

/// What to decode.
pub(super) enum Wanted<'a> {
    /// An object of a bucket.
    Object(ObjectId),
    /// A file, or standard input for `-`, with its key in its bucket if that is not its name.
    File { path: &'a Path, key: Option<&'a str> },
}

/// The content, with everything that decoding needs.
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) object: ObjectId,
    pub(super) last_modified_ms: Option<i64>,
    pub(super) family: &'static Family,
    pub(super) contexts: Box<dyn Contexts>,
}

/// Why the content could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OriginError {
    #[error("{}: {source}", path.display())]
    Unopened { path: PathBuf, source: io::Error },
    #[error("no feed of the configuration reads {0}: say its --family")]
    NoFeed(String),
    #[error("the feed {feed} reads it as {is}, not as {said}: leave --family out")]
    AnotherFamily { feed: String, is: String, said: &'static str },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

impl OriginError {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Unopened { source, .. } if source.kind() == ErrorKind::NotFound => Status::NoInput,
            Self::Unopened { source, .. } if source.kind() == ErrorKind::PermissionDenied => Status::Refused,
            Self::Unopened { .. } | Self::Fetch(FetchError::Disk { .. }) => Status::Io,
            Self::NoFeed(_) | Self::AnotherFamily { .. } => Status::Usage,
            Self::Runtime(_) => Status::Internal,
            Self::Fetch(FetchError::Place(error)) => collector_status(error),
            Self::Fetch(FetchError::Read(error)) => match error {
                ReadError::NotFound { .. } | ReadError::Denied { kind: FaultKind::NoBucket, .. } => Status::NoInput,
                ReadError::Denied { .. } | ReadError::Archived { .. } => Status::Refused,
                ReadError::Changed { .. } => Status::Again,
                ReadError::Unavailable { .. } => Status::Unavailable,
                ReadError::Damaged { .. } => Status::Corrupt,
            },
        }
    }
}

/// Opens the content as the feed of the configuration that reads it, or else as `family`.
pub(super) fn open(
    wanted: Wanted<'_>,
    config: Option<&Config>,
    family: Option<&'static Family>,
) -> Result<Origin, OriginError> {
    let agreed = |config: &Config, feed: &str| match family {
        Some(said) if config.feed[feed].family != said.name => {
            let is = config.feed[feed].family.clone();
            Err(OriginError::AnotherFamily { feed: feed.to_owned(), is, said: said.name })
        }
        _ => Ok(()),
    };
    match wanted {
        Wanted::Object(object) => {
            if let Some((config, feed)) = config.and_then(|config| Some((config, owner(config, &object)?))) {
                agreed(config, feed)?;
                return fetched(config, feed, Some(&object.bucket), &object.key);
            }
            let Some(family) = family else { return Err(OriginError::NoFeed(object.to_string())) };
            fetched(&Config::of_bucket(family.name, &object.bucket), "decode", None, &object.key)
        }
        Wanted::File { path, key } => {
            if let Some((config, (feed, key))) = config.and_then(|config| Some((config, owner_of_file(config, path)?)))
            {
                agreed(config, feed)?;
                return fetched(config, feed, None, &key);
            }
            let Some(family) = family else { return Err(OriginError::NoFeed(path.display().to_string())) };
            let (source, last_modified_ms) = opened(path)?;
            let name = path.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy());
            let object = ObjectId::new(BUCKET, key.unwrap_or(&name));
            Ok(Origin { source, object, last_modified_ms, family, contexts: Box::new(OfFamily(family)) })
        }
    }
}

fn fetched(config: &Config, feed: &str, bucket: Option<&str>, key: &str) -> Result<Origin, OriginError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(OriginError::Runtime)?;
    let fetched = runtime.block_on(fetch(config, feed, bucket, key))?;
    if !fetched.is_wanted {
        eprintln!("note: the feed {feed} does not read {}: its `keys` or `ignore` leave it out", fetched.object);
    }
    Ok(Origin {
        source: Source::File(fetched.file),
        object: fetched.object,
        last_modified_ms: fetched.last_modified_ms,
        family: fetched.family,
        contexts: fetched.contexts,
    })
}

/// Decodes a file that belongs to no feed.
struct OfFamily(&'static Family);

impl Contexts for OfFamily {
    fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a> {
        Context::new(self.0, object, Scope::Object(object), last_modified_ms, "decode")
    }
}

/// Opens a file. Also returns the time of its last change, in milliseconds since the epoch; `None` for standard input.
fn opened(path: &Path) -> Result<(Source, Option<i64>), OriginError> {
    if path.as_os_str() == "-" {
        return Ok((Source::Stream(io::stdin()), None));
    }
    let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
    let (file, metadata) = opened.map_err(|source| OriginError::Unopened { path: path.to_owned(), source })?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((Source::File(file), modified.and_then(|since| i64::try_from(since.as_millis()).ok())))
}
