//! `statetune data export`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use statetune_core::data::{
    Answers, Binidx, DataError, DataType, Exported, FILE_TYPES, Mask, OnBadLine, PrepareSpec,
    Prepared, RecordForm, Source, Template, TextForm, Tokenizer, copy_pair, magic_prime,
    pair_files, pair_to_texts, prepare,
};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Plan;
use statetune_core::tensorfile::{is_written_through, one_of_several};
use statetune_core::words::{count, grouped};
use statetune_engine::RunError;
use statetune_engine::run::{load_tokenizer, prepare_sources};

use super::skipped_lines;
use crate::replace::say_written;
use crate::subject::fail;
use crate::{Color, ExperimentArgs, say, show};

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// An experiment file (`.toml`) to export its prepared documents, or documents: a file, a folder, a pattern, or
    /// the common name of a `.bin` and `.idx` pair.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Output: token ids, JSON Lines with a key `text`, or a Parquet column `text`.
    #[arg(long, value_name = "binidx|jsonl|parquet", value_parser = to)]
    to: To,
    /// Output name without `.bin`, `.idx`, `.jsonl` or `.parquet` [default: FILE's, next to FILE].
    #[arg(long, value_name = "PREFIX")]
    out: Option<PathBuf>,
    /// Overwrite existing files.
    #[arg(long)]
    force: bool,
    /// Tokens per sample, for the magic prime [default: `train.ctx_len` of an experiment].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    ctx_len: Option<u64>,
    #[command(flatten)]
    raw: RawArgs,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

/// Options that an experiment file replaces.
#[derive(Args, Debug)]
struct RawArgs {
    /// Number of freshly shuffled copies of each document, for `--to binidx` [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Seed of the shuffle [default: 42].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Vocabulary: `world` or a file [default: world].
    #[arg(long, value_name = "world|FILE")]
    tokenizer: Option<PathBuf>,
    /// Format of FILE [default: binidx if such a pair exists, otherwise jsonl].
    #[arg(long, value_parser = file_type(), value_name = "TYPE")]
    data_type: Option<DataType>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum To {
    /// Token ids: `.bin` and `.idx`.
    Binidx,
    /// The texts, in this format.
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

fn file_type() -> impl TypedValueParser<Value = DataType> {
    let names = PossibleValuesParser::new(FILE_TYPES.map(|(name, _)| name));
    names.try_map(|name| {
        let known = FILE_TYPES.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, data_type)| data_type).ok_or("unknown format")
    })
}

pub(super) fn export(args: &ExportArgs, color: Color) -> ExitCode {
    let is_experiment = args.file.extension().is_some_and(|extension| extension == "toml");
    let exported = if is_experiment {
        if let Some(flag) = args.raw.first_flag() {
            return refuse(flag_of_raw_data(flag), color);
        }
        match args.experiment.plan_data(&args.file, color) {
            Ok(plan) => args.export_plan(&plan, color),
            Err(code) => return code,
        }
    } else {
        if args.raw.repeat.is_some() && args.to != To::Binidx {
            return refuse(repeated_text(), color);
        }
        args.export_raw(color)
    };
    match exported {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
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
    /// The first flag given, with the setting of an experiment file that replaces the flag.
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
    /// Writes the training documents, and the validation documents under the name with `-val` appended.
    fn export_plan(&self, plan: &Plan, color: Color) -> Result<(), RunError> {
        let out = self.given_out()?.unwrap_or_else(|| self.file.with_extension(""));
        let val_out = with_suffix(&out, "-val");
        let ctx_len = self.ctx_len.or(Some(plan.train.ctx_len.as_u64()));
        self.check_free(&out)?;
        if let Some(refusal) = plan.refuses_imitation("data export") {
            let refusal = refusal.help(msg!(EXPORT_CHOSEN_ANSWERS));
            return Err(contradiction(refusal));
        }
        let tokenizer = load_tokenizer(plan)?;
        if let Some(pair) = plan.data.pair.as_deref() {
            return Ok(self.write(pair, &out, &tokenizer, ctx_len)?);
        }
        let prepared = prepare_sources(plan, &tokenizer)?;
        if prepared.val.is_some() {
            one_of_several(&out).map_or(Ok(()), |fault| Err(contradiction(fault)))?;
            self.check_free(&val_out)?;
        }
        self.write(&prepared.train, &out, &tokenizer, ctx_len)?;
        if let Some(val) = &prepared.val {
            self.write(val, &val_out, &tokenizer, None)?;
        }
        say_skipped(&prepared, &out);
        self.warn(&plan.data.sources, &prepared, &plan.data.form(), color);
        Ok(())
    }

    /// Writes documents without an experiment.
    fn export_raw(&self, color: Color) -> Result<(), RunError> {
        let (file, data_type) = self.raw_data();
        let out = self.given_out()?.unwrap_or_else(|| default_out(&file, data_type));
        self.check_free(&out)?;
        let tokenizer = self.raw.tokenizer()?;
        if data_type == DataType::Binidx && self.to != To::Binidx {
            return Ok(self.write(&file, &out, &tokenizer, None)?);
        }
        let sources = [Source::new(data_type, &file)?];
        let folder = match out.parent() {
            _ if is_written_through(&out) => env::temp_dir(),
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let work = tempfile::Builder::new()
            .prefix(".export-")
            .tempdir_in(folder)
            .map_err(|source| DataError::Io { path: out.clone(), source })?;
        let prepared = prepare(&PrepareSpec {
            sources: &sources,
            tokenizer: &tokenizer,
            form: RecordForm::new(&Template::rwkv_qa()),
            mask: &Mask::All,
            answers: Answers::Imitated,
            on_bad_line: OnBadLine::Error,
            end_of_doc: true,
            val_split: 0.0,
            val_seed: 0,
            repeat: self.raw.repeat.unwrap_or(1),
            seed: self.raw.seed.unwrap_or(42),
            cache_dir: work.path(),
        })
        .map_err(|error| match error {
            // The user does not know the temporary folder.
            DataError::Io { source, .. } => DataError::Io { path: out.clone(), source },
            other => other,
        })?;
        self.write(&prepared.train, &out, &tokenizer, self.ctx_len)?;
        self.warn(&sources, &prepared, &RecordForm::new(&Template::rwkv_qa()), color);
        Ok(())
    }

    /// Shows what the files do not hold of the records.
    fn warn(&self, sources: &[Source], prepared: &Prepared, form: &RecordForm<'_>, color: Color) {
        let counts = &prepared.report.records;
        let mut warnings = Source::record_warnings(sources, counts, form);
        let muted = counts.iter().map(|counts| counts.muted).sum();
        if muted > 0 {
            let warning = Diagnostic::warning(msg!(MUTED_IN_PAIR, n = grouped(muted)));
            warnings.push(warning.note(msg!(MUTED_BECOME_TARGETS)));
        }
        warnings.iter().for_each(|warning| show(warning, color));
    }

    /// FILE without the extension of a pair, and its format.
    fn raw_data(&self) -> (PathBuf, DataType) {
        let half = self.file.extension().is_some_and(|e| e == "bin" || e == "idx");
        let prefix = if half { self.file.with_extension("") } else { self.file.clone() };
        let is_pair = half || pair_files(&prefix).iter().any(|file| file.exists());
        match self.raw.data_type {
            Some(DataType::Binidx) => (prefix, DataType::Binidx),
            Some(data_type) => (self.file.clone(), data_type),
            None if is_pair => (prefix, DataType::Binidx),
            None => (self.file.clone(), DataType::Jsonl),
        }
    }

    /// `--out` without an ending that the program adds; a device or pipe keeps its name.
    ///
    /// # Errors
    /// A device or pipe for a pair of files.
    fn given_out(&self) -> Result<Option<PathBuf>, RunError> {
        let Some(out) = &self.out else { return Ok(None) };
        match (self.to, one_of_several(out)) {
            (To::Binidx, Some(fault)) => return Err(contradiction(fault)),
            (To::Texts(_), Some(_)) => return Ok(Some(out.clone())),
            (_, None) => {}
        }
        let endings: &[&str] = match self.to {
            To::Binidx => &["bin", "idx"],
            To::Texts(form) => &[form.extension()],
        };
        let is_added =
            out.extension().is_some_and(|ending| endings.iter().any(|one| ending == *one));
        Ok(Some(if is_added { out.with_extension("") } else { out.clone() }))
    }

    /// The files written for the name `out`.
    fn files(&self, out: &Path) -> Vec<PathBuf> {
        match self.to {
            To::Binidx => pair_files(out).into(),
            To::Texts(form) => vec![texts_file(out, form)],
        }
    }

    fn check_free(&self, out: &Path) -> Result<(), DataError> {
        let is_kept = |file: &PathBuf| file.exists() && !is_written_through(file);
        match self.files(out).into_iter().find(is_kept) {
            Some(path) if !self.force => Err(DataError::Exists { path }),
            _ => Ok(()),
        }
    }

    /// Moves the pair `from` to the name `out` and prints a summary.
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
                for file in self.files(out) {
                    say(format_args!("written    {}", file.display()));
                }
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
                say_written(out, format_args!("written    {}", file.display()));
                say_written(out, format_args!("documents  {documents}"));
                if empty > 0 {
                    let dropped = count(empty, "document");
                    say_written(out, format_args!("dropped    {dropped} without text"));
                }
            }
        }
        Ok(())
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
    match is_written_through(out) {
        true => out.to_path_buf(),
        false => with_suffix(out, &format!(".{}", form.extension())),
    }
}

fn contradiction(fault: Diagnostic) -> RunError {
    RunError::Contradiction(Box::new(fault))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn say_skipped(prepared: &Prepared, out: &Path) {
    let skipped = prepared.report.skipped_lines;
    if skipped > 0 {
        say_written(out, format_args!("skipped    {}", skipped_lines(skipped)));
    }
}

/// Prints the magic prime, also as the options of other trainers.
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
