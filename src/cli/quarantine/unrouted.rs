//! `auditferry quarantine unrouted`: lists or forgets the objects that notifications named and no feed takes.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::checkpoint::{Inspection, KeptObject, NoFeed, UnroutedSelection};
use crate::cli::quarantine::shown::{told, write_list};
use crate::cli::quarantine::{Fault, Where, change, look, milliseconds};
use crate::collector::clock::Clock;
use crate::visible::visible;

/// How many objects are forgotten at a time.
const AT_ONCE: usize = 1000;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// List the objects, newest last.
    List(ListArgs),
    /// Forget objects for good: they are not read, even if a feed takes them later.
    Purge(PurgeArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Why {
    /// No feed reads the bucket.
    Bucket,
    /// The key is outside of the prefixes of the feeds that read the bucket.
    Prefix,
    /// The key matches none of its feed's `keys`.
    Keys,
}

impl From<Why> for NoFeed {
    fn from(why: Why) -> Self {
        match why {
            Why::Bucket => Self::Bucket,
            Why::Prefix => Self::Prefix,
            Why::Keys => Self::Keys,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only objects that no feed takes for this reason.
    #[arg(long)]
    why: Option<Why>,
    /// Only objects of this bucket.
    #[arg(long)]
    bucket: Option<String>,
    /// Only objects whose key begins with this text.
    #[arg(long)]
    prefix: Option<String>,
}

impl Filter {
    fn selection(&self) -> UnroutedSelection {
        UnroutedSelection {
            why: self.why.map(NoFeed::from),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            before_ms: None,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    place: Where,
    /// List at most this many objects, the newest ones.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct PurgeArgs {
    #[command(flatten)]
    place: Where,
    /// The objects' numbers in the list.
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with_all = ["all", "why", "bucket", "prefix", "older_than"]
    )]
    ids: Vec<u64>,
    /// Every object that the other options select.
    #[arg(long)]
    all: bool,
    /// Only objects that no notification has named for this long, such as 30d or 12h.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    older_than: Option<i64>,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(command: &Command) -> Result<(), Fault> {
    match command {
        Command::List(args) => list(args),
        Command::Purge(args) => purge(args),
    }
}

/// Lists the objects, and prints to standard error how many more there are.
fn list(args: &ListArgs) -> Result<(), Fault> {
    let (objects, all) = look(&args.place)?.newest_unrouted(&args.filter.selection(), args.limit)?;
    write_list(&objects, all, args.place.output, line, as_json, "no object is unrouted that fits")
}

fn purge(args: &PurgeArgs) -> Result<(), Fault> {
    let mut store = change(&args.place)?;
    if !args.ids.is_empty() {
        let missing = store.purge_unrouted(&args.ids)?;
        told(args.place.output, "purged", (args.ids.len() - missing.len()) as u64)?;
        return if missing.is_empty() { Ok(()) } else { Err(Fault::NotUnrouted(missing)) };
    }
    let before_ms = args.older_than.map(|length_ms| Clock::system().now_ms().saturating_sub(length_ms));
    let selection = UnroutedSelection { before_ms, ..args.filter.selection() };
    told(args.place.output, "purged", purge_selected(&mut store, &selection)?)
}

fn purge_selected(store: &mut Inspection, selection: &UnroutedSelection) -> Result<u64, Fault> {
    let (mut purged, mut after) = (0, 0);
    loop {
        let ids = store.unrouted_page(selection, after, AT_ONCE)?;
        let Some(&last) = ids.last() else { return Ok(purged) };
        after = last;
        purged += (ids.len() - store.purge_unrouted(&ids)?.len()) as u64;
    }
}

fn at(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}

fn line(kept: &KeptObject) -> String {
    let (id, last, why) = (kept.id, at(kept.last_ms), kept.why.name());
    let feed = kept.feed.as_deref().unwrap_or("-");
    let (object, queue) = (visible(kept.object.to_string().chars()), visible(kept.queue.chars()));
    format!("{id}  {last}  {why}  {}  {object}  {} from {queue}", visible(feed.chars()), kept.notifications)
}

fn as_json(kept: &KeptObject) -> Value {
    json!({
        "id": kept.id,
        "first": at(kept.first_ms),
        "last": at(kept.last_ms),
        "why": kept.why.name(),
        "feed": kept.feed,
        "queue": kept.queue,
        "object": kept.object.to_string(),
        "notifications": kept.notifications,
    })
}
