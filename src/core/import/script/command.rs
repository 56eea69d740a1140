//! The commands of a script that prepare data or train.

use crate::import::shell::Word;

/// A flag of the training command.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) values: Vec<Word>,
}

impl Flag {
    pub(super) fn text(&self) -> &str {
        self.values.first().map_or("", |word| word.text.as_str())
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.values.iter().any(|word| word.is_unknown)
    }

    pub(super) fn written(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|word| word.text.as_str()).collect();
        format!("--{} {}", self.name, values.join(" ")).trim_end().to_string()
    }
}

/// A training command.
#[derive(Debug, Default)]
pub(super) struct Training {
    /// The flags of the launcher: `deepspeed --num_gpus 4 train.py`.
    pub(super) launcher: Vec<Flag>,
    pub(super) flags: Vec<Flag>,
    /// Words that belong to no flag.
    pub(super) strays: Vec<Word>,
}

/// Flags that take several values.
const MANY: [&str; 3] = ["sft_field", "train_parts", "lora_parts"];
/// Flags that take no value.
const SWITCHES: [&str; 10] = [
    "emb",
    "fla",
    "fused_kernel",
    "LISA",
    "lora",
    "PISSA",
    "pissa",
    "bone",
    "state_tune",
    "avg_loss",
];

fn is_program(word: &Word, name: &str) -> bool {
    word.text.rsplit(['/', '\\']).next() == Some(name)
}

/// The place of `train.py`, of the module in `python -m train`, or of a program that only the shell knows before the flags
/// of a training.
fn program(words: &[Word]) -> Option<usize> {
    let is_module = |at: usize| {
        at > 0 && words[at - 1].text == "-m" && words[at].text.rsplit('.').next() == Some("train")
    };
    let known = (0..words.len()).find(|&at| is_program(&words[at], "train.py") || is_module(at));
    known.or_else(|| {
        let at = words.iter().position(|word| word.text.starts_with("python"))? + 1;
        let trains = words.iter().any(|word| word.text == "--proj_dir");
        (trains && words.get(at)?.is_unknown).then_some(at)
    })
}

/// The training that a command starts, if it starts one.
pub(super) fn training(words: &[Word]) -> Option<Training> {
    let program = program(words)?;
    let (flags, mut strays) = flags(&words[program + 1..]);
    if words[program].is_unknown {
        strays.insert(0, words[program].clone());
    }
    let (launcher, _) = self::flags(&words[..program]);
    Some(Training { launcher, flags, strays })
}

/// The flags among `words`, and the words that belong to none.
pub(super) fn flags(words: &[Word]) -> (Vec<Flag>, Vec<Word>) {
    let mut flags: Vec<Flag> = Vec::new();
    let mut strays = Vec::new();
    for word in words {
        let negative =
            word.text.trim_start_matches('-').starts_with(|one: char| one.is_ascii_digit());
        match word.text.strip_prefix("--") {
            Some(name) if !negative => {
                let (name, value) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (name, None),
                };
                let value = value.map(|value| Word { text: value.to_string(), ..word.clone() });
                let values = value.into_iter().collect();
                flags.push(Flag { line: word.line, name: name.to_string(), values });
            }
            _ if word.text.trim().is_empty()
                && !flags.iter().any(|flag| flag.values.is_empty()) => {}
            _ => match flags.last_mut() {
                Some(flag) if takes_another(flag) => flag.values.push(word.clone()),
                _ => strays.push(word.clone()),
            },
        }
    }
    (flags, strays)
}

fn takes_another(flag: &Flag) -> bool {
    let name = flag.name.as_str();
    MANY.contains(&name) || flag.values.is_empty() && !SWITCHES.contains(&name)
}

/// `make_data.py FILE COPIES CTX_LEN`.
pub(super) struct MakeData {
    pub(super) line: usize,
    pub(super) written: String,
    pub(super) file: Word,
    pub(super) copies: Option<i64>,
}

pub(super) fn make_data(words: &[Word]) -> Option<MakeData> {
    let at = words.iter().position(|word| is_program(word, "make_data.py"))?;
    let file = words.get(at + 1)?;
    let copies = words.get(at + 2).and_then(|word| word.text.parse().ok());
    let written: Vec<_> = words[at..].iter().map(|word| word.text.as_str()).collect();
    let copies = copies.filter(|copies| *copies > 0);
    Some(MakeData { line: file.line, written: written.join(" "), file: file.clone(), copies })
}

/// Why a script without a training command trains nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Instead {
    Merges,
    Prepares,
    Infctx,
    Nothing,
}

/// What the commands do instead of training.
pub(super) fn instead(commands: &[Vec<Word>]) -> Instead {
    let any = |is: &dyn Fn(&str) -> bool| {
        commands.iter().flatten().any(|word| word.text.ends_with(".py") && is(&word.text))
    };
    match () {
        () if any(&|name| name.contains("lightning_trainer")) => Instead::Infctx,
        () if any(&|name| name.contains("merge")) => Instead::Merges,
        () if any(&|name| name.contains("make_data") || name.contains("preprocess_data")) => {
            Instead::Prepares
        }
        () => Instead::Nothing,
    }
}
