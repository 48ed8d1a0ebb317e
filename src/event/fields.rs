//! The fields of a JSON object in their order, a repeated key's last value in the place of its first.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::event::json::Fault;
use crate::event::json::Json;
use crate::event::json::Reader;
use crate::event::text::Text;

/// The members of one object, in order, each key once: of a key that comes twice the last value holds.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    fields: Vec<Field<'a>>,
    /// One bit per key seen, by [`bit`]: most keys are known to be new without looking.
    bits: u64,
    /// Key to position, once there are too many to look through.
    index: Option<HashMap<Cow<'a, str>, usize>>,
}

#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub key: Cow<'a, str>,
    pub value: Json<'a>,
    /// Whether the value has found its place in the event.
    pub mapped: bool,
}

impl<'a> Field<'a> {
    /// The key as text.
    pub fn name(&self) -> Text<'a> {
        match &self.key {
            // A borrowed key had no escapes.
            Cow::Borrowed(key) => Text::Escaped(key),
            Cow::Owned(key) => Text::from(key.clone()),
        }
    }
}

/// Most objects have no more fields.
const USUAL_FIELDS: usize = 12;

/// From how many fields on they are indexed.
const INDEXED_FROM: usize = 64;

impl<'a> Fields<'a> {
    /// No fields yet, and room for so many.
    pub fn with_capacity(fields: usize) -> Self {
        Self { fields: Vec::with_capacity(fields), ..Self::default() }
    }

    /// Reads a whole object.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut fields = Self::with_capacity(USUAL_FIELDS);
        reader.object(|reader, key| {
            let value = reader.value()?;
            fields.insert(key, value);
            Ok(())
        })?;
        Ok(fields)
    }

    pub fn insert(&mut self, key: Cow<'a, str>, value: Json<'a>) {
        let bit = bit(&key);
        if self.bits & bit != 0
            && let Some(position) = self.position(&key)
        {
            self.fields[position].value = value;
            return;
        }
        self.bits |= bit;
        if self.fields.len() == INDEXED_FROM {
            self.index = Some(self.fields.iter().map(|field| field.key.clone()).zip(0..).collect());
        }
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), self.fields.len());
        }
        self.fields.push(Field { key, value, mapped: false });
    }

    pub fn get(&self, key: &str) -> Option<Json<'a>> {
        self.position(key).map(|position| self.fields[position].value)
    }

    /// The field's text, if it says something, which then counts as mapped; so does null, of which nothing is left.
    pub fn map(&mut self, key: &str) -> Option<Text<'a>> {
        let position = self.position(key)?;
        let field = &mut self.fields[position];
        let text = field.value.text();
        field.mapped |= text.is_some() || field.value == Json::Null;
        text
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Where the field stands among the others.
    pub fn position_of(&self, key: &str) -> Option<usize> {
        self.position(key)
    }

    /// The field at that position counts as mapped.
    pub fn mark_mapped(&mut self, position: usize) {
        if let Some(field) = self.fields.get_mut(position) {
            field.mapped = true;
        }
    }

    /// The fields that have found no place yet.
    pub fn unmapped(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(|field| !field.mapped)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    fn position(&self, key: &str) -> Option<usize> {
        if self.bits & bit(key) == 0 {
            return None;
        }
        match &self.index {
            None => self.fields.iter().position(|field| field.key == key),
            Some(index) => index.get(key).copied(),
        }
    }
}

/// One of 64 bits, by the key's length and its first and last byte.
fn bit(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let (first, last) = (bytes.first().copied().unwrap_or(0), bytes.last().copied().unwrap_or(0));
    let mix = usize::from(first) * 7 + usize::from(last) * 31 + bytes.len() * 13;
    1 << (mix % 64)
}
