//! Secrets that are recognized by their own shape, whatever their name is.

use crate::mask::Scan;

/// The least bytes of a token after its known beginning.
const REST_MIN: usize = 8;

/// Bytes of an AWS access key id after its first four, and of an AWS secret.
const ACCESS_KEY_REST: usize = 16;
const AWS_SECRET: usize = 40;

/// The most bytes between an access key's id and its secret: a few signs, perhaps the secret's name.
const BESIDE_MAX: usize = 48;

/// Paths of Slack's webhook host. The secret that lets one send follows them.
const SLACK_PATHS: &[&[u8]] = &[b"services/", b"workflows/", b"triggers/"];

/// More bytes than the label of a PEM block has.
const LABEL_MAX: usize = 64;

impl Scan<'_> {
    /// Masks the secret that begins at `at`, if there is one.
    pub(super) fn shape(&mut self, at: usize, beginning: &str) {
        let bytes = self.bytes;
        let is_within =
            at > self.floor && matches!(bytes[at - 1], byte if byte.is_ascii_alphanumeric() && !self.is_escape(at - 1));
        if is_within && beginning != "hooks.slack.com/" && beginning != "retrieve_config.html?" {
            return;
        }
        let from = at + beginning.len();
        match beginning {
            "AKIA" | "ASIA" => self.access_key(at),
            "-----BEGIN" => self.pem(at),
            "hooks.slack.com/" => {
                let rest = &bytes[from..];
                if let Some(path) = SLACK_PATHS.iter().find(|path| rest.starts_with(path)) {
                    let end = self.token_end(from + path.len(), b"/_-");
                    self.cut(from + path.len()..end);
                }
            }
            "retrieve_config.html?" => {
                let end = self.token_end(from, b"_-.=");
                self.cut(from..end);
            }
            "eyJ" => self.jwt(at),
            "dapi" | "dose" => {
                let end = self.token_end(from, b"-");
                if bytes[from..end].iter().any(u8::is_ascii_digit) {
                    self.token(at, from, end);
                }
            }
            "ya29." => {
                let end = self.token_end(from, b"_-.");
                self.token(at, from, end);
            }
            _ => {
                let end = self.token_end(from, b"_-");
                self.token(at, from, end);
            }
        }
    }

    /// Whether the letter at `at` is the end of an escape.
    fn is_escape(&self, at: usize) -> bool {
        at > 0 && self.bytes[at - 1] == b'\\' && matches!(self.bytes[at], b'n' | b'r' | b't')
            || at > 1
                && self.bytes[at].is_ascii_hexdigit()
                && (self.bytes[at - 2] == b'%' || at > 4 && self.bytes[at - 5] == b'\\')
    }

    fn token(&mut self, at: usize, from: usize, end: usize) {
        if end - from >= REST_MIN {
            self.cut(at..end);
        }
    }

    /// The end of a run of letters, digits and `signs`.
    fn token_end(&mut self, from: usize, signs: &[u8]) -> usize {
        let rest = &self.bytes[from..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || signs.contains(byte)).count();
        self.steps += length;
        from + length
    }

    /// Masks a JWT: three parts in base 64 separated by dots, the first of which encodes a JSON object.
    fn jwt(&mut self, at: usize) {
        let end = self.token_end(at, b"_-.");
        let token = &self.bytes[at..end];
        let is_signed =
            memchr::memchr(b'.', token).is_some_and(|dot| dot >= REST_MIN && token.len() > dot + REST_MIN / 2);
        if is_signed {
            self.cut(at..end);
        }
    }

    /// Masks the secret beside the id of an AWS access key. The id, which shows whose key it was, stays.
    fn access_key(&mut self, at: usize) {
        let bytes = self.bytes;
        let id = at..at + 4 + ACCESS_KEY_REST;
        let is_of_id = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let is_id = bytes.get(id.clone()).is_some_and(|id| id.iter().all(is_of_id))
            && !bytes.get(id.end).is_some_and(u8::is_ascii_alphanumeric);
        if !is_id {
            return;
        }
        let is_of_secret = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'=');
        let before = &bytes[self.floor.max(at.saturating_sub(AWS_SECRET + 8))..at];
        let signs = before.iter().rev().take_while(|byte| !byte.is_ascii_alphanumeric() && **byte != b'+').count();
        let secret = before.len() - signs;
        if signs > 0 && secret >= AWS_SECRET {
            let from = at - signs - AWS_SECRET;
            let is_whole = secret == AWS_SECRET || !is_of_secret(&before[secret - AWS_SECRET - 1]);
            if is_whole
                && before[secret - AWS_SECRET..secret].iter().all(is_of_secret)
                && is_aws_secret(&bytes[from..from + AWS_SECRET])
            {
                self.cut(from..from + AWS_SECRET);
            }
        }
        // Search the first run of letters that is as long as a secret.
        let rest = &bytes[id.end..bytes.len().min(id.end + BESIDE_MAX + AWS_SECRET + 1)];
        let mut run = 0;
        for (index, byte) in rest.iter().enumerate() {
            // A slash right after the id separates the two.
            let is_of_run = is_of_secret(byte) && (index > 0 || *byte != b'/');
            run = if is_of_run { run + 1 } else { 0 };
            let is_end = !rest.get(index + 1).is_some_and(is_of_secret);
            if run >= AWS_SECRET && is_end {
                let from = id.end + index + 1 - AWS_SECRET;
                let is_apart = run == AWS_SECRET || bytes[from - 1] == b'=';
                if is_apart && is_aws_secret(&bytes[from..from + AWS_SECRET]) {
                    self.cut(from..from + AWS_SECRET);
                }
                return;
            }
        }
    }

    /// Masks a private key in PEM. Certificates and public keys stay.
    fn pem(&mut self, at: usize) {
        let bytes = self.bytes;
        let head = &bytes[at..bytes.len().min(at + LABEL_MAX)];
        let Some(label) = memchr::memmem::find(&head[5..], b"-----").map(|length| length + 10) else { return };
        if memchr::memmem::find(&head[..label], b"PRIVATE KEY").is_none() {
            return;
        }
        let from = at + label;
        let rest = &bytes[from..];
        let length = memchr::memmem::find(rest, b"-----END").unwrap_or(rest.len());
        // The end of the surrounding text also ends the key.
        let quote = memchr::memchr(b'"', &rest[..length]);
        let end = match quote {
            Some(quote) => rest[..quote].iter().rposition(|byte| *byte != b'\\').map_or(0, |last| last + 1),
            None if self.form().is_quoted => length,
            None => {
                memchr::memchr_iter(b',', &rest[..length]).find(|at| self.begins_field(from + at)).unwrap_or(length)
            }
        };
        self.steps += end;
        self.cut(from..from + end);
    }
}

fn is_aws_secret(bytes: &[u8]) -> bool {
    let has = |of: fn(&u8) -> bool| bytes.iter().any(of);
    has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
}
