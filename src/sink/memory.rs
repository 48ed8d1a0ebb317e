//! A sink whose receiver is in this process: whoever makes the world, such as a test, says what it takes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::Batch;
use crate::sink::{DeliveryError, Manifest, Receipt};

/// An answer that may take its time, or never come.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeliveryError>> + Send + 'a>>;

/// Who takes what a memory sink is given.
pub trait MemoryReceiver: Send + Sync {
    /// Has the whole batch for good, once it returns.
    fn take<'a>(&'a self, batch: &'a Batch) -> Answer<'a, ()>;

    /// Whether it has all of what was sealed before the process ended. Receivers that cannot know say no.
    fn has<'a>(&'a self, manifest: &'a Manifest) -> Answer<'a, bool>;
}

/// Every line that was taken, in order; shared with whoever looks on.
#[derive(Clone, Default)]
pub struct Delivered(Arc<Mutex<Vec<Vec<u8>>>>);

impl Delivered {
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl MemoryReceiver for Delivered {
    fn take<'a>(&'a self, batch: &'a Batch) -> Answer<'a, ()> {
        let lines = batch.lines().map(<[u8]>::to_vec);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
        Box::pin(std::future::ready(Ok(())))
    }

    fn has<'a>(&'a self, _manifest: &'a Manifest) -> Answer<'a, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

pub struct MemorySink(Box<dyn MemoryReceiver>);

impl MemorySink {
    pub(super) fn new(receiver: impl MemoryReceiver + 'static) -> Self {
        Self(Box::new(receiver))
    }

    pub(super) async fn deliver(&self, batch: &Batch) -> Result<Receipt, DeliveryError> {
        self.0.take(batch).await?;
        Ok(Receipt::accepted())
    }

    pub(super) async fn settled(&self, manifest: &Manifest) -> Result<Option<Receipt>, DeliveryError> {
        Ok(self.0.has(manifest).await?.then(Receipt::accepted))
    }
}
