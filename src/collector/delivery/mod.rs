//! Delivery to each sink: parts wait in its queue; its worker gathers them into batches, seals, sends and commits.

pub(super) mod gate;

pub(super) mod queue;

pub(super) mod recovery;

pub(super) mod tracker;

pub(super) mod worker;
