//! Where the documents come from, and which settings that leaves without a meaning.

use std::path::Path;

use super::{Faults, Purpose};
use crate::config::{Config, Data, Tokenizer};
use crate::data::{Binidx, Content, DataType, Source, format};
use crate::diagnostic::{Diagnostic, msg};
use crate::hub::{HubDataset, is_on_hub};

/// The pair that is read as it is, when the data is one and nothing else.
pub(super) fn one_pair<'a>(data: &Data, sources: &'a [Source]) -> Option<&'a Path> {
    match sources {
        [Source { data_type: DataType::Binidx, files, .. }] if data.source.is_empty() => {
            files.first().filter(|_| files.len() == 1).map(|prefix| &**prefix)
        }
        _ => None,
    }
}

/// Whether the characters of the documents are the vocabulary.
pub(super) fn uses_characters(config: &Config) -> bool {
    config.model.tokenizer == Tokenizer::Auto
        && data_types(&config.data).all(|data_type| format(data_type).content() == Content::Text)
}

/// Whether any source has texts, which a tokenizer turns into ids.
pub(super) fn has_text(data: &Data) -> bool {
    data_types(data).any(|data_type| format(data_type).content() != Content::Tokens)
}

/// The formats of all sources.
fn data_types(data: &Data) -> impl Iterator<Item = DataType> {
    let single = data.source.is_empty().then_some(data.data_type);
    single.into_iter().chain(data.source.iter().map(|source| source.data_type))
}

/// The sources that an experiment names; faults are added for what is wrong with them.
pub(super) fn sources(faults: &mut Faults<'_>, purpose: Purpose) -> Vec<Source> {
    let data = &faults.loaded.config.data;
    let draws = faults.loaded.config.objective.distill().is_some_and(|one| one.draw > 0);
    let mut sources = Vec::new();
    let mut add = |key: &str, file: Option<&Path>, data_type, weight, limit: Option<u64>| {
        if let Some(source) = source(faults, key, file, data_type, purpose) {
            sources.push(Source { weight, limit: limit.or(data.limit), ..source });
        }
    };
    if data.source.is_empty() && !(draws && data.data_file.is_none()) {
        add("data", data.data_file.as_deref(), data.data_type, 1.0, None);
    }
    for (i, one) in data.source.iter().enumerate() {
        let key = format!("data.source[{i}]");
        add(&key, one.data_file.as_deref(), one.data_type, one.weight, one.limit);
    }
    check_meaning(faults, data, one_pair(data, &sources).is_some());
    check_one_text(faults, &sources);
    sources
}

/// Warns that nothing can be held out where the data is a single text.
fn check_one_text(faults: &mut Faults<'_>, sources: &[Source]) {
    let config = &faults.loaded.config;
    let [Source { data_type, files, .. }] = sources else { return };
    let [file] = &**files else { return };
    if format(*data_type).content() != Content::Text || config.data.val_split == 0.0 {
        return;
    }
    let asked = ["data.val_split", "sample.held_out"];
    let Some(key) = asked.into_iter().find(|key| faults.written(key)) else { return };
    let data_type = data_type_word(*data_type);
    let warning = Diagnostic::warning(msg!(ONE_TEXT_HOLDS_OUT_NOTHING, key, file))
        .note(msg!(TEXT_FILE_IS_A_DOCUMENT, data_type))
        .help(msg!(SPLIT_TEXT_INTO_DOCUMENTS));
    faults.add(key, warning);
}

/// The source that the table `key` describes.
fn source(
    faults: &mut Faults<'_>,
    key: &str,
    file: Option<&Path>,
    data_type: DataType,
    purpose: Purpose,
) -> Option<Source> {
    let (file_key, type_key) = (format!("{key}.data_file"), format!("{key}.data_type"));
    let file = match (data_type, file) {
        (DataType::WdsImg, _) => {
            faults.add(&type_key, images());
            return None;
        }
        (DataType::Dummy, None) => Path::new(""),
        (DataType::Dummy, Some(_)) => {
            faults.add_superfluous(
                &file_key,
                meaningless("data_file", "data_type = \"dummy\"")
                    .note(msg!(PROGRAM_MAKES_DOCUMENTS)),
            );
            return None;
        }
        (_, None) => {
            let fault = Diagnostic::error(msg!(KEY_IS_MISSING, file_key))
                .help(msg!(NAME_DATA_FILE))
                .help(msg!(OR_SEVERAL_SOURCES));
            faults.add(key, fault);
            return None;
        }
        (_, Some(file)) => file,
    };
    if purpose == Purpose::Generate {
        return None;
    }
    if is_on_hub(file) {
        return on_hub(faults, &file_key, file, data_type, purpose);
    }
    match find(data_type, file) {
        Ok(source) => Some(source),
        Err(fault) => {
            let fault = faults.with_path_helps(&file_key, file, *fault);
            faults.add(&file_key, fault);
            None
        }
    }
}

/// A data set on the hub: its files on this machine, once they were fetched.
fn on_hub(
    faults: &mut Faults<'_>,
    key: &str,
    path: &Path,
    data_type: DataType,
    purpose: Purpose,
) -> Option<Source> {
    if format(data_type).content() != Content::Records {
        let data_type = data_type_word(data_type);
        let fault = Diagnostic::error(msg!(HUB_HOLDS_RECORDS, data_type));
        faults.add(key, fault.help(msg!(DELETE_DATA_TYPE)));
        return None;
    }
    let data = match HubDataset::parse(path) {
        Ok(data) => data,
        Err(fault) => {
            faults.add(key, *fault);
            return None;
        }
    };
    if let Some(found) = data.fetched() {
        return Some(Source { data_type, files: found.files, weight: 1.0, limit: None });
    }
    let name = data.to_string();
    let fault = match purpose {
        Purpose::Check => Diagnostic::warning(msg!(DATA_NOT_ON_MACHINE_YET, name)),
        _ => Diagnostic::error(msg!(DATA_NOT_ON_MACHINE, name)),
    };
    faults.add(key, fault.help(msg!(DATA_COMMANDS_FETCH)));
    None
}

/// The files of a source, seen to be there.
fn find(data_type: DataType, file: &Path) -> Result<Source, Box<Diagnostic>> {
    let source = Source::new(data_type, file).map_err(|error| Box::new(error.diagnostic()))?;
    for file in &source.files {
        if data_type == DataType::Binidx {
            Binidx::open(file).map_err(|error| Box::new(error.diagnostic()))?;
        } else if !file.exists() {
            let message = msg!(DATA_DOES_NOT_EXIST, file);
            let fault = Diagnostic::error(message);
            return Err(Box::new(fault.help(msg!(RELATIVE_PATHS))));
        }
    }
    Ok(source)
}

fn images() -> Diagnostic {
    Diagnostic::error(msg!(WDS_IMG_IS_IMAGES))
        .note(msg!(WDS_IMG_MEANING))
        .help(msg!(CHOOSE_OTHER_TYPE))
}

fn meaningless(key: &str, beside: &str) -> Diagnostic {
    Diagnostic::error(msg!(KEY_HAS_NO_MEANING, key, beside))
}

/// Adds a fault for every key that is set and would not be read.
fn check_meaning(faults: &mut Faults<'_>, data: &Data, one_pair: bool) {
    if !data.source.is_empty() {
        for key in ["data.data_file", "data.data_type"] {
            if faults.written(key) {
                let fault = Diagnostic::error(msg!(KEY_BESIDE_SOURCES, key))
                    .note(msg!(SOURCES_HAVE_FILES))
                    .help(msg!(DELETE_OR_MAKE_SOURCE));
                faults.add(key, fault);
            }
        }
    }
    let has = |content| data_types(data).any(|data_type| format(data_type).content() == content);
    let records = has(Content::Records);
    let texts = records || has(Content::Text);
    let keys = [
        ("data.val_split", one_pair),
        ("data.repeat", one_pair),
        ("data.limit", one_pair),
        ("data.end_of_doc", !texts),
        ("data.sft_field", !records),
        ("data.ignore_keys", !records),
        ("data.on_bad_line", !records),
    ];
    for (key, has_no_meaning) in keys {
        if has_no_meaning && faults.written(key) {
            let mut fault = meaningless(key, &data_type_name(data));
            if one_pair {
                fault = fault.note(msg!(PAIR_USED_AS_IS));
            }
            faults.add_superfluous(key, fault);
        }
    }
}

/// A format as a setting.
fn data_type_word(data_type: DataType) -> String {
    let word = serde_json::to_value(data_type).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}

/// The formats of the data as a setting.
fn data_type_name(data: &Data) -> String {
    let mut names: Vec<String> =
        data_types(data).map(|data_type| format!("\"{}\"", data_type_word(data_type))).collect();
    names.dedup();
    format!("data_type = {}", names.join(" and "))
}
