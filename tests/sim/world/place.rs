//! Objects with versions, as S3 has them: a read goes on with the version that it began.

use std::time::Duration;

use auditferry::testing::identity::fault::FaultKind;
use auditferry::testing::notification::scan::{Found, ScanError};
use auditferry::testing::notification::{ObjectChange, ObjectId};
use auditferry::testing::object::{
    Answer, Body, Chunks, Condition, MemoryPlace, Part, Range, ReadError, Reading, Snapshot, Version,
};
use bytes::Bytes;

use crate::plan::SHELF;
use crate::world::{State, World};

/// After so long a client gives up on what is never answered.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One object's whole past.
#[derive(Default)]
pub struct Object {
    pub versions: Vec<Written>,
    /// Whether the last version is there; else it was deleted.
    pub is_there: bool,
    /// How many versions there were when it was last said not to be there.
    pub missed: usize,
}

/// One version.
pub struct Written {
    pub lines: Vec<String>,
    pub etag: Box<str>,
    pub written_ms: i64,
    /// A reader had all of it, or was told that it is the version that it knows.
    pub was_answered: bool,
}

impl Object {
    pub fn lines(&self) -> &[String] {
        self.versions.last().filter(|_| self.is_there).map_or(&[], |written| &written.lines)
    }
}

impl Written {
    fn bytes(&self) -> Bytes {
        self.lines.iter().map(|line| format!("{line}\n")).collect::<String>().into()
    }

    fn version(&self) -> Version {
        Version {
            etag: self.etag.clone(),
            version_id: None,
            last_modified_ms: Some(self.written_ms),
            size_bytes: self.bytes().len() as u64,
        }
    }
}

/// The place of one feed.
#[derive(Clone, Debug)]
pub struct Place {
    pub world: World,
    pub bucket: &'static str,
}

/// The version that is read, if the condition is met.
enum Current {
    Unchanged,
    Version { index: usize, version: Version, bytes: Bytes },
}

impl Place {
    fn key(&self, object: &ObjectId) -> (&'static str, String) {
        (self.bucket, object.key.to_string())
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
            Some((count - 1, found.versions.last_mut()?))
        });
        let Some((index, written)) = found else {
            state.note(format!("{call} {}: not there", key.1));
            return Err(ReadError::NotFound { object: object.clone() });
        };
        let answer = match condition {
            Condition::UnlessEtag(etag) if *etag == written.etag => {
                written.was_answered = true;
                Ok(Current::Unchanged)
            }
            Condition::OnlyEtag(etag) if *etag != written.etag => Err(ReadError::Changed { object: object.clone() }),
            _ => Ok(Current::Version { index, version: written.version(), bytes: written.bytes() }),
        };
        let word = match &answer {
            Ok(Current::Unchanged) => "unchanged",
            Ok(Current::Version { .. }) => "opened",
            Err(_) => "changed",
        };
        state.note(format!("{call} {} version {index}: {word}", key.1));
        answer
    }
}

fn unavailable(object: &ObjectId, reason: &str) -> ReadError {
    ReadError::Unavailable { object: object.clone(), kind: FaultKind::Unavailable, reason: reason.to_owned() }
}

impl MemoryPlace for Place {
    fn read<'a>(
        &'a self,
        object: &'a ObjectId,
        condition: Condition,
    ) -> Answer<'a, Result<Reading<Snapshot>, ReadError>> {
        Box::pin(async move {
            let failed = |_| unavailable(object, "503");
            self.world.gate("GET").await.map_err(failed)?;
            let found = self.find("GET", object, &condition)?;
            self.world.gate("GET's answer").await.map_err(failed)?;
            Ok(match found {
                Current::Unchanged => Reading::Unchanged,
                Current::Version { index, version, bytes } => {
                    let body = Coming::new(self, object, index, bytes);
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
            let failed = |_| unavailable(object, "503");
            self.world.gate("ranged GET").await.map_err(failed)?;
            let found = self.find("ranged GET", object, &condition)?;
            self.world.gate("ranged GET's answer").await.map_err(failed)?;
            Ok(match found {
                Current::Unchanged => Reading::Unchanged,
                Current::Version { version, bytes, .. } => {
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
            let failed = |_| unavailable(object, "503");
            self.world.gate("HEAD").await.map_err(failed)?;
            match self.find("HEAD", object, &Condition::Any)? {
                Current::Version { version, .. } => Ok(version.etag),
                Current::Unchanged => Err(unavailable(object, "no version")),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Result<Vec<Found>, ScanError>> {
        Box::pin(async move {
            let failed = |_| ScanError::Unavailable {
                place: self.bucket.to_owned(),
                kind: FaultKind::Unavailable,
                reason: "503".to_owned(),
            };
            self.world.gate("LIST").await.map_err(failed)?;
            let found = {
                let state = self.world.state();
                let objects = state.objects.iter().filter(|((bucket, key), object)| {
                    *bucket == self.bucket && key.starts_with(prefix) && object.is_there
                });
                objects.filter_map(|((bucket, key), object)| change(bucket, key, object)).map(Found::Object).collect()
            };
            self.world.gate("LIST's answer").await.map_err(failed)?;
            Ok(found)
        })
    }
}

fn change(bucket: &str, key: &str, object: &Object) -> Option<ObjectChange> {
    let written = object.versions.last()?;
    Some(ObjectChange {
        object: ObjectId::new(bucket, key),
        etag: Some(written.etag.clone()),
        size_bytes: Some(written.bytes().len() as u64),
        is_archived: false,
        written_at_ms: Some(written.written_ms),
    })
}

/// A body on its way.
#[derive(Debug)]
struct Coming {
    world: World,
    object: ObjectId,
    key: (&'static str, String),
    index: usize,
    bytes: Bytes,
    chunk_bytes: usize,
    /// How long each chunk takes.
    each: Duration,
    /// Where it breaks off, and whether only after everyone has waited for more.
    breaks_at: Option<(usize, bool)>,
    at: usize,
    is_over: bool,
}

impl Coming {
    fn new(place: &Place, object: &ObjectId, index: usize, bytes: Bytes) -> Self {
        let mut state = place.world.state();
        let (rate, length) = (state.rates.body, bytes.len().max(1));
        let chunk_bytes = if rate == 0 { length } else { 1 + state.chance.below(length) };
        let each =
            if state.happens(rate) { Duration::from_millis(state.chance.below(5000) as u64) } else { Duration::ZERO };
        let breaks_at = state.happens(rate).then(|| (state.chance.below(length), state.chance.below(4) == 0));
        let (world, key) = (place.world.clone(), place.key(object));
        drop(state);
        Self { world, object: object.clone(), key, index, bytes, chunk_bytes, each, breaks_at, at: 0, is_over: false }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.world.gate("body").await.map_err(|_| unavailable(&self.object, "the connection was reset"))?;
        if self.world.state().rates.body == 0 {
            // The world is healed, and what was on its way with it.
            (self.each, self.breaks_at, self.chunk_bytes) = (Duration::ZERO, None, self.bytes.len().max(1));
        }
        if !self.each.is_zero() {
            tokio::time::sleep(self.each).await;
        }
        let mut end = self.bytes.len().min(self.at + self.chunk_bytes);
        if let Some((breaks_at, in_silence)) = self.breaks_at {
            if self.at >= breaks_at {
                if in_silence {
                    tokio::time::sleep(TIMEOUT).await;
                }
                self.world.state().note(format!("the body of {} breaks off at byte {breaks_at}", self.key.1));
                return Err(unavailable(&self.object, "the body broke off"));
            }
            end = end.min(breaks_at);
        }
        let chunk = self.bytes.slice(self.at..end);
        self.at = end;
        if self.at == self.bytes.len() {
            let mut state = self.world.state();
            if let Some(object) = state.objects.get_mut(&self.key) {
                object.versions[self.index].was_answered = true;
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

impl Chunks for Coming {
    fn next(&mut self) -> Answer<'_, Option<Result<Bytes, ReadError>>> {
        Box::pin(async move {
            if self.is_over {
                return None;
            }
            let chunk = self.chunk().await.transpose();
            self.is_over = !matches!(chunk, Some(Ok(_)));
            chunk
        })
    }
}

impl State {
    /// The entity tag of a version: of its content in a bucket, as S3 has it, and another each time on the shelf, as a
    /// file's is.
    pub fn etag_of(&self, bucket: &str, lines: &[String]) -> Box<str> {
        let mut hasher = blake3::Hasher::new();
        lines.iter().for_each(|line| _ = hasher.update(line.as_bytes()).update(b"\n"));
        if bucket == SHELF {
            hasher.update(&self.written.to_le_bytes());
        }
        hasher.finalize().to_hex()[..32].into()
    }
}
