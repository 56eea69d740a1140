//! Where the documents come from, and which settings that leaves without a meaning.

use std::path::Path;

use super::{Faults, Purpose};
use crate::config::{Config, Data, DataType, Tokenizer};
use crate::data::{Binidx, Content, Source, format};
use crate::diagnostic::Diagnostic;

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

/// The formats of all sources.
fn data_types(data: &Data) -> impl Iterator<Item = DataType> {
    let single = data.source.is_empty().then_some(data.data_type);
    single.into_iter().chain(data.source.iter().map(|source| source.data_type))
}

/// The sources that an experiment names; faults are added for what is wrong with them.
pub(super) fn sources(faults: &mut Faults<'_>, purpose: Purpose) -> Vec<Source> {
    let data = &faults.loaded.config.data;
    let mut sources = Vec::new();
    let mut add = |key: &str, file: Option<&Path>, data_type, weight, limit: Option<u64>| {
        if let Some(source) = source(faults, key, file, data_type, purpose) {
            sources.push(Source { weight, limit: limit.or(data.limit), ..source });
        }
    };
    if data.source.is_empty() {
        add("data", data.data_file.as_deref(), data.data_type, 1.0, None);
    }
    for (i, one) in data.source.iter().enumerate() {
        let key = format!("data.source[{i}]");
        add(&key, one.data_file.as_deref(), one.data_type, one.weight, one.limit);
    }
    check_meaning(faults, data, one_pair(data, &sources).is_some());
    sources
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
                    .note("the program makes these documents itself"),
            );
            return None;
        }
        (_, None) => {
            let fault = Diagnostic::error("ST2150", format!("`{file_key}` is missing"))
                .help("name the documents: `data_file = \"texts.jsonl\"`")
                .help("or several sources of them, each in a table `[[data.source]]`");
            faults.add(key, fault);
            return None;
        }
        (_, Some(file)) => file,
    };
    if purpose == Purpose::Generate {
        return None;
    }
    match find(data_type, file) {
        Ok(source) => Some(source),
        Err(fault) => {
            faults.add(&file_key, *fault);
            None
        }
    }
}

/// The files of a source, seen to be there.
fn find(data_type: DataType, file: &Path) -> Result<Source, Box<Diagnostic>> {
    let source = Source::new(data_type, file).map_err(|error| Box::new(error.diagnostic()))?;
    for file in &source.files {
        if data_type == DataType::Binidx {
            Binidx::open(file).map_err(|error| Box::new(error.diagnostic()))?;
        } else if !file.exists() {
            let message = format!("the data file `{}` does not exist", file.display());
            let fault = Diagnostic::error("ST3005", message);
            return Err(Box::new(fault.help("relative paths start at the experiment file")));
        }
    }
    Ok(source)
}

fn images() -> Diagnostic {
    Diagnostic::error("ST2151", "`wds_img` is no data for language models")
        .note(
            "it named WebDataset archives of images, for an experiment that no trainer of RWKV language\n\
             models ever accepted, although tutorials list it",
        )
        .help("choose one of the other types, for example `jsonl`")
}

fn meaningless(key: &str, beside: &str) -> Diagnostic {
    Diagnostic::error("ST2103", format!("`{key}` has no meaning for `{beside}`"))
}

/// Adds a fault for every key that somebody wrote and nothing would read.
fn check_meaning(faults: &mut Faults<'_>, data: &Data, one_pair: bool) {
    if !data.source.is_empty() {
        for key in ["data.data_file", "data.data_type"] {
            if faults.written(key) {
                let fault =
                    Diagnostic::error("ST2152", format!("`{key}` stands beside `data.source`"))
                        .note("each `[[data.source]]` has its own files and type")
                        .help("delete the line, or make it a `[[data.source]]` too");
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
        ("data.on_bad_line", !records),
    ];
    for (key, has_no_meaning) in keys {
        if has_no_meaning && faults.written(key) {
            let mut fault = meaningless(key, &data_type_name(data));
            if one_pair {
                fault = fault.note("a pair of token files is used as it is");
            }
            faults.add_superfluous(key, fault);
        }
    }
}

/// The formats of the data as a setting.
fn data_type_name(data: &Data) -> String {
    let mut names: Vec<String> = data_types(data)
        .map(|data_type| serde_json::to_string(&data_type).expect("a word"))
        .collect();
    names.dedup();
    format!("data_type = {}", names.join(" and "))
}
