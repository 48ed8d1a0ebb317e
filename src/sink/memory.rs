//! A sink that keeps its batches in memory, for tests, and that can be told to fail.

use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::Batch;
use crate::sink::{DeliveryError, Receipt};

/// What a memory sink was given, shared with whoever looks on.
#[derive(Clone, Default)]
pub struct Delivered {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lines: Vec<Vec<u8>>,
    failing: bool,
}

impl Delivered {
    /// Every line delivered so far, in order.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// From now on deliveries fail (or work again).
    pub fn fail(&self, failing: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failing = failing;
    }
}

pub struct MemorySink {
    delivered: Delivered,
}

impl MemorySink {
    pub fn new(delivered: Delivered) -> Self {
        Self { delivered }
    }

    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<Receipt, DeliveryError> {
        let mut state = self.delivered.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failing {
            return Err(DeliveryError::Unavailable("told to fail".to_owned()));
        }
        state.lines.extend(batch.lines().map(<[u8]>::to_vec));
        Ok(Receipt::accepted())
    }
}
