//! Turns an operation of the schemeshard into JSON members, named as in the text form.

use crate::event::{Members, Text, Value};
use crate::family::ydb::schemeshard::Operation;
use crate::family::ydb::words::Words;

/// All members of an operation.
pub(super) fn members<'t>(operation: &Operation<'t>, words: Words<'t>) -> Members<'t> {
    let mut members = vec![(Text::word("operation"), Value::Text(words.take(operation.name)))];
    members.extend(places(operation, words));
    members.extend(operation.has_no_path.then(no_path));
    members.extend(operation.owner.map(|owner| (Text::word("set owner"), Value::Text(words.take(owner)))));
    members.extend(listed("add access", &operation.added, words));
    members.extend(listed("remove access", &operation.removed, words));
    members.extend(others(operation, words));
    members
}

/// The paths of an operation.
pub(super) fn places<'t>(operation: &Operation<'t>, words: Words<'t>) -> Members<'t> {
    let path = match operation.paths.as_slice() {
        [path] => Some((Text::word("path"), Value::Text(words.take(path)))),
        paths => listed("path", paths, words),
    };
    let (sources, targets) = (&operation.src_paths, &operation.dst_paths);
    let copied = [listed("src path", sources, words), listed("dst path", targets, words)];
    path.into_iter().chain(copied.into_iter().flatten()).collect()
}

pub(super) fn no_path<'t>() -> (Text<'t>, Value<'t>) {
    (Text::word("no path"), Value::Json("true".into()))
}

/// The request, and the text after the fields that are known.
pub(super) fn others<'t>(operation: &Operation<'t>, words: Words<'t>) -> impl Iterator<Item = (Text<'t>, Value<'t>)> {
    let request = operation.request.as_ref().map(|request| ("protobuf request", request.text));
    let rest = operation.rest.map(|rest| ("rest", rest));
    request.into_iter().chain(rest).map(move |(name, text)| (Text::word(name), Value::Text(words.take(text))))
}

/// A member that holds a list. `None` if the list is empty.
fn listed<'t>(name: &'static str, pieces: &[&'t str], words: Words<'t>) -> Option<(Text<'t>, Value<'t>)> {
    let list = || Value::List(pieces.iter().map(|piece| Value::Text(words.take(piece))).collect());
    (!pieces.is_empty()).then(|| (Text::word(name), list()))
}
