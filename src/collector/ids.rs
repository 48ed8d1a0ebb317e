//! Positions among feeds, sinks and a feed's encoders: types of their own, so that none is taken for another.

use std::ops::{Index, IndexMut};

/// A feed's position among all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FeedId(pub(super) usize);

/// A sink's position among all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct SinkId(pub(super) usize);

/// An encoder's position among its feed's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct EncoderId(pub(super) usize);

/// One of something for each sink.
#[derive(Debug)]
pub(super) struct PerSink<T>(Vec<T>);

impl<T> PerSink<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SinkId> + use<T> {
        (0..self.0.len()).map(SinkId)
    }
}

impl<T> FromIterator<T> for PerSink<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T> Index<SinkId> for PerSink<T> {
    type Output = T;

    fn index(&self, sink: SinkId) -> &T {
        &self.0[sink.0]
    }
}

impl<T> IndexMut<SinkId> for PerSink<T> {
    fn index_mut(&mut self, sink: SinkId) -> &mut T {
        &mut self.0[sink.0]
    }
}
