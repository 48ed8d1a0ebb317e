//! What can be asked for on the command line, one file a subcommand, and with which code the program ends.

mod decode;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// Carries audit logs out of S3 into a SIEM, each record once.
#[derive(Debug, Parser)]
#[command(name = "auditferry", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a file of records says, record by record, without delivering anything.
    Decode(decode::Args),
}

/// How the program ends: the codes of sysexits(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// Input or the checkpoint store is damaged, or some records were refused.
    Corrupt = 65,
    /// A file that was named is not there.
    NoInput = 66,
    /// A disk failed or is full.
    Io = 74,
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
            let _ = error.print();
            return if error.use_stderr() { Status::Usage } else { Status::Done }.into();
        }
    };
    let status = match cli.command {
        Command::Decode(args) => decode::run(&args),
    };
    status.into()
}
