//! What an operation of the schemeshard says, member by member, by the names of the text form.

use crate::event::Members;
use crate::event::Text;
use crate::event::Value;
use crate::family::ydb::schemeshard::Operation;

/// The members of an operation by the names of the text form.
pub(super) fn members<'t>(operation: &Operation<'t>, word: fn(&'t str) -> Text<'t>) -> Members<'t> {
    let mut members = vec![(Text::from("operation"), Value::Text(word(operation.name)))];
    members.extend(places(operation, word));
    members.extend(operation.has_no_path.then(no_path));
    members.extend(operation.owner.map(|owner| (Text::from("set owner"), Value::Text(word(owner)))));
    members.extend(listed("add access", &operation.added, word));
    members.extend(listed("remove access", &operation.removed, word));
    members.extend(others(operation, word));
    members
}

/// The paths of an operation.
pub(super) fn places<'t>(operation: &Operation<'t>, word: fn(&'t str) -> Text<'t>) -> Members<'t> {
    let path = match operation.paths.as_slice() {
        [path] => Some((Text::from("path"), Value::Text(word(path)))),
        paths => listed("path", paths, word),
    };
    let (sources, targets) = (&operation.src_paths, &operation.dst_paths);
    let copied = [listed("src path", sources, word), listed("dst path", targets, word)];
    path.into_iter().chain(copied.into_iter().flatten()).collect()
}

pub(super) fn no_path<'t>() -> (Text<'t>, Value<'t>) {
    (Text::from("no path"), Value::Json("true".into()))
}

/// The request, and what nobody knows.
pub(super) fn others<'t>(
    operation: &Operation<'t>,
    word: fn(&'t str) -> Text<'t>,
) -> impl Iterator<Item = (Text<'t>, Value<'t>)> {
    let request = operation.request.as_ref().map(|request| ("protobuf request", request.text));
    let rest = operation.rest.map(|rest| ("rest", rest));
    request.into_iter().chain(rest).map(move |(name, text)| (Text::from(name), Value::Text(word(text))))
}

/// A list, unless it is empty.
fn listed<'t>(name: &'static str, pieces: &[&'t str], word: fn(&'t str) -> Text<'t>) -> Option<(Text<'t>, Value<'t>)> {
    let list = || Value::List(pieces.iter().map(|piece| Value::Text(word(piece))).collect());
    (!pieces.is_empty()).then(|| (Text::from(name), list()))
}
