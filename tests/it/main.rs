//! Promises of the whole daemon, each kept by the real process against emulated services.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

mod activities;
mod config;
mod container_logs;
mod container_pieces;
mod damage;
mod delivery;
mod deploy;
mod directory;
mod emulators;
mod encodings;
mod events;
mod file_sink;
mod identity;
mod kill;
mod lakefs;
mod memory;
mod model;
mod notifications;
mod oddities;
mod overwrite;
mod quarantine;
mod reading;
mod redacting_feed;
mod redaction;
mod restart;
mod s3_access;
mod scan;
mod shutdown;
mod sink_options;
mod telling;
mod users;
