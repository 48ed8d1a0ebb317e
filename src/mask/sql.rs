//! Secrets in SQL that are not right after their names: after `IDENTIFIED BY`, in objects of the type SECRET, and in
//! the rows of an insertion.

use crate::mask::Scan;
use crate::mask::name::Name;
use crate::mask::names::{self, Kind};

/// How many bytes before or after a name are searched for the rest of its statement.
const NEAR_MAX: usize = 256;

/// How many bytes before `VALUES` are searched for the names of an insertion's columns.
const COLUMNS_BYTES_MAX: usize = 2048;

/// The most columns of an insertion that are examined.
const COLUMNS_MAX: usize = 64;

/// The most words between `IDENTIFIED` and the password.
const WORDS_MAX: usize = 6;

impl Scan<'_> {
    /// Masks the password after `IDENTIFIED`: the first literal, or in a statement the word after `BY`.
    pub(super) fn identified(&mut self, name: &Name<'_>) {
        let mut at = self.behind_space(name.to);
        let mut is_by = false;
        for _ in 0..WORDS_MAX {
            if self.literal(at) {
                return self.replaced(self.floor);
            }
            let end = self.word_end(at, |unit| unit.is_space() || matches!(unit.byte, b';' | b',' | b')' | b'('));
            let word = &self.bytes[at..end];
            if word.is_empty() {
                return;
            }
            if is_by && !is_any(word, &[b"PASSWORD", b"VALUES", b"RANDOM", b"HASH"]) {
                if self.is_statement(name.from) {
                    self.cut(at..end);
                    self.replaced(end);
                }
                return;
            }
            is_by = word.eq_ignore_ascii_case(b"BY");
            at = self.behind_space(end);
        }
    }

    /// Masks the old password in `IDENTIFIED BY new REPLACE old`.
    fn replaced(&mut self, at: usize) {
        let rest = &self.bytes[at..];
        let quote = rest.iter().take_while(|byte| matches!(byte, b'\'' | b'"' | b'\\')).count();
        let at = self.behind_space(at + quote);
        let end = self.word_end(at, |unit| unit.is_space());
        if self.bytes[at..end].eq_ignore_ascii_case(b"REPLACE") {
            let at = self.behind_space(end);
            if !self.literal(at) {
                let end = self.word_end(at, |unit| unit.is_space() || unit.byte == b';');
                self.cut(at..end);
            }
        }
    }

    /// Whether the text before `at` is a SQL statement, rather than a sentence.
    fn is_statement(&self, at: usize) -> bool {
        self.words_before(at).any(|word| is_any(word, &[b"CREATE", b"ALTER", b"GRANT", b"SET"]))
    }

    fn words_before(&self, at: usize) -> impl Iterator<Item = &[u8]> {
        let head = &self.bytes[at.saturating_sub(NEAR_MAX)..at];
        head.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
    }

    /// Masks the literal of `SET PASSWORD FOR user = 'x'`.
    pub(super) fn password_for(&mut self, name: &Name<'_>, at: usize) {
        let bytes = self.bytes;
        if !bytes[at..bytes.len().min(at + 4)].eq_ignore_ascii_case(b"FOR ") || !name.is("password") {
            return;
        }
        let rest = self.near(at, NEAR_MAX);
        let Some(sign) =
            rest.iter().position(|byte| *byte == b'=').or_else(|| memchr::memmem::find(rest, b" TO ").map(|at| at + 3))
        else {
            return;
        };
        self.steps += sign;
        let value = self.behind_space(at + sign + 1);
        self.literal(value);
    }

    /// Whether `at` is in a statement that creates or changes a secret object: `CREATE SECRET s WITH (value = 'x')`.
    pub(super) fn is_in_secret(&self, at: usize) -> bool {
        const WORDS: &[&[u8]] = &[b"CREATE", b"ALTER", b"UPSERT", b"REPLACE", b"TYPE"];
        let mut is_made = false;
        self.words_before(at).any(|word| {
            let is_secret = is_made && word.eq_ignore_ascii_case(b"SECRET");
            is_made |= is_any(word, WORDS);
            is_secret
        })
    }

    /// Masks the values in an insertion's rows whose columns are secrets.
    pub(super) fn rows(&mut self, name: &Name<'_>) {
        // Rows are not nested.
        if name.from < self.rows_end {
            return;
        }
        let Some(secrets) = self.secret_columns(name.from) else { return };
        let mut at = self.behind_space(name.to);
        while self.unit(at).is_some_and(|unit| unit.byte == b'(') {
            let Some(end) = self.row(at + 1, secrets) else { return };
            self.rows_end = end;
            at = self.behind_space(end);
            match self.unit(at) {
                Some(comma) if comma.byte == b',' => at = self.behind_space(at + comma.length),
                _ => return,
            }
        }
    }

    /// Masks the secrets of one row. Returns the position of its end.
    fn row(&mut self, from: usize, secrets: u64) -> Option<usize> {
        let mut at = self.behind_space(from);
        let (mut column, mut depth) = (0, 0);
        loop {
            self.rows_end = at;
            let first = self.unit(at)?;
            let is_secret = column < COLUMNS_MAX && secrets >> column & 1 != 0;
            match first.byte {
                b'\'' | b'`' => {
                    let inside = self.quoted(at, first, false)?;
                    at = inside.end + self.unit(inside.end)?.length;
                    if is_secret {
                        self.cut(inside);
                    }
                    continue;
                }
                b'"' if first.slashes == 0 && self.form().is_quoted => return None,
                b'"' => {
                    let inside = self.quoted(at, first, false)?;
                    at = inside.end + self.unit(inside.end)?.length;
                    if is_secret {
                        self.cut(inside);
                    }
                    continue;
                }
                b'(' => depth += 1,
                b')' if depth == 0 => return Some(at + first.length),
                b')' => depth -= 1,
                b',' if depth == 0 => column += 1,
                b';' => return None,
                _ => {}
            }
            self.steps += first.length;
            at += first.length;
        }
    }

    /// The columns before `VALUES` that are secrets, one bit each. The lowest bit is the first column's.
    fn secret_columns(&mut self, values: usize) -> Option<u64> {
        let head = &self.bytes[values.saturating_sub(COLUMNS_BYTES_MAX)..values];
        let mut close = head.len();
        while close > 0 && (head[close - 1].is_ascii_whitespace() || head[..close].ends_with(b"\\n")) {
            close -= if head[..close].ends_with(b"\\n") { 2 } else { 1 };
        }
        let columns = head[..close].strip_suffix(b")")?;
        let open = columns.iter().rposition(|byte| matches!(byte, b'(' | b')' | b';'))?;
        self.steps += columns.len() - open;
        let columns = columns[open..].strip_prefix(b"(")?;
        let mut secrets = 0;
        for (column, index) in columns.split(|byte| *byte == b',').zip(0..COLUMNS_MAX) {
            let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let from = column.iter().position(is_of_name).unwrap_or(column.len());
            let from = from
                + usize::from(column[..from].ends_with(b"\\") && matches!(column.get(from), Some(b'n' | b't' | b'r')));
            let length = column[from..].iter().take_while(|byte| is_of_name(byte)).count();
            let name = &column[from..from + length];
            if names::kind(name, name) == Some(Kind::Secret) {
                secrets |= 1 << index;
            }
        }
        (secrets != 0).then_some(secrets)
    }
}

fn is_any(word: &[u8], known: &[&[u8]]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}
