//! Values that are copied unchanged: unmapped fields, request data, results.

use std::borrow::Cow;

use crate::event::text::Text;

/// A value in the source's own form.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A JSON token, copied unchanged, so that numbers stay exact. No object in it repeats a key.
    Json(Cow<'a, str>),
    Text(Text<'a>),
    Int(i64),
    Object(Members<'a>),
    List(Vec<Value<'a>>),
}

/// The members of an object, in order. No key repeats.
pub(crate) type Members<'a> = Vec<(Text<'a>, Value<'a>)>;

impl Value<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(token) => out.extend_from_slice(token.as_bytes()),
            Self::Text(text) => text.write(out),
            Self::Int(number) => write_int(out, *number),
            Self::Object(members) => write_members(out, members),
            Self::List(values) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
        }
    }
}

pub(crate) fn write_members(out: &mut Vec<u8>, members: &Members<'_>) {
    out.push(b'{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        key.write(out);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}

/// Writes a decimal number.
pub(crate) fn write_int(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for (number, text) in
            [(0, "0"), (7, "7"), (-10, "-10"), (i64::MAX, "9223372036854775807"), (i64::MIN, "-9223372036854775808")]
        {
            let mut out = Vec::new();
            write_int(&mut out, number);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn an_object_keeps_its_order_and_its_exact_numbers() {
        let value = Value::Object(vec![
            ("b".into(), Value::Json("9007199254740993".into())),
            ("a \"q\"".into(), Value::List(vec![Value::Int(1), Value::Text("x".into())])),
        ]);
        let mut out = Vec::new();
        value.write(&mut out);
        assert_eq!(out, br#"{"b":9007199254740993,"a \"q\"":[1,"x"]}"#);
    }
}
