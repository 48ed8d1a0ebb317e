//! `auditferry sink test`: checks that a sink's receiver can be reached, accepts our credentials and takes an event.

use std::path::PathBuf;

use crate::cli::{Status, loaded};
use crate::collector::{self, SinkTestError, SinkTestStep};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Send one marked event to a sink and wait until its receiver has it. Reads, delivers and stores nothing else.
    Test(Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration file; repeatable, later files override earlier ones.
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// The sink's name: `siem` for `[sink.siem]`.
    name: String,
}

pub(super) fn run(Command::Test(args): &Command) -> Status {
    let loaded = match loaded(&args.config) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime cannot be started: {error}");
            return Status::Internal;
        }
    };
    let mut tell = |step: SinkTestStep| println!("{}", sentence(&step));
    match runtime.block_on(collector::test_sink(&loaded.config, &args.name, &mut tell)) {
        Ok(()) => Status::Done,
        Err(error) => {
            eprintln!("sink {}: {error}", args.name);
            status(&error)
        }
    }
}

fn sentence(step: &SinkTestStep) -> String {
    match step {
        SinkTestStep::Opened => "opened: secrets and certificates are there".to_owned(),
        SinkTestStep::Resolved { place, addresses } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("resolved: {place} is at {}", addresses.join(", "))
        }
        SinkTestStep::Connected { address } => {
            let address = address.map(|address| format!(" at {address}")).unwrap_or_default();
            format!("connected: somebody answers{address}")
        }
        SinkTestStep::Secured { version } => format!("secured: each side trusts the other, by {version}"),
        SinkTestStep::Answered => "answered: the receiver let us in and read the event".to_owned(),
        SinkTestStep::Taken { uid, caveat } => {
            let caveat = caveat.map(|caveat| format!("\nnote: {caveat}")).unwrap_or_default();
            format!(
                "taken: the receiver has the event; look there for the uid {uid}, or for `auditferrySinkTest`{caveat}"
            )
        }
    }
}

fn status(error: &SinkTestError) -> Status {
    match error {
        SinkTestError::Unknown(_) | SinkTestError::Local => Status::Usage,
        SinkTestError::Open(_) => Status::Config,
        SinkTestError::Unresolved { .. }
        | SinkTestError::Unconnected { .. }
        | SinkTestError::Unavailable(_)
        | SinkTestError::Unacknowledged(_) => Status::Unavailable,
        SinkTestError::Insecure { .. } | SinkTestError::Misconfigured(_) => Status::Refused,
        SinkTestError::Refused(_) => Status::Corrupt,
        SinkTestError::Unmade(_) => Status::Internal,
    }
}
