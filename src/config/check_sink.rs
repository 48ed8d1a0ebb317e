//! Checks a sink's encoding and its filter.

use crate::config::Config;
use crate::config::found::{Found, Names, did_you_mean};
use crate::event::{Columns, EncodingName, Severity};
use crate::family;
use crate::sink::{self, EncodingConfig};

pub(super) fn check_encoding(name: &str, encoding: &EncodingConfig, found: &mut Found) {
    let at = |key| ["sink", name, "encoding", key];
    for key in encoding.without_effect() {
        found.problem(&at(key), format!("has no effect with the encoding \"{}\"", encoding.name.name()));
    }
    if let Some(table) = &encoding.table
        && Columns::of_table(table).is_none()
    {
        found.problem(&at("table"), format!("unknown table `{table}`{}", did_you_mean(table, Columns::tables())));
    }
    let has_columns = encoding.columns.as_ref().is_some_and(|columns| !columns.is_empty());
    if encoding.name == EncodingName::Columns && encoding.table.is_none() && !has_columns {
        found.problem(&["sink", name, "encoding"], "expected `table` or `columns`: which columns are written");
    }
}

pub(super) fn check_filter(name: &str, sink: &sink::Config, config: &Config, names: &Names, found: &mut Found) {
    let filter = &sink.filter;
    for key in filter.empty_lists() {
        let at: Vec<&str> = ["sink", name, "filter"].into_iter().chain(key.iter().map(String::as_str)).collect();
        found.problem(&at, "expected a list that is not empty; leave the key out to take all");
    }
    for feed in filter.feeds.iter().flatten() {
        found.reference(&["sink", name, "filter", "feeds"], "feed", feed, &names.feeds);
        if config.feed.get(feed).is_some_and(|feed| !feed.sinks.iter().any(|sink| sink == name)) {
            found.warnings.push(format!("sink.{name}.filter.feeds: [feed.{feed}] does not go to this sink"));
        }
    }
    for family in filter.families.iter().flatten() {
        if family::named(family).is_none() {
            let hint = did_you_mean(family, family::ALL.iter().map(|family| family.name));
            found.problem(&["sink", name, "filter", "families"], format!("unknown family `{family}`{hint}"));
        }
    }
    if filter.severity_min.is_some_and(|least| least > Severity::default()) {
        found
            .warnings
            .push(format!("sink.{name}.filter.severity_min: every event is `informational`, so the sink gets none"));
    }
}
