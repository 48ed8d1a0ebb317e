//! The labels of the fields that an operation of the schemeshard has.

/// The fields of an operation besides its name and request, in the order of the grammar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    Path,
    SrcPath,
    DstPath,
    NoPath,
    Owner,
    Added,
    Removed,
}

const LABELS: &[(&str, Label)] = &[
    (", path: ", Label::Path),
    (", src path: ", Label::SrcPath),
    (", dst path: ", Label::DstPath),
    (", no path", Label::NoPath),
    // The later writer leaves the space out.
    (", set owner:", Label::Owner),
    (", add access: ", Label::Added),
    (", remove access: ", Label::Removed),
];

impl Label {
    /// A label is none after one of a higher rank.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Path | Self::SrcPath | Self::DstPath | Self::NoPath => 0,
            Self::Owner => 1,
            Self::Added => 2,
            Self::Removed => 3,
        }
    }
}

/// The label that `text` begins with, unless it is below `rank`; and the label's length.
pub(super) fn label(text: &str, rank: u8) -> Option<(Label, usize)> {
    // Most commas are told apart by what follows them.
    if !matches!(text.as_bytes().get(2), Some(b'p' | b's' | b'd' | b'n' | b'a' | b'r')) {
        return None;
    }
    let (spelled, label) = LABELS.iter().find(|(spelled, _)| text.starts_with(spelled))?;
    let after = &text[spelled.len()..];
    let holds = *label != Label::NoPath || after.is_empty() || after.starts_with(", ");
    (holds && label.rank() >= rank).then_some((*label, spelled.len()))
}

/// Where the next label stands in `text`, or its length.
pub(super) fn next_label(text: &str, rank: u8) -> usize {
    pairs(text, b',').find(|at| label(&text[*at..], rank).is_some()).unwrap_or(text.len())
}

/// Where such a byte and a space stand.
pub(super) fn pairs(text: &str, byte: u8) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(byte, bytes).filter(move |at| bytes.get(at + 1) == Some(&b' '))
}
