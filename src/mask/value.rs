//! Masks the value after a name: a string, a literal, a word, or the rest of the line.

use std::ops::Range;

use crate::mask::Scan;
use crate::mask::name::Name;
use crate::mask::names::Kind;
use crate::mask::unit::Unit;

/// How many bytes of a text are examined to recognize what it is.
pub(super) const HEAD_MAX: usize = 256;

/// The most signs, such as quotes and spaces, between two members.
const SPACES: usize = 24;

/// Splits a text before the signs at its end, of which there are at most [`SPACES`].
pub(super) fn ending_with(text: &[u8], is_sign: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let signs = text.iter().rev().take(SPACES).take_while(|byte| is_sign(**byte)).count();
    text.split_at(text.len() - signs)
}

/// The sign between a name and its value.
#[derive(Clone, Copy)]
pub(super) struct Sign {
    unit: Unit,
    /// Whether no blank is on either side of it.
    is_tight: bool,
    /// The closing quote of the name, if it has one.
    quote: Option<Unit>,
    /// Whether the name is the first word on its line, or in its text.
    begins_line: bool,
}

impl Scan<'_> {
    /// Whether the name is the one of the text in OTLP's `"body": {"stringValue": ...}`, which is no secret. Databricks
    /// uses this name for a secret's value, and OTLP also for attributes.
    fn is_body_of_log(&self, name: &Name<'_>) -> bool {
        let before = |bytes| ending_with(bytes, |byte| matches!(byte, b'"' | b'\\' | b' ')).0;
        let Some(head) = before(&self.bytes[..name.from]).strip_suffix(b"{") else { return false };
        let Some(head) = before(head).strip_suffix(b":") else { return false };
        name.letters.eq_ignore_ascii_case(b"stringValue") && before(head).ends_with(b"body")
    }

    /// Masks the value of a name.
    pub(super) fn value_of(&mut self, name: &Name<'_>) {
        match name.kind {
            Kind::Identified => return self.identified(name),
            Kind::Rows => return self.rows(name),
            Kind::Scheme => return self.scheme(name),
            Kind::Value if self.is_in_secret(name.from) => return self.value_of(&name.as_secret()),
            Kind::Value => return self.value_of_neighbour(name),
            Kind::Secret if self.is_body_of_log(name) => return,
            _ => {}
        }
        let mut at = name.to;
        let quote = self.unit(at).filter(|unit| matches!(unit.byte, b'"' | b'\'' | b'`' | b']') && unit.length > 0);
        if let Some(quote) = quote {
            at += quote.length;
        }
        let begin = at;
        at = self.behind_space(at);
        let Some(unit) = self.unit(at) else { return };
        let sign = |is_tight| Sign { unit, is_tight, quote, begins_line: self.begins_line(name.from) };
        match unit.byte {
            b':' | b'=' => {
                let is_tight = at == begin;
                at += unit.length;
                let mut is_assigned = true;
                while let Some(next) = self.unit(at).filter(|next| next.percent == unit.percent) {
                    match (unit.byte, next.byte) {
                        // `::` before a type, or `://` after a scheme.
                        (b':', b':') => return,
                        (b':', b'/') if self.unit(at + next.length).is_some_and(|next| next.byte == b'/') => return,
                        (b':', b'=') | (b'=', b'=' | b'>' | b'~') if is_assigned => {
                            is_assigned = false;
                            at += next.length;
                        }
                        _ => break,
                    }
                }
                self.value(name, at, sign(is_tight));
            }
            b'>' if self.bytes.get(name.from.wrapping_sub(1)) == Some(&b'<') => {
                let from = at + 1;
                let rest = &self.bytes[from..];
                let length = memchr::memchr2(b'<', b'"', rest).unwrap_or(rest.len());
                self.steps += length;
                if rest.get(length) == Some(&b'<') && name.kind == Kind::Secret {
                    self.cut(from..from + length);
                }
            }
            _ if quote.is_some_and(|quote| quote.byte == b'"') => {}
            b'(' if name.kind == Kind::Secret => {
                let at = self.behind_space(at + unit.length);
                if self.unit(at).is_some_and(|unit| matches!(unit.byte, b'"' | b'\'')) {
                    self.literal(at);
                }
            }
            _ if at == name.to && !matches!(unit.byte, b'\'' | b'`') => {}
            _ => self.keyword(name, at),
        }
    }

    /// Masks the value after a name without a sign: a literal of SQL, or the value of a command's option.
    fn keyword(&mut self, name: &Name<'_>, at: usize) {
        if matches!(name.kind, Kind::Doubtful | Kind::Parameter | Kind::Header) {
            return;
        }
        // A literal in backquotes after `SECRET` is the name of an object.
        let is_named = name.is("secret") && self.bytes[at] == b'`';
        if !is_named && self.literal(at) {
            return;
        }
        if name.kind == Kind::Secret && name.is_flag {
            let end = self.word_end(at, |unit| unit.is_space());
            if self.bytes.get(at) != Some(&b'-') {
                self.cut(at..end);
            }
            return;
        }
        if name.kind == Kind::Secret {
            self.password_for(name, at);
        }
    }

    /// Masks the value after a colon or an equals sign.
    pub(super) fn value(&mut self, name: &Name<'_>, at: usize, sign: Sign) {
        let bytes = self.bytes;
        let is_json = sign.quote.is_some_and(|quote| quote.byte == b'"' && quote.percent == 0);
        let from = if is_json || sign.unit.byte == b'=' && !sign.is_tight {
            self.behind_space(at)
        } else {
            self.behind_blanks(at)
        };
        let Some(first) = self.unit(from) else { return };
        match first.byte {
            b'"' | b'\'' | b'`' => {
                // The quote may end the text that contains the name.
                let is_value = match sign.quote.filter(|quote| quote.byte == b'"') {
                    Some(quote) => {
                        first.byte != b'"' || (first.slashes, first.percent) == (quote.slashes, quote.percent)
                    }
                    None => !self.closes(from, first),
                };
                let Some(inside) = is_value.then(|| self.quoted(from, first, is_json)).flatten() else { return };
                self.string(name, inside);
            }
            b'{' | b'[' if is_json && first.slashes == 0 => {
                if matches!(name.kind, Kind::Secret | Kind::Header) {
                    let end = self.container_end(from, sign.quote.map_or(0, |quote| quote.slashes));
                    self.cut_as(from..end, sign.quote.map(|quote| quote.slashes));
                }
            }
            b'0'..=b'9' | b'-' if is_json => {
                let length = bytes[from..]
                    .iter()
                    .take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'))
                    .count();
                self.steps += length;
                let is_counted = name.is("pass");
                if name.kind == Kind::Secret && !is_counted {
                    self.cut_as(from..from + length, sign.quote.map(|quote| quote.slashes));
                }
            }
            b't' | b'f' | b'n' if is_json => {}
            b'$' if self.literal(from) => {}
            // Values within parentheses have names of their own.
            b'(' => {}
            b'|' | b'>' if sign.unit.byte == b':' => self.block(from),
            b'{' if sign.unit.byte == b'=' && !bytes[from..].starts_with(b"{{") => {
                let end = self.word_end(from + 1, |unit| unit.byte == b'}');
                self.cut(from + 1..end);
            }
            _ => {
                if let Some(quote) = self.behind_prefix(from) {
                    if name.kind != Kind::Doubtful && name.kind != Kind::Parameter {
                        self.literal(quote);
                    }
                    return;
                }
                self.word(name, from, sign);
            }
        }
    }

    /// Masks a string. If its name leaves doubt, the string's letters decide.
    fn string(&mut self, name: &Name<'_>, inside: Range<usize>) {
        let value = &self.bytes[inside.clone()];
        let masks = match name.kind {
            Kind::Secret | Kind::Header => true,
            Kind::Doubtful => is_random(value),
            _ => false,
        };
        // A reference to a stored secret reveals nothing.
        let refers = value.starts_with(b"{{secrets/") && value.ends_with(b"}}") && value.len() < HEAD_MAX;
        if masks && !refers {
            self.cut(inside);
        }
    }

    /// Masks a value without quotes.
    fn word(&mut self, name: &Name<'_>, from: usize, sign: Sign) {
        let is_tight = sign.is_tight && from > 0 && !self.bytes[from - 1].is_ascii_whitespace();
        let end = match (name.kind, sign.unit.byte) {
            (Kind::Literal, _) => return,
            (Kind::Parameter, _) if !is_tight || sign.unit.byte == b':' => return,
            (Kind::Header, b':') => self.line_end(from, true),
            (Kind::Header, _) => self.parameter_end(from, sign.unit),
            (_, b':') if sign.begins_line => self.line_end(from, false),
            (_, b':') => {
                self.word_end(from, |unit| unit.is_space() || matches!(unit.byte, b',' | b';' | b'}' | b']' | b')'))
            }
            (Kind::Parameter, _) => {
                let end = self.parameter_end(from, sign.unit);
                // A parameter in a path ends where the query begins.
                from + memchr::memchr(b'?', &self.bytes[from..end]).unwrap_or(end - from)
            }
            _ => self.parameter_end(from, sign.unit),
        };
        let value = &self.bytes[from..end];
        let masks = match name.kind {
            Kind::Doubtful => self.is_login(name, value, sign, is_tight),
            // The value may be a word of a sentence.
            _ if sign.unit.byte == b':' && !sign.begins_line => !self.is_sentence(from, end),
            _ => true,
        };
        if masks {
            self.cut(from..end);
        }
    }

    /// Whether the value of `code` or `signature` is an authorization code or a signature, and no ordinary word.
    fn is_login(&self, name: &Name<'_>, value: &[u8], sign: Sign, is_tight: bool) -> bool {
        if sign.unit.byte != b'=' || !is_tight {
            return is_random(value);
        }
        if !name.is("code") {
            return true;
        }
        let head = &self.bytes[name.from.saturating_sub(HEAD_MAX).max(self.floor.min(name.from))..name.from];
        let is_callback = [&b"callback"[..], b"oauth", b"oidc", b"login", b"auth", b"/cb", b"state=", b"sso"]
            .iter()
            .any(|word| memchr::memmem::find(head, word).is_some());
        let is_constant = value.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_' || byte.is_ascii_digit());
        let is_short =
            value.len() <= 5 && (value.iter().all(u8::is_ascii_digit) || value.iter().all(u8::is_ascii_alphabetic));
        is_callback || !is_constant && !is_short
    }

    /// Whether the word and the one after it are words of a sentence.
    fn is_sentence(&self, from: usize, end: usize) -> bool {
        let word = &self.bytes[from..end];
        let behind = &self.bytes[end..];
        let is_word = word.len() <= 20
            && word.iter().skip(1).all(u8::is_ascii_lowercase)
            && word.first().is_some_and(u8::is_ascii_alphabetic);
        is_word && behind.first() == Some(&b' ') && behind.get(1).is_some_and(u8::is_ascii_alphabetic)
    }

    /// Masks the lines of a YAML block that is the value.
    fn block(&mut self, at: usize) {
        let mut at = self.line_end(at, true);
        let mark = at;
        let mut indent = None;
        // Lines indented at least as far as the first one.
        while let Some(end) = self.unit(at).filter(Unit::is_line_end) {
            let line = at + end.length;
            let spaces = self.bytes[line..].iter().take_while(|byte| **byte == b' ').count();
            self.steps += spaces;
            let is_of_block = spaces > 0 && indent.is_none_or(|indent| spaces >= indent);
            if !is_of_block {
                break;
            }
            indent.get_or_insert(spaces);
            at = self.line_end(line + spaces, true);
        }
        if let Some(indent) = indent {
            let first = self.unit(mark).map_or(0, |end| end.length);
            self.cut(mark + first + indent..at);
        }
    }
}

/// Whether a value is masked already, is a placeholder, or says that there is none.
pub(super) fn says_nothing(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    match value {
        b"" | b"***" | b"?" | b"-" | b"~" | b"{}" | b"[]" | b"{none}" => true,
        // The protocol version at the end of a request line.
        _ if value.starts_with(b"HTTP/") && value.len() <= 8 => true,
        [b'$' | b':' | b'@' | b'%', rest @ ..] => {
            !rest.is_empty() && rest.len() <= 2 && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b's')
        }
        _ => {
            value.len() <= 5
                && [&b"null"[..], b"none", b"true", b"false", b"nil"]
                    .iter()
                    .any(|word| value.eq_ignore_ascii_case(word))
        }
    }
}

/// Whether a value looks random: it has digits and letters of both cases, or is a long hexadecimal number.
pub(super) fn is_random(value: &[u8]) -> bool {
    const LENGTH_MIN: usize = 8;
    const DIGITS_MIN: usize = 4;
    let is_of_code =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'+' | b'=' | b'~');
    let count = |of: fn(&u8) -> bool| value.iter().take(HEAD_MAX).filter(|byte| of(byte)).count();
    if value.len() < LENGTH_MIN || !value.iter().take(HEAD_MAX).all(is_of_code) {
        return false;
    }
    let digits = count(u8::is_ascii_digit);
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    digits > 0 && lower > 0 && upper > 0 || value.len() >= 2 * LENGTH_MIN && digits >= DIGITS_MIN && lower > 0
}
