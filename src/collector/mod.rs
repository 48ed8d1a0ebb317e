//! collector

pub mod shutdown;
