//! Carries audit logs out of S3 into a SIEM, each record once.
//!
//! ```text
//! notification -> object -> records -> delta -> event -> batch -> sink -> checkpoint
//!  what changed   its bytes  one by one  new ones  OCSF    grouped  sent    remembered
//! ```
//!
//! The modules below stand in the order in which data passes them, and a module uses only modules above it. `collector`
//! moves one change along the whole path; it alone spawns tasks, sleeps, retries, reads the clock and logs. What stands
//! between (records, delta, event, family, batch, and what each sink encodes and classifies) is plain functions.

pub mod secret;

pub mod transport;

pub mod identity;

pub mod notification;

pub mod object;

pub mod records;

pub mod delta;

pub mod users;

pub mod event;

pub mod family;

pub mod batch;

pub mod sink;

pub mod checkpoint;

pub mod config;

pub mod telemetry;

pub mod admin;

pub mod collector;

pub mod cli;
