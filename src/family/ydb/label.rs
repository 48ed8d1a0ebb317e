//! The labels of an operation's fields in the schemeshard's lines.

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
    // Later versions of YDB write no space after this colon.
    (", set owner:", Label::Owner),
    (", add access: ", Label::Added),
    (", remove access: ", Label::Removed),
];

impl Label {
    /// The label's rank in the grammar. After a field of a higher rank, the text is not read as this label.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Path | Self::SrcPath | Self::DstPath | Self::NoPath => 0,
            Self::Owner => 1,
            Self::Added => 2,
            Self::Removed => 3,
        }
    }
}

/// The label at the beginning of `text`, and its length in bytes. `None` if there is none, or its rank is below `rank`.
pub(super) fn label(text: &str, rank: u8) -> Option<(Label, usize)> {
    // After most commas, the first letter already rules out a label.
    if !matches!(text.as_bytes().get(2), Some(b'p' | b's' | b'd' | b'n' | b'a' | b'r')) {
        return None;
    }
    let (spelled, label) = LABELS.iter().find(|(spelled, _)| text.starts_with(spelled))?;
    let after = &text[spelled.len()..];
    let holds = *label != Label::NoPath || after.is_empty() || after.starts_with(", ");
    (holds && label.rank() >= rank).then_some((*label, spelled.len()))
}

/// The position in `text` of the next label of at least `rank`, or the length of `text`.
pub(super) fn next_label(text: &str, rank: u8) -> usize {
    pairs(text, b',').find(|at| label(&text[*at..], rank).is_some()).unwrap_or(text.len())
}

/// The positions at which `byte` is followed by a space.
pub(super) fn pairs(text: &str, byte: u8) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(byte, bytes).filter(move |at| bytes.get(at + 1) == Some(&b' '))
}
