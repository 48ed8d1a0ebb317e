//! `[sink.<name>]`: what every sink has in common, and the kinds, each of which adds keys of its own.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer as _, MapAccess, VariantAccess as _};
use serde::{Deserialize, Deserializer};

use crate::sink::encoding::Encoding;
use crate::sink::file::FileConfig;
use crate::sink::stdout::StdoutConfig;
use crate::sink::{Flow, Kind};

/// What the key `type` may be. A further kind is a file or a folder, its name here, and its line in [`Table`].
const KINDS: &[&str] = &["file", "stdout"];

/// `[sink.<name>]`: where events go. The table's key `type` names the kind.
#[derive(Clone, Debug)]
pub struct Config {
    pub encoding: Encoding,
    pub batch: BatchConfig,
    /// How many lanes it has, and how many requests of each may be under way; by default as its kind has it.
    pub lanes: Option<u16>,
    pub in_flight: Option<u16>,
    pub kind: Arc<dyn Kind>,
}

impl Config {
    /// As its kind has it, where nothing else is configured.
    pub fn flow(&self) -> Flow {
        let flow = self.kind.flow();
        let lanes = self.lanes.filter(|_| !flow.is_serial()).unwrap_or(flow.lanes);
        let in_flight = self.in_flight.filter(|_| !flow.is_serial()).unwrap_or(flow.in_flight);
        Flow { lanes: lanes.max(1), in_flight: in_flight.max(1), ..flow }
    }
}

/// `[sink.<name>.batch]`: when this sink's batches are cut. Keys that are not set are as in `[limits]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// When a batch has so many bytes.
    pub bytes: Option<usize>,
    /// When a batch has so many events.
    pub events: Option<usize>,
    /// When its first event has waited so long.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub age: Option<Duration>,
}

/// The keys that the tables of all sinks have, besides `type`.
pub const SHARED_KEYS: &[&str] =
    &["encoding", "ocsf_version", "raw_data", "observables", "labels", "envelope", "batch", "lanes", "in_flight"];

#[derive(Default)]
struct Shared {
    encoding: Encoding,
    batch: BatchConfig,
    lanes: Option<u16>,
    in_flight: Option<u16>,
}

impl Shared {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let Self { encoding, batch, lanes, in_flight } = self;
        match key {
            "encoding" => encoding.name = map.next_value()?,
            "ocsf_version" => encoding.ocsf_version = map.next_value()?,
            "raw_data" => encoding.raw_data = map.next_value()?,
            "observables" => encoding.observables = map.next_value()?,
            "labels" => encoding.labels = map.next_value()?,
            "envelope" => encoding.envelope = map.next_value()?,
            "lanes" => *lanes = map.next_value()?,
            "in_flight" => *in_flight = map.next_value()?,
            _ => *batch = map.next_value()?,
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Config", KINDS, Table)
    }
}

/// Reads a sink's table as its kind's.
struct Table;

impl<'de> de::Visitor<'de> for Table {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, table: A) -> Result<Config, A::Error> {
        let (name, keys) = table.variant::<String>()?;
        match name.as_str() {
            "file" => keys.newtype_variant_seed(Keys::<FileConfig>(PhantomData)),
            "stdout" => keys.newtype_variant_seed(Keys::<StdoutConfig>(PhantomData)),
            _ => Err(de::Error::unknown_variant(&name, KINDS)),
        }
    }
}

/// Reads the keys of a table: those that all sinks have, and the kind's own.
struct Keys<K>(PhantomData<K>);

impl<'de, K: Kind + Deserialize<'de> + 'static> DeserializeSeed<'de> for Keys<K> {
    type Value = Config;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Config, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, K: Kind + Deserialize<'de> + 'static> de::Visitor<'de> for Keys<K> {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
        let mut shared = Shared::default();
        let own = K::deserialize(MapAccessDeserializer::new(Own { map, shared: &mut shared }))?;
        let Shared { encoding, batch, lanes, in_flight } = shared;
        Ok(Config { encoding, batch, lanes, in_flight, kind: Arc::new(own) })
    }
}

/// A table without the keys that all sinks have, which are taken out on the way.
struct Own<'s, A> {
    map: A,
    shared: &'s mut Shared,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Own<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if !SHARED_KEYS.contains(&key.as_str()) {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.shared.take(&key, &mut self.map)?;
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
