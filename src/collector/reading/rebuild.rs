//! Makes one part of a sealed batch again, from what its object holds now.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::runtime::Handle;

use crate::batch::{Advance, Part};
use crate::checkpoint::{CheckpointStore, SealedPart, SinkPosition, StoreError};
use crate::collector::feeds::Feed;
use crate::collector::ids::EncoderId;
use crate::collector::job::task::JobError;
use crate::collector::reading::fan_out::{FanOut, SinkOutput, Target};
use crate::collector::reading::pass::Pass;
use crate::collector::reading::source::Source;
use crate::config::Limits;
use crate::event::Encoder;
use crate::object::{ReadError, Snapshot};

/// What is to be made again.
pub(crate) struct RebuildWork {
    pub feed: Arc<Feed>,
    pub sealed: SealedPart,
    pub encoder: Encoder,
    pub store: CheckpointStore,
    pub limits: Limits,
}

/// Why a part cannot be made again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the object holds now cannot be read.
    #[error("{0}")]
    Damaged(String),
}

impl From<JobError> for RebuildError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Read(error) => Self::Read(error),
            JobError::Store(error) => Self::Store(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// The part with as many of its records as the object still holds. Blocks; to be run on a worker's thread.
///
/// # Errors
/// The object cannot be read, now or ever.
pub(crate) fn rebuild(work: RebuildWork, snapshot: Snapshot, runtime: &Handle) -> Result<Part, RebuildError> {
    let RebuildWork { feed, sealed, encoder, store, limits } = work;
    let Advance { object, before: from, .. } = sealed.advance.clone();
    let position = store.position(&object, &[])?;
    let mut source = Source::new(snapshot, &object, &feed.place, runtime);
    let mut version = source.version.clone();
    version.etag = sealed.etag.clone();
    version.last_modified_ms = sealed.last_modified_ms;
    let version = Arc::new(version);
    let context = feed.context(&object, sealed.last_modified_ms);
    let output = SinkOutput::new(
        Target::Kept(Vec::new()),
        EncoderId::default(),
        SinkPosition { accepted: from, ..SinkPosition::default() },
    );
    let mut fan_out = FanOut::new(&context, Arc::clone(&version), vec![encoder], vec![output], runtime);
    fan_out.accepted = position.progress.accepted;
    fan_out.quarantined_positions = store.quarantined_positions(&object, from)?;
    let progress = AtomicU64::new(0);
    let mut pass = Pass {
        source: &mut source,
        fan_out: &mut fan_out,
        context: &context,
        before: &position.progress,
        framed_bytes: position.framed_bytes,
        store: &store,
        limits: &limits,
        progress: &progress,
        shutdown: None,
    };
    pass.again(&sealed.advance)?;
    let Some(SinkOutput { target: Target::Kept(parts), .. }) = fan_out.outputs.pop() else {
        return Err(RebuildError::Damaged("its parts were not kept".to_owned()));
    };
    Ok(joined(sealed.advance, version, &parts))
}

fn joined(advance: Advance, version: Arc<crate::object::Version>, parts: &[Part]) -> Part {
    let whole = crate::batch::Batch::of(String::new(), 0, parts);
    Part { advance, version, acceptance: None, redelivers: None, bytes: whole.bytes, ends: whole.ends, ids: whole.ids }
}
