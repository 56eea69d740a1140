//! The texts that set values, from the weakest to the strongest: recipe < parent files < experiment file <
//! profiles < environment < command line.

use std::path::Path;

use figment::Figment;
use figment::providers::Serialized;
use serde_json::{Value, json};

use super::keys::{KeyPath, Keys};
use super::locate::{Place, Source};
use super::overrides;
use super::recipe::Recipe;
use super::suggest::nearest;
use super::{Overrides, faults};
use crate::diagnostic::{Diagnostic, Join, Span, Text, msg};

/// Parents of a file, one above the other.
const MOST_PARENTS: usize = 8;

/// What a source is among the layers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// The recipe of this name.
    Recipe(String),
    /// A file that another one extends.
    Parent,
    /// The experiment file.
    File,
    /// The profile of this name in one of the files.
    Profile(String),
    /// An environment variable or an argument.
    Override,
}

impl Role {
    /// A stronger role has the larger number. Among sources of one role the later is the stronger one.
    fn strength(&self) -> u8 {
        match self {
            Self::Recipe(_) => 0,
            Self::Parent => 1,
            Self::File => 2,
            Self::Profile(_) => 3,
            Self::Override => 4,
        }
    }
}

/// The sources with their numbers, the weakest first.
fn weakest_first(sources: &[Source]) -> Vec<(usize, &Source)> {
    let mut ordered: Vec<_> = sources.iter().enumerate().collect();
    ordered.sort_by_key(|(_, source)| source.role.strength());
    ordered
}

/// The place at which the value in force was set, and the number of its source.
pub(super) fn find_place<'a>(
    sources: &'a [Source],
    path: &[String],
) -> Option<(usize, &'a Source, &'a Place)> {
    // A list comes from one source as a whole.
    let list = path.iter().position(|step| step.starts_with('['));
    let list = list.and_then(|end| find_place(sources, &path[..end]));
    // A key in quotes may look like a place in a list.
    if let Some((number, source, _)) = list.filter(|(_, _, place)| place.is_list()) {
        return source.places.get(path).map(|place| (number, source, place));
    }
    for (number, source) in weakest_first(sources).into_iter().rev() {
        if source.unset.as_ref().is_some_and(|unset| path.starts_with(unset)) {
            return None;
        }
        if let Some(place) = source.places.get(path) {
            return Some((number, source, place));
        }
    }
    None
}

/// What the sources set together. Tables are merged key by key; any other value, a list too, replaces
/// the weaker one.
pub(super) fn written(sources: &[Source]) -> Value {
    weakest_first(sources).into_iter().fold(json!({}), |weaker, (_, source)| {
        let mut values = over(&weaker, &source.values);
        if let Some(path) = &source.unset {
            remove(&mut values, path);
        }
        values
    })
}

/// [`written`], over the defaults.
pub(super) fn merged(keys: &Keys, sources: &[Source]) -> Value {
    let written = written(sources);
    over(&keys.defaults(&written), &written)
}

pub(super) fn over(weaker: &Value, stronger: &Value) -> Value {
    let layers = Figment::from(Serialized::defaults(weaker)).merge(Serialized::defaults(stronger));
    layers.extract().expect("layers are tables, and JSON holds every value of a table")
}

fn remove(values: &mut Value, path: &[String]) {
    let Some((key, table)) = path.split_last() else { return };
    let table = table.iter().try_fold(values, |value, step| value.get_mut(step));
    if let Some(table) = table.and_then(Value::as_object_mut) {
        table.remove(key);
    }
}

/// All sources of an experiment, the experiment file `file` as the first, and what is wrong with them.
///
/// # Errors
/// A file that cannot be read as TOML, or that goes on in a circle.
pub(super) fn collect(
    keys: &Keys,
    file: Source,
    overrides: &Overrides,
) -> Result<(Vec<Source>, Vec<Diagnostic>), Box<Diagnostic>> {
    let mut faults = Vec::new();
    let mut sources = parents(file)?;
    let files = sources.len();
    for name in &overrides.profiles {
        match profile(&sources[..files], name) {
            Ok(layers) => sources.extend(layers),
            Err(fault) => faults.push(*fault),
        }
    }
    for parsed in overrides::read(overrides, keys) {
        match parsed {
            Ok(parsed) => {
                let source = parsed.typed(keys, &written(&sources));
                sources.push(source);
            }
            Err(fault) => faults.push(*fault),
        }
    }
    faults.extend(sources[files..].iter().filter_map(misplaced));
    if let Some(recipe) = recipe(&sources) {
        sources.push(recipe);
    }
    faults.extend(unused_profiles(keys, &sources, overrides));
    Ok((sources, faults))
}

/// The file, then its parents, the farthest first.
fn parents(file: Source) -> Result<Vec<Source>, Box<Diagnostic>> {
    let mut files = vec![file];
    while let Some(parent) = parent(&files)? {
        files.push(parent);
    }
    files[1..].reverse();
    Ok(files)
}

/// What the last one of these files extends.
fn parent(files: &[Source]) -> Result<Option<Source>, Box<Diagnostic>> {
    let child = files.last().expect("there is a file");
    let Some(place) = child.places.get(&[EXTENDS.to_owned()][..]) else { return Ok(None) };
    let fault = |message| Box::new(Diagnostic::error(message).at(child.span(place.value.clone())));
    let Some(name) = child.values[EXTENDS].as_str() else {
        let message = msg!(KEY_MUST_BE_STRING, key = EXTENDS, found = place.found);
        return Err(fault(message));
    };
    let path = child.directory().join(name);
    let same = |other: &Path| match (other.canonicalize(), path.canonicalize()) {
        (Ok(other), Ok(path)) => other == path,
        _ => other == path,
    };
    if files.iter().any(|file| same(&file.file)) {
        let message = msg!(PARENT_LEADS_BACK, key = EXTENDS, path);
        return Err(Box::new(fault(message).note(msg!(FILE_EXTENDS_ITSELF))));
    }
    if files.len() > MOST_PARENTS {
        let message = msg!(TOO_MANY_PARENTS, most = MOST_PARENTS);
        return Err(fault(message));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let message = msg!(CANNOT_READ_PARENT, path);
        Box::new(fault(message).note(Text::library(error)))
    })?;
    Ok(Some(Source { role: Role::Parent, ..Source::parse(path, text)? }))
}

/// Keys that say which files and profiles there are.
const EXTENDS: &str = "extends";
const PROFILE: &str = "profile";

/// The profile `name` of all files, of parents before their children.
fn profile(files: &[Source], name: &str) -> Result<Vec<Source>, Box<Diagnostic>> {
    let (file, parents) = files.split_first().expect("there is a file");
    let layers = parents.iter().chain([file]).filter_map(|file| of_profile(file, name));
    let layers: Vec<Source> = layers.collect();
    if !layers.is_empty() {
        return Ok(layers);
    }
    let known = profile_names(files);
    let near = nearest(name, known.iter().map(String::as_str));
    let (label, note) = match (near.first(), known.is_empty()) {
        (Some(near), _) => (msg!(DID_YOU_MEAN_WORD, word = near), None),
        (None, true) => (msg!(FILE_HAS_NO_PROFILE, profile = PROFILE, name), None),
        (None, false) => {
            let names = Text::quoted(Join::Comma, &known);
            (Text::default(), Some(msg!(PROFILES_ARE, names)))
        }
    };
    let text = format!("--profile {name}");
    let range = text.len() - name.len()..text.len();
    let span = Span { file: "command line".into(), text, first_line: 0, range };
    let message = msg!(NO_PROFILE, name, file = file.file);
    let fault = Diagnostic::error(message).at(span).label(label);
    Err(Box::new(match note {
        Some(note) => fault.note(note),
        None => fault,
    }))
}

/// The names of all profiles, in the order of the files.
fn profile_names(files: &[Source]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let tables = files.iter().filter_map(|file| file.values.get(PROFILE)?.as_object());
    for name in tables.flat_map(|table| table.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The profile `name` of one file: its tables as if they stood at the top of the file.
fn of_profile(file: &Source, name: &str) -> Option<Source> {
    let values = file.values.get(PROFILE)?.get(name).filter(|values| values.is_object())?;
    let places = file.places.iter().filter_map(|(path, place)| match &path[..] {
        [first, second, below @ ..] if first == PROFILE && second == name && !below.is_empty() => {
            Some((below.to_vec(), place.clone()))
        }
        _ => None,
    });
    Some(Source {
        role: Role::Profile(name.to_owned()),
        values: values.clone(),
        places: places.collect(),
        ..file.clone()
    })
}

/// The fault of a profile or an override that says which files and profiles there are.
fn misplaced(source: &Source) -> Option<Diagnostic> {
    [EXTENDS, PROFILE].into_iter().find_map(|key| {
        let place = source.places.get(&[key.to_owned()][..])?;
        let message = msg!(KEY_COUNTS_AT_TOP, key);
        Some(Diagnostic::error(message).at(source.span(place.key.clone())))
    })
}

/// The recipe that the sources name; a word that names none is a fault of its value.
fn recipe(sources: &[Source]) -> Option<Source> {
    let recipe = serde_json::from_value::<Recipe>(written(sources).get("recipe")?.clone()).ok()?;
    let name = recipe.name();
    let text = recipe.text().to_owned();
    let source = Source::parse(format!("recipe {name}").into(), text).expect("a test reads it");
    Some(Source { role: Role::Recipe(name.to_owned()), ..source })
}

/// The faults of profiles that are not in use: each as if it were the only one.
fn unused_profiles(keys: &Keys, sources: &[Source], overrides: &Overrides) -> Vec<Diagnostic> {
    let is_file =
        |source: &&Source| matches!(source.role, Role::File | Role::Parent | Role::Recipe(_));
    let files: Vec<Source> = sources.iter().filter(is_file).cloned().collect();
    let (file, parents) = files.split_first().expect("there is a file");
    let mut found = Vec::new();
    for name in profile_names(&files).iter().filter(|name| !overrides.profiles.contains(name)) {
        let layers = parents.iter().chain([file]).filter_map(|file| of_profile(file, name));
        let layers: Vec<Source> = layers.collect();
        found.extend(layers.iter().filter_map(misplaced));
        let all: Vec<Source> = files.iter().cloned().chain(layers).collect();
        let told = faults::check(keys, &all, &merged(keys, &all));
        let is_inside = |fault: &Diagnostic| {
            let at = |span: &Span| (span.file.clone(), span.range.start);
            let place = fault.span.as_ref().map(at);
            all[files.len()..].iter().any(|layer| {
                let starts = layer.places.values().flat_map(|p| [p.key.start, p.value.start]);
                starts.into_iter().any(|start| place == Some((layer.file.clone(), start)))
            })
        };
        found.extend(told.into_iter().filter(is_inside));
    }
    found
}

/// The steps of a dotted key.
pub(super) fn key_path(key: &str) -> KeyPath {
    key.replace('[', ".[").split('.').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Loaded, Tokenizer, load};

    /// What a child file says; the rest comes from its parents.
    const CHILD: &str = "\
extends = \"base/middle.toml\"
name = \"child\"
tags = [\"own\"]

[train]
ctx_len = 32

[profile.smoke.train]
epoch_count = 1
ctx_len = 16

[profile.smoke.sample]
prompts = [\"Hi\"]

[profile.long.train]
epoch_count = 9
";

    const MIDDLE: &str = "\
extends = \"../root.toml\"
tags = [\"middle\", \"both\"]

[model]
load_model = \"m.pth\"
tokenizer = \"vocab.txt\"

[train]
ctx_len = 64
micro_bsz = 2

[profile.smoke.train]
micro_bsz = 1
epoch_count = 5
";

    const ROOT: &str = "\
recipe = \"state\"

[data]
data_file = \"data.jsonl\"

[schedule]
lr_init = 0.5
";

    /// The three files in a folder of their own.
    fn files() -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("base")).expect("a folder");
        for (name, text) in
            [("child.toml", CHILD), ("base/middle.toml", MIDDLE), ("root.toml", ROOT)]
        {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        folder
    }

    fn loaded(folder: &TempDir, overrides: &Overrides) -> Loaded {
        load(&folder.path().join("child.toml"), overrides).unwrap_or_else(|error| {
            panic!("{:?}", error.diagnostics);
        })
    }

    /// The faults of the child file, the folder left out of them.
    fn refused(folder: &TempDir, overrides: &Overrides) -> String {
        let error = load(&folder.path().join("child.toml"), overrides).expect_err("to be refused");
        let shown: Vec<_> = error.diagnostics.iter().map(|one| one.render(false)).collect();
        shown.join("\n\n").replace(&format!("{}/", folder.path().display()), "")
    }

    fn write(folder: &TempDir, name: &str, text: &str) {
        fs::write(folder.path().join(name), text).expect("a file");
    }

    fn profiles(names: &[&str]) -> Overrides {
        let profiles = names.iter().map(|name| (*name).to_owned()).collect();
        Overrides { profiles, ..Overrides::default() }
    }

    #[test]
    fn a_child_lies_over_its_parents_and_they_over_the_recipe() {
        let folder = files();
        let loaded = loaded(&folder, &Overrides::default());
        let (config, root) = (&loaded.config, folder.path());
        assert_eq!((&*config.name, &*config.tags), ("child", &["own".to_owned()][..]));
        assert_eq!((config.train.ctx_len, config.train.micro_bsz), (32, 2));
        assert_eq!((config.schedule.lr_init, config.schedule.lr_final), (0.5, Some(0.01)));
        assert_eq!(config.train.epoch_count, 1, "no profile is in use");
        let origin = |key: &str| {
            loaded.origins[key].to_string().replace(&format!("{}/", root.display()), "")
        };
        assert_eq!(origin("train.ctx_len"), "file line 6");
        assert_eq!(origin("train.micro_bsz"), "base/middle.toml line 10");
        assert_eq!(origin("schedule.lr_init"), "base/../root.toml line 7");
        assert_eq!(origin("schedule.lr_final"), "recipe state");
        assert_eq!(origin("train.op"), "default");
        assert!(loaded.origins.keys().all(|key| !key.starts_with("profile")));
        let data_file = config.data.data_file.as_deref();
        assert_eq!(data_file, Some(&*root.join("base/../data.jsonl")));
        assert_eq!(config.model.load_model.as_deref(), Some(&*root.join("base/m.pth")));
        assert_eq!(config.model.tokenizer, Tokenizer::File(root.join("base/vocab.txt")));
    }

    #[test]
    fn a_later_profile_wins_and_a_child_wins_over_its_parents() {
        let folder = files();
        let smoke = loaded(&folder, &profiles(&["smoke"]));
        let train = &smoke.config.train;
        assert_eq!((train.ctx_len, train.micro_bsz, train.epoch_count), (16, 1, 1));
        assert_eq!(smoke.config.sample.prompts, ["Hi"]);
        assert_eq!(smoke.origins["train.ctx_len"].to_string(), "profile smoke, file line 10");
        let middle = smoke.origins["train.micro_bsz"].to_string();
        assert!(middle.starts_with("profile smoke, ") && middle.ends_with("middle.toml line 13"));
        let both = loaded(&folder, &profiles(&["smoke", "long"])).config.train.epoch_count;
        let turned = loaded(&folder, &profiles(&["long", "smoke"])).config.train.epoch_count;
        assert_eq!((both, turned), (9, 1));
    }

    #[test]
    fn the_environment_wins_over_profiles_and_arguments_over_both() {
        let folder = files();
        let overrides = Overrides {
            environment: vec![("STATETUNE__TRAIN__CTX_LEN".into(), "8".into())],
            set: vec!["train.micro_bsz=7".into(), "model.load_model=here.pth".into()],
            set_json: vec!["sample.prompts=[\"a\", \"b\"]".into()],
            unset: vec!["schedule.lr_init".into(), "tags".into(), "train.epoch_count".into()],
            ..profiles(&["smoke"])
        };
        let Loaded { config, origins, .. } = loaded(&folder, &{
            let mut overrides = overrides.clone();
            overrides.set.push("schedule.lr_init=0.25".into());
            overrides
        });
        assert_eq!((config.train.ctx_len, config.train.micro_bsz), (8, 7));
        assert_eq!((config.train.epoch_count, config.schedule.lr_init), (1, 0.25));
        assert_eq!(config.model.load_model.as_deref(), Some(Path::new("here.pth")));
        assert_eq!(config.sample.prompts, ["a", "b"]);
        assert!(config.tags.is_empty());
        assert_eq!(origins["tags"].to_string(), "default");
        assert_eq!(origins["sample.prompts"].to_string(), "--set");
        let missing = refused(&folder, &overrides);
        assert!(missing.starts_with("error[ST1003]: missing key `lr_init`"), "{missing}");
    }

    #[test]
    fn an_unknown_profile_is_refused() {
        let folder = files();
        let expected = "\
error[ST0121]: unknown profile `smok` in `child.toml`
 --> command line
  |
  | --profile smok
  |           ^^^^ did you mean `smoke`?";
        assert_eq!(refused(&folder, &profiles(&["smok"])), expected);
        let expected = "\
error[ST0121]: unknown profile `xxxxxx` in `child.toml`
 --> command line
  |
  | --profile xxxxxx
  |           ^^^^^^
  |
  = note: profiles are `smoke`, `long`";
        assert_eq!(refused(&folder, &profiles(&["xxxxxx"])), expected);
    }

    #[test]
    fn faults_stand_at_their_own_file_and_line() {
        let folder = files();
        write(&folder, "root.toml", &ROOT.replace("lr_init = 0.5", "lr_init = \"0.5\""));
        let told = refused(&folder, &Overrides::default());
        assert!(told.contains("--> base/../root.toml:7:11\n"), "{told}");
        write(&folder, "root.toml", "[data\n");
        let told = refused(&folder, &Overrides::default());
        assert!(told.starts_with("error[ST1000]") && told.contains("root.toml:1:6\n"), "{told}");
    }

    #[test]
    fn faults_of_profiles_are_told_whether_they_are_in_use_or_not() {
        let folder = files();
        let wrong = CHILD.replace("epoch_count = 9", "epoch_cuont = 9");
        write(&folder, "child.toml", &wrong);
        for overrides in [Overrides::default(), profiles(&["long"]), profiles(&["smoke"])] {
            let told = refused(&folder, &overrides);
            assert_eq!(told.matches("error[").count(), 1, "{told}");
            assert!(told.starts_with("error[ST1001]: unknown key `epoch_cuont` in `["), "{told}");
            assert!(told.contains("--> child.toml:16:1\n"), "{told}");
        }
        let nested = format!("{CHILD}[profile.long.profile.short.train]\nctx_len = 1\n");
        write(&folder, "child.toml", &nested);
        let told = refused(&folder, &Overrides::default());
        assert!(told.starts_with("error[ST1313]: `profile` only applies at the top of a file"));
        write(&folder, "child.toml", CHILD);
        let overrides = Overrides { set: vec!["extends=x.toml".into()], ..Overrides::default() };
        let expected = "\
error[ST1313]: `extends` only applies at the top of a file
 --> command line
  |
  | --set extends=x.toml
  |       ^^^^^^^";
        assert_eq!(refused(&folder, &overrides), expected);
    }

    #[test]
    fn parents_that_cannot_be_followed_are_refused() {
        let folder = files();
        write(&folder, "root.toml", "extends = \"child.toml\"\n");
        let expected = "\
error[ST1311]: `extends` leads back to `base/../child.toml`
 --> base/../root.toml:1:11
  |
1 | extends = \"child.toml\"
  |           ^^^^^^^^^^^^
  |
  = note: a file cannot extend itself";
        assert_eq!(refused(&folder, &Overrides::default()), expected);
        write(&folder, "root.toml", "extends = \"none.toml\"\n");
        let expected = "\
error[ST1310]: cannot read the parent file `base/../none.toml`
 --> base/../root.toml:1:11
  |
1 | extends = \"none.toml\"
  |           ^^^^^^^^^^^
  |
  = note: No such file or directory (os error 2)";
        assert_eq!(refused(&folder, &Overrides::default()), expected);
        write(&folder, "root.toml", "extends = 5\n");
        let told = refused(&folder, &Overrides::default());
        assert!(told.starts_with("error[ST2001]: `extends` must be a string, found an integer"));
        for i in 0..7 {
            let next = format!("extends = \"p{}.toml\"\n", i + 1);
            write(&folder, &format!("p{i}.toml"), &next);
        }
        write(&folder, "p7.toml", ROOT);
        write(&folder, "child.toml", &CHILD.replace("base/middle.toml", "p0.toml"));
        loaded(&folder, &Overrides::default());
        write(&folder, "p7.toml", "extends = \"root.toml\"\n");
        write(&folder, "root.toml", ROOT);
        let told = refused(&folder, &Overrides::default());
        assert!(told.starts_with("error[ST1312]: more than 8 parents"), "{told}");
        assert!(told.contains("--> p7.toml:1:11\n"), "{told}");
    }

    #[test]
    fn a_key_that_looks_like_a_place_in_a_list_is_one_of_its_table() {
        let folder = files();
        let text = CHILD.replace("ctx_len = 32", "\"[0]\" = 1\nctx_len = 32");
        write(&folder, "child.toml", &text);
        let overrides = Overrides { set: vec!["train.micro_bsz=1".into()], ..Overrides::default() };
        let told = refused(&folder, &overrides);
        assert!(told.starts_with("error[ST1001]: unknown key `[0]` in `[train]`"), "{told}");
        assert!(told.contains("--> child.toml:6:1\n"), "{told}");
    }

    #[test]
    fn arguments_that_change_nothing_are_refused() {
        let folder = files();
        let unset = Overrides { unset: vec!["train.ctx_le".into()], ..Overrides::default() };
        let expected = "\
error[ST0104]: cannot read `--unset train.ctx_le`
 --> command line
  |
  | --unset train.ctx_le
  |         ^^^^^^^^^^^^ did you mean `train.ctx_len`?";
        assert_eq!(refused(&folder, &unset), expected);
        for (argument, label) in [
            ("train.ctx_len", "must be `KEY=JSON`"),
            ("train.ctx_len=nul", "EOF while parsing a value at line 1 column 3"),
            ("train.ctx_len=null", "TOML has no null"),
        ] {
            let overrides = Overrides { set_json: vec![argument.into()], ..Overrides::default() };
            let told = refused(&folder, &overrides);
            let start = format!("error[ST0104]: cannot read `--set-json {argument}`\n");
            assert!(told.starts_with(&start) && told.contains(label), "{told}");
        }
    }
}
