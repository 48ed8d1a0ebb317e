//! Promises of the whole daemon, each kept by the real process against emulated services.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

mod delivery;
mod directory;
mod emulators;
mod events;
mod identity;
mod kill;
mod memory;
mod model;
mod notifications;
mod overwrite;
mod reading;
mod restart;
mod s3_access;
mod scan;
mod shutdown;
