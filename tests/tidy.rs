//! Checks the rules of the layout: the order of the folders, the size of files and functions, and where certain calls
//! may be.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most lines a file has before its tests.
const FILE_LINES_MAX: usize = 400;
/// The most lines a function has.
const FUNCTION_LINES_MAX: usize = 70;

/// Texts that only some places may contain, and these places: a folder, or a file by name.
const PLACES: &[(&[&str], &[&str])] = &[
    // Only the collector spawns, waits and reads the clock, and so decides what happens when.
    (&["tokio::spawn(", "JoinSet"], &["src/collector/"]),
    (
        &["spawn_blocking("],
        &[
            "src/notification/directory/calls.rs",
            "src/checkpoint/sqlite/mod.rs",
            "src/collector/compute.rs",
            "src/sink/blocking.rs",
            "src/sink/file/opened.rs",
        ],
    ),
    // The one thread that owns the connection to the checkpoint store.
    (&["thread::spawn(", "thread::Builder"], &["src/checkpoint/sqlite/writer.rs", "src/collector/"]),
    (&["sleep(", "sleep_until(", "time::interval"], &["src/collector/"]),
    // The SDK asks whether credentials have expired without passing the time.
    (&["SystemTime::now", "Timestamp::now", "Zoned::now"], &["src/collector/clock.rs", "src/identity/provider.rs"]),
    (&["Instant::now"], &["src/collector/"]),
    // Tests replace the collector's random numbers by a seed.
    (&["fastrand"], &["src/collector/random.rs"]),
    (&["rusqlite"], &["src/checkpoint/sqlite/"]),
    (&["aws_sdk_s3"], &["src/object/s3", "src/notification/scan.rs", "src/sink/s3/"]),
    (&["aws_sdk_sqs"], &["src/notification/sqs.rs"]),
    (&["aws_sdk_sts"], &["src/identity/"]),
    (&["aws_config"], &["src/identity/", "src/notification/", "src/object/"]),
    (&["toml_edit", "config::Value"], &["src/config/"]),
    (&["prometheus_client"], &["src/telemetry/"]),
    (&["hyper::", "hyper_util"], &["src/admin/", "src/sink/"]),
    (&["reqwest"], &["src/transport/"]),
    (&["rustls"], &["src/transport/", "src/identity/http.rs"]),
    (&["clap::"], &["src/cli/"]),
    (&["notify::Watcher", "notify::RecommendedWatcher"], &["src/collector/"]),
    // An error is logged where it is handled.
    (&["tracing::info", "tracing::warn", "tracing::error", "tracing::debug"], &["src/collector/", "src/cli/"]),
    // Deleting a message takes a proof that it is settled.
    (&[".delete("], &["src/collector/intake/acknowledge.rs"]),
    (&["println!", "print!("], &["src/cli/"]),
];

struct Source {
    /// From the repository's root, such as `src/delta/mod.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The text before the tests. Empty if the tests have a file or folder of their own.
    fn code(&self) -> &str {
        match self.text.find("#[cfg(test)]\nmod tests") {
            _ if self.path.ends_with("/tests.rs") || self.path.contains("/conformance/") => "",
            Some(at) => &self.text[..at],
            None => &self.text,
        }
    }

    /// The code's lines that are not comments, with their numbers.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code()
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(i, line)| (i + 1, line))
    }

    /// Everything the code imports.
    fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (number, line) in self.code_lines() {
            match &mut open {
                Some((_, import)) => import.push_str(line.trim()),
                None if is_import(line) => {
                    open = Some((number, line.to_owned()));
                }
                None => {}
            }
            if let Some((number, import)) = open.take_if(|(_, import)| import.ends_with(';')) {
                imports.push(Import::of(number, import.trim_end_matches(';')));
            }
        }
        imports
    }
}

/// Whether a `use` begins on the line.
fn is_import(line: &str) -> bool {
    line.starts_with("use ") || line.starts_with("pub") && line.contains(" use ")
}

/// One `use`.
struct Import {
    /// The number of the line where it begins.
    number: usize,
    /// The text before `use`, such as `pub`.
    visibility: String,
    module: String,
    /// The full path of each imported name.
    paths: Vec<String>,
}

impl Import {
    fn of(number: usize, text: &str) -> Self {
        let (visibility, path) = text.split_once("use ").unwrap();
        let (module, names) = match path.split_once("::{") {
            Some((module, names)) => (module, names.trim_end_matches('}')),
            None => path.rsplit_once("::").unwrap_or(("", path)),
        };
        let names =
            names.split(',').map(|name| name.trim().split(" as ").next().unwrap()).filter(|name| !name.is_empty());
        let paths = names.map(|name| if name == "self" { module.to_owned() } else { format!("{module}::{name}") });
        Self { number, visibility: visibility.trim().to_owned(), module: module.to_owned(), paths: paths.collect() }
    }
}

impl Source {
    /// The paths that the code writes out instead of importing them, such as `crate::batch::Batch`.
    fn written_paths(&self) -> Vec<String> {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let mut paths = Vec::new();
        for (_, line) in self.code_lines().filter(|(_, line)| !is_import(line)) {
            for root in ["crate::", "self::", "super::"] {
                for (at, _) in line.match_indices(root) {
                    // In `crate::x::self::y`, `self` does not begin a path. `pub(in crate::x)` uses nothing.
                    let begins = line[..at].chars().next_back().is_none_or(|before| !is_part(before));
                    if begins && !line[..at].ends_with("pub(in ") {
                        let path = line[at..].split(|letter| !is_part(letter)).next().unwrap();
                        paths.push(path.trim_end_matches(':').to_owned());
                    }
                }
            }
        }
        paths
    }
}

/// The files of `src` by the path of their module below `crate`. The path of `crate` itself is empty.
fn modules(sources: &[Source]) -> BTreeMap<String, &Source> {
    let name = |path: &str| {
        let path = path.trim_start_matches("src/").trim_end_matches(".rs");
        if path == "lib" { String::new() } else { path.trim_end_matches("/mod").replace('/', "::") }
    };
    let sources = sources.iter().filter(|source| source.path != "src/main.rs");
    sources.map(|source| (name(&source.path), source)).collect()
}

/// The module whose file holds the item that `path` names in `module`. `None` if the path is another crate's.
fn module_of(modules: &BTreeMap<String, &Source>, module: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut rest = path.split("::").peekable();
    match rest.next()? {
        "crate" => parts.clear(),
        "self" => {}
        "super" => {
            parts.pop();
            while rest.next_if_eq(&"super").is_some() {
                parts.pop();
            }
        }
        // The path begins with a child module or with another crate.
        first => {
            parts.push(first);
            modules.get(&parts.join("::"))?;
        }
    }
    parts.extend(rest);
    while !parts.is_empty() && !modules.contains_key(&parts.join("::")) {
        parts.pop();
    }
    Some(parts.join("::"))
}

/// The modules that each module uses. Re-exports of its own modules are not uses.
fn uses(modules: &BTreeMap<String, &Source>) -> BTreeMap<String, BTreeSet<String>> {
    let of = |(module, source): (&String, &&Source)| {
        let is_below = |other: &String| other.starts_with(&format!("{module}::"));
        let mut used = BTreeSet::new();
        for Import { visibility, paths, .. } in source.imports() {
            let found = paths.iter().filter_map(|path| module_of(modules, module, path));
            used.extend(found.filter(|other| visibility.is_empty() || !is_below(other)));
        }
        used.extend(source.written_paths().iter().filter_map(|path| module_of(modules, module, path)));
        used.retain(|other| other != module && !other.is_empty());
        (module.clone(), used)
    };
    modules.iter().map(of).collect()
}

/// The modules that can be reached from a module by one or more uses.
fn reached<'u>(uses: &'u BTreeMap<String, BTreeSet<String>>, module: &str) -> BTreeSet<&'u str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = uses[module].iter().map(String::as_str).collect();
    while let Some(other) = next.pop() {
        if reached.insert(other) {
            next.extend(uses[other].iter().map(String::as_str));
        }
    }
    reached
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(folder: &str) -> Vec<Source> {
    let read = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().display().to_string(),
    };
    // This file contains the texts that others may not.
    files(folder, "rs").into_iter().map(read).filter(|source| source.path != "tests/tidy.rs").collect()
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn a_folder_uses_only_folders_before_it() {
    let map = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let order: Vec<&str> = map
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let mut found = Vec::new();
    for source in sources("src") {
        let Some(folder) = source.path.split('/').nth(1).filter(|name| order.contains(name)) else { continue };
        let place = order.iter().position(|name| *name == folder).unwrap();
        for (number, line) in source.code_lines() {
            for used in line.match_indices("crate::").map(|(at, _)| &line[at + "crate::".len()..]) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if order.iter().position(|name| *name == used).is_some_and(|other| other > place) {
                    found.push(format!("{}:{number}: {folder} uses {used}", source.path));
                }
            }
        }
    }
    assert!(order.len() > 10, "the map names the folders");
    none(found, "data goes from left to right");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources("src");
    let modules = modules(&sources);
    let uses = uses(&modules);
    let mut found = Vec::new();
    for (module, used) in &uses {
        let source = modules[module];
        // The module is in a circle with every module that it reaches and that reaches it.
        let back: Vec<&str> =
            used.iter().map(String::as_str).filter(|other| reached(&uses, other).contains(module.as_str())).collect();
        if !back.is_empty() {
            found.push(format!("{}: {module} uses {}, and is used by them", source.path, back.join(", ")));
        }
    }
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 500, "the imports are found");
    none(found, "files use each other in one direction");
}

#[test]
fn only_the_named_places_touch_what_is_dangerous() {
    let mut found = Vec::new();
    for source in sources("src") {
        for (number, line) in source.code_lines() {
            for (patterns, places) in PLACES {
                let written = patterns.iter().find(|pattern| line.contains(**pattern));
                if let Some(pattern) = written
                    && !places.iter().any(|place| source.path.starts_with(place))
                {
                    found.push(format!("{}:{number}: {pattern}", source.path));
                }
            }
        }
    }
    for source in sources("src") {
        for Import { number, paths, .. } in source.imports() {
            for (patterns, places) in PLACES {
                let imported = patterns.iter().find(|pattern| paths.iter().any(|path| path.contains(**pattern)));
                if let Some(pattern) = imported
                    && !places.iter().any(|place| source.path.starts_with(place))
                {
                    found.push(format!("{}:{number}: {pattern}", source.path));
                }
            }
        }
    }
    none(found, "each of these has its place");
}

#[test]
fn one_seed_decides_all_that_the_collector_does() {
    let mut found = Vec::new();
    for source in sources("src/collector") {
        let lines: Vec<(usize, &str)> = source.code_lines().collect();
        for (at, (number, line)) in lines.iter().enumerate() {
            let is_biased = lines.get(at + 1).is_some_and(|(_, next)| next.trim() == "biased;");
            if line.contains("select!") && !is_biased {
                found.push(format!("{}:{number}: the branch that is taken is drawn", source.path));
            }
            // The order of iteration over these differs between processes.
            if ["HashMap", "HashSet", "RandomState", "std::time::Instant"].iter().any(|refused| line.contains(refused))
            {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none(found, "what happens is the world's to say");
}

#[test]
fn what_is_used_of_a_module_is_imported_at_once() {
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let mut known = Vec::new();
        for Import { number, visibility, module, .. } in source.imports() {
            // Modules are imported from these roots, on lines of their own.
            let is_root = ["", "crate", "super", "self"].contains(&module.as_str());
            if !is_root && known.contains(&(visibility.clone(), module.clone())) {
                found.push(format!("{}:{number}: {module}", source.path));
            }
            known.push((visibility, module));
        }
    }
    none(found, "one import a module");
}

#[test]
fn files_begin_with_what_they_are_for_and_stay_small() {
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        if !source.text.starts_with("//! ") {
            found.push(format!("{}: no `//!` sentence on its first line", source.path));
        }
        let lines = source.code().lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines before its tests", source.path));
        }
    }
    none(found, "a file is read in one go");
}

#[test]
fn functions_fit_a_screen() {
    let mut found = Vec::new();
    for source in sources("src") {
        let lines: Vec<&str> = source.code().lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[start..].iter().position(|line| {
                line.strip_prefix(indent)
                    .is_some_and(|rest| rest == "}" || rest.ends_with(';') && !rest.starts_with(' '))
            });
            // A function on one line ends where it begins.
            let length = if line.ends_with('}') { 1 } else { end.map_or(0, |end| end + 1) };
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{}:{}: {name} has {length} lines", source.path, start + 1));
            }
        }
    }
    none(found, "a function fits a screen");
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in ["pub ", "pub(super) ", "pub(crate) ", "const ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

#[test]
fn names_and_imports_keep_to_the_rules() {
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        for part in source.path.trim_end_matches(".rs").split('/') {
            if ["util", "utils", "common", "helper", "helpers", "misc", "shared"].contains(&part) {
                found.push(format!("{}: `{part}` says nothing; each thing has an owner", source.path));
            }
        }
        for (number, line) in source.text.lines().enumerate() {
            for refused in ["crate::{", "super::super"] {
                if line.contains(refused) {
                    found.push(format!("{}:{}: {refused}", source.path, number + 1));
                }
            }
        }
    }
    none(found, "one line of text says what is used");
}

#[test]
fn nothing_is_left_undone_or_unchecked() {
    let mut found = Vec::new();
    for source in sources("src") {
        for (number, line) in source.code_lines() {
            for refused in [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "unsafe ", "#[allow(dead_code)]"] {
                if line.contains(refused) {
                    found.push(format!("{}:{number}: {refused}", source.path));
                }
            }
        }
    }
    for source in sources("src").into_iter().chain(sources("tests")) {
        for (number, line) in source.text.lines().enumerate() {
            for refused in ["#[ignore", "#[should_panic", "thread::sleep"] {
                if line.contains(refused) {
                    found.push(format!("{}:{}: {refused}", source.path, number + 1));
                }
            }
        }
    }
    none(found, "what stands here works");
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut documents = vec![root().join("README.md")];
    for folder in ["config", "deploy", "src", "tests"] {
        documents.extend(files(folder, "md"));
    }
    let mut found = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap_or_default();
        for link in text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split(')').next()) {
            let path = link.split('#').next().unwrap();
            let is_file = !path.is_empty() && !path.contains("://");
            if is_file && !document.parent().unwrap().join(path).exists() {
                found.push(format!("{}: {link}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    none(found, "a link leads somewhere");
}

fn text_of(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

/// The texts in backquotes, including code blocks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The tests that a text names: `file::name` below tests/it, or the full path of a file and the name.
fn tests_named(text: &str) -> Vec<(String, String)> {
    let whole = |file: &str| match file.ends_with(".rs") {
        true => file.to_owned(),
        false => format!("tests/it/{file}.rs"),
    };
    let is_test = |name: &str| {
        name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let quoted = quoted(text);
    let named = quoted.iter().filter_map(|quoted| quoted.rsplit_once("::"));
    let named = named.filter(|(file, name)| !file.starts_with(char::is_uppercase) && is_test(name));
    named.map(|(file, name)| (whole(file), name.into())).collect()
}

/// The tests that a text names but that do not exist.
fn tests_missing(text: &str) -> Vec<String> {
    let exists = |(file, name): &(String, String)| {
        let source = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        source.contains(&format!("fn {name}("))
    };
    let missing = tests_named(text).into_iter().filter(|test| !exists(test));
    missing.map(|(file, name)| format!("{file}: {name}")).collect()
}

#[test]
fn each_test_that_holds_a_promise_or_an_invariant_exists() {
    let mut missing = Vec::new();
    for (document, least) in [("tests/SEMANTICS.md", 30), ("src/README.md", 20)] {
        let text = text_of(document);
        assert!(tests_named(&text).len() > least, "{document} names tests");
        missing.extend(tests_missing(&text).into_iter().map(|test| format!("{document}: {test}")));
    }
    none(missing, "each test that a document names is there");
}

/// The rows of the catalogue are numbered from 1 to 60 and 3b. The rows of receivers are numbered from S1.
#[test]
fn each_fault_of_the_catalogue_is_held_by_a_test_or_by_seeds() {
    let simulator = text_of("tests/sim/happening.rs") + &text_of("tests/sim/plan.rs");
    let draws = |name: &String| {
        let mut lines = simulator.lines().map(|line| line.trim_start().trim_start_matches("pub "));
        lines.any(|line| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with([',', '(', ':', ' '])))
    };
    let (mut numbers, mut wrong) = (Vec::new(), Vec::new());
    let document = text_of("tests/faults.md");
    for row in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| # ")) {
        let [number, _, _, held_by] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("four cells: {row}") };
        let number = number.trim_start_matches("| ");
        let quoted = quoted(held_by);
        let families = quoted.iter().filter_map(|quoted| quoted.split_once("::"));
        let families = families.filter(|(kind, _)| ["Happening", "Change", "Forgery", "Rates"].contains(kind));
        let families: Vec<String> = families.map(|(_, name)| name.to_owned()).collect();
        if tests_named(held_by).is_empty() && families.is_empty() {
            wrong.push(format!("{number}: neither a test nor seeds"));
        }
        wrong.extend(tests_missing(held_by).into_iter().map(|test| format!("{number}: no test {test}")));
        wrong.extend(families.iter().filter(|name| !draws(name)).map(|name| format!("{number}: no seed draws {name}")));
        numbers.push(number.to_owned());
    }
    let sources = (1..=60).map(|number| number.to_string()).chain(["3b".to_owned()]);
    wrong.extend(sources.filter(|number| !numbers.contains(number)).map(|number| format!("{number}: no row")));
    none(wrong, "each fault of the catalogue is held by something that exists");
}

#[test]
fn each_file_that_the_architecture_names_exists() {
    let mut missing = Vec::new();
    for (document, least) in [("src/README.md", 50), ("tests/README.md", 10)] {
        let quoted = quoted(&text_of(document));
        let paths = quoted.iter().filter_map(|quoted| quoted.split("::").next());
        let paths: Vec<&str> = paths.filter(|path| path.starts_with("src/") || path.starts_with("tests/")).collect();
        assert!(paths.len() > least, "{document} names files");
        let is_missing = |path: &&str| !root().join(path).exists();
        missing.extend(paths.into_iter().filter(is_missing).map(|path| format!("{document}: {path}")));
    }
    none(missing, "each file that a document names is there");
}

/// The names, versions and dependencies of a lock file's packages.
fn locked(file: &str) -> BTreeMap<(String, String), String> {
    let text = text_of(file);
    let packages = text.split("[[package]]\n").skip(1).map(|package| {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).unwrap();
        let dependencies = package.split_once("dependencies = [").map_or("", |(_, dependencies)| dependencies);
        ((value("name").replace('"', ""), value("version").replace('"', "")), dependencies.to_owned())
    });
    packages.collect()
}

/// tests/fuzz is a workspace of its own, because it needs another compiler. What it tests is the program that is built.
#[test]
fn the_fuzz_targets_depend_on_what_the_program_depends_on() {
    let (program, fuzz) = (locked("Cargo.lock"), locked("tests/fuzz/Cargo.lock"));
    let names: BTreeSet<&String> = program.keys().map(|(name, _)| name).collect();
    let other = fuzz.keys().filter(|package| names.contains(&package.0) && !program.contains_key(*package));
    let mut wrong: Vec<String> = other.map(|(name, version)| format!("{name} {version}")).collect();
    let ours = |lock: &BTreeMap<(String, String), String>| {
        let (_, dependencies) = lock.iter().find(|((name, _), _)| name == "auditferry").unwrap();
        let names = dependencies.lines().filter_map(|line| line.trim().strip_prefix('"'));
        names.map(|line| line.trim_end_matches([',', '"']).to_owned()).collect::<BTreeSet<_>>()
    };
    // The program's lock names what its tests depend on, too.
    let manifest = text_of("Cargo.toml");
    let (_, tables) = manifest.split_once("[dependencies]\n").unwrap();
    let built_in = tables.split("\n[").next().unwrap().lines().filter_map(|line| line.split_once(" = "));
    let known = ours(&fuzz);
    let is_known = |name: &str| known.iter().any(|known| known.split(' ').next() == Some(name));
    wrong.extend(built_in.map(|(name, _)| name.to_owned()).filter(|name| !is_known(name)));
    none(wrong, "tests/fuzz/Cargo.lock is up to date; make it so with `cargo +nightly metadata` in tests/fuzz");
}
