//! A job's task, and how a job ends.

use std::sync::Arc;

use crate::checkpoint::{ObjectPosition, Passed, StoreError};
use crate::collector::feeds::Feed;
use crate::collector::ids::SinkId;
use crate::collector::job::gathered::Gathered;
use crate::collector::progress::Progress;
use crate::collector::services::Services;
use crate::delta::DeltaError;
use crate::delta::table::TableError;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::ReadError;

/// One object to be delivered to some sinks.
pub(in crate::collector) struct Task {
    pub feed: Arc<Feed>,
    pub object: ObjectId,
    /// The entity tag that all of its changes name. `None` if they differ.
    pub etag: Option<Box<str>>,
    /// The sinks to deliver to.
    pub sinks: Vec<SinkId>,
    /// Records of the object wait in a gathering sink's lane, so the store does not yet know what that sink passes.
    pub is_gathered: bool,
    /// The job's progress.
    pub progress: Arc<Progress>,
    /// With `--once`: the object is not read again later, so a last line without an end is not held back.
    pub once: bool,
}

impl Task {
    /// The object's position, with those of the task's sinks.
    pub(super) async fn position(&self, services: &Services) -> Result<ObjectPosition, StoreError> {
        let names: Vec<Arc<str>> = self.sinks.iter().map(|&sink| Arc::clone(&services.workers[sink].name)).collect();
        services.store.positions.position(&self.object, &names).await
    }
}

/// How a successful job ended.
#[derive(Debug, Default)]
pub(in crate::collector) struct JobEnd {
    /// All of the object's content is accepted, and the store has recorded that.
    pub finished: bool,
    /// The sinks that have not had all of it.
    pub deferred: Vec<SinkId>,
    /// The parts left with those of them that gather.
    pub gathered: Vec<Gathered>,
    /// The file is so young that it must be read once more.
    pub is_young: bool,
    /// Sinks that the job was not for may lack something: this is another version than the last one read to its end, or
    /// some of it was requeued.
    pub is_new: bool,
    /// The proof that every sink of the feed has it, if that is known already.
    pub passed: Option<Passed>,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::collector) enum JobError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The version with this entity tag can never be read, or not before it is restored.
    #[error("{object} cannot be read: {reason}")]
    Unreadable { object: ObjectId, etag: Box<str>, kind: FaultKind, reason: String },
    /// The checkpoint moved on while the object was read.
    #[error("the checkpoint moved on while the object was read")]
    Overtaken,
    /// The decoder panicked on the version with this entity tag.
    #[error("the decoder failed over the object")]
    Panicked { etag: Box<str> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JobError {
    /// The error when records could not be compared. A store error stays what it is: damage, or a failed disk.
    pub(in crate::collector) fn comparing(object: &ObjectId, error: DeltaError) -> Self {
        Self::Store(match error {
            DeltaError::Table(TableError(source)) => match source.downcast::<StoreError>() {
                Ok(error) => *error,
                Err(source) => StoreError::Failed(format!("{object}: {source}")),
            },
            DeltaError::Incomplete { .. } => StoreError::Corrupt { row: format!("{object}: {error}") },
        })
    }
}
