//! The configuration's layers, files in their order and then the environment, merged; and the file and line of each
//! value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use config::{Map, Source, Value, ValueKind};
use toml_edit::{Document, Item, TableLike};

use crate::config::malformed::toml_fault;
use crate::config::value::{self, KeyPath};
use crate::config::variables::{self, Stray};

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Origin {
    /// The file's path, or `environment variable NAME`.
    pub(super) source: Arc<str>,
    /// Counted from 1; `None` for a variable.
    pub(super) line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => write!(f, "{}", self.source),
        }
    }
}

/// A file that is not TOML, or a variable that is not UTF-8 or sets no key.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) origin: Origin,
    pub(super) message: String,
}

/// All layers read so far. A later layer overrides an earlier one key by key; a list is replaced as a whole.
#[derive(Default)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    origins: Origins,
}

/// Where each value was written.
#[derive(Clone, Default, Debug)]
pub(super) struct Origins(BTreeMap<KeyPath, Origin>);

impl Origins {
    /// Where the value at `path` was written, or else its nearest enclosing table.
    pub(super) fn of<K: AsRef<str>>(&self, path: &[K]) -> Option<&Origin> {
        let path: KeyPath = path.iter().map(|key| key.as_ref().to_owned()).collect();
        (0..=path.len()).rev().find_map(|end| self.0.get(&path[..end]))
    }
}

impl Layers {
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), SyntaxError> {
        let source: Arc<str> = path.display().to_string().into();
        let lines = Lines::of(text);
        let document = Document::parse(text).map_err(|error| SyntaxError {
            origin: Origin { source: source.clone(), line: error.span().map(|span| lines.number(span.start)) },
            message: toml_fault(error.message()).to_owned(),
        })?;
        let mut reading = Reading { source, lines, origins: &mut self.origins.0 };
        let table = reading.table(document.as_table(), &mut KeyPath::new());
        self.layers.push(Layer(table));
        Ok(())
    }

    /// Takes the variables that begin with `AUDITFERRY__`: `AUDITFERRY__LIMITS__BATCH_BYTES` is `limits.batch_bytes`.
    /// The key decides a value's type when the tree is read. Variables with a prefix similar to `AUDITFERRY__` are
    /// reported by their names.
    pub(super) fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Environment, config::ConfigError> {
        let tree = self.merged()?;
        let mut found = Environment::default();
        let mut texts: BTreeMap<KeyPath, (String, Origin)> = BTreeMap::new();
        let ours = variables.into_iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        let ours: BTreeMap<String, OsString> = ours.filter(|(name, _)| name.starts_with("AUDITFERRY_")).collect();
        for (name, value) in ours {
            let origin = Origin { source: format!("environment variable {name}").into(), line: None };
            let taken = match name.strip_prefix(variables::PREFIX) {
                Some(keys) => variables::path(keys, &tree).and_then(|path| {
                    let text = value.into_string().map_err(|_| "expected text in UTF-8".to_owned())?;
                    Ok((path, text))
                }),
                None => {
                    match variables::stray(&name) {
                        Some(Stray::Meant(meant)) => {
                            found.refuse(origin, format!("sets nothing; did you mean {meant}?"))
                        }
                        Some(Stray::Unknown) => found.strays.push(name),
                        None => {}
                    }
                    continue;
                }
            };
            match taken {
                Ok((path, text)) => {
                    // In the map's order a path stands before all paths inside it.
                    let other = texts.iter().find(|(other, _)| path.starts_with(other) || other.starts_with(&path));
                    if let Some((other, (_, by))) = other {
                        found.refuse(origin, format!("{} is set by {} too", other.join("."), by.source));
                    } else {
                        texts.insert(path, (text, origin));
                    }
                }
                Err(message) => found.refuse(origin, message),
            }
        }
        let mut table = Map::new();
        for (path, (text, origin)) in texts {
            for end in 1..path.len() {
                self.origins.0.entry(path[..end].to_vec()).or_insert_with(|| origin.clone());
            }
            // Origins within the replaced value, such as those of a list's elements in a file, go with it.
            self.origins.0.retain(|known, _| !known.starts_with(&path));
            insert(&mut table, &path, value::from_variable(&text));
            self.origins.0.insert(path, origin);
        }
        self.layers.push(Layer(table));
        Ok(found)
    }

    /// The merged tree.
    pub(super) fn merged(&self) -> Result<Value, config::ConfigError> {
        let mut builder = config::Config::builder();
        for layer in &self.layers {
            builder = builder.add_source(layer.clone());
        }
        Ok(builder.build()?.cache)
    }

    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }
}

/// Findings about the names of variables.
#[derive(Default, Debug)]
pub(super) struct Environment {
    pub(super) errors: Vec<SyntaxError>,
    /// Variables that begin with `AUDITFERRY_` but set no key; they may belong to another program.
    pub(super) strays: Vec<String>,
}

impl Environment {
    fn refuse(&mut self, origin: Origin, message: String) {
        self.errors.push(SyntaxError { origin, message });
    }
}

/// One layer's tree, as a source the `config` crate merges.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn insert(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
            if !matches!(inner.kind, ValueKind::Table(_)) {
                inner.kind = ValueKind::Table(Map::new());
            }
            if let ValueKind::Table(inner) = &mut inner.kind {
                insert(inner, rest, value);
            }
        }
    }
}

/// Walks one file and records the line of each key.
struct Reading<'a> {
    source: Arc<str>,
    lines: Lines,
    origins: &'a mut BTreeMap<KeyPath, Origin>,
}

impl Reading<'_> {
    fn table(&mut self, table: &dyn TableLike, path: &mut KeyPath) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, item) in table.iter() {
            path.push(key.to_owned());
            let at = table.key(key).and_then(|key| key.span()).or_else(|| item.span());
            let is_table = item.is_table_like();
            self.note(path, at.map(|span| span.start), is_table);
            if let Some(value) = self.item(item, path) {
                values.insert(key.to_owned(), value);
            }
            path.pop();
        }
        values
    }

    fn item(&mut self, item: &Item, path: &mut KeyPath) -> Option<Value> {
        if let Some(table) = item.as_table_like() {
            return Some(Value::new(None, ValueKind::Table(self.table(table, path))));
        }
        if let Some(tables) = item.as_array_of_tables() {
            let tables = tables.iter().enumerate().map(|(index, table)| {
                path.push(index.to_string());
                self.note(path, table.span().map(|span| span.start), false);
                let table = self.table(table, path);
                path.pop();
                Value::new(None, ValueKind::Table(table))
            });
            return Some(Value::new(None, ValueKind::Array(tables.collect())));
        }
        item.as_value().map(|value| self.value(value, path))
    }

    fn value(&mut self, value: &toml_edit::Value, path: &mut KeyPath) -> Value {
        match value {
            toml_edit::Value::String(text) => Value::new(None, text.value().as_str()),
            toml_edit::Value::Integer(number) => Value::new(None, *number.value()),
            toml_edit::Value::Float(number) => Value::new(None, *number.value()),
            toml_edit::Value::Boolean(boolean) => Value::new(None, *boolean.value()),
            toml_edit::Value::Datetime(time) => Value::new(None, time.value().to_string()),
            toml_edit::Value::InlineTable(table) => Value::new(None, ValueKind::Table(self.table(table, path))),
            toml_edit::Value::Array(list) => {
                let values = list.iter().enumerate().map(|(index, element)| {
                    path.push(index.to_string());
                    self.note(path, element.span().map(|span| span.start), false);
                    let element = self.value(element, path);
                    path.pop();
                    element
                });
                Value::new(None, ValueKind::Array(values.collect()))
            }
        }
    }

    /// A table's origin is the file that wrote it first; any other value's origin is the one that wrote it last.
    fn note(&mut self, path: &KeyPath, offset: Option<usize>, is_table: bool) {
        let origin = Origin { source: self.source.clone(), line: offset.map(|offset| self.lines.number(offset)) };
        if is_table {
            self.origins.entry(path.clone()).or_insert(origin);
        } else {
            self.origins.insert(path.clone(), origin);
        }
    }
}

/// The offset of each line end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset).collect())
    }

    /// The number of the line with this offset, from 1.
    fn number(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> KeyPath {
        text.split('.').map(str::to_owned).collect()
    }

    fn text_at(tree: &Value, at: &str) -> String {
        let mut value = tree.clone();
        for key in path(at) {
            value = value.into_table().unwrap().remove(&key).unwrap();
        }
        value.into_string().unwrap()
    }

    #[test]
    fn later_layers_override_key_by_key_and_every_value_knows_its_line() {
        let mut layers = Layers::default();
        layers
            .add_file(Path::new("a.toml"), "state_dir = \"/a\"\n\n[feed.\"x.y\"]\nfamily = \"one\"\nbucket = \"b\"\n")
            .unwrap();
        layers.add_file(Path::new("b.toml"), "[feed.\"x.y\"]\nfamily = \"two\"\n").unwrap();
        let variables = [("AUDITFERRY__STATE_DIR", "/c"), ("PATH", "/bin")];
        let found = layers.add_environment(variables.map(|(name, value)| (name.into(), value.into()))).unwrap();
        assert!(found.errors.is_empty() && found.strays.is_empty(), "{found:?}");
        let tree = layers.merged().unwrap();
        assert_eq!(text_at(&tree, "state_dir"), "/c");
        let feed = ["feed".to_owned(), "x.y".to_owned()];
        let table = tree.into_table().unwrap().remove("feed").unwrap().into_table().unwrap().remove("x.y").unwrap();
        let table = table.into_table().unwrap();
        assert_eq!(table["family"].clone().into_string().unwrap(), "two");
        assert_eq!(table["bucket"].clone().into_string().unwrap(), "b");
        let line = |key: &str| layers.origins().of(&[&feed[..], &[key.to_owned()]].concat()).unwrap().to_string();
        assert_eq!(line("family"), "b.toml:2");
        assert_eq!(line("bucket"), "a.toml:5");
        assert_eq!(line("sinks"), "a.toml:3");
        assert_eq!(
            layers.origins().of(&path("state_dir")).unwrap().to_string(),
            "environment variable AUDITFERRY__STATE_DIR"
        );
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = Layers::default().add_file(Path::new("a.toml"), "state_dir = \"/a\"\n[feed\n").unwrap_err();
        assert_eq!(error.origin.to_string(), "a.toml:2");
    }
}
