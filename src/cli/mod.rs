//! What can be asked for on the command line, one file a subcommand, and with which code the program ends.

mod backup;

mod check;

mod content;

mod decode;

mod decoded;

mod demo;

mod health;

mod origin;

mod quarantine;

mod run;

mod sink;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::checkpoint::{OpenError, StoreError};
use crate::collector;
use crate::config::load::{LoadError, Loaded, load};
use crate::identity::IdentityError;
use crate::identity::fault::FaultKind;
use crate::notification::queue::QueueError;
use crate::notification::scan::ScanError;
use crate::sink::OpenError as SinkOpenError;

/// Carries audit logs out of S3 into a SIEM, each record once.
#[derive(Debug, Parser)]
#[command(name = "auditferry", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the collector: until it is stopped, or with --once until what is there now is delivered.
    Run(run::Args),
    /// Show what the daemon does, with a delivery of its own in a temporary directory.
    Demo,
    /// Ask the running daemon whether it is alive, for health checks of containers.
    Health(health::Args),
    /// Load and check a configuration, without touching the network.
    Check(check::Args),
    /// Show what a file of records says, record by record, without delivering anything.
    Decode(decode::Args),
    /// Copy the checkpoint store into a directory. Works beside a running daemon.
    Backup(backup::Args),
    /// Look at what could not be decoded or read, try it again, or delete it. Works beside a running daemon.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Try a sink: whether its receiver can be reached, lets us in and takes an event.
    #[command(subcommand)]
    Sink(sink::Command),
}

/// How the program ends: the codes of sysexits(3). The service manager does not try again on `Usage`, `Corrupt` and
/// `Config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// Input or the checkpoint store is damaged, or some records were refused.
    Corrupt = 65,
    /// A file, or something in quarantine, that was named is not there.
    NoInput = 66,
    /// Something outside cannot be reached.
    Unavailable = 69,
    /// A fault of the program's own.
    Internal = 70,
    /// A disk failed or is full, or the state directory is gone.
    Io = 74,
    /// Another process is at work, something is to be tried again, or the daemon is not live or not ready.
    Again = 75,
    /// Somebody refuses: file permissions, IAM.
    Refused = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Does what the arguments ask for. The first is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody to tell is no reason to panic. Help and version are asked for, and no error.
            let _ = error.print();
            return if error.use_stderr() { Status::Usage } else { Status::Done }.into();
        }
    };
    let status = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo => demo::run(),
        Command::Health(args) => health::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Quarantine(command) => quarantine::run(&command),
        Command::Sink(command) => sink::run(&command),
    };
    status.into()
}

/// The configuration in these files and the environment. Every fault in it is told on standard error.
fn loaded(files: &[PathBuf]) -> Result<Loaded, Status> {
    load(files, std::env::vars_os()).map_err(|error| {
        eprintln!("{error}");
        load_status(&error)
    })
}

/// Why the configuration could not be used, as a code.
fn load_status(error: &LoadError) -> Status {
    match error {
        LoadError::Unreadable { source, .. } => match source.kind() {
            ErrorKind::NotFound => Status::NoInput,
            ErrorKind::PermissionDenied => Status::Refused,
            ErrorKind::InvalidData => Status::Config,
            _ => Status::Io,
        },
        LoadError::Invalid(_) => Status::Config,
    }
}

/// Why the checkpoint store could not be opened, as a code.
fn open_status(error: &OpenError) -> Status {
    match error {
        OpenError::Locked { .. } => Status::Again,
        OpenError::Newer { .. } | OpenError::Older { .. } => Status::Config,
        OpenError::Corrupt { .. } => Status::Corrupt,
        OpenError::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => Status::NoInput,
            ErrorKind::PermissionDenied => Status::Refused,
            _ => Status::Io,
        },
        OpenError::Full { .. } | OpenError::Sqlite(_) => Status::Io,
    }
}

/// Why the checkpoint store could not be read or written, as a code.
fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::Corrupt { .. } => Status::Corrupt,
        StoreError::Full | StoreError::Gone(_) | StoreError::Failed(_) => Status::Io,
        StoreError::TakenOver => Status::Again,
        StoreError::Overtaken { .. } | StoreError::Closed => Status::Internal,
    }
}

/// What the service manager and its operator are to make of the end.
fn collector_status(error: &collector::Error) -> Status {
    match error {
        collector::Error::Open(error) => open_status(error),
        collector::Error::Store(error) => store_status(error),
        collector::Error::Identity(error) => match error {
            IdentityError::Refused { .. } => Status::Refused,
            IdentityError::Unavailable { .. } => Status::Unavailable,
            IdentityError::Misconfigured { .. } | IdentityError::RegionMissing { .. } => Status::Config,
        },
        collector::Error::Queue(QueueError::Denied { kind: FaultKind::NoQueue, .. })
        | collector::Error::Place(ScanError::Denied { kind: FaultKind::NoBucket, .. }) => Status::NoInput,
        collector::Error::Queue(QueueError::Denied { .. }) | collector::Error::Place(ScanError::Denied { .. }) => {
            Status::Refused
        }
        collector::Error::Place(ScanError::Missing { .. }) => Status::NoInput,
        collector::Error::Queue(_) | collector::Error::Place(_) => Status::Unavailable,
        collector::Error::Admin { source, .. } if source.kind() == ErrorKind::PermissionDenied => Status::Refused,
        collector::Error::Admin { .. } => Status::Unavailable,
        collector::Error::Config(_) => Status::Config,
        collector::Error::Sink {
            source: SinkOpenError::NoGroup { .. } | SinkOpenError::NoRegion | SinkOpenError::Service(_),
            ..
        } => Status::Config,
        collector::Error::Sink { source: SinkOpenError::Lookup { .. }, .. } => Status::Unavailable,
        collector::Error::Unfinished(_) => Status::Again,
        collector::Error::Panic(_) => Status::Internal,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_configuration_may_be_layered() {
        let cli = Cli::try_parse_from(["auditferry", "run", "--config", "a.toml", "--config", "b.toml", "--once"]);
        assert!(matches!(cli.unwrap().command, Command::Run(args) if args.config.len() == 2 && args.once));
    }

    #[test]
    fn run_without_a_configuration_is_a_wrong_command_line() {
        assert!(Cli::try_parse_from(["auditferry", "run"]).is_err());
    }
}
