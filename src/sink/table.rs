//! Splits a table in two while reading it: the keys that several kinds share, and a kind's own keys.

use serde::de::{DeserializeSeed, IntoDeserializer as _, MapAccess};

/// Keys that several kinds share.
pub(super) trait TableKeys {
    /// Whether `key` is one of the shared keys.
    fn has(key: &str) -> bool;

    /// Reads the value of a shared key.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// A table without the shared keys, which are read into `taken` on the way.
pub(super) struct Own<'t, A, T> {
    pub(super) map: A,
    pub(super) taken: &'t mut T,
}

impl<'de, A: MapAccess<'de>, T: TableKeys> MapAccess<'de> for Own<'_, A, T> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if !T::has(&key) {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.taken.take(&key, &mut self.map)?;
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
