//! `[sink.<name>]`: the keys that every sink has, and the kinds, each of which adds keys of its own.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, VariantAccess as _};
use serde::{Deserialize, Deserializer};

use crate::event::Encoder;
use crate::sink::elasticsearch::ElasticsearchKind;
use crate::sink::encoding::{Encoding, EncodingConfig};
use crate::sink::file::FileConfig;
use crate::sink::filter::FilterConfig;
use crate::sink::http::{HttpKind, Preset};
use crate::sink::network::NETWORK_KEYS;
use crate::sink::s3::S3Config;
use crate::sink::sentinel::SentinelTable;
use crate::sink::splunk_hec::HecKind;
use crate::sink::stdout::StdoutConfig;
use crate::sink::table::{Own, TableKeys};
use crate::sink::{Flow, Kind};

/// The values of the key `type`. A new kind adds a file or a folder, its name here, and its line in [`Table`].
const KINDS: &[&str] = &[
    "file",
    "stdout",
    "http",
    "datadog",
    "sumo",
    "crowdstrike",
    "panther",
    "elasticsearch",
    "s3",
    "sentinel",
    "sentinel_databricks",
    "splunk_hec",
];

/// `[sink.<name>]`: where events go. The table's key `type` names the kind.
#[derive(Clone, Debug)]
pub struct Config {
    pub encoding: EncodingConfig,
    pub filter: FilterConfig,
    pub batch: BatchConfig,
    /// How many lanes the sink has, and how many requests of each lane may be under way. Default: as its kind says.
    pub lanes: Option<u16>,
    pub in_flight: Option<u16>,
    /// Whether messages wait for the sink. A best-effort sink (`false`) never delays a message: what it has not had
    /// enters its backlog at once. Default: true.
    pub required: bool,
    pub kind: Arc<dyn Kind>,
}

impl Config {
    /// The kind's flow, with the lanes and requests that are configured. A serial kind keeps its one lane and one
    /// request.
    pub fn flow(&self) -> Flow {
        let flow = self.kind.flow();
        let lanes = self.lanes.filter(|_| !flow.is_serial()).unwrap_or(flow.lanes);
        let in_flight = self.in_flight.filter(|_| !flow.is_serial()).unwrap_or(flow.in_flight);
        Flow { lanes: lanes.max(1), in_flight: in_flight.max(1), ..flow }
    }
}

/// `[sink.<name>.batch]`: when this sink's batches are cut. A key that is not set has the value of `[limits]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// The batch is cut once it has this many bytes.
    #[serde(default, deserialize_with = "crate::units::some_bytes")]
    pub bytes: Option<usize>,
    /// The batch is cut once it has this many events.
    pub events: Option<usize>,
    /// The batch is cut once its first event has waited this long.
    #[serde(default, deserialize_with = "crate::units::some_time")]
    pub age: Option<Duration>,
}

impl Config {
    /// The encoder that makes this sink's bytes from the records of one feed.
    pub fn encoder(&self, feed: &str, family: &str) -> Encoder {
        let filter = self.filter.of_feed(feed, family);
        self.encoding.encoder().with_filter(filter).with_choices(self.kind.choices())
    }
}

/// The keys that the tables of all sinks have, besides `type`.
pub const SHARED_KEYS: &[&str] = &["encoding", "filter", "batch", "lanes", "in_flight", "required"];

/// Keys that stood beside `encoding` in older versions, when `encoding` was not a table yet.
const MOVED_KEYS: &[&str] = &["ocsf_version", "raw_data", "observables", "labels", "envelope"];

/// The keys that the table of a kind may have besides its own.
pub(crate) fn shared_keys(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "file" | "stdout" | "s3" => &[SHARED_KEYS],
        _ => &[SHARED_KEYS, NETWORK_KEYS],
    }
}

#[derive(Default)]
struct Shared {
    encoding: Option<Encoding>,
    filter: FilterConfig,
    batch: BatchConfig,
    lanes: Option<u16>,
    in_flight: Option<u16>,
    required: Option<bool>,
}

impl TableKeys for Shared {
    fn has(key: &str) -> bool {
        SHARED_KEYS.contains(&key) || MOVED_KEYS.contains(&key)
    }

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            moved if MOVED_KEYS.contains(&moved) => match map.next_value_seed(Moved(moved))? {},
            "encoding" => self.encoding = Some(map.next_value()?),
            "filter" => self.filter = map.next_value()?,
            "lanes" => self.lanes = map.next_value()?,
            "in_flight" => self.in_flight = map.next_value()?,
            "required" => self.required = map.next_value()?,
            _ => self.batch = map.next_value()?,
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Config", KINDS, Table)
    }
}

/// Reads a sink's table by the kind that its `type` names.
struct Table;

impl<'de> de::Visitor<'de> for Table {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, table: A) -> Result<Config, A::Error> {
        let (name, keys) = table.variant::<String>()?;
        match name.as_str() {
            "file" => keys.newtype_variant_seed(Keys(PhantomData::<FileConfig>)),
            "stdout" => keys.newtype_variant_seed(Keys(PhantomData::<StdoutConfig>)),
            "http" => keys.newtype_variant_seed(Keys(PhantomData::<HttpKind>)),
            "elasticsearch" => keys.newtype_variant_seed(Keys(PhantomData::<ElasticsearchKind>)),
            "s3" => keys.newtype_variant_seed(Keys(PhantomData::<S3Config>)),
            "sentinel" => keys.newtype_variant_seed(Keys(SentinelTable::Events)),
            "sentinel_databricks" => keys.newtype_variant_seed(Keys(SentinelTable::Databricks)),
            "splunk_hec" => keys.newtype_variant_seed(Keys(PhantomData::<HecKind>)),
            _ => match Preset::named(&name) {
                Some(preset) => keys.newtype_variant_seed(Keys(preset)),
                None => Err(de::Error::unknown_variant(&name, KINDS)),
            },
        }
    }
}

/// Reads the keys of a table: those that all sinks have into [`Shared`], the kind's own keys by `S`.
struct Keys<S>(S);

impl<'de, K: Kind + 'static, S: DeserializeSeed<'de, Value = K>> DeserializeSeed<'de> for Keys<S> {
    type Value = Config;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Config, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, K: Kind + 'static, S: DeserializeSeed<'de, Value = K>> de::Visitor<'de> for Keys<S> {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
        let mut shared = Shared::default();
        let mut own = self.0.deserialize(MapAccessDeserializer::new(Own { map, taken: &mut shared }))?;
        let Shared { encoding, filter, batch, lanes, in_flight, required } = shared;
        let encoding = own.encoding(encoding.map(|Encoding(encoding)| encoding));
        let required = required.unwrap_or(true);
        Ok(Config { encoding, filter, batch, lanes, in_flight, required, kind: Arc::new(own) })
    }
}

/// Refuses the value of a moved key, so that the error points at that key.
struct Moved<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Moved<'_> {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<Infallible, D::Error> {
        Err(de::Error::custom(format_args!("stands in the table `encoding` now: encoding = {{ {} = .. }}", self.0)))
    }
}
