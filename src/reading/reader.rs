//! The machine around a reading: an async function, polled until it needs the next input.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::reading::counts::Counts;
use crate::reading::input::{Input, Need};
use crate::reading::plan::ReadingError;
use crate::reading::supply::{SoFar, Supply};
use crate::room::Room;

/// How a step ended.
#[derive(Debug)]
pub enum Step<T> {
    /// The reading goes on once this is answered.
    Need(Need),
    /// The driver should take what was emitted. The reading goes on with [`Input::GoOn`].
    Emit,
    /// The reading has ended.
    Done(Result<T, ReadingError>),
}

/// A reading under way, which emits items `I` and ends with a `T`. Dropping it leaves nothing behind.
pub struct Reader<I, T> {
    supply: Supply,
    outlet: Outlet<I>,
    work: Pin<Box<dyn Future<Output = Result<T, ReadingError>> + Send>>,
}

impl<I: Send + 'static, T> Reader<I, T> {
    pub(super) fn new<W>(room: &Room, begin: impl FnOnce(Supply, Outlet<I>) -> W) -> Self
    where
        W: Future<Output = Result<T, ReadingError>> + Send + 'static,
    {
        let supply = Supply::new(room.clone());
        let outlet = Outlet::new(&supply);
        let work = Box::pin(begin(supply.clone(), outlet.clone()));
        Self { supply, outlet, work }
    }

    /// Counts of the reading so far, including the last step.
    pub(crate) fn so_far(&self) -> SoFar {
        self.supply.so_far()
    }

    /// Goes on with `input` as far as possible, and appends what is emitted to `out`. The first step takes
    /// [`Input::GoOn`]. An input that was not asked for changes nothing. A step takes as long as the work on about 1
    /// MiB of content, or on the range it was given. An empty `out` says that the driver has taken everything emitted
    /// before. Once 1.5 MiB are in `out`, the step returns [`Step::Emit`].
    pub fn step(&mut self, input: Input, out: &mut Vec<I>) -> Step<T> {
        if out.is_empty() {
            self.supply.count_anew();
        }
        self.supply.give(input);
        let polled = self.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.outlet.take(out);
        match polled {
            Poll::Ready(ended) => Step::Done(ended),
            Poll::Pending => self.supply.need().map_or(Step::Emit, Step::Need),
        }
    }
}

/// Items that a reading has emitted and its driver has not taken yet.
pub(super) struct Outlet<I> {
    items: Arc<Mutex<Vec<I>>>,
    supply: Supply,
}

impl<I> Clone for Outlet<I> {
    fn clone(&self) -> Self {
        Self { items: Arc::clone(&self.items), supply: self.supply.clone() }
    }
}

impl<I> Outlet<I> {
    pub(super) fn new(supply: &Supply) -> Self {
        Self { items: Arc::default(), supply: supply.clone() }
    }

    /// Publishes the counts so far to the driver.
    pub(super) fn show(&self, counts: &Counts) {
        self.supply.show(counts);
    }

    /// Emits an item, of `bytes` in length.
    pub(super) fn put(&self, item: I, bytes: usize) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.supply.count_out(bytes);
    }

    fn take(&self, out: &mut Vec<I>) {
        out.append(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
