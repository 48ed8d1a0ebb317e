//! `auditferry health`: asks the running daemon of a configuration whether it is live, or ready.

use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use crate::admin::{self, Answer, AskError};
use crate::cli::{Status, load_status};
use crate::config::load::load_listen;
use crate::visible::is_hidden;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ask whether the daemon is ready for work, not only whether it is alive.
    #[arg(long)]
    ready: bool,
    /// A configuration file of the daemon; repeatable, as for `run`. Only its table [admin] is used.
    #[arg(long, value_name = "FILE", default_value = "/etc/auditferry/auditferry.toml")]
    config: Vec<PathBuf>,
}

/// Prints the daemon's answer. The daemon is healthy if it answers 200.
pub(super) fn run(args: &Args) -> Status {
    let listen = match load_listen(&args.config, std::env::vars_os()) {
        Ok(Some(listen)) => listen,
        Ok(None) => {
            let files: Vec<_> = args.config.iter().map(|file| file.display().to_string()).collect();
            eprintln!(
                "admin.listen is not configured in {}: the daemon serves no health; set it, for example to \"127.0.0.1:9598\"",
                files.join(", ")
            );
            return Status::Config;
        }
        Err(error) => {
            eprintln!("{error}");
            return load_status(&error);
        }
    };
    let page = if args.ready { "/readyz" } else { "/livez" };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime cannot be started: {error}");
            return Status::Internal;
        }
    };
    match runtime.block_on(admin::ask(&listen, page)) {
        Ok(answer) => told(&answer),
        Err(error) => {
            eprintln!("{error}");
            status(&error)
        }
    }
}

fn told(answer: &Answer) -> Status {
    let shown = answer.body.replace(|character| is_hidden(character) && character != '\n', " ");
    // The exit code has the result, even if standard output is closed.
    let _ = io::stdout().write_all(shown.as_bytes());
    match answer.status.as_u16() {
        200 => Status::Done,
        503 => Status::Again,
        other => {
            eprintln!("the answer has the HTTP status {other}: what listens there is not this daemon");
            Status::Unavailable
        }
    }
}

fn status(error: &AskError) -> Status {
    match error {
        AskError::AnyPort => Status::Config,
        AskError::Unreachable { source, .. } if source.kind() == ErrorKind::PermissionDenied => Status::Refused,
        AskError::Unreachable { .. } | AskError::Silent { .. } | AskError::Garbled { .. } => Status::Unavailable,
    }
}
