//! Delivery to each sink. Parts wait in the sink's queue; its worker gathers them into batches, seals, sends and
//! commits them.

pub(super) mod gate;

pub(super) mod queue;

pub(super) mod recovery;

pub(super) mod tracker;

pub(super) mod worker;
