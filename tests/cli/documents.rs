//! The documents keep their word: every command line in a `sh` block runs, every `text` block below one shows
//! what the commands print, every `toml` block is a valid piece of an experiment file, every command, option and
//! make target named in passing exists, and every link leads somewhere.
//!
//! A block's first line may say more than its language:
//!
//! - `toml emoji.toml` (or any language and a file name) writes the block to this file, for commands below it;
//! - `console` is output that the test does not compare, because it differs between machines.
//!
//! A command line may end with `# exit code N`, the code that it must exit with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use tempfile::TempDir;

use crate::case::IN_ENGLISH;

/// What runs in place of a command line of a document.
enum Instead {
    /// Nothing. Its command and options exist all the same.
    Nothing,
    /// This command line, whose output stands for that of the document's.
    Run(&'static str),
}
use Instead::{Nothing, Run};

/// The command lines that do not run as they are: document, line, reason. A line that is in no document
/// fails the test.
const NOT_RUN: &[(&str, &str, &str, Instead)] = &[
    ("README.md", "sudo apt install g++ make python3-pip", "installs packages", Nothing),
    ("README.md", "make build", "builds the program", Nothing),
    (
        "README.md",
        "make run",
        "builds the program first",
        Run("statetune run configs/emoji-state.toml"),
    ),
    (
        "README.md",
        "statetune init --name chat --data chat.jsonl --model RWKV-x070-World-0.1B.pth --yes",
        "a World checkpoint is a download",
        Run(
            "statetune init --name chat --data data/emoji-qa.jsonl --model models/tiny-chat.pth --tokenizer models/tiny-vocab.txt --yes",
        ),
    ),
    (
        "README.md",
        "statetune run chat.toml",
        "takes a minute",
        Run("statetune run chat.toml -p smoke"),
    ),
    (
        "docs/tutorial.md",
        "statetune init --name support --data chat.jsonl --model rwkv7-g1d-0.4b-20260210-ctx8192.pth --yes",
        "a G1 checkpoint is a download",
        Nothing,
    ),
    (
        "docs/tutorial.md",
        "statetune run support.toml",
        "four mini-epochs take a minute",
        Run("statetune run support.toml --set train.epoch_count=1"),
    ),
    (
        "docs/objectives.md",
        "statetune run configs/short-answers.toml",
        "two mini-epochs take a minute",
        Run(
            "statetune run configs/short-answers.toml --set data.limit=24 --set train.epoch_steps=1 --set sample.held_out=0",
        ),
    ),
    ("docs/runs.md", "statetune ctl latest save", "needs a run in progress", Nothing),
    ("docs/runs.md", "tensorboard --logdir runs", "another program, and a server", Nothing),
    ("CONTRIBUTING.md", "make build", "builds the program and its tests", Nothing),
    ("CONTRIBUTING.md", "make test", "builds the program and its tests", Nothing),
    ("CONTRIBUTING.md", "make lint", "builds the program and its tests", Nothing),
    ("CONTRIBUTING.md", "make run", "builds the program and its tests", Nothing),
    ("CONTRIBUTING.md", "cargo test -p statetune-core", "builds the tests", Nothing),
    ("CONTRIBUTING.md", "cargo test -p statetune-engine --lib", "builds the tests", Nothing),
    ("CONTRIBUTING.md", "cargo test --test cli runs::", "builds the tests", Nothing),
    ("CONTRIBUTING.md", "cargo test --test golden", "builds the tests", Nothing),
    ("CONTRIBUTING.md", "cargo bench --bench step", "builds the tests", Nothing),
];

/// One test for each document with commands.
macro_rules! documents {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            Document::read($file).keeps_its_word();
        })*

        #[test]
        fn every_document_is_tested() {
            let tested: BTreeSet<&str> = BTreeSet::from([$($file),*]);
            let generated = ["docs/commands.md", "docs/exit-codes.md", "docs/messages.md"];
            for file in document_names().iter().filter(|file| !generated.contains(&file.as_str())) {
                let blocks = Document::read(file).blocks;
                let has_commands = blocks.iter().any(|block| block.language == "sh");
                assert!(!has_commands || tested.contains(&**file), "add {file} to `documents!`");
            }
        }
    };
}

documents! {
    readme: "README.md",
    contributing: "CONTRIBUTING.md",
    benchmarks: "docs/benchmarks.md",
    concepts: "docs/concepts.md",
    data: "docs/data.md",
    deploy: "docs/deploy.md",
    determinism: "docs/determinism.md",
    experiment_file: "docs/experiment-file.md",
    memory_and_gpu: "docs/memory-and-gpu.md",
    methods: "docs/methods.md",
    migrate: "docs/migrate.md",
    objectives: "docs/objectives.md",
    runs: "docs/runs.md",
    tutorial: "docs/tutorial.md",
}

/// The folder of the project.
fn project() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join("Makefile").is_file());
    root.expect("a Makefile above the tests").to_path_buf()
}

/// Every document for people, as a path in the project.
fn document_names() -> Vec<String> {
    let mut names: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "models/README.md"]
            .map(str::to_owned)
            .into();
    for entry in fs::read_dir(project().join("docs")).expect("docs/ exists") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        names.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    names.sort();
    names
}

/// A fenced block: the line after its fence, its first word and second word, and its lines.
struct Block {
    line: usize,
    language: String,
    file: Option<String>,
    text: String,
    /// Whether nothing but blank lines is between this block and the one before.
    follows: bool,
}

struct Document {
    name: String,
    /// The text outside of blocks.
    prose: String,
    blocks: Vec<Block>,
}

impl Document {
    fn read(name: &str) -> Document {
        let path = project().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut document =
            Document { name: name.to_owned(), prose: String::new(), blocks: Vec::new() };
        let (mut open, mut follows) = (false, false);
        for (index, line) in text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match fence {
                Some(_) if open => (open, follows) = (false, true),
                Some(info) => {
                    let mut words = info.split_whitespace().map(str::to_owned);
                    document.blocks.push(Block {
                        line: index + 2,
                        language: words.next().unwrap_or_default(),
                        file: words.next(),
                        text: String::new(),
                        follows,
                    });
                    open = true;
                }
                None if open => {
                    let block = document.blocks.last_mut().expect("an open block");
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                None => {
                    follows &= line.trim().is_empty();
                    document.prose.push_str(line);
                    document.prose.push('\n');
                }
            }
        }
        assert!(!open, "{name}: a block has no end");
        document
    }

    /// Runs its commands and checks what it shows.
    fn keeps_its_word(&self) {
        let folder = Folder::new();
        let commands = Commands::read();
        let mut output = String::new();
        for block in &self.blocks {
            if let Some(file) = &block.file {
                folder.write(file, &block.text);
                continue;
            }
            match &*block.language {
                "sh" => output = self.run(block, &folder, &commands),
                "text" if block.follows => self.shows(block, &output),
                "toml" => self.is_valid(block, &folder),
                _ => {}
            }
        }
        for (_, line, ..) in NOT_RUN.iter().filter(|(document, ..)| *document == self.name) {
            let mut all = self.blocks.iter().filter(|block| block.language == "sh");
            let is_there = all.any(|block| command_lines(block).any(|(_, text)| text == *line));
            assert!(is_there, "{} has no line `{line}`: remove it from NOT_RUN", self.name);
        }
    }

    /// Runs the lines of a block and returns all that they print.
    fn run(&self, block: &Block, folder: &Folder, commands: &Commands) -> String {
        let mut printed = String::new();
        for (number, line) in command_lines(block) {
            let place = format!("{}:{number}", self.name);
            let code = exit_code(&line);
            let entry = NOT_RUN.iter().find(|(file, text, ..)| *file == self.name && *text == line);
            let line = match entry {
                Some((.., Nothing)) => {
                    commands.know(&line, &place);
                    continue;
                }
                Some((.., Run(other))) => other,
                None => &*line,
            };
            let (found, output) = folder.run(line);
            assert_eq!(found, code, "{place}: `{line}` exits with {found}\n{output}");
            printed.push_str(&output);
        }
        printed
    }

    /// The lines of a block are lines of the output, in their order; `...` stands for any others.
    fn shows(&self, block: &Block, output: &str) {
        let output = normal(output);
        let mut lines = output.lines();
        for (index, line) in block.text.lines().enumerate() {
            let line = normal(line);
            if line.is_empty() || line == "..." {
                continue;
            }
            let found = lines.any(|other| other == line);
            let place = format!("{}:{}", self.name, block.line + index);
            assert!(found, "{place}: the commands do not print, or not here: {line}\n{output}");
        }
    }

    /// A piece of an experiment file is valid where it is laid over the example.
    fn is_valid(&self, block: &Block, folder: &Folder) {
        let file = "piece.toml";
        folder.write(file, &format!("extends = \"configs/emoji-state.toml\"\n{}", block.text));
        let (code, output) = folder.run(&format!("statetune config show {file}"));
        assert_eq!(code, 0, "{}:{}: not valid\n{output}", self.name, block.line);
    }
}

/// The commands of a `sh` block with their line in the document. A line that ends with `\` continues; comments
/// that are lines of their own are none.
fn command_lines(block: &Block) -> impl Iterator<Item = (usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (index, line) in block.text.lines().enumerate() {
        let line = line.trim();
        let rest = line.strip_suffix('\\').map(str::trim_end);
        let text = rest.unwrap_or(line);
        match all.last_mut().filter(|_| continues) {
            Some((_, whole)) => *whole = format!("{whole} {text}"),
            None if line.is_empty() || line.starts_with('#') => {}
            None => all.push((block.line + index, text.to_owned())),
        }
        continues = rest.is_some();
    }
    all.into_iter().map(|(number, text)| match text.find(" # ") {
        Some(end) if exit_code(&text) == 0 => (number, text[..end].trim_end().to_owned()),
        _ => (number, text),
    })
}

/// What the comment of a command line says about its exit code; otherwise 0.
fn exit_code(line: &str) -> i32 {
    let code = line.rsplit_once("# exit code ").and_then(|(_, code)| code.trim().parse().ok());
    code.unwrap_or(0)
}

/// A text without what differs between machines and moments: numbers, ids, widths of tables.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for (changing, fixed) in [
        (r"\d{4}-\d\d-\d\d-([a-z-]+)-[0-9a-z]{4}\b", "DATE-$1-ID"),
        (r"\d+([.,]\d+)*(e[-+]?\d+)?", "#"),
        (r"threads\b", "thread"),
        (r"[─═]+", "─"),
        (r"[ \t]+", " "),
        (r"(?m)^ | $", ""),
    ] {
        let changing = Regex::new(changing).expect("a valid expression");
        text = changing.replace_all(&text, fixed).into_owned();
    }
    text
}

/// A folder like a fresh clone: the examples, the shipped model and its data.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a temporary folder"));
        for name in ["configs", "data"] {
            fs::create_dir(folder.0.path().join(name)).expect("a folder");
        }
        for name in [
            "configs/emoji-state.toml",
            "configs/short-answers.toml",
            "data/emoji-qa.jsonl",
            "data/short-answers.jsonl",
            "models",
            "Makefile",
        ] {
            symlink(project().join(name), folder.0.path().join(name)).expect("a link");
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// The exit code and both outputs of a command line, as a shell in this folder runs it.
    fn run(&self, line: &str) -> (i32, String) {
        let programs = Path::new(env!("CARGO_BIN_EXE_statetune")).parent().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STATETUNE_") {
                shell.env_remove(name);
            }
        }
        let output = shell
            .args(["-c", &format!("set -o pipefail; {line}")])
            .current_dir(self.0.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env(IN_ENGLISH.0, IN_ENGLISH.1)
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
        (output.status.code().unwrap_or(-1), text)
    }
}

/// Commands with their options, as `docs/commands.md` lists them, and the targets of the Makefile.
struct Commands {
    options: BTreeMap<String, BTreeSet<String>>,
    targets: BTreeSet<String>,
}

impl Commands {
    fn read() -> Commands {
        let page =
            fs::read_to_string(project().join("docs/commands.md")).expect("docs/commands.md");
        let option = Regex::new(r"--[a-z][a-z-]*").expect("a valid expression");
        let mut options = BTreeMap::<String, BTreeSet<String>>::new();
        let mut command = "statetune".to_owned();
        for line in page.lines() {
            if line.starts_with("##") {
                command = line.trim_matches(['#', ' ', '`']).to_owned();
            }
            let known = options.entry(command.clone()).or_default();
            known.extend(option.find_iter(line).map(|found| found.as_str().to_owned()));
        }
        let makefile = fs::read_to_string(project().join("Makefile")).expect("a Makefile");
        let rules = makefile.lines().filter_map(|line| line.split_once(':'));
        let targets = rules.map(|(target, _)| target.to_owned()).collect();
        Commands { options, targets }
    }

    /// The command of this line and all its options exist; a line of another program is left alone.
    fn know(&self, line: &str, place: &str) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("make") => {
                let mut targets = words.filter(|word| !word.contains('='));
                assert!(
                    targets.all(|word| self.targets.contains(word)),
                    "{place}: `{line}` names an unknown target"
                );
            }
            Some("statetune") => self.know_command(line, &words.collect::<Vec<_>>(), place),
            _ => {}
        }
    }

    fn know_command(&self, line: &str, words: &[&str], place: &str) {
        let is_global = |word: &str| ["--help", "--version"].contains(&word);
        let mut command = "statetune".to_owned();
        for word in words {
            // `data check|show` names two commands.
            let all: Vec<String> =
                word.split(['|', '\\']).map(|one| format!("{command} {one}")).collect();
            match all.iter().all(|one| self.options.contains_key(one)) {
                true => command.clone_from(&all[0]),
                false => break,
            }
        }
        let first = words.first().is_none_or(|word| word.starts_with(['-', 'C', '.']));
        assert!(first || command != "statetune", "{place}: `{line}` names an unknown command");
        let known = |word: &str| {
            let mut levels = self.options.iter();
            levels.any(|(name, options)| {
                let is_above = name == "statetune" || command.starts_with(name.as_str());
                (is_above || name.starts_with(&command)) && options.contains(word)
            })
        };
        for word in words.iter().filter(|word| word.starts_with("--")) {
            let word = word.split(['=', '|', '\\', ',', '.', ')']).next().unwrap_or_default();
            let exists = word == "--" || is_global(word) || known(word);
            assert!(exists, "{place}: `{line}`: `{command}` has no option `{word}`");
        }
    }
}

/// Text in backticks that begins like a command names one that exists.
#[test]
fn commands_in_passing_exist() {
    let commands = Commands::read();
    let code = Regex::new(r"`((?:statetune|make) [^`\n]+)`").expect("a valid expression");
    for name in document_names() {
        for found in code.captures_iter(&Document::read(&name).prose) {
            commands.know(&found[1], &name);
        }
    }
}

/// Text in backticks that is a path of the project names one that exists; `*`, `N` and capitals stand for names.
#[test]
fn paths_in_passing_exist() {
    let path = Regex::new(r"`((?:src|tests|kernels|scripts|configs|schemas|docs)/[a-z0-9_./-]*)`");
    let path = path.expect("a valid expression");
    for name in document_names() {
        for found in path.captures_iter(&Document::read(&name).prose) {
            assert!(project().join(&found[1]).exists(), "{name}: `{}` does not exist", &found[1]);
        }
    }
}

#[test]
fn lines_that_do_not_run_give_a_reason() {
    let names = document_names();
    for (document, line, reason, _) in NOT_RUN {
        assert!(names.iter().any(|name| name == document), "{document} of `{line}` does not exist");
        assert!(!reason.is_empty(), "{document}: `{line}` has no reason");
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut open = false;
    let mut all = BTreeSet::new();
    for line in text.lines() {
        open ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !open) else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|one| one.is_alphanumeric() || " -_".contains(*one));
        let anchor = kept.collect::<String>().replace(' ', "-");
        let copies = (1..).map(|copy| format!("{anchor}-{copy}"));
        let free = std::iter::once(anchor.clone()).chain(copies).find(|one| !all.contains(one));
        all.extend(free);
    }
    all
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a valid expression");
    for name in document_names() {
        let file = project().join(&name);
        let prose = Document::read(&name).prose;
        let targets = link.captures_iter(&prose).map(|found| found[1].to_owned());
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = file.parent().expect("a folder");
            let leads = if path.is_empty() { file.clone() } else { folder.join(path) };
            assert!(leads.exists(), "{name}: `{target}` does not exist");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&leads).expect("a document");
                assert!(anchors(&text).contains(anchor), "{name}: `{target}` has no such heading");
            }
        }
    }
}
