//! Objects in memory, for example a test's.

use std::fmt::Debug;

use crate::notification::ObjectId;
use crate::notification::scan::{Found, ScanError};
use crate::object::body::{Answer, Snapshot};
use crate::object::version::{Condition, Part, Range, ReadError, Reading};

/// A place in memory. It keeps the promises of [`Objects`](crate::object::Objects).
pub trait MemoryPlace: Debug + Send + Sync {
    fn read<'a>(
        &'a self,
        object: &'a ObjectId,
        condition: Condition,
    ) -> Answer<'a, Result<Reading<Snapshot>, ReadError>>;

    fn read_range<'a>(
        &'a self,
        object: &'a ObjectId,
        condition: Condition,
        range: Range,
    ) -> Answer<'a, Result<Reading<Part>, ReadError>>;

    fn etag<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, Result<Box<str>, ReadError>>;

    /// All objects whose keys begin with the prefix.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Result<Vec<Found>, ScanError>>;
}
