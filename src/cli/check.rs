//! `auditferry check`: whether a configuration can be run, told without running it.

use std::path::PathBuf;

use crate::cli::{Status, loaded};
use crate::config::state_dir;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration file; repeatable, later ones override earlier. Variables such as AUDITFERRY__LIMITS__BATCH_BYTES
    /// override all of them.
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
}

/// Prints one line when all is well, else every fault with its file, line and key.
pub(super) fn run(args: &Args) -> Status {
    let loaded = match loaded(&args.config) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let config = &loaded.config;
    if let Some(doubt) = state_dir::doubt(&config.state_dir) {
        eprintln!("warning: state_dir {} is on {doubt}", config.state_dir.display());
    }
    if let Some((who, mode)) = state_dir::exposed(&config.state_dir) {
        let place = config.state_dir.display();
        eprintln!(
            "warning: state_dir {place} has mode {mode:04o}, so that {who} may look into it: as its owner, chmod 0700 {place}"
        );
    }
    println!(
        "configuration is valid: {}, {}, {}",
        counted(config.feed.len(), "feed"),
        counted(config.sink.len(), "sink"),
        counted(config.identity.len(), "identity"),
    );
    Status::Done
}

fn counted(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}
