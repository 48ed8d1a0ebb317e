//! Finds the keys of a configuration that refer to secrets.

use config::{Value, ValueKind};

use crate::config::Config;
use crate::config::value::{self, KeyPath};
use crate::secret::Reference;

/// A malformed reference: a key that accepts it takes any text, not a reference.
const NO_REFERENCE: &str = "env:";

/// The references to secrets in a valid tree, each with its key.
///
/// A text that looks like a reference counts only if its key refuses a malformed reference. A bucket's name, for
/// example, accepts both.
pub(super) fn references(tree: &Value) -> Vec<(KeyPath, Reference)> {
    let mut texts = Vec::new();
    collect(tree, &mut KeyPath::new(), &mut texts);
    texts.retain(|(at, _)| value::read::<Config>(&with(tree, at, NO_REFERENCE)).is_err_and(|fault| fault.at == *at));
    texts
}

fn collect(value: &Value, path: &mut KeyPath, texts: &mut Vec<(KeyPath, Reference)>) {
    let mut inside = |key: String, value: &Value| {
        path.push(key);
        collect(value, path, texts);
        path.pop();
    };
    match &value.kind {
        ValueKind::Table(table) => table.iter().for_each(|(key, value)| inside(key.clone(), value)),
        ValueKind::Array(list) => list.iter().enumerate().for_each(|(index, value)| inside(index.to_string(), value)),
        ValueKind::String(text) => texts.extend(Reference::try_from(text.clone()).ok().map(|it| (path.clone(), it))),
        _ => {}
    }
}

/// A copy of the tree with another text at a path.
fn with(tree: &Value, at: &[String], text: &str) -> Value {
    let mut tree = tree.clone();
    let place = at.iter().try_fold(&mut tree, |node, key| match &mut node.kind {
        ValueKind::Table(table) => table.get_mut(key),
        ValueKind::Array(list) => list.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    });
    if let Some(place) = place {
        *place = Value::new(None, text);
    }
    tree
}
