//! `statetune init`: creates an experiment file from five questions.

mod answers;
mod text;

use std::fs;
use std::io::{self, BufRead, ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use statetune_core::arch::ModelError;
use statetune_core::config::{ConfigError, Overrides, Recipe, parse, schema_text};
use statetune_core::data::{DataType, FILE_TYPES, Suited, Tokenizer, suited};
use statetune_core::diagnostic::{Diagnostic, Severity, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::hub::{HubDataset, HubFile, is_on_hub};
use statetune_core::input_file::regular_file;
use statetune_core::look::files::{has_fitting_vocabulary, look_into_files};
use statetune_core::plan::{Plan, Purpose, missing_path_helps, resolve};
use statetune_core::shell::shell_path;
use statetune_core::tensorfile::{WeightsError, write_atomically};

use answers::{Answers, DeviceAnswer};
use text::{EXAMPLE_FILE, TOKENS, WORLD, data_format, text};

use super::config::{exists, write_new};
use super::{Color, driver_of_gpus, fetch_data, refuse, say, show, tell};

pub(super) use answers::InitArgs;
pub(super) use text::SCHEMA;

/// Example documents for users without data.
const EXAMPLE_DATA: &str = include_str!("init/example.jsonl");

pub(super) fn init(args: &InitArgs, color: Color) -> ExitCode {
    let is_terminal = io::stdin().is_terminal();
    let answers = if args.yes {
        answers(args, &mut |_, default| Ok(default.to_owned()), None)
    } else if is_terminal {
        let mut retry = |fault: &Diagnostic| show(fault, color);
        let mut ask =
            |question: &str, default: &str| ask(&mut io::stdin().lock(), question, default);
        answers(args, &mut ask, Some(&mut retry))
    } else {
        let message = msg!(INIT_NEEDS_TERMINAL);
        let fault = Diagnostic::error(message).help(msg!(ANSWER_WITH_FLAGS));
        show(&fault, color);
        return ExitCode::Invalid;
    };
    match answers.and_then(|answers| write(args, &answers, color)) {
        Ok(Written { file, suited, tokenizer }) => {
            say(format_args!("wrote    {}", file.display()));
            say(format_args!("trains   {}", trains(&suited).said()));
            if suited.is_one_text {
                say(format_args!("held out {}", msg!(ONE_TEXT_NOT_HELD_OUT).said()));
            }
            if let Some(tokenizer) = tokenizer {
                let tokenizer = tokenizer.display().to_string();
                say(format_args!("vocab    {}", msg!(VOCABULARY_FITS, tokenizer).said()));
            }
            let file = shell_path(&file);
            say(format_args!("check    statetune check {file}"));
            say(format_args!("run      statetune run {file}"));
            ExitCode::Ok
        }
        Err(Stop::Fault(fault)) => {
            show(&fault, color);
            ExitCode::of_message(fault.code)
        }
        Err(Stop::Shown(code)) => code,
    }
}

/// What was written.
struct Written {
    file: PathBuf,
    suited: Suited,
    /// The vocabulary that was found beside the weights.
    tokenizer: Option<PathBuf>,
}

/// Which tokens train, and why.
fn trains(suited: &Suited) -> Text {
    match suited.has_answers {
        true => msg!(ANSWERS_TRAIN, why = suited.why),
        false => msg!(ALL_TOKENS_TRAIN, why = suited.why),
    }
}

/// The reason why nothing was written.
enum Stop {
    /// An unusable answer.
    Fault(Box<Diagnostic>),
    /// An error that was shown already.
    Shown(ExitCode),
}

/// Asks on the terminal; an empty line selects the default.
fn ask(input: &mut impl BufRead, question: &str, default: &str) -> io::Result<String> {
    let mut screen = io::stderr();
    write!(screen, "{question} [{default}]: ")?;
    screen.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let answer = line.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

/// Answer for "no file".
const NONE: &str = "none";

/// What shows the fault of an answer before the question is asked again.
type Retry<'a> = Option<&'a mut dyn FnMut(&Diagnostic)>;

/// Asks a question until `parse` accepts the answer; without `retry`, the first fault ends all questions.
fn asked<T>(
    ask: &mut impl FnMut(&str, &str) -> io::Result<String>,
    retry: &mut Retry<'_>,
    (question, default): (&str, &str),
    parse: impl Fn(&str) -> Result<T, Box<Diagnostic>>,
) -> Result<T, Stop> {
    loop {
        let answer = ask(question, default).map_err(|error| {
            let message = msg!(CANNOT_READ_ANSWER);
            Stop::Fault(Box::new(Diagnostic::error(message).note(Text::library(error))))
        })?;
        match (parse(&answer), &mut *retry) {
            (Ok(answer), _) => return Ok(answer),
            (Err(fault), Some(retry)) => retry(&fault),
            (Err(fault), None) => return Err(Stop::Fault(fault)),
        }
    }
}

/// The answers given by flags, and for the rest by `ask`, which gets a question and its default. Each answer is checked
/// at once; a fault goes to `retry`, and the question is asked again.
fn answers(
    args: &InitArgs,
    ask: &mut impl FnMut(&str, &str) -> io::Result<String>,
    mut retry: Retry<'_>,
) -> Result<Answers, Stop> {
    let mut file = |flag: &Option<PathBuf>,
                    question: Text,
                    check: &dyn Fn(&Path) -> Result<(), Box<Diagnostic>>|
     -> Result<Option<PathBuf>, Stop> {
        if let Some(file) = flag {
            return check(file).map(|()| Some(file.clone())).map_err(Stop::Fault);
        }
        asked(ask, &mut retry, (&question.said(), NONE), |answer| {
            let file = Some(with_home(answer)).filter(|answer| answer != Path::new(NONE));
            file.as_deref().map_or(Ok(()), check).map(|()| file)
        })
    };
    let data = file(&args.data, msg!(ASK_DOCUMENTS), &check_data)?;
    let model = file(&args.model, msg!(ASK_WEIGHTS), &check_model)?;
    if let Some(file) = &args.tokenizer
        && file != Path::new(WORLD)
        && !file.exists()
    {
        let message = msg!(VOCABULARY_DOES_NOT_EXIST, path = file);
        return Err(Stop::Fault(missing("model.tokenizer", file, message)));
    }
    let usual = if model.is_some() { Recipe::State } else { Recipe::Full };
    let method = match args.method {
        Some(method) => method,
        None if model.is_none() => usual,
        None => choice(msg!(ASK_METHOD), usual, ask, &mut retry)?,
    };
    if model.is_none() && method != Recipe::Full {
        let message = msg!(METHOD_NEEDS_WEIGHTS, method = method.name());
        let fault = Diagnostic::error(message).help(msg!(NAME_MODEL));
        return Err(Stop::Fault(Box::new(fault)));
    }
    let device = match args.device {
        Some(device) => device,
        None => choice(msg!(ASK_DEVICE), DeviceAnswer::Auto, ask, &mut retry)?,
    };
    let name = match &args.name {
        Some(name) => check_name(args, name).map_err(Stop::Fault)?,
        None => asked(ask, &mut retry, ("Name", "first"), |name| check_name(args, name))?,
    };
    Ok(Answers { data, model, method, device, low_memory: args.low_memory, name })
}

/// Parses an answer as one of the choices.
fn choice<T: ValueEnum>(
    question: Text,
    usual: T,
    ask: &mut impl FnMut(&str, &str) -> io::Result<String>,
    retry: &mut Retry<'_>,
) -> Result<T, Stop> {
    let word = usual.to_possible_value().expect("every choice has a word");
    let text = question.said();
    asked(ask, retry, (&text, word.get_name()), |answer| {
        T::from_str(answer, true).map_err(|_| {
            let message = msg!(NOT_ONE_OF_CHOICES, answer);
            Box::new(Diagnostic::error(message).note(question.clone()))
        })
    })
}

/// An answer as a path; `~` is the home folder, as in a shell.
fn with_home(answer: &str) -> PathBuf {
    match (answer.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(answer),
    }
}

fn check_data(file: &Path) -> Result<(), Box<Diagnostic>> {
    if is_on_hub(file) {
        return HubDataset::parse(file).map(|_| ());
    }
    let (data_type, path) = data_format(file);
    let is_pattern = path.to_string_lossy().contains(['*', '?', '[']);
    let is_there = match data_type {
        TOKENS => path.with_added_extension("idx").exists(),
        _ => path.exists() || is_pattern,
    };
    let message = msg!(DATA_DOES_NOT_EXIST, file);
    if is_there { Ok(()) } else { Err(missing("data.data_file", file, message)) }
}

fn check_model(file: &Path) -> Result<(), Box<Diagnostic>> {
    if is_on_hub(file) {
        return HubFile::parse(file).map(|_| ());
    }
    match regular_file(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = msg!(WEIGHTS_DO_NOT_EXIST, path = file);
            Err(missing("model.load_model", file, message))
        }
        Err(source) => {
            let fault = WeightsError::Read { path: file.to_path_buf(), source };
            Err(Box::new(ModelError::from(fault).diagnostic()))
        }
    }
}

/// The fault of a file that does not exist.
fn missing(key: &str, file: &Path, message: Text) -> Box<Diagnostic> {
    let helps = missing_path_helps(key, file);
    Box::new(Diagnostic { helps, ..Diagnostic::error(message) })
}

/// A name that an experiment can have and no file in the folder has.
fn check_name(args: &InitArgs, name: &str) -> Result<String, Box<Diagnostic>> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if name.is_empty() || !name.chars().all(is_letter) {
        return Err(Box::new(Diagnostic::error(msg!(NOT_A_NAME, name))));
    }
    let file = experiment_file(args, name);
    if file.exists() { Err(Box::new(exists(&file))) } else { Ok(name.to_owned()) }
}

/// The file of an experiment with this name.
fn experiment_file(args: &InitArgs, name: &str) -> PathBuf {
    match format!("{name}.toml") {
        name if args.dir == Path::new(".") => name.into(),
        name => args.dir.join(name),
    }
}

/// Writes the experiment after all checks have passed.
fn write(args: &InitArgs, answers: &Answers, color: Color) -> Result<Written, Stop> {
    let file = experiment_file(args, &answers.name);
    let disk = |path: &Path, error: io::Error| {
        let message = msg!(CANNOT_WRITE, file = path);
        show(&Diagnostic::error(message).note(Text::library(error)), color);
        Stop::Shown(ExitCode::Disk)
    };
    let schema = args.dir.join(SCHEMA);
    let folder = schema.parent().expect("the path has a folder");
    fs::create_dir_all(folder).map_err(|error| disk(folder, error))?;
    let example = args.dir.join(EXAMPLE_FILE);
    let makes_example = answers.data.is_none() && !example.exists();
    if makes_example {
        write_new(&example, EXAMPLE_DATA, color).map_err(Stop::Shown)?;
    }
    let chosen = choose(args, answers, &file, color);
    if makes_example && chosen.is_err() {
        let _ = fs::remove_file(&example);
    }
    let (text, suited, tokenizer) = chosen?;
    // The folder and the schema are generated, so they are replaced.
    write_atomically(&schema, |out| out.write_all(schema_text().as_bytes()))
        .map_err(|error| disk(&schema, error))?;
    write_new(&file, &text, color).map_err(Stop::Shown)?;
    Ok(Written { file, suited, tokenizer })
}

/// The text of the experiment file, the settings of the data, and the vocabulary beside the weights, if that is used. Faults
/// of single documents are shown; with any other fault nothing is written.
fn choose(
    args: &InitArgs,
    answers: &Answers,
    file: &Path,
    color: Color,
) -> Result<(String, Suited, Option<PathBuf>), Stop> {
    let refused = |error: statetune_core::data::DataError| {
        let diagnostic = error.diagnostic();
        show(&diagnostic, color);
        Stop::Shown(ExitCode::of_message(diagnostic.code))
    };
    let suited = match &answers.data {
        Some(path) if is_on_hub(path) => on_hub(path)?,
        Some(path) => {
            let (data_type, path) = data_format(path);
            suited(named(data_type), &path).map_err(refused)?
        }
        None => suited(DataType::Jsonl, &args.dir.join(EXAMPLE_FILE)).map_err(refused)?,
    };
    let usual = args.tokenizer.clone().unwrap_or_else(|| WORLD.into());
    let beside = match (&args.tokenizer, &answers.model) {
        (None, Some(model)) => vocabularies_beside(model),
        _ => Vec::new(),
    };
    let found = beside.into_iter().find(|tokenizer| {
        let fits = |tokenizer: &Path| {
            let text = text(args, answers, &suited, tokenizer);
            planned(file, &text).is_ok_and(|plan| has_fitting_vocabulary(&plan))
        };
        !fits(&usual) && fits(tokenizer)
    });
    let text = text(args, answers, &suited, found.as_ref().unwrap_or(&usual));
    let plan = planned(file, &text).map_err(|found| Stop::Shown(refuse(&found, file, color)))?;
    let seen = look_into_files(&plan);
    let is_of_document = |one: &Diagnostic| ExitCode::of_message(one.code) == ExitCode::Data;
    let stops = |one: &&Diagnostic| one.severity == Severity::Error && !is_of_document(one);
    if seen.iter().any(|one| stops(&one)) {
        return Err(Stop::Shown(refuse(&seen, file, color)));
    }
    seen.iter().for_each(|one| show(one, color));
    Ok((text, suited, found))
}

/// The settings of a data set on the hub, which is fetched.
fn on_hub(path: &Path) -> Result<Suited, Stop> {
    let begins = || tell(format_args!("fetching {}", path.display()));
    let data = HubDataset::parse(path).map_err(Stop::Fault)?;
    let found = data.fetch(begins).map_err(Stop::Fault)?;
    let first = found.files.first().map(|file| suited(DataType::Jsonl, file));
    let missing = || statetune_core::data::DataError::NoFiles { path: path.to_path_buf() };
    let seen = first.unwrap_or_else(|| Err(missing()));
    seen.map_err(|error| Stop::Fault(Box::new(error.diagnostic())))
}

/// The files beside the weights that may be vocabularies, by name.
fn vocabularies_beside(model: &Path) -> Vec<PathBuf> {
    let folder = model.parent().unwrap_or(Path::new(""));
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).into_iter().flatten().flatten();
    let is_vocabulary = |file: &PathBuf| {
        let is_named = file.extension().is_some_and(|ending| ending == "txt" || ending == "json");
        is_named && fs::metadata(file).is_ok_and(|file| file.len() < Tokenizer::MOST_MIB << 20)
    };
    let files = entries.map(|entry| folder.join(entry.file_name()));
    let mut files: Vec<PathBuf> = files.filter(is_vocabulary).collect();
    files.sort();
    files
}

/// The plan of a text as if it were the content of `file`.
fn planned(file: &Path, text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let loaded = parse(file, text.to_owned(), &Overrides::default())
        .map_err(|ConfigError { diagnostics, .. }| diagnostics)?;
    fetch_data(&loaded)?;
    resolve(loaded, Purpose::Run, PathBuf::new(), driver_of_gpus)
}

/// The format with this name.
fn named(data_type: &str) -> DataType {
    let found = FILE_TYPES.iter().find(|(name, _)| *name == data_type);
    found.map_or(DataType::Jsonl, |(_, data_type)| *data_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> InitArgs {
        InitArgs {
            dir: "x".into(),
            data: None,
            model: None,
            tokenizer: None,
            method: None,
            device: None,
            low_memory: false,
            name: None,
            yes: false,
        }
    }

    #[test]
    fn each_answer_is_checked_and_asked_for_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        fs::write(file("chat.jsonl"), "{}").expect("written");
        fs::write(file("model.pth"), "").expect("written");
        fs::write(file("first.toml"), "").expect("written");
        let (data, model, missing) = (file("chat.jsonl"), file("model.pth"), file("nothing.jsonl"));
        let lines = [&*missing, &data, &missing, &model, "lora?", "lora", "", "", "my own", "mine"];
        let mut input = io::Cursor::new(lines.join("\n"));
        let (mut questions, mut faults) = (Vec::new(), Vec::new());
        let args = InitArgs { dir: folder.path().into(), ..args() };
        let mut ask = |question: &str, default: &str| {
            questions.push(default.to_owned());
            ask(&mut input, question, default)
        };
        let mut retry = |fault: &Diagnostic| faults.push(fault.code);
        let Ok(given) = answers(&args, &mut ask, Some(&mut retry)) else { panic!("all is fine") };
        let twice = ["none", "none", "none", "none", "state", "state", "auto", "first"];
        assert_eq!(questions, [&twice[..], &["first", "first"]].concat());
        assert_eq!(faults, ["ST3005", "ST4001", "ST0125", "ST0122", "ST0125"]);
        assert_eq!(given.data.as_deref(), Some(Path::new(&data)));
        assert_eq!((given.method, given.device), (Recipe::Lora, DeviceAnswer::Auto));
        assert_eq!(given.name, "mine");
    }

    #[test]
    fn a_flag_is_an_answer() {
        let (data, model) = ("../../data/emoji-qa.jsonl", "../../models/tiny-chat.pth");
        let args = InitArgs {
            data: Some(data.into()),
            model: Some(model.into()),
            method: Some(Recipe::State),
            device: Some(DeviceAnswer::Cpu),
            name: Some("c".into()),
            ..args()
        };
        let given = answers(&args, &mut |question, _| panic!("asked {question}"), None);
        assert!(given.is_ok_and(|given| given.method == Recipe::State));
    }
}
