//! The walls between the rooms of `src` that crates do not keep: who may use whom, and no circle of files.
//!
//! The test reads `use` lines and paths that begin with `crate`, `super` or a crate's name, without `mod tests`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// A module: the crate's folder, then the names down to it.
type Module = Vec<String>;

/// The crates of the workspace under `src`.
const CRATES: [(&str, &str); 3] =
    [("core", "statetune_core"), ("engine", "statetune_engine"), ("cli", "statetune_cli")];

/// Each room with the rooms that it may use, all of which stand above it. So no two rooms use each other.
const MAY_USE: [(&str, &str); 44] = [
    ("core/lang", ""),
    ("core/exit", ""),
    ("core/hold", ""),
    ("core/lr_curve", ""),
    ("core/rate_search", ""),
    ("core/shell", ""),
    ("core/tagged", ""),
    ("core/diagnostic", "core/lang core/shell"),
    ("core/input_file", "core/diagnostic"),
    ("core/bounded", "core/input_file"),
    ("core/digest", "core/input_file"),
    ("core/words", "core/diagnostic core/lang"),
    ("core/work", "core/words"),
    ("core/tensorfile", "core/diagnostic core/input_file"),
    ("core/hub", "core/diagnostic core/digest core/tensorfile core/work"),
    ("core/arch", "core/diagnostic core/tensorfile"),
    ("core/quant", "core/arch"),
    ("core/recorded_paths", ""),
    ("core/known_digest", "core/digest core/recorded_paths core/tensorfile"),
    (
        "core/packed",
        "core/digest core/hold core/known_digest core/quant core/recorded_paths core/tensorfile",
    ),
    ("core/peft", "core/arch core/diagnostic"),
    (
        "core/data",
        "core/bounded core/diagnostic core/digest core/hold core/input_file core/packed core/shell core/tensorfile core/words \
         core/work",
    ),
    ("core/suite", "core/data core/diagnostic core/digest core/words"),
    ("core/objective", "core/data core/tagged"),
    (
        "core/records",
        "core/data core/diagnostic core/digest core/objective core/recorded_paths core/suite core/tensorfile core/work",
    ),
    (
        "core/config",
        "core/arch core/data core/diagnostic core/hub core/input_file core/lang core/lr_curve core/objective core/peft core/recorded_paths core/records \
         core/shell core/tagged core/words",
    ),
    ("core/resolved_settings", "core/config core/diagnostic core/recorded_paths core/records"),
    (
        "core/store",
        "core/config core/diagnostic core/digest core/input_file core/objective core/recorded_paths core/records core/resolved_settings \
         core/tensorfile",
    ),
    (
        "core/plan",
        "core/arch core/config core/data core/diagnostic core/hub core/lr_curve core/objective core/peft core/quant \
         core/records core/resolved_settings core/shell core/suite core/tensorfile core/words",
    ),
    (
        "core/forecast",
        "core/arch core/diagnostic core/objective core/peft core/plan core/quant core/rate_search core/shell \
         core/tensorfile core/words",
    ),
    ("core/import", "core/diagnostic core/shell core/words"),
    (
        "core/look",
        "core/arch core/data core/diagnostic core/digest core/objective core/plan core/records core/resolved_settings \
         core/shell core/store core/suite core/tensorfile core/words",
    ),
    ("engine/tensors", "core/plan core/tensorfile"),
    ("engine/kernels", "core/arch core/diagnostic core/digest"),
    (
        "engine/model",
        "core/arch core/diagnostic core/digest core/packed core/tensorfile engine/kernels",
    ),
    (
        "engine/quant",
        "core/diagnostic core/known_digest core/packed core/quant core/work engine/kernels engine/model",
    ),
    ("engine/optim", "core/arch core/plan engine/kernels"),
    (
        "engine/exports",
        "core/arch core/bounded core/data core/diagnostic core/digest core/peft core/tensorfile core/work engine/kernels \
         engine/model",
    ),
    (
        "engine/peft",
        "core/arch core/diagnostic core/peft core/plan core/quant core/tensorfile engine/exports engine/kernels \
         engine/model engine/optim engine/quant engine/tensors",
    ),
    (
        "engine/train",
        "core/arch core/data core/diagnostic core/exit core/forecast core/objective core/plan core/records core/tensorfile core/work \
         engine/kernels engine/model engine/optim engine/peft",
    ),
    ("engine/library_fault", ""),
    (
        "engine/error",
        "core/data core/diagnostic core/exit core/records core/tensorfile engine/exports engine/kernels \
         engine/library_fault engine/model engine/train",
    ),
    (
        "engine/inference",
        "core/arch core/bounded core/data core/diagnostic core/digest core/look core/peft core/plan core/quant core/records \
         core/suite core/tensorfile core/words core/work engine/error engine/exports engine/kernels engine/model engine/peft \
         engine/quant engine/tensors engine/train",
    ),
    (
        "engine/run",
        "core/arch core/bounded core/data core/diagnostic core/digest core/exit core/forecast core/known_digest core/objective core/packed \
         core/peft core/plan core/rate_search core/recorded_paths core/records core/resolved_settings core/shell core/store core/suite core/tensorfile core/words core/work engine/error \
         engine/exports engine/inference \
         engine/kernels engine/model engine/optim engine/peft engine/quant engine/tensors engine/train",
    ),
];

/// Folders in which a registry and the files that it names use each other, on purpose: `Version` dispatches to a file
/// of each version, which is written with the types beside it.
const REGISTRIES: [&str; 2] = ["core/arch", "engine/model"];

/// The modules of all crates, with their text.
struct House {
    texts: BTreeMap<Module, String>,
    /// What a module re-exports: name -> the full path of the item.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl House {
    fn read() -> House {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut texts = BTreeMap::new();
        for (folder, _) in CRATES {
            for file in rust_files(&src.join(folder)) {
                let path = file.strip_prefix(&src).expect("a file in src").with_extension("");
                let mut module: Module =
                    path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                if ["mod", "lib", "main"].contains(&module.last().map_or("", |last| last)) {
                    module.pop();
                }
                let text = fs::read_to_string(&file).expect("UTF-8");
                texts.insert(module, without_tests_and_comments(&text));
            }
        }
        let mut house = House { texts, exports: BTreeMap::new() };
        let modules: Vec<Module> = house.texts.keys().cloned().collect();
        for module in modules {
            let reexported = uses(&house.texts[&module]).into_iter().filter(|one| one.is_public);
            let items: Vec<_> = reexported
                .filter_map(|one| {
                    let name = one.path.rsplit("::").next()?.to_owned();
                    Some((name, house.absolute(&module, &one.path)?))
                })
                .collect();
            house.exports.entry(module).or_default().extend(items);
        }
        house
    }

    /// The full path that `path` means in `module`; nothing for other crates and the standard library.
    fn absolute(&self, module: &Module, path: &str) -> Option<Module> {
        let mut parts = path.split("::").map(str::to_owned).peekable();
        let first = parts.peek()?.clone();
        let mut base = match CRATES.into_iter().find(|(_, name)| *name == first) {
            Some((folder, _)) => vec![folder.to_owned()],
            None if first == "crate" => vec![module[0].clone()],
            None if first == "self" => module.clone(),
            None if first == "super" => {
                let mut base = module.clone();
                while parts.next_if(|part| part == "super").is_some() {
                    base.pop();
                }
                return Some(base.into_iter().chain(parts).collect());
            }
            None => {
                let child: Module = module.iter().cloned().chain([first]).collect();
                return self
                    .texts
                    .contains_key(&child)
                    .then(|| module.iter().cloned().chain(parts).collect());
            }
        };
        parts.next();
        base.extend(parts);
        Some(base)
    }

    /// The module in which the item at a full path is defined, through re-exports.
    fn home(&self, path: &Module) -> Option<Module> {
        let mut path = path.clone();
        for _ in 0..8 {
            let length = (1..=path.len()).rev().find(|n| self.texts.contains_key(&path[..*n]))?;
            let (module, rest) = path.split_at(length);
            let item = rest.first().and_then(|name| self.exports[module].get(name));
            match item {
                Some(item) => path = item.clone(),
                None => return Some(module.to_vec()),
            }
        }
        None
    }

    /// The paths of the workspace that each module names.
    fn paths(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let named = |(module, text): (&Module, &String)| {
            let paths = uses(text).into_iter().map(|one| one.path).chain(paths_in_code(text));
            (module.clone(), paths.filter_map(|path| self.absolute(module, &path)).collect())
        };
        self.texts.iter().map(named).collect()
    }

    /// The modules that each module uses, without what it re-exports.
    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let used = |(module, text): (&Module, &String)| {
            let paths = uses(text).into_iter().filter(|one| !one.is_public).map(|one| one.path);
            let homes = paths
                .chain(paths_in_code(text))
                .filter_map(|path| self.home(&self.absolute(module, &path)?))
                .filter(|home| home != module);
            (module.clone(), homes.collect())
        };
        self.texts.iter().map(used).collect()
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}

fn without_tests_and_comments(text: &str) -> String {
    let tests = Regex::new(r"#\[cfg\(test\)\]\n(pub\(\w+\) )?mod tests \{").expect("valid");
    let end = tests.find(text).map_or(text.len(), |found| found.start());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    // What a macro names is used where the macro is called.
    lines.filter(|line| !line.contains("$crate")).collect::<Vec<_>>().join("\n")
}

/// A path of a `use` line.
struct Use {
    path: String,
    is_public: bool,
}

/// The paths of all `use` lines at the top of a module.
fn uses(text: &str) -> Vec<Use> {
    let line = Regex::new(r"(?m)^(pub(?:\([^)]*\))? )?use ([^;]+);").expect("valid");
    let of_line = |found: regex::Captures<'_>| {
        let is_public = found.get(1).is_some();
        let tree: String = found[2].split_whitespace().collect::<Vec<_>>().join(" ");
        flat(&tree).into_iter().map(move |path| Use { path, is_public }).collect::<Vec<_>>()
    };
    line.captures_iter(text).flat_map(of_line).collect()
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn flat(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((start, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let (mut depth, mut begin, mut paths) = (0, 0, Vec::new());
    let body = rest.strip_suffix('}').expect("a closed brace");
    for (at, letter) in body.char_indices().chain([(body.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = body[begin..at].trim();
                if !part.is_empty() {
                    paths.extend(flat(&format!("{start}{part}")));
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// Paths in the code itself, as `crate::words::size`.
fn paths_in_code(text: &str) -> Vec<String> {
    let path = Regex::new(r"\b(?:crate|super|statetune_\w+)(?:::\w+)+").expect("valid");
    let code = text.lines().filter(|line| !line.contains("use ") && !line.contains('"'));
    code.flat_map(|line| path.find_iter(line)).map(|found| found.as_str().to_owned()).collect()
}

/// The room of a module: its crate and the first name in the crate.
fn room(module: &Module) -> String {
    module.iter().take(2).cloned().collect::<Vec<_>>().join("/")
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let mut wrong = BTreeSet::new();
    let house = House::read();
    let rooms: BTreeSet<String> = house.texts.keys().map(room).collect();
    // The roots of the crates name all of their rooms.
    for (module, paths) in house.paths().into_iter().filter(|(module, _)| module.len() > 1) {
        let from = room(&module);
        // What a crate's root holds (its error type, its macros) belongs to all of its rooms.
        let is_room = |to: &String| *to != from && to.contains('/') && rooms.contains(to);
        for to in paths.iter().map(room).filter(is_room) {
            let may = MAY_USE.iter().find(|(room, _)| *room == from).map_or("", |(_, rooms)| rooms);
            // The commands are one layer on top of everything.
            if !from.starts_with("cli") && !may.split(' ').any(|room| room == to) {
                wrong.insert(format!("{} uses {to}", module.join("/")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nMAY_USE in tests/walls.rs says which rooms a room may use"
    );
}

#[test]
fn no_circle_of_rooms_is_allowed() {
    let mut below: BTreeSet<&str> = BTreeSet::new();
    for (room, may) in MAY_USE {
        let above: Vec<&str> = may.split_whitespace().filter(|one| !below.contains(one)).collect();
        assert!(above.is_empty(), "{room} may use {above:?}, which come later in MAY_USE");
        below.insert(room);
    }
}

#[test]
fn no_circle_of_files() {
    let mut edges = House::read().edges();
    edges.retain(|module, _| !REGISTRIES.contains(&&*room(module)));
    // Files that use no file that is left are taken away until none is; what stays is in a circle or above one,
    // and then files that no file uses.
    loop {
        let left: BTreeSet<Module> = edges.keys().cloned().collect();
        let used: BTreeSet<Module> =
            edges.values().flatten().filter(|one| left.contains(*one)).cloned().collect();
        let before = edges.len();
        edges.retain(|module, homes| {
            used.contains(module) && homes.iter().any(|home| left.contains(home))
        });
        if edges.len() == before {
            break;
        }
    }
    let circle: BTreeMap<String, Vec<String>> = edges
        .iter()
        .map(|(module, homes)| {
            let homes = homes.iter().filter(|home| edges.contains_key(*home));
            (module.join("/"), homes.map(|home| home.join("/")).collect())
        })
        .collect();
    assert!(circle.is_empty(), "files that use each other: {circle:#?}");
}

/// The libraries with their features, as cargo compiles them for `edges`.
fn libraries(edges: &str, packages: &[&str]) -> BTreeSet<String> {
    let options = ["tree", "--offline", "--prefix=none", "--format={p} {f}", "--edges", edges];
    let folder = env!("CARGO_MANIFEST_DIR");
    let mut cargo = Command::new(env!("CARGO"));
    let done = cargo.args(options).args(packages).current_dir(folder).output();
    let done = done.expect("cargo runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).expect("UTF-8");
    lines.lines().map(|line| line.trim_end_matches(" (*)").to_string()).collect()
}

/// Otherwise `make run` after `make test` compiles nearly all of them once more.
#[test]
fn a_build_uses_the_libraries_that_the_tests_compiled() {
    let tested = libraries("normal,build,dev", &["--workspace"]);
    for packages in [&[][..], &["--workspace"]] {
        let built = libraries("normal,build", packages);
        let other: Vec<_> = built.difference(&tested).collect();
        assert!(other.is_empty(), "with other features than in the tests: {other:#?}");
    }
}
