//! `[sink.<name>.filter]`: which events of its feeds a sink takes.

use serde::Deserialize;

use crate::event::{Class, Conditions, Filter, Severity};

/// A key that is not set excludes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// Take events of these feeds. Default: all that name the sink.
    pub feeds: Option<Vec<String>>,
    /// Take events of feeds of these families. Default: all.
    pub families: Option<Vec<String>>,
    /// Take events of these OCSF classes, by name or uid. Default: all.
    pub classes: Option<Vec<Class>>,
    /// Take events of at least this severity. Default: all.
    pub severity_min: Option<Severity>,
    /// Take an event only if each attribute named here matches one of its patterns. Default: all.
    #[serde(rename = "match")]
    pub wanted: Conditions,
    /// Leave out an event if any attribute named here matches one of its patterns. Default: none.
    #[serde(rename = "not_match")]
    pub unwanted: Conditions,
}

impl FilterConfig {
    /// The filter for the events of one feed. `None` if it takes all of them.
    pub fn of_feed(&self, feed: &str, family: &str) -> Option<Filter> {
        let names =
            |named: &Option<Vec<String>>, own: &str| named.as_ref().is_none_or(|all| all.iter().any(|one| one == own));
        if !names(&self.feeds, feed) || !names(&self.families, family) {
            return Some(Filter::NONE);
        }
        let filter = Filter {
            classes: self.classes.as_ref().map_or(Filter::ALL.classes, |classes| classes.iter().copied().collect()),
            severity_min: self.severity_min.unwrap_or(Filter::ALL.severity_min),
            wanted: self.wanted.clone(),
            unwanted: self.unwanted.clone(),
        };
        (filter != Filter::ALL).then_some(filter)
    }

    /// The keys with an empty list, which no event can match.
    pub fn empty_lists(&self) -> Vec<Vec<String>> {
        let lists = [
            ("feeds", self.feeds.as_ref().is_some_and(Vec::is_empty)),
            ("families", self.families.as_ref().is_some_and(Vec::is_empty)),
            ("classes", self.classes.as_ref().is_some_and(Vec::is_empty)),
        ];
        let lists = lists.into_iter().filter(|(_, is_empty)| *is_empty).map(|(key, _)| vec![key.to_owned()]);
        let conditions = [("match", &self.wanted), ("not_match", &self.unwanted)].into_iter().flat_map(|(key, all)| {
            let empty = all.iter().filter(|(_, patterns)| patterns.is_empty());
            empty.map(move |(attribute, _)| vec![key.to_owned(), attribute.to_string()])
        });
        lists.chain(conditions).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_feed_decides_is_asked_of_no_event() {
        let feeds = FilterConfig { feeds: Some(vec!["a".to_owned()]), ..FilterConfig::default() };
        assert_eq!(feeds.of_feed("a", "ydb"), None);
        assert_eq!(feeds.of_feed("b", "ydb"), Some(Filter::NONE));
        let families = FilterConfig { families: Some(vec!["ydb".to_owned()]), ..FilterConfig::default() };
        assert_eq!(families.of_feed("b", "ydb"), None);
        assert_eq!(families.of_feed("b", "lakefs"), Some(Filter::NONE));
        let classes = FilterConfig { classes: Some(vec![Class::Authentication]), ..feeds };
        let only = Filter { classes: [Class::Authentication].into_iter().collect(), ..Filter::ALL };
        assert_eq!(classes.of_feed("a", "ydb"), Some(only));
    }

    #[test]
    fn what_leaves_nothing_out_is_no_filter() {
        let all = FilterConfig {
            classes: Some(Class::ALL.to_vec()),
            severity_min: Some(Severity::Unknown),
            ..FilterConfig::default()
        };
        assert_eq!(all.of_feed("a", "ydb"), None);
    }
}
