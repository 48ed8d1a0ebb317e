//! The fields of a JSON object in their order. A repeated key has its last value, at the position of its first.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::event::json::{Fault, Json, Reader};
use crate::event::text::Text;

/// The members of one object, in order. A repeated key stands once, with its last value.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    fields: Vec<Field<'a>>,
    /// The slots of a hash table with linear probing: 0 for an empty slot, else a field's position plus one. The search
    /// for a key begins at the slot that its mark names.
    places: [u8; PLACES],
    /// Key to position. Replaces `places` once there are too many fields for them.
    index: Option<HashMap<Cow<'a, str>, usize>>,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self { fields: Vec::new(), places: [0; PLACES], index: None }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub key: Cow<'a, str>,
    pub value: Json<'a>,
    /// Whether the value was mapped to an attribute of the event.
    pub mapped: bool,
    mark: Mark,
}

impl<'a> Field<'a> {
    /// The key as text.
    pub(crate) fn name(&self) -> Text<'a> {
        match &self.key {
            // A borrowed key has no escapes.
            Cow::Borrowed(key) => Text::Escaped(key),
            Cow::Owned(key) => Text::from(key.clone()),
        }
    }
}

/// Room for the fields of an object; most objects have no more.
const USUAL_FIELDS: usize = 12;

/// The number of slots; a power of two.
const PLACES: usize = 64;

/// The number of fields from which `index` is used. Below it, at least a third of the slots is empty.
const INDEXED_FROM: usize = PLACES / 3 * 2;

impl<'a> Fields<'a> {
    /// No fields yet, and room for `fields` of them.
    pub(crate) fn with_capacity(fields: usize) -> Self {
        Self { fields: Vec::with_capacity(fields), ..Self::default() }
    }

    /// Reads a whole object.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut fields = Self::with_capacity(USUAL_FIELDS);
        reader.object(|reader, key| {
            let value = reader.value()?;
            fields.insert(key, value);
            Ok(())
        })?;
        Ok(fields)
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, key: Cow<'a, str>, value: Json<'a>) {
        let sought = Key::of(&key);
        let mark = sought.mark;
        match self.find(&sought) {
            Ok(position) => {
                self.fields[position].value = value;
                return;
            }
            // With an index, the slot written here is not read any more.
            Err(place) => self.places[place] = u8::try_from(self.fields.len() + 1).unwrap_or(0),
        }
        if self.fields.len() == INDEXED_FROM {
            self.index = Some(self.fields.iter().map(|field| field.key.clone()).zip(0..).collect());
        }
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), self.fields.len());
        }
        self.fields.push(Field { key, value, mapped: false, mark });
    }

    #[inline(always)]
    pub(crate) fn get(&self, key: &str) -> Option<Json<'a>> {
        self.get_by(&Key::of(key))
    }

    /// As [`get`](Self::get), with a key prepared for several objects.
    pub(crate) fn get_by(&self, key: &Key<'_>) -> Option<Json<'a>> {
        self.find(key).ok().map(|position| self.fields[position].value)
    }

    /// The field's text. `None` if there is no such field or it says nothing. A field with a text, or with null, counts
    /// as mapped.
    #[inline(always)]
    pub(crate) fn map(&mut self, key: &str) -> Option<Text<'a>> {
        self.map_by(&Key::of(key))
    }

    /// As [`map`](Self::map), with a key prepared for several objects.
    pub(crate) fn map_by(&mut self, key: &Key<'_>) -> Option<Text<'a>> {
        let position = self.find(key).ok()?;
        let field = &mut self.fields[position];
        let text = field.value.text();
        field.mapped |= text.is_some() || field.value == Json::Null;
        text
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field's position among the fields.
    pub(crate) fn position_of(&self, key: &str) -> Option<usize> {
        self.find(&Key::of(key)).ok()
    }

    /// Marks the field at `position` as mapped.
    pub(crate) fn mark_mapped(&mut self, position: usize) {
        if let Some(field) = self.fields.get_mut(position) {
            field.mapped = true;
        }
    }

    /// The fields that are not mapped.
    pub(crate) fn unmapped(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(|field| !field.mapped)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    /// `Ok` with the key's position, or `Err` with the empty slot where the key belongs.
    #[inline]
    fn find(&self, key: &Key<'_>) -> Result<usize, usize> {
        if self.index.is_some() {
            return self.indexed(key.name);
        }
        let mut place = key.mark.place();
        while let Some(field) = self.fields.get(usize::from(self.places[place]).wrapping_sub(1)) {
            if field.mark == key.mark && field.key == key.name {
                return Ok(usize::from(self.places[place]) - 1);
            }
            place = (place + 1) % PLACES;
        }
        Err(place)
    }

    /// As [`find`](Self::find), by `index`. The slot in `Err` has no meaning.
    #[cold]
    fn indexed(&self, key: &str) -> Result<usize, usize> {
        self.index.as_ref().and_then(|index| index.get(key).copied()).ok_or(0)
    }
}

/// A key to look for, with its mark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'k> {
    name: &'k str,
    mark: Mark,
}

impl<'k> Key<'k> {
    // Keys are mostly literals: inlined, their marks are computed by the compiler.
    #[inline(always)]
    pub(crate) fn of(name: &'k str) -> Self {
        Self { name, mark: Mark::of(name) }
    }
}

/// A key's length, beginning and end in one number. Different keys seldom have the same mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark(u64);

impl Mark {
    #[inline(always)]
    fn of(key: &str) -> Self {
        let bytes = key.as_bytes();
        let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(5),
            _ => match (bytes.first_chunk(), bytes.last_chunk()) {
                (Some(first), Some(last)) => {
                    u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
                }
                _ => bytes.iter().fold(0, |ends, byte| ends << 8 | u64::from(*byte)),
            },
        };
        Self(ends ^ (bytes.len() as u64) << 56)
    }

    /// The slot where the search for the key begins.
    #[inline(always)]
    const fn place(self) -> usize {
        // The upper bits of a product depend on all bits of its factors (Knuth's multiplicative hashing).
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.ilog2())) as usize
    }
}
