//! Objects with versions, as in S3: a read continues with the version that it began with.

use std::time::Duration;

use auditferry::testing::identity::fault::FaultKind;
use auditferry::testing::notification::scan::{Found, ScanError};
use auditferry::testing::notification::{ObjectChange, ObjectId};
use auditferry::testing::object::{
    Answer, Body, Condition, MemoryPlace, Part, Range, ReadError, Reading, Snapshot, Version,
};
use bytes::Bytes;

use crate::chance::Chance;
use crate::plan::SHELF;
use crate::world::body::Coming;
use crate::world::{State, World};

/// How long a client waits for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// How a bucket is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Serves,
    /// 403.
    Refuses,
    /// 503.
    Fails,
    /// Takes requests and never answers.
    Silent,
    /// Sends bodies at a byte a second.
    Slow,
}

impl Mode {
    pub fn draw(chance: &mut Chance) -> Self {
        [Self::Refuses, Self::Fails, Self::Silent, Self::Slow][chance.below(4)]
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Serves => "bucket serves",
            Self::Refuses => "bucket refuses",
            Self::Fails => "bucket fails",
            Self::Silent => "bucket is silent",
            Self::Slow => "bucket is slow",
        }
    }
}

/// The whole history of one object.
#[derive(Default)]
pub struct Object {
    pub versions: Vec<Written>,
    /// Whether the last version exists. If not, it was deleted.
    pub is_there: bool,
    /// Whether the last version must be restored before it can be read.
    pub is_archived: bool,
    /// How many versions there had been when a reader was last told that the object does not exist.
    pub missed: usize,
}

/// One version.
pub struct Written {
    pub lines: Vec<String>,
    pub bytes: Bytes,
    pub etag: Box<str>,
    pub written_ms: i64,
    pub is_damaged: bool,
    /// Whether a reader had all of it, or was told that it is unchanged.
    pub was_answered: bool,
    /// Whether a reader was told that it is archived, or saw that it is damaged.
    pub was_unreadable: bool,
}

impl Object {
    /// The lines of the object's current content.
    pub fn lines(&self) -> &[String] {
        self.versions.last().filter(|_| self.is_there).map_or(&[], |written| &written.lines)
    }

    /// The lines that a reader can get now.
    pub fn readable(&self) -> &[String] {
        if self.is_unreadable() { &[] } else { self.lines() }
    }

    pub fn is_unreadable(&self) -> bool {
        self.is_there && (self.is_archived || self.versions.last().is_some_and(|written| written.is_damaged))
    }
}

impl Written {
    fn version(&self) -> Version {
        Version {
            etag: self.etag.clone(),
            version_id: None,
            last_modified_ms: Some(self.written_ms),
            size_bytes: self.bytes.len() as u64,
        }
    }
}

/// The place of one feed.
#[derive(Clone, Debug)]
pub struct Place {
    pub world: World,
    pub bucket: &'static str,
}

/// The answer to a read: the current version, unless the condition excludes it.
enum Current {
    Unchanged,
    Version { index: usize, version: Version, bytes: Bytes },
}

impl Place {
    fn key(&self, object: &ObjectId) -> (&'static str, String) {
        (self.bucket, object.key.to_string())
    }

    /// Waits for the request to arrive. Fails if the place is not served.
    async fn arrive(&self, call: &str, object: &ObjectId) -> Result<(), ReadError> {
        self.world.gate(call).await.map_err(|_| unavailable(object, "503"))?;
        let (object, kind) = (object.clone(), FaultKind::Denied);
        match self.world.state().mode_of_place(self.bucket) {
            Mode::Serves | Mode::Slow => return Ok(()),
            Mode::Refuses => return Err(ReadError::Denied { object, kind, reason: "403".to_owned() }),
            Mode::Fails => return Err(unavailable(&object, "503")),
            Mode::Silent => {}
        }
        tokio::time::sleep(TIMEOUT).await;
        Err(ReadError::Unavailable { object, kind: FaultKind::Timeout, reason: "no answer".to_owned() })
    }

    fn find(&self, call: &str, object: &ObjectId, condition: &Condition) -> Result<Current, ReadError> {
        let mut state = self.world.state();
        state.last_get_ms = state.now_ms();
        let key = self.key(object);
        let found = state.objects.get_mut(&key).and_then(|found| {
            let count = found.versions.len();
            if !found.is_there {
                found.missed = count;
                return None;
            }
            Some((count - 1, found.is_archived, found.versions.last_mut()?))
        });
        let Some((index, is_archived, written)) = found else {
            state.note(format!("{call} {}: not there", key.1));
            return Err(ReadError::NotFound { object: object.clone() });
        };
        let answer = match condition {
            _ if is_archived && call != "HEAD" => {
                written.was_unreadable = true;
                Err(ReadError::Archived { object: object.clone(), reason: "GLACIER".to_owned() })
            }
            Condition::UnlessEtag(etag) if *etag == written.etag => {
                written.was_answered = true;
                Ok(Current::Unchanged)
            }
            Condition::OnlyEtag(etag) if *etag != written.etag => Err(ReadError::Changed { object: object.clone() }),
            _ => {
                written.was_unreadable |= written.is_damaged && call != "HEAD";
                Ok(Current::Version { index, version: written.version(), bytes: written.bytes.clone() })
            }
        };
        let word = match &answer {
            Ok(Current::Unchanged) => "unchanged",
            Ok(Current::Version { .. }) => "opened",
            Err(ReadError::Archived { .. }) => "archived",
            Err(_) => "changed",
        };
        state.note(format!("{call} {} version {index}: {word}", key.1));
        answer
    }
}

pub fn unavailable(object: &ObjectId, reason: &str) -> ReadError {
    ReadError::Unavailable { object: object.clone(), kind: FaultKind::Unavailable, reason: reason.to_owned() }
}

impl MemoryPlace for Place {
    fn read<'a>(
        &'a self,
        object: &'a ObjectId,
        condition: Condition,
    ) -> Answer<'a, Result<Reading<Snapshot>, ReadError>> {
        Box::pin(async move {
            self.arrive("GET", object).await?;
            let found = self.find("GET", object, &condition)?;
            self.world.gate("GET's answer").await.map_err(|_| unavailable(object, "503"))?;
            Ok(match found {
                Current::Unchanged => Reading::Unchanged,
                Current::Version { index, version, bytes } => {
                    let body = Coming::new(self, object, self.key(object), index, bytes);
                    Reading::Changed(Snapshot { version, body: Body::Memory(Box::new(body)) })
                }
            })
        })
    }

    fn read_range<'a>(
        &'a self,
        object: &'a ObjectId,
        condition: Condition,
        range: Range,
    ) -> Answer<'a, Result<Reading<Part>, ReadError>> {
        Box::pin(async move {
            self.arrive("ranged GET", object).await?;
            let found = self.find("ranged GET", object, &condition)?;
            self.world.gate("ranged GET's answer").await.map_err(|_| unavailable(object, "503"))?;
            Ok(match found {
                Current::Unchanged => Reading::Unchanged,
                Current::Version { index, version, bytes } => {
                    // A reader of ranges need not fetch all of them to have read everything.
                    self.world.state().was_read(&self.key(object), index);
                    let size = version.size_bytes;
                    let (start, end) = match range {
                        Range::Between(start, end) => (start, end.min(size)),
                        Range::Last(length) => (size.saturating_sub(length), size),
                    };
                    Reading::Changed(Part { version, start, bytes: bytes.slice(start as usize..end as usize) })
                }
            })
        })
    }

    fn etag<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, Result<Box<str>, ReadError>> {
        Box::pin(async move {
            self.arrive("HEAD", object).await?;
            match self.find("HEAD", object, &Condition::Any)? {
                Current::Version { version, .. } => Ok(version.etag),
                Current::Unchanged => Err(unavailable(object, "no version")),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Result<Vec<Found>, ScanError>> {
        Box::pin(async move {
            let (place, reason) = (self.bucket.to_owned(), "503".to_owned());
            let failed = |kind| ScanError::Unavailable { place: place.clone(), kind, reason: reason.clone() };
            self.world.gate("LIST").await.map_err(|_| failed(FaultKind::Unavailable))?;
            let mode = self.world.state().mode_of_place(self.bucket);
            match mode {
                Mode::Serves | Mode::Slow => {}
                Mode::Silent => {
                    tokio::time::sleep(TIMEOUT).await;
                    return Err(failed(FaultKind::Timeout));
                }
                Mode::Fails => return Err(failed(FaultKind::Unavailable)),
                Mode::Refuses => {
                    return Err(ScanError::Denied { place, kind: FaultKind::Denied, reason: "403".to_owned() });
                }
            }
            let found = {
                let state = self.world.state();
                let objects = state.objects.iter().filter(|((bucket, key), object)| {
                    *bucket == self.bucket && key.starts_with(prefix) && object.is_there
                });
                objects.filter_map(|((bucket, key), object)| change(bucket, key, object)).map(Found::Object).collect()
            };
            self.world.gate("LIST's answer").await.map_err(|_| failed(FaultKind::Unavailable))?;
            Ok(found)
        })
    }
}

fn change(bucket: &str, key: &str, object: &Object) -> Option<ObjectChange> {
    let written = object.versions.last()?;
    Some(ObjectChange {
        object: ObjectId::new(bucket, key),
        etag: Some(written.etag.clone()),
        size_bytes: Some(written.bytes.len() as u64),
        is_archived: object.is_archived,
        written_at_ms: Some(written.written_ms),
    })
}

impl State {
    /// The entity tag of a version. In a bucket it is a hash of the content, as in S3. On the shelf it is new with each
    /// write, as for a file.
    pub fn etag_of(&self, bucket: &str, bytes: &[u8]) -> Box<str> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes);
        if bucket == SHELF {
            hasher.update(&self.written.to_le_bytes());
        }
        hasher.finalize().to_hex()[..32].into()
    }

    /// Notes that a reader has had all of a version.
    pub fn was_read(&mut self, key: &(&'static str, String), index: usize) {
        if let Some(object) = self.objects.get_mut(key) {
            object.versions[index].was_answered = true;
        }
    }

    /// How a bucket is served now.
    pub fn mode_of_place(&self, bucket: &str) -> Mode {
        match self.places.get(bucket) {
            Some((mode, until_ms)) if *until_ms > self.now_ms() => *mode,
            _ => Mode::Serves,
        }
    }
}
