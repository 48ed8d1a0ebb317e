//! Objects that whoever makes the world answers for, such as a test.

use std::fmt::Debug;

use crate::notification::ObjectId;
use crate::notification::scan::{Found, ScanError};
use crate::object::body::{Answer, Snapshot};
use crate::object::version::{Condition, Part, Range, ReadError, Reading};

/// A place of objects that are nowhere else. What it promises is what [`Objects`](crate::object::Objects) does.
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

    /// All that it holds below the prefix.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Result<Vec<Found>, ScanError>>;
}
