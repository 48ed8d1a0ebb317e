//! No two feeds may read the same object, and no feed may read what the daemon writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::found::{Found, lexical, nested};
use crate::config::{Config, feed};
use crate::sink::Output;

pub(super) fn check(config: &Config, found: &mut Found) {
    let feeds: Vec<_> = config.feed.iter().collect();
    for (index, (name, feed)) in feeds.iter().enumerate() {
        for (other_name, other) in &feeds[..index] {
            if let Some(place) = shared(feed, other) {
                let key = if feed.directory.is_some() { "directory" } else { "bucket" };
                let message = format!("feeds `{other_name}` and `{name}` would both read {place}");
                found.problem(&["feed", name, key], message);
            }
        }
        if let Some(directory) = &feed.directory {
            check_written(name, directory, config, found);
        } else {
            check_written_objects(name, feed, config, found);
        }
    }
}

/// A place that both feeds would read, if there is one.
fn shared(one: &feed::Config, other: &feed::Config) -> Option<String> {
    if let (Some(one), Some(other)) = (&one.directory, &other.directory) {
        let (one, other) = (resolved(one), resolved(other));
        let inner = if one.starts_with(&other) { &one } else { &other };
        return (one.starts_with(&other) || other.starts_with(&one)).then(|| inner.display().to_string());
    }
    if one.endpoint_url != other.endpoint_url {
        return None;
    }
    let bucket = buckets(one).intersection(&buckets(other)).next().copied()?.to_owned();
    let (ones, others) = (prefixes(one), prefixes(other));
    ones.iter().find_map(|prefix| {
        let other = others.iter().find(|other| nested(prefix, other))?;
        let inner = if prefix.len() > other.len() { prefix } else { other };
        Some(format!("s3://{bucket}/{inner}"))
    })
}

/// The directory with its links resolved, if it exists already.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| lexical(path))
}

/// All names of the feed's bucket: the configured one, and the buckets and access points of `read_through`.
fn buckets(feed: &feed::Config) -> BTreeSet<&str> {
    let aliases = feed.read_through.iter().flat_map(|(bucket, through)| [bucket.as_str(), through.as_str()]);
    feed.bucket.as_deref().into_iter().chain(aliases).collect()
}

fn prefixes(feed: &feed::Config) -> Vec<&str> {
    if feed.prefixes.is_empty() { vec![""] } else { feed.prefixes.iter().map(String::as_str).collect() }
}

/// A feed that reads the daemon's own output would never end.
fn check_written(name: &str, directory: &Path, config: &Config, found: &mut Found) {
    let directory = lexical(directory);
    let mut written: Vec<(String, PathBuf)> = vec![("state_dir".to_owned(), lexical(&config.state_dir))];
    for (sink, sink_config) in &config.sink {
        if let Output::File(path) = sink_config.kind.output() {
            written.push((format!("[sink.{sink}]"), lexical(path)));
        }
    }
    for (who, path) in written {
        if path.starts_with(&directory) {
            let message = format!("the feed would read what {who} writes below {}", directory.display());
            found.problem(&["feed", name, "directory"], message);
        }
    }
}

/// Reports a feed that reads from a bucket what a sink of type `s3` writes there.
fn check_written_objects(name: &str, feed: &feed::Config, config: &Config, found: &mut Found) {
    for (sink, sink_config) in &config.sink {
        let Output::Bucket { bucket, endpoint_url, below } = sink_config.kind.output() else { continue };
        let is_read = endpoint_url == feed.endpoint_url.as_deref()
            && buckets(feed).contains(bucket)
            && prefixes(feed).iter().any(|prefix| nested(prefix, below));
        if is_read {
            let message =
                format!("the feed would read what [sink.{sink}] writes to s3://{bucket}/{below}: set `prefixes`");
            found.problem(&["feed", name, "bucket"], message);
        }
    }
}
