//! Indices of feeds, sinks and a feed's encoders, as types of their own, so that none is taken for another.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// A feed's index, in the configuration's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FeedId(pub(super) usize);

/// A sink's index, in the configuration's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct SinkId(pub(super) usize);

/// An encoder's index among those of its feed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct EncoderId(pub(super) usize);

impl From<FeedId> for usize {
    fn from(id: FeedId) -> Self {
        id.0
    }
}

impl From<SinkId> for usize {
    fn from(id: SinkId) -> Self {
        id.0
    }
}

/// One `T` for each feed, or for each sink.
#[derive(Debug)]
pub(super) struct Per<I, T>(Vec<T>, PhantomData<I>);

pub(super) type PerFeed<T> = Per<FeedId, T>;
pub(super) type PerSink<T> = Per<SinkId, T>;

impl<I, T> Per<I, T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> PerFeed<T> {
    pub(super) fn ids(&self) -> impl Iterator<Item = FeedId> + use<T> {
        (0..self.0.len()).map(FeedId)
    }
}

impl<T> PerSink<T> {
    pub(super) fn ids(&self) -> impl Iterator<Item = SinkId> + use<T> {
        (0..self.0.len()).map(SinkId)
    }
}

impl<I, T> FromIterator<T> for Per<I, T> {
    fn from_iter<S: IntoIterator<Item = T>>(items: S) -> Self {
        Self(items.into_iter().collect(), PhantomData)
    }
}

impl<I: Into<usize>, T> Index<I> for Per<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        &self.0[id.into()]
    }
}

impl<I: Into<usize>, T> IndexMut<I> for Per<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.0[id.into()]
    }
}
