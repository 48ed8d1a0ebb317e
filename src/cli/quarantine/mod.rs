//! `auditferry quarantine`: lists, requeues or deletes what could not be decoded or read, or was refused by a sink.

mod shown;

mod unrouted;

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use clap::ValueEnum;

use crate::checkpoint::{Inspection, Kind, OpenError, Selection, StoreError};
use crate::cli::{Status, load_status, open_status, store_status};
use crate::collector::clock::Clock;
use crate::config::load::{LoadError, load};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List entries, newest last.
    List(shown::ListArgs),
    /// Show all of one entry, with its body.
    Show(shown::ShowArgs),
    /// Have entries tried again, by the running daemon within seconds or else by the next daemon.
    Requeue(RequeueArgs),
    /// Delete entries for good.
    Purge(PurgeArgs),
    /// List or forget the objects that notifications named and no feed takes.
    #[command(subcommand)]
    Unrouted(unrouted::Command),
}

#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The daemon's configuration file; repeatable, as for `run`. Only its state_dir is used.
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// Text for people, or one JSON object a line.
    #[arg(long, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Form {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum KindName {
    Record,
    Object,
    Message,
    Event,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Record => Self::Record,
            KindName::Object => Self::Object,
            KindName::Message => Self::Message,
            KindName::Event => Self::Event,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only entries of this feed; for messages, of this queue.
    #[arg(long, value_name = "FEED")]
    feed: Option<String>,
    /// Only entries of this kind.
    #[arg(long)]
    kind: Option<KindName>,
    /// Only the events that this sink refused.
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
}

impl Filter {
    fn selection(&self) -> Selection {
        let (feed, sink) = (self.feed.clone(), self.sink.clone());
        Selection { feed, kind: self.kind.map(Kind::from), sink, before_ms: None }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct RequeueArgs {
    #[command(flatten)]
    place: Where,
    /// The entries' numbers, as the list shows them.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with_all = ["all", "feed", "kind", "sink"])]
    ids: Vec<u64>,
    /// Every entry that the other options leave.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    place: Where,
    /// The entries' numbers, as the list shows them.
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with_all = ["all", "feed", "kind", "sink", "older_than"]
    )]
    ids: Vec<u64>,
    /// Every entry that the other options leave.
    #[arg(long)]
    all: bool,
    /// Only entries that have been in quarantine for this long, such as 30d or 12h.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    older_than: Option<i64>,
    #[command(flatten)]
    filter: Filter,
}

fn milliseconds(text: &str) -> Result<i64, String> {
    let wanted = |_| "expected a time such as 30d or 12h".to_owned();
    let span: jiff::Span = text.parse().map_err(wanted)?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(wanted)?;
    if length.is_negative() {
        return Err("expected a time that is not below zero".to_owned());
    }
    i64::try_from(length.as_millis()).map_err(|_| "the time is too long".to_owned())
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} in quarantine; `auditferry quarantine list` shows what is", none_of(.0))]
    NotThere(Vec<u64>),
    #[error("{} among the unrouted objects; `auditferry quarantine unrouted list` shows them", none_of(.0))]
    NotUnrouted(Vec<u64>),
    /// These entries are unchanged; the others were requeued.
    #[error("cannot be tried again, since what that takes was not kept: {}", numbers(.0))]
    Impossible(Vec<u64>),
    #[error(
        "nothing of the body was kept: see limits.quarantine_bytes_max, limits.quarantine_entries_max and limits.line_bytes_max"
    )]
    NoBody,
    #[error("the body kept cannot be inflated: {0}")]
    Body(io::Error),
    #[error("writing: {0}")]
    Write(io::Error),
}

fn numbers(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn none_of(ids: &[u64]) -> String {
    format!("{} {}", numbers(ids), if ids.len() == 1 { "is not" } else { "are not" })
}

impl Fault {
    fn status(&self) -> Status {
        match self {
            Self::Config(error) => load_status(error),
            Self::Open(error) => open_status(error),
            Self::Store(error) => store_status(error),
            Self::NotThere(_) | Self::NotUnrouted(_) | Self::NoBody => Status::NoInput,
            Self::Impossible(_) | Self::Body(_) => Status::Corrupt,
            // The reader of the list has closed the pipe.
            Self::Write(error) if error.kind() == ErrorKind::BrokenPipe => Status::Done,
            Self::Write(_) => Status::Io,
        }
    }
}

/// Runs the command, and prints to standard error why it failed.
pub(super) fn run(command: &Command) -> Status {
    let done = match command {
        Command::List(args) => shown::list(args),
        Command::Show(args) => shown::show(args),
        Command::Requeue(args) => requeue(args),
        Command::Purge(args) => purge(args),
        Command::Unrouted(command) => unrouted::run(command),
    };
    match done {
        Ok(()) => Status::Done,
        Err(fault) => {
            let status = fault.status();
            if status != Status::Done {
                eprintln!("{fault}");
            }
            status
        }
    }
}

fn look(place: &Where) -> Result<Inspection, Fault> {
    Ok(Inspection::look(&load(&place.config, std::env::vars_os())?.config.state_dir)?)
}

fn change(place: &Where) -> Result<Inspection, Fault> {
    Ok(Inspection::change(&load(&place.config, std::env::vars_os())?.config.state_dir)?)
}

fn requeue(args: &RequeueArgs) -> Result<(), Fault> {
    let mut quarantine = change(&args.place)?;
    all_there(&quarantine, &args.ids)?;
    let mut impossible = Vec::new();
    let asked = pages(&mut quarantine, &args.ids, &args.filter.selection(), |quarantine, ids| {
        let not = quarantine.requeue(ids)?;
        let asked = ids.len() - not.len();
        impossible.extend(not);
        Ok(asked as u64)
    })?;
    shown::told(args.place.output, "requeued", asked)?;
    if impossible.is_empty() { Ok(()) } else { Err(Fault::Impossible(impossible)) }
}

fn purge(args: &PurgeArgs) -> Result<(), Fault> {
    let mut quarantine = change(&args.place)?;
    all_there(&quarantine, &args.ids)?;
    let before_ms = args.older_than.map(|length_ms| Clock::system().now_ms().saturating_sub(length_ms));
    let selection = Selection { before_ms, ..args.filter.selection() };
    let purged = pages(&mut quarantine, &args.ids, &selection, |quarantine, ids| {
        Ok((ids.len() - quarantine.purge(ids)?.len()) as u64)
    })?;
    shown::told(args.place.output, "purged", purged)
}

fn all_there(quarantine: &Inspection, ids: &[u64]) -> Result<(), Fault> {
    let mut missing = Vec::new();
    for &id in ids {
        if quarantine.entry(id)?.is_none() {
            missing.push(id);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Fault::NotThere(missing)) }
}

/// Calls `each` with the named entries, or else with the selected entries page by page. Returns the sum of its results.
fn pages(
    quarantine: &mut Inspection,
    named: &[u64],
    selection: &Selection,
    mut each: impl FnMut(&mut Inspection, &[u64]) -> Result<u64, Fault>,
) -> Result<u64, Fault> {
    if !named.is_empty() {
        return each(quarantine, named);
    }
    let (mut done, mut after) = (0, 0);
    loop {
        let page = quarantine.page(selection, after)?;
        let Some(&last) = page.last() else { return Ok(done) };
        after = last;
        done += each(quarantine, &page)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_days_and_hours() {
        assert_eq!(milliseconds("30d"), Ok(30 * 86_400_000));
        assert_eq!(milliseconds("1d 12h"), Ok(129_600_000));
        assert!(milliseconds("-1d").is_err());
        assert!(milliseconds("soon").is_err());
    }
}
