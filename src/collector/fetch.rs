//! Reads one object as its feed would, for `auditferry decode`: its bytes, and the context that makes events of its
//! records.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use crate::collector::build::{self, Identities};
use crate::collector::error::Error;
use crate::collector::feeds::is_below;
use crate::config::{Config, feed};
use crate::family::Family;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, ReadError, Reading};
use crate::reading::Contexts;

/// An object's bytes, and what decoding them needs.
pub(crate) struct Fetched {
    /// Its bytes as stored, in a file without a name.
    pub(crate) file: File,
    /// Its name as in the daemon's checkpoints and events.
    pub(crate) object: ObjectId,
    pub(crate) last_modified_ms: Option<i64>,
    pub(crate) family: &'static Family,
    pub(crate) contexts: Box<dyn Contexts>,
    /// Whether the feed's filters want its key.
    pub(crate) is_wanted: bool,
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Place(#[from] Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{object} cannot be kept in a temporary file: {source}")]
    Disk { object: ObjectId, source: io::Error },
}

/// The feed whose prefixes and bucket cover the object. A bucket that the feed reads through an access point, and the
/// access point, count as its bucket too.
pub(crate) fn owner<'c>(config: &'c Config, object: &ObjectId) -> Option<&'c str> {
    let is_in = |feed: &feed::Config| {
        let through = feed.read_through.iter().flat_map(|(bucket, through)| [bucket, through]);
        let is_named = feed.bucket.iter().chain(through).any(|bucket| **bucket == *object.bucket);
        is_named && is_below(&feed.prefixes, &object.key)
    };
    config.feed.iter().find(|(_, feed)| is_in(feed)).map(|(name, _)| name.as_str())
}

/// The feed whose directory a file is below, and its key there.
pub(crate) fn owner_of_file<'c>(config: &'c Config, path: &Path) -> Option<(&'c str, String)> {
    let path = path.canonicalize().ok()?;
    config.feed.iter().find_map(|(name, feed)| {
        let directory = feed.directory.as_deref()?.canonicalize().ok()?;
        Some((name.as_str(), path.strip_prefix(directory).ok()?.to_str()?.to_owned()))
    })
}

/// Reads an object of a feed: from `bucket`, or if that is `None`, from the feed's bucket. Users are not looked up.
///
/// # Errors
/// The feed's place cannot be reached, or the object cannot be read.
pub(crate) async fn fetch(config: &Config, feed: &str, bucket: Option<&str>, key: &str) -> Result<Fetched, FetchError> {
    let table = config.feed.get(feed).ok_or_else(|| Error::Config(format!("there is no [feed.{feed}]")))?;
    let table = feed::Config { users: None, ..table.clone() };
    let place = build::place(config, &table, &mut Identities::default()).await?;
    let feed = build::feed(config, feed, &table, place)?;
    let object = feed.canonical(ObjectId::new(bucket.unwrap_or(&feed.bucket), key));
    let mut snapshot = match feed.place.read(&object, Condition::Any).await? {
        Reading::Changed(snapshot) => snapshot,
        Reading::Unchanged => return Err(ReadError::NotFound { object }.into()),
    };
    let disk = |source| FetchError::Disk { object: object.clone(), source };
    let mut file = tempfile::tempfile().map_err(disk)?;
    while let Some(chunk) = snapshot.body.next().await {
        file.write_all(&chunk?).map_err(disk)?;
    }
    file.rewind().map_err(disk)?;
    Ok(Fetched {
        file,
        is_wanted: feed.wants(key),
        last_modified_ms: snapshot.version.last_modified_ms,
        family: feed.family,
        object,
        contexts: Box::new(feed),
    })
}
