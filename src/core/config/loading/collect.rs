//! Collects the layers of an experiment: parent files, profiles, overrides and the recipe.

use std::path::Path;

use serde_json::Value;

use super::layer::{Layer, LayerKind};
use super::layers::{Layers, merged, values};
use super::overrides::{self, Override, Overrides};
use super::text::read_text;
use crate::config::manual::keys::{KeyPath, Keys};
use crate::config::spelling::nearest;
use crate::config::tables::Recipe;
use crate::diagnostic::{Diagnostic, Join, Span, Text, msg};

/// Parents of a file, one above the other.
const MOST_PARENTS: usize = 8;

/// The layers of the experiment file `file`, and the errors of everything over it.
///
/// # Errors
/// A parent file that cannot be read or is not TOML, or a circle of parents.
pub(in crate::config) fn collect(
    keys: &Keys,
    file: Layer,
    overrides: &Overrides,
) -> Result<(Layers, Vec<Diagnostic>), Box<Diagnostic>> {
    let mut errors = Vec::new();
    let mut layers = parents(file)?;
    let files = layers.len();
    for name in &overrides.profiles {
        match profile(&layers[..files], name) {
            Ok(profiles) => layers.extend(profiles),
            Err(error) => errors.push(*error),
        }
    }
    let mut hidden: Vec<KeyPath> = Vec::new();
    for change in overrides::read(overrides, keys) {
        match change {
            Ok(Override::Set(assignment)) => {
                layers.push(assignment.typed(keys, &values(&merged(&layers))));
            }
            Ok(Override::Unset(path)) => {
                layers.iter_mut().for_each(|layer| layer.hidden.push(path.clone()));
                hidden.push(path);
            }
            Err(error) => errors.push(*error),
        }
    }
    errors.extend(layers[files..].iter().filter_map(misplaced));
    if let Some(recipe) = recipe(&values(&merged(&layers))) {
        layers.push(Layer { hidden, ..recipe });
    }
    Ok((Layers::new(keys, layers), errors))
}

/// The file, then its parents, the weakest first.
fn parents(file: Layer) -> Result<Vec<Layer>, Box<Diagnostic>> {
    let mut files = vec![file];
    while let Some(parent) = parent(&files)? {
        files.push(parent);
    }
    files[1..].reverse();
    Ok(files)
}

/// The parent of the last of these files.
fn parent(files: &[Layer]) -> Result<Option<Layer>, Box<Diagnostic>> {
    let child = files.last().expect("there is a file");
    let Some(place) = child.places.get(&[EXTENDS.to_owned()][..]) else { return Ok(None) };
    let refuse = |message| Box::new(Diagnostic::error(message).at(child.span(place.value.clone())));
    let Some(name) = child.values[EXTENDS].as_str() else {
        let message = msg!(KEY_MUST_BE_STRING, key = EXTENDS, found = place.found);
        return Err(refuse(message));
    };
    let path = child.directory().join(name);
    let same = |other: &Path| match (other.canonicalize(), path.canonicalize()) {
        (Ok(other), Ok(path)) => other == path,
        _ => other == path,
    };
    if files.iter().any(|file| same(&file.file)) {
        let message = msg!(PARENT_LEADS_BACK, key = EXTENDS, path);
        return Err(Box::new(refuse(message).note(msg!(FILE_EXTENDS_ITSELF))));
    }
    if files.len() > MOST_PARENTS {
        let message = msg!(TOO_MANY_PARENTS, most = MOST_PARENTS);
        return Err(refuse(message));
    }
    let text = read_text(&path).map_err(|error| {
        let message = msg!(CANNOT_READ_PARENT, path);
        Box::new(refuse(message).note(error))
    })?;
    Ok(Some(Layer { kind: LayerKind::Parent, ..Layer::parse(path, text)? }))
}

/// The keys that add layers.
const EXTENDS: &str = "extends";
const PROFILE: &str = "profile";

/// The profile `name` of all files, the weakest first.
fn profile(files: &[Layer], name: &str) -> Result<Vec<Layer>, Box<Diagnostic>> {
    let (file, parents) = files.split_first().expect("there is a file");
    let layers = parents.iter().chain([file]).filter_map(|file| file_profile(file, name));
    let layers: Vec<Layer> = layers.collect();
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
    let span = Span { file: "command line".into(), text, first_line: 0, row: None, range };
    let message = msg!(NO_PROFILE, name, file = file.file);
    let error = Diagnostic::error(message).at(span).label(label);
    Err(Box::new(match note {
        Some(note) => error.note(note),
        None => error,
    }))
}

impl Layers {
    /// The profiles in use, or the one of [`Layers::with_profile`].
    pub(in crate::config) fn profiles(&self) -> impl Iterator<Item = &Layer> {
        self.list.iter().filter(|layer| matches!(layer.kind, LayerKind::Profile(_)))
    }

    /// The names of the profiles that no layer uses.
    pub(in crate::config) fn unused_profiles(&self, overrides: &Overrides) -> Vec<String> {
        let mut names = profile_names(self.list.iter().filter(|layer| is_file(layer)));
        names.retain(|name| !overrides.profiles.contains(name));
        names
    }

    /// The files and the recipe with the profile `name` alone.
    pub(in crate::config) fn with_profile(&self, keys: &Keys, name: &str) -> Layers {
        let is_below =
            |layer: &&Layer| is_file(layer) || matches!(layer.kind, LayerKind::Recipe(_));
        let mut list: Vec<Layer> = self.list.iter().filter(is_below).cloned().collect();
        let profiles =
            list[1..].iter().chain([&list[0]]).filter_map(|file| file_profile(file, name));
        let profiles: Vec<Layer> = profiles.collect();
        list.extend(profiles);
        Layers::new(keys, list)
    }
}

/// Whether the layer is a file of the user.
fn is_file(layer: &Layer) -> bool {
    matches!(layer.kind, LayerKind::File | LayerKind::Parent)
}

/// The names of all profiles, in the order of the files.
fn profile_names<'a>(files: impl IntoIterator<Item = &'a Layer>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let tables = files.into_iter().filter_map(|file| file.values.get(PROFILE)?.as_object());
    for name in tables.flat_map(|table| table.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The profile `name` of one file: its tables as if they stood at the top of the file.
fn file_profile(file: &Layer, name: &str) -> Option<Layer> {
    let values = file.values.get(PROFILE)?.get(name).filter(|values| values.is_object())?;
    let places = file.places.iter().filter_map(|(path, place)| match &path[..] {
        [first, second, below @ ..] if first == PROFILE && second == name && !below.is_empty() => {
            Some((below.to_vec(), place.clone()))
        }
        _ => None,
    });
    Some(Layer {
        kind: LayerKind::Profile(name.to_owned()),
        values: values.clone(),
        places: places.collect(),
        ..file.clone()
    })
}

/// The error for a profile or an override that would add layers.
pub(in crate::config) fn misplaced(layer: &Layer) -> Option<Diagnostic> {
    [EXTENDS, PROFILE].into_iter().find_map(|key| {
        let place = layer.places.get(&[key.to_owned()][..])?;
        let message = msg!(KEY_COUNTS_AT_TOP, key);
        Some(Diagnostic::error(message).at(layer.span(place.key.clone())))
    })
}

/// The recipe that the values name; a word that names none is an error of its value.
fn recipe(values: &Value) -> Option<Layer> {
    let recipe = serde_json::from_value::<Recipe>(values.get("recipe")?.clone()).ok()?;
    let (name, text) = (recipe.name().to_owned(), recipe.text().to_owned());
    let layer = Layer::parse(format!("recipe {name}").into(), text).expect("a test reads it");
    Some(Layer { kind: LayerKind::Recipe(name), ..layer })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Loaded, Tokenizer, load};
    use crate::lr_curve::LrInit;

    /// The child file; its parents set everything else.
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

    /// The errors of the child file, without the folder.
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
    fn a_child_overrides_its_parents_and_they_override_the_recipe() {
        let folder = files();
        let loaded = loaded(&folder, &Overrides::default());
        let (config, root) = (&loaded.config, folder.path());
        assert_eq!((&*config.name, &*config.tags), ("child", &["own".to_owned()][..]));
        assert_eq!((config.train.ctx_len, config.train.micro_bsz), (32, 2));
        assert_eq!(
            (config.schedule.lr_init, config.schedule.lr_final),
            (LrInit::Rate(0.5), Some(0.01))
        );
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
        assert_eq!((config.train.epoch_count, config.schedule.lr_init), (1, LrInit::Rate(0.25)));
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
  = note: profiles: `smoke`, `long`";
        assert_eq!(refused(&folder, &profiles(&["xxxxxx"])), expected);
    }

    #[test]
    fn an_error_has_the_file_and_line_of_its_layer() {
        let folder = files();
        write(&folder, "root.toml", &ROOT.replace("lr_init = 0.5", "lr_init = \"0.5\""));
        let shown = refused(&folder, &Overrides::default());
        assert!(shown.contains("--> base/../root.toml:7:11\n"), "{shown}");
        write(&folder, "root.toml", "[data\n");
        let shown = refused(&folder, &Overrides::default());
        assert!(shown.starts_with("error[ST1000]") && shown.contains("root.toml:1:6\n"), "{shown}");
    }

    #[test]
    fn errors_in_profiles_are_reported_in_use_or_not() {
        let folder = files();
        let wrong = CHILD.replace("epoch_count = 9", "epoch_cuont = 9");
        write(&folder, "child.toml", &wrong);
        for overrides in [Overrides::default(), profiles(&["long"]), profiles(&["smoke"])] {
            let shown = refused(&folder, &overrides);
            assert_eq!(shown.matches("error[").count(), 1, "{shown}");
            assert!(shown.starts_with("error[ST1001]: unknown key `epoch_cuont` in `["), "{shown}");
            assert!(shown.contains("--> child.toml:16:1\n"), "{shown}");
        }
        let nested = format!("{CHILD}[profile.long.profile.short.train]\nctx_len = 1\n");
        write(&folder, "child.toml", &nested);
        let shown = refused(&folder, &Overrides::default());
        assert!(shown.starts_with("error[ST1313]: `profile` only applies at the top of a file"));
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
        let shown = refused(&folder, &Overrides::default());
        assert!(shown.starts_with("error[ST2001]: `extends` must be a string, found an integer"));
        for i in 0..7 {
            let next = format!("extends = \"p{}.toml\"\n", i + 1);
            write(&folder, &format!("p{i}.toml"), &next);
        }
        write(&folder, "p7.toml", ROOT);
        write(&folder, "child.toml", &CHILD.replace("base/middle.toml", "p0.toml"));
        loaded(&folder, &Overrides::default());
        write(&folder, "p7.toml", "extends = \"root.toml\"\n");
        write(&folder, "root.toml", ROOT);
        let shown = refused(&folder, &Overrides::default());
        assert!(
            shown.starts_with("error[ST1312]: the chain of `extends` is longer than 8 files"),
            "{shown}"
        );
        assert!(shown.contains("--> p7.toml:1:11\n"), "{shown}");
    }

    #[test]
    fn a_key_that_looks_like_a_list_index_is_a_key() {
        let folder = files();
        let text = CHILD.replace("ctx_len = 32", "\"[0]\" = 1\nctx_len = 32");
        write(&folder, "child.toml", &text);
        let overrides = Overrides { set: vec!["train.micro_bsz=1".into()], ..Overrides::default() };
        let shown = refused(&folder, &overrides);
        assert!(shown.starts_with("error[ST1001]: unknown key `[0]` in `[train]`"), "{shown}");
        assert!(shown.contains("--> child.toml:6:1\n"), "{shown}");
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
            let shown = refused(&folder, &overrides);
            let start = format!("error[ST0104]: cannot read `--set-json {argument}`\n");
            assert!(shown.starts_with(&start) && shown.contains(label), "{shown}");
        }
    }
}
