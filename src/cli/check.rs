//! `auditferry check`: checks a configuration without running it.

use std::path::PathBuf;

use crate::cli::{Status, loaded};
use crate::config::doubts::doubts;
use crate::identity::{Http, has_region};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration file; repeatable, later files override earlier ones. Variables such as
    /// AUDITFERRY__LIMITS__BATCH_BYTES override all of them.
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
}

/// Prints one line if the configuration is valid, otherwise every fault with its file, line and key. Warnings are about
/// things that may differ on the daemon's machine, and do not change the result.
pub(super) fn run(args: &Args) -> Status {
    let loaded = match loaded(&args.config) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let config = &loaded.config;
    let has_region = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(has_region()),
        Err(error) => {
            eprintln!("the runtime cannot be started: {error}");
            return Status::Internal;
        }
    };
    let doubts = doubts(&loaded, has_region);
    for warning in &doubts.warnings {
        eprintln!("warning: {warning}");
    }
    for problem in &doubts.problems {
        eprintln!("{problem}");
    }
    if !doubts.problems.is_empty() {
        return Status::Config;
    }
    if config.asks_aws()
        && let Err(error) = Http::from_environment()
    {
        eprintln!("warning: AWS cannot be asked as this environment says: {error}");
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
