//! The tree of JSON members that a file's columns are written as.

use std::collections::HashSet;
use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{SchemaDescriptor, Type};

use crate::records::escaped::write_escaped;
use crate::records::rows::input::RowsError;

/// The members of a row, in the file's order.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) members: Vec<Member>,
    /// Whether any column lies in a list or a group.
    pub(super) is_nested: bool,
}

/// One member of a row or of a group.
#[derive(Debug)]
pub(super) struct Member {
    /// `"name":`, escaped.
    pub(super) key: Vec<u8>,
    /// The columns that hold its values.
    pub(super) columns: Range<usize>,
    /// The lowest definition level at which the member is present; for a repeated member, with at least one element.
    pub(super) def: i16,
    /// The member's repetition level. `None` if it is not repeated.
    pub(super) repeats: Option<i16>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Value(Format),
    Group(Vec<Member>),
    /// A group that only wraps a list. Its one member is written in its place.
    Wrapping(Box<Member>),
}

/// What a stored value means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// By the physical type; byte arrays are text if they are UTF-8.
    Plain,
    Unsigned,
    /// Milliseconds, microseconds or nanoseconds since the epoch.
    Instant(Unit),
    /// Days since the epoch.
    Date,
    TimeOfDay(Unit),
    /// With this many digits after the point.
    Decimal(u8),
    Uuid,
    Float16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// Decimals with more digits after the point are written as their stored value.
const SCALE_MAX: i32 = 64;

impl Shape {
    /// # Errors
    /// If two members of a group have the same name, or the file has no columns.
    pub(super) fn of(schema: &SchemaDescriptor) -> Result<Self, RowsError> {
        let mut columns = 0;
        let root = schema.root_schema();
        let members = members(root.get_fields(), 0, 0, &mut columns)?;
        if columns != schema.num_columns() || columns == 0 {
            return Err(RowsError::damaged("the schema has no columns".to_owned()));
        }
        let is_nested = members.iter().any(|member| !matches!(member.kind, Kind::Value(_)) || member.repeats.is_some());
        Ok(Self { members, is_nested })
    }
}

type Fields = [std::sync::Arc<Type>];

fn members(fields: &Fields, def: i16, rep: i16, columns: &mut usize) -> Result<Vec<Member>, RowsError> {
    let mut names = HashSet::new();
    let mut members = Vec::with_capacity(fields.len());
    for field in fields {
        if !names.insert(field.name()) {
            return Err(RowsError::damaged(format!("two columns are called {}", field.name())));
        }
        members.push(member(field, def, rep, columns)?);
    }
    Ok(members)
}

fn member(field: &Type, def: i16, rep: i16, columns: &mut usize) -> Result<Member, RowsError> {
    let info = field.get_basic_info();
    let repetition = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
    let (def, rep, repeats) = match repetition {
        Repetition::REQUIRED => (def, rep, None),
        Repetition::OPTIONAL => (def + 1, rep, None),
        Repetition::REPEATED => (def + 1, rep + 1, Some(rep + 1)),
    };
    let first = *columns;
    let kind = if field.is_primitive() {
        *columns += 1;
        Kind::Value(format(field))
    } else {
        let within = members(field.get_fields(), def, rep, columns)?;
        if first == *columns {
            return Err(RowsError::damaged(format!("the group {} has no columns", field.name())));
        }
        wrapping(field, within)
    };
    let mut key = Vec::with_capacity(field.name().len() + 3);
    key.push(b'"');
    write_escaped(&mut key, field.name());
    key.extend_from_slice(b"\":");
    Ok(Member { key, columns: first..*columns, def, repeats, kind })
}

/// A list is a group around a repeated group around the element (`LogicalTypes.md`, "Lists"); both groups are only
/// wrapping. In the older form with two levels the repeated group is the element.
fn wrapping(field: &Type, mut within: Vec<Member>) -> Kind {
    let info = field.get_basic_info();
    let is_list =
        matches!(info.logical_type_ref(), Some(LogicalType::List)) || info.converted_type() == ConvertedType::LIST;
    let is_map = matches!(info.logical_type_ref(), Some(LogicalType::Map))
        || matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    let one = within.len() == 1 && within[0].repeats.is_some();
    if !(is_list || is_map) || !one {
        return Kind::Group(within);
    }
    let Some(mut repeated) = within.pop() else { return Kind::Group(within) };
    let name = field.get_fields().first().map_or("", |field| field.name());
    repeated.kind = match repeated.kind {
        Kind::Group(mut element) if is_list && element.len() == 1 && name != "array" && !name.ends_with("_tuple") => {
            match element.pop() {
                Some(element) => Kind::Wrapping(Box::new(element)),
                None => Kind::Group(element),
            }
        }
        kind => kind,
    };
    Kind::Wrapping(Box::new(repeated))
}

fn format(field: &Type) -> Format {
    let info = field.get_basic_info();
    let physical = field.get_physical_type();
    let logical = match info.logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => Some(Format::Instant(unit(timestamp.unit))),
        Some(LogicalType::Time(time)) => Some(Format::TimeOfDay(unit(time.unit))),
        Some(LogicalType::Date) => Some(Format::Date),
        Some(LogicalType::Integer(integer)) if !integer.is_signed => Some(Format::Unsigned),
        Some(LogicalType::Decimal(decimal)) => decimal_of(decimal.scale),
        Some(LogicalType::Uuid) => Some(Format::Uuid),
        Some(LogicalType::Float16) => Some(Format::Float16),
        _ => None,
    };
    let format = logical.or_else(|| match info.converted_type() {
        ConvertedType::TIMESTAMP_MILLIS => Some(Format::Instant(Unit::Millis)),
        ConvertedType::TIMESTAMP_MICROS => Some(Format::Instant(Unit::Micros)),
        ConvertedType::TIME_MILLIS => Some(Format::TimeOfDay(Unit::Millis)),
        ConvertedType::TIME_MICROS => Some(Format::TimeOfDay(Unit::Micros)),
        ConvertedType::DATE => Some(Format::Date),
        ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
            Some(Format::Unsigned)
        }
        ConvertedType::DECIMAL => match field {
            Type::PrimitiveType { scale, .. } => decimal_of(*scale),
            Type::GroupType { .. } => None,
        },
        _ => None,
    });
    match (physical, format) {
        (Physical::INT96, _) => Format::Instant(Unit::Nanos),
        (_, Some(format)) => format,
        (_, None) => Format::Plain,
    }
}

fn decimal_of(scale: i32) -> Option<Format> {
    (0..=SCALE_MAX).contains(&scale).then(|| Format::Decimal(u8::try_from(scale).unwrap_or(0)))
}

fn unit(unit: TimeUnit) -> Unit {
    match unit {
        TimeUnit::MILLIS => Unit::Millis,
        TimeUnit::MICROS => Unit::Micros,
        TimeUnit::NANOS => Unit::Nanos,
    }
}
