//! `auditferry backup`: copies the checkpoint store, for a restore after a disk is lost.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::checkpoint::{BackupError, back_up};
use crate::cli::{Status, loaded, open_status};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The daemon's configuration file; repeatable, as for `run`. Only its state_dir is used.
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// The directory for the copy, which must be empty or not exist yet.
    #[arg(value_name = "DIRECTORY")]
    to: PathBuf,
}

/// Makes the copy and prints its path.
pub(super) fn run(args: &Args) -> Status {
    let loaded = match loaded(&args.config) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    match back_up(&loaded.config.state_dir, &args.to) {
        Ok(path) => {
            println!("{}", path.display());
            Status::Done
        }
        Err(error) => {
            eprintln!("{error}");
            status(&error)
        }
    }
}

fn status(error: &BackupError) -> Status {
    match error {
        BackupError::Source(error) => open_status(error),
        BackupError::Occupied(_) => Status::Usage,
        BackupError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => Status::Refused,
        BackupError::Io { .. } | BackupError::Sqlite(_) => Status::Io,
        BackupError::Busy => Status::Again,
    }
}
