//! The machine: a function that awaits its answers, polled until it needs the next one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::reading::counts::Counts;
use crate::reading::input::{Input, Need};
use crate::reading::plan::ReadingError;
use crate::reading::supply::{SoFar, Supply};
use crate::room::Room;

/// How far a step came.
#[derive(Debug)]
pub enum Step<T> {
    /// It goes on when this is answered.
    Need(Need),
    /// Enough is emitted to be taken: it goes on with [`Input::GoOn`].
    Emit,
    /// It has ended.
    Done(Result<T, ReadingError>),
}

/// A reading under way, which emits `I` and ends in `T`. A reading that is dropped leaves nothing behind.
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

    /// What it came to so far, the last step included.
    pub(crate) fn so_far(&self) -> SoFar {
        self.supply.so_far()
    }

    /// Goes on with `input` as far as possible, and appends what is emitted to `out`. The first step takes
    /// [`Input::GoOn`]. An input that was not asked for changes nothing. A step takes as long as the work on about a MiB
    /// of content, or on the range it was given. An empty `out` means that all that was emitted before has been taken: where
    /// it is not empty, the step after 1.5 MiB of it is [`Step::Emit`].
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

/// What a reading has emitted, until its driver takes it.
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

    /// Shows the driver what was counted so far.
    pub(super) fn show(&self, counts: &Counts) {
        self.supply.show(counts);
    }

    /// Emits an item of so many bytes.
    pub(super) fn put(&self, item: I, bytes: usize) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.supply.count_out(bytes);
    }

    fn take(&self, out: &mut Vec<I>) {
        out.append(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
