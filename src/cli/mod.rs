//! The command line, one file for each subcommand, and the program's exit codes.

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
    /// Run the collector until it is stopped, or with --once until everything that is there now is delivered.
    Run(run::Args),
    /// Show what the daemon does, with a made-up delivery in a temporary directory.
    Demo,
    /// Ask the running daemon whether it is alive, for health checks of containers.
    Health(health::Args),
    /// Load and check a configuration, without touching the network.
    Check(check::Args),
    /// Print the events of a file or object, record by record, without delivering anything.
    Decode(decode::Args),
    /// Copy the checkpoint store into a directory. Works beside a running daemon.
    Backup(backup::Args),
    /// List, requeue or delete what could not be decoded or read. Works beside a running daemon.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Test a sink: whether its receiver can be reached, accepts our credentials and takes an event.
    #[command(subcommand)]
    Sink(sink::Command),
}

/// The program's exit codes, from sysexits(3). The service manager does not restart the daemon after `Usage`, `Corrupt`
/// and `Config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// Input or the checkpoint store is damaged, or some records were refused.
    Corrupt = 65,
    /// A named file or quarantine entry does not exist.
    NoInput = 66,
    /// A service or file system does not answer.
    Unavailable = 69,
    /// A bug in the program.
    Internal = 70,
    /// A disk failed or is full, or the state directory is gone.
    Io = 74,
    /// Another process uses the state directory, work is left for a later run, or the daemon is not live or not ready.
    Again = 75,
    /// Permission is refused, by files or by AWS.
    Refused = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Runs the command in the arguments. The first argument is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed output must not panic. Help and version are no errors, although clap returns them as such.
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

/// Loads the configuration from these files and the environment. Prints every fault to standard error.
fn loaded(files: &[PathBuf]) -> Result<Loaded, Status> {
    load(files, std::env::vars_os()).map_err(|error| {
        eprintln!("{error}");
        load_status(&error)
    })
}

/// The exit code for a configuration that could not be loaded.
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

/// The exit code for a checkpoint store that could not be opened.
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

/// The exit code for a failed read or write of the checkpoint store.
fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::Corrupt { .. } => Status::Corrupt,
        StoreError::Full | StoreError::Gone(_) | StoreError::Failed(_) => Status::Io,
        StoreError::TakenOver => Status::Again,
        StoreError::Overtaken { .. } | StoreError::Closed => Status::Internal,
    }
}

/// The exit code for the end of the collector.
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
