//! `statetune data export`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::skipped_lines;
use crate::{Color, ExperimentArgs, say, show};
use statetune_core::config::{DataType, OnBadLine};
use statetune_core::data::{
    Binidx, DataError, Exported, Mask, PrepareSpec, Prepared, RecordForm, Source, Template,
    TextForm, Tokenizer, copy_pair, magic_prime, pair_files, pair_to_texts, prepare,
};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Purpose};
use statetune_engine::pipeline::{RunError, load_tokenizer, prepare_sources};

/// Arguments of `data export`.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// An experiment file (`.toml`), of which the prepared documents are written, or the documents
    /// themselves: a file, a folder, a pattern, or the name that `.bin` and `.idx` share.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What is written: token ids, a JSON object with a `text` on each line, or a column `text`.
    #[arg(long, value_name = "binidx|jsonl|parquet", value_parser = to)]
    to: To,
    /// Name of what is written, without `.bin`, `.idx`, `.jsonl` or `.parquet` [default: FILE's, beside it].
    #[arg(long, value_name = "PREFIX")]
    out: Option<PathBuf>,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
    /// Tokens of a sample, for the magic prime [default: `train.ctx_len` of an experiment].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    ctx_len: Option<u64>,
    #[command(flatten)]
    raw: RawArgs,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

/// What an experiment file says by itself.
#[derive(Args, Debug)]
struct RawArgs {
    /// Freshly shuffled copies of every document, for `--to binidx` [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Seed of the order [default: 42].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Vocabulary: `world` or a file [default: world].
    #[arg(long, value_name = "world|FILE")]
    tokenizer: Option<PathBuf>,
    /// Format of FILE [default: binidx if there is such a pair, otherwise jsonl].
    #[arg(long, value_enum, value_name = "TYPE")]
    data_type: Option<RawType>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum To {
    /// Token ids: `.bin` and `.idx`.
    Binidx,
    /// The texts, in this form.
    Texts(TextForm),
}

fn to(text: &str) -> Result<To, &'static str> {
    match text {
        "binidx" => Ok(To::Binidx),
        "jsonl" => Ok(To::Texts(TextForm::Jsonl)),
        "parquet" => Ok(To::Texts(TextForm::Parquet)),
        _ => Err("choices are `binidx`, `jsonl` and `parquet`"),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum RawType {
    Jsonl,
    Binidx,
    #[value(name = "utf-8")]
    Utf8,
    #[value(name = "utf-16le")]
    Utf16le,
    Numpy,
    Uint16,
}

impl From<RawType> for DataType {
    fn from(raw: RawType) -> Self {
        match raw {
            RawType::Jsonl => Self::Jsonl,
            RawType::Binidx => Self::Binidx,
            RawType::Utf8 => Self::Utf8,
            RawType::Utf16le => Self::Utf16le,
            RawType::Numpy => Self::Numpy,
            RawType::Uint16 => Self::Uint16,
        }
    }
}

pub(super) fn export(args: &ExportArgs, color: Color) -> ExitCode {
    let is_experiment = args.file.extension().is_some_and(|extension| extension == "toml");
    let exported = if is_experiment {
        if let Some(flag) = args.raw.first_flag() {
            return refuse(flag_of_raw_data(flag), color);
        }
        match args.experiment.plan(&args.file, Purpose::Data, color) {
            Ok(plan) => args.export_plan(&plan),
            Err(code) => return code,
        }
    } else {
        if args.raw.repeat.is_some() && args.to != To::Binidx {
            return refuse(repeated_text(), color);
        }
        args.export_raw()
    };
    match exported {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            show(&error.diagnostic(), color);
            error.exit_code()
        }
    }
}

fn refuse(fault: Diagnostic, color: Color) -> ExitCode {
    show(&fault, color);
    ExitCode::Invalid
}

fn flag_of_raw_data((flag, key): (&str, &str)) -> Diagnostic {
    Diagnostic::error(msg!(FLAG_IS_FOR_RUNS, flag)).help(msg!(OVERRIDE_THE_SETTING, key))
}

fn repeated_text() -> Diagnostic {
    Diagnostic::error(msg!(REPEAT_IS_FOR_BINIDX)).note(msg!(DOCUMENTS_WRITTEN_ONCE))
}

impl RawArgs {
    /// The first flag that was given, with the setting that it stands for.
    fn first_flag(&self) -> Option<(&'static str, &'static str)> {
        let given = [
            (self.repeat.is_some(), ("--repeat", "data.repeat")),
            (self.seed.is_some(), ("--seed", "train.random_seed")),
            (self.tokenizer.is_some(), ("--tokenizer", "model.tokenizer")),
            (self.data_type.is_some(), ("--data-type", "data.data_type")),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }

    fn tokenizer(&self) -> Result<Tokenizer, DataError> {
        match &self.tokenizer {
            Some(file) if file.as_os_str() != "world" => Tokenizer::load(file),
            _ => Ok(Tokenizer::world()),
        }
    }
}

impl ExportArgs {
    /// Writes what a run trains on, and what it holds out under a name with `-val` behind it.
    fn export_plan(&self, plan: &Plan) -> Result<(), RunError> {
        let out = self.out.clone().unwrap_or_else(|| self.file.with_extension(""));
        let val_out = with_suffix(&out, "-val");
        let ctx_len = self.ctx_len.or(Some(plan.train.ctx_len.as_u64()));
        self.check_free(&out)?;
        let tokenizer = load_tokenizer(plan)?;
        if let Some(pair) = plan.data.pair.as_deref() {
            return Ok(self.write(pair, &out, &tokenizer, ctx_len)?);
        }
        let prepared = prepare_sources(plan, &tokenizer)?;
        if prepared.val.is_some() {
            self.check_free(&val_out)?;
        }
        self.write(&prepared.train, &out, &tokenizer, ctx_len)?;
        if let Some(val) = &prepared.val {
            self.write(val, &val_out, &tokenizer, None)?;
        }
        say_skipped(&prepared);
        Ok(())
    }

    /// Writes documents that no experiment describes.
    fn export_raw(&self) -> Result<(), RunError> {
        let (file, data_type) = self.raw_data();
        let out = self.out.clone().unwrap_or_else(|| default_out(&file, data_type));
        self.check_free(&out)?;
        let tokenizer = self.raw.tokenizer()?;
        if data_type == DataType::Binidx && self.to != To::Binidx {
            return Ok(self.write(&file, &out, &tokenizer, None)?);
        }
        let sources = [Source::new(data_type, &file)?];
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let work = tempfile::Builder::new()
            .prefix(".export-")
            .tempdir_in(folder.unwrap_or(Path::new(".")))
            .map_err(|source| DataError::Io { path: out.clone(), source })?;
        let prepared = prepare(&PrepareSpec {
            sources: &sources,
            tokenizer: &tokenizer,
            form: RecordForm { sft_field: None, template: &Template::rwkv_qa() },
            mask: &Mask::All,
            on_bad_line: OnBadLine::Error,
            end_of_doc: true,
            val_split: 0.0,
            repeat: self.raw.repeat.unwrap_or(1),
            seed: self.raw.seed.unwrap_or(42),
            cache_dir: work.path(),
        })
        .map_err(|error| match error {
            // The user knows nothing of the folder in which the pair is made.
            DataError::Io { source, .. } => DataError::Io { path: out.clone(), source },
            other => other,
        })?;
        Ok(self.write(&prepared.train, &out, &tokenizer, self.ctx_len)?)
    }

    /// FILE without the ending of one half of a pair, and its format.
    fn raw_data(&self) -> (PathBuf, DataType) {
        let half = self.file.extension().is_some_and(|e| e == "bin" || e == "idx");
        let prefix = if half { self.file.with_extension("") } else { self.file.clone() };
        let is_pair = half || pair_files(&prefix).iter().any(|file| file.exists());
        match self.raw.data_type {
            Some(RawType::Binidx) => (prefix, DataType::Binidx),
            Some(data_type) => (self.file.clone(), data_type.into()),
            None if is_pair => (prefix, DataType::Binidx),
            None => (self.file.clone(), DataType::Jsonl),
        }
    }

    /// The files that are written under the name `out`.
    fn files(&self, out: &Path) -> Vec<PathBuf> {
        match self.to {
            To::Binidx => pair_files(out).into(),
            To::Texts(form) => vec![texts_file(out, form)],
        }
    }

    fn check_free(&self, out: &Path) -> Result<(), DataError> {
        match self.files(out).into_iter().find(|file| file.exists()) {
            Some(path) if !self.force => Err(DataError::Exists { path }),
            _ => Ok(()),
        }
    }

    /// Writes the pair `from` under the name `out`, and says what it is.
    fn write(
        &self,
        from: &Path,
        out: &Path,
        tokenizer: &Tokenizer,
        ctx_len: Option<u64>,
    ) -> Result<(), DataError> {
        let pair = Binidx::open(from)?;
        match self.to {
            To::Binidx => {
                copy_pair(from, out)?;
                self.say_files(out);
                say(format_args!("documents  {}", pair.len()));
                say(format_args!(
                    "tokens     {}, {} bytes each",
                    pair.tokens(),
                    pair.token_bytes()
                ));
                if let Some(ctx_len) = ctx_len {
                    say_prime(pair.tokens(), ctx_len);
                }
            }
            To::Texts(form) => {
                let file = texts_file(out, form);
                let Exported { documents, empty } = pair_to_texts(from, tokenizer, form, &file)?;
                self.say_files(out);
                say(format_args!("documents  {documents}"));
                if empty > 0 {
                    say(format_args!("left out   {empty} documents without any text"));
                }
            }
        }
        Ok(())
    }

    fn say_files(&self, out: &Path) {
        for file in self.files(out) {
            say(format_args!("written    {}", file.display()));
        }
    }
}

/// `texts` for `texts.jsonl` and for `texts.jsonl.gz`.
fn default_out(file: &Path, data_type: DataType) -> PathBuf {
    if data_type == DataType::Binidx {
        return file.to_path_buf();
    }
    let is_compressed = file.extension().is_some_and(|e| e == "gz" || e == "zst");
    let plain = if is_compressed { file.with_extension("") } else { file.to_path_buf() };
    plain.with_extension("")
}

fn texts_file(out: &Path, form: TextForm) -> PathBuf {
    with_suffix(out, &format!(".{}", form.extension()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn say_skipped(prepared: &Prepared) {
    let skipped = prepared.report.skipped_lines;
    if skipped > 0 {
        say(format_args!("skipped    {}", skipped_lines(skipped)));
    }
}

/// The magic prime, also in the form in which other trainers want it.
fn say_prime(tokens: u64, ctx_len: u64) {
    match magic_prime(tokens, ctx_len) {
        Some(prime) => {
            say(format_args!("magic_prime {prime} (for ctx_len {ctx_len})"));
            say(format_args!(
                "--my_exit_tokens {tokens} --magic_prime {prime} --ctx_len {ctx_len}"
            ));
        }
        None => say(format_args!(
            "magic_prime none: {tokens} tokens are fewer than 3 x ctx_len = {}",
            3 * u128::from(ctx_len)
        )),
    }
}
