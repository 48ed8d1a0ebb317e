//! The `name=value` segments of an object's key.

/// The partition values in a key such as `workspaceId=123/date=2024-01-15/`. Parsed once per object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Partitions(Vec<(Box<str>, Box<str>)>);

/// A key of S3 has at most 1,024 bytes, so it cannot hold more segments than this many.
const PARTITIONS_MAX: usize = 512;

impl Partitions {
    /// Takes every segment of the key before its last that has a name, `=` and a value.
    pub fn of(key: &str) -> Self {
        let folders = key.rsplit_once('/').map_or("", |(folders, _)| folders);
        let pairs = folders
            .split('/')
            .filter_map(|segment| segment.split_once('='))
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .map(|(name, value)| (name.into(), value.into()))
            .take(PARTITIONS_MAX);
        Self(pairs.collect())
    }

    /// The value of the first partition of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| **own == *name).map(|(_, value)| &**value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segments_of_a_key_that_name_a_value_are_its_partitions() {
        let partitions = Partitions::of("logs/workspaceId=0123/date=2024-01-15/a=b.json");
        assert_eq!(partitions.iter().collect::<Vec<_>>(), [("workspaceId", "0123"), ("date", "2024-01-15")]);
        assert_eq!(partitions.value("workspaceId"), Some("0123"));
        assert_eq!(partitions.value("a"), None);
    }

    #[test]
    fn half_a_pair_is_no_partition_and_a_value_may_hold_an_equals_sign() {
        let partitions = Partitions::of("=x/y=/z=a=b/file");
        assert_eq!(partitions.iter().collect::<Vec<_>>(), [("z", "a=b")]);
        assert_eq!(Partitions::of("file"), Partitions::default());
    }
}
