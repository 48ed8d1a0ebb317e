//! Intake from the queues: messages are received, kept invisible while they are worked on, and deleted or given back.

pub(super) mod acknowledge;

pub(super) mod in_flight;

pub(super) mod receive;

pub(super) mod unrouted;

pub(super) mod visibility;

#[cfg(test)]
mod tests;
