//! The permissions of the files that a sink writes: their mode and their group.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::{fmt, io};

use nix::unistd;
use rustix::fs::{self, Gid};
use serde::{Deserialize, Deserializer, de};

use super::numbered;
use crate::sink::OpenError;

/// The mode of a new file if none is configured.
const DEFAULT_MODE: u32 = 0o640;
/// The permissions that the daemon itself needs: after a crash it reads what it wrote.
const OWNER_READS_AND_WRITES: u32 = 0o600;
/// Permissions that are refused: writing by others, executing by anyone.
const REFUSED: u32 = 0o113;
/// The bits that chmod(2) sets.
const ALL_BITS: u32 = 0o7777;
/// For chown(2) this group means "leave the group as it is".
const NO_GROUP: u32 = u32::MAX;

/// `mode`: permissions in octal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(u32);

/// Why a text is not a valid [`Mode`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ModeError {
    #[error("expected a mode of three octal digits such as \"0640\"")]
    Malformed,
    #[error(
        "expected a mode without permission to execute and without permission for others to write, such as \"0640\""
    )]
    TooWide,
    #[error("expected a mode that lets the daemon itself read and write, such as \"0640\"")]
    TooNarrow,
}

impl TryFrom<String> for Mode {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        let digits = if text.len() == 4 { text.strip_prefix('0') } else { Some(text.as_str()) };
        let digits = digits.filter(|digits| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        let bits = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()).ok_or(ModeError::Malformed)?;
        if bits & REFUSED != 0 {
            return Err(ModeError::TooWide);
        }
        if bits & OWNER_READS_AND_WRITES != OWNER_READS_AND_WRITES {
            return Err(ModeError::TooNarrow);
        }
        Ok(Self(bits))
    }
}

/// `group`: the name of a group, or its number in digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group(String);

impl Group {
    /// Looks up the group's number on this machine.
    pub(super) fn id(&self) -> Result<u32, OpenError> {
        if let Ok(id) = self.0.parse() {
            return Ok(id);
        }
        match unistd::Group::from_name(&self.0) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => Err(OpenError::NoGroup { group: self.0.clone() }),
            Err(errno) => Err(OpenError::Lookup { group: self.0.clone(), source: errno.into() }),
        }
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(GroupVisitor)
    }
}

struct GroupVisitor;

impl de::Visitor<'_> for GroupVisitor {
    type Value = Group;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name or the number of a group")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Group, E> {
        let is_name =
            !text.is_empty() && !text.starts_with('-') && !text.contains(|char: char| char.is_control() || char == ':');
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        if is_name && (!is_number || text.parse().is_ok_and(|id: u32| id != NO_GROUP)) {
            return Ok(Group(text.to_owned()));
        }
        Err(E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Group, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Group, E> {
        u64::try_from(number)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            .and_then(|number| self.visit_u64(number))
    }
}

/// The mode and group of a sink's files. What is not configured has a default, for new files only.
pub(super) struct Access {
    mode: Option<Mode>,
    group: Option<Group>,
    group_id: Option<u32>,
}

impl Access {
    /// Looks up the configured group.
    pub(super) fn new(mode: Option<Mode>, group: Option<Group>) -> Result<Self, OpenError> {
        let group_id = group.as_ref().map(Group::id).transpose()?;
        Ok(Self { mode, group, group_id })
    }

    /// Sets the configured mode and group on the open file. If the file is new, what is not configured gets its
    /// default: mode 0640, and the group of its directory if the daemon may set that.
    ///
    /// # Errors
    /// The configured mode or group cannot be set. The text says why and what to do.
    pub(super) fn apply(&self, file: &File, path: &Path, is_new: bool) -> Result<(), String> {
        let there = file.metadata().map_err(|error| error.to_string())?;
        let of_directory = || std::fs::metadata(numbered::directory(path)).ok().map(|directory| directory.gid());
        // Set the group first: otherwise the mode would open the file to its old group.
        match self.group_id {
            Some(id) => set_group(file, there.gid(), id).map_err(|error| self.no_group(id, &error))?,
            None if is_new => {
                if let Some(id) = of_directory() {
                    // A daemon that is not a member of the directory's group keeps its own group.
                    let _ = set_group(file, there.gid(), id);
                }
            }
            None => {}
        }
        match self.mode {
            Some(Mode(bits)) => set_mode(file, there.mode(), bits).map_err(|error| {
                format!("cannot be given the mode {bits:04o}: {error}; change `mode`, or the file's owner")
            }),
            None if is_new => {
                // The daemon owns the file, so this fails only where the file system has no modes.
                let _ = set_mode(file, there.mode(), DEFAULT_MODE);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn no_group(&self, id: u32, error: &io::Error) -> String {
        let name = self.group.as_ref().map_or("", |group| &group.0);
        format!(
            "cannot be given the group {name} (number {id}): {error}; make the daemon's user a member of it, or change `group`"
        )
    }
}

fn set_group(file: &File, now: u32, id: u32) -> io::Result<()> {
    if now == id { Ok(()) } else { Ok(fs::fchown(file, None, Some(Gid::from_raw(id)))?) }
}

fn set_mode(file: &File, now: u32, bits: u32) -> io::Result<()> {
    if now & ALL_BITS == bits { Ok(()) } else { Ok(fs::fchmod(file, fs::Mode::from_raw_mode(bits))?) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mode(text: &str) -> Result<u32, ModeError> {
        Mode::try_from(text.to_owned()).map(|mode| mode.0)
    }

    #[test]
    fn a_mode_is_three_octal_digits_that_suit_a_log() {
        for (text, bits) in [("0640", 0o640), ("640", 0o640), ("0600", 0o600), ("0644", 0o644), ("0660", 0o660)] {
            assert_eq!(mode(text), Ok(bits), "{text}");
        }
        for text in
            ["", "0", "64", "06400", "00640", "0o640", "+640", "-640", "0680", "rw-r-----", "4640", " 640", "0x1a0"]
        {
            assert_eq!(mode(text), Err(ModeError::Malformed), "{text}");
        }
        for text in ["0642", "0666", "0777", "0750", "0641", "0602"] {
            assert_eq!(mode(text), Err(ModeError::TooWide), "{text}");
        }
        for text in ["0000", "0440", "0240", "0040"] {
            assert_eq!(mode(text), Err(ModeError::TooNarrow), "{text}");
        }
    }

    #[test]
    fn a_group_is_a_name_or_a_number_that_chown_takes() {
        let group = |value: serde_json::Value| serde_json::from_value::<Group>(value).map(|group| group.0).ok();
        assert_eq!(group(json!("siem")).as_deref(), Some("siem"));
        assert_eq!(group(json!("log readers@example.com")).as_deref(), Some("log readers@example.com"));
        assert_eq!(group(json!("1005")).as_deref(), Some("1005"));
        for refused in [json!(""), json!(-1), json!(4_294_967_295_u32), json!("99999999999"), json!("a:b"), json!([1])]
        {
            assert_eq!(group(refused.clone()), None, "{refused}");
        }
    }

    #[test]
    fn a_number_need_not_be_known_on_this_machine_and_a_name_must_be() {
        assert_eq!(Group("54321".to_owned()).id().unwrap(), 54321);
        assert_eq!(Group("root".to_owned()).id().unwrap(), 0);
        let error = Group("no-such-group".to_owned()).id().unwrap_err();
        assert_eq!(error.to_string(), "there is no group `no-such-group` on this machine");
    }
}
