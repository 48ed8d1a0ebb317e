//! What the tests use: the emulated services, the daemon's process, its log and its output.

pub mod aws;

pub mod chance;

pub mod credentials;

pub mod daemon;

pub mod ecs;

pub mod elasticsearch;

pub mod emulator;

pub mod http;

pub mod inside;

pub mod lease;

pub mod log;

pub mod ocsf;

pub mod outage;

pub mod proxy;

pub mod receiver;

pub mod receivers;

pub mod records;

pub mod sentinel;

pub mod service_manager;

pub mod small_s3;

pub mod splunk;

pub mod tunnel;

pub mod user_api;

pub mod verdict;

pub mod waiting;

pub mod world;
pub mod wrappers;
