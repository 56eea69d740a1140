//! The experiment file that `statetune init` writes.

use std::path::{Component, Path, PathBuf};

use clap::ValueEnum as _;
use statetune_core::data::Suited;
use statetune_core::hub::is_on_hub;

use super::answers::{Answers, InitArgs};

/// Path of the schema, relative to the experiment file.
pub(crate) const SCHEMA: &str = ".statetune/experiment.schema.json";
/// Example documents, beside the experiment file.
pub(super) const EXAMPLE_FILE: &str = "example.jsonl";
/// The vocabulary of the World models.
pub(super) const WORLD: &str = "world";
/// The `data_type` of pairs of token files.
pub(super) const TOKENS: &str = "binidx";

/// The endings of files of records whose format has their name.
const RECORDS: [&str; 5] = ["json", "csv", "tsv", "parquet", "arrow"];

/// The experiment file.
pub(super) fn text(
    args: &InitArgs,
    answers: &Answers,
    suited: &Suited,
    tokenizer: &Path,
) -> String {
    let Answers { data, model, method, device, low_memory, name } = answers;
    let file = format!("{name}.toml");
    let method = method.name();
    let header = format!(
        "#:schema {SCHEMA}\n\
         # Every key with its default:  statetune config fill {file}\n\
         # What will be used, and why:  statetune config show {file}\n"
    );
    let mut lines = vec![
        header,
        line("format = 1", ""),
        line(&format!("name = {}", quoted(Path::new(name))), ""),
        line(
            &format!("recipe = \"{method}\""),
            &format!("method and rates: statetune presets show {method}"),
        ),
    ];
    lines.extend(data_lines(args, data.as_deref(), suited));
    lines.extend(model_lines(args, model.as_deref(), tokenizer));
    let (micro_bsz, epochs) =
        (if *low_memory { 1 } else { 4 }, if model.is_some() { 4 } else { 20 });
    let precision = if model.is_some() { "auto" } else { "fp32" };
    lines.extend([
        "\n[train]\n".to_owned(),
        line("ctx_len = 512", "tokens per sample"),
        line(&format!("micro_bsz = {micro_bsz}"), "samples per forward pass"),
        line("epoch_steps = \"pass\"", "a mini-epoch is one pass over the documents"),
        line(&format!("epoch_count = {epochs}"), ""),
        line(&format!("precision = \"{precision}\""), ""),
        line(&format!("grad_cp = {low_memory}"), "true: less memory, a third more time"),
    ]);
    if model.is_none() {
        lines.push("\n[schedule]\n".to_owned());
        lines.push(line("lr_init = 1e-3", "a new model needs a higher rate"));
        lines.push(line("lr_final = 1e-4", ""));
    }
    if *low_memory && model.is_some() && ["state", "lora", "disha"].contains(&method) {
        lines.push("\n[quant]\n".to_owned());
        lines.push(line("type = \"nf4\"", "frozen weights at 4.5 bits per number"));
    }
    let device = device.to_possible_value().expect("every choice has a word");
    lines.extend([
        "\n[hardware]\n".to_owned(),
        line(&format!("accelerator = \"{}\"", device.get_name()), ""),
    ]);
    // A pair of token files is used unchanged, without a validation split.
    let is_pair = data.as_deref().is_some_and(|data| data_format(data).0 == TOKENS);
    if !is_pair && !suited.is_one_text {
        lines.extend([
            "\n[sample]\n".to_owned(),
            line("held_out = 2", "validation questions answered before and after"),
            line("max_tokens = 48", ""),
        ]);
    }
    lines.extend([
        "\n".to_owned(),
        line("[profile.smoke.train]", &format!("statetune run {file} -p smoke: a short test run")),
        line("epoch_steps = 4", "statetune: allow(ST2401), as most documents are not seen"),
        line("epoch_count = 1", ""),
        "\n".to_owned(),
        line("[profile.smoke.schedule]", ""),
        line("warmup_steps = 1", "fewer than the steps"),
        "\n".to_owned(),
        line("[profile.smoke.eval]", ""),
        line("limit = 8", "validation documents to measure"),
    ]);
    lines.concat()
}

/// The table `[data]`.
fn data_lines(args: &InitArgs, data: Option<&Path>, suited: &Suited) -> Vec<String> {
    let (data_type, path) = match data {
        Some(file) => {
            let (data_type, file) = data_format(file);
            (data_type, from(&args.dir, &file))
        }
        None => ("jsonl", EXAMPLE_FILE.into()),
    };
    // Texts of any length are trained on as a whole; conversations begin with the question.
    let mask = if suited.has_answers { "assistant" } else { "pad" };
    let is_split = !suited.has_answers || suited.is_one_text;
    let overlong = if is_split { "split" } else { "truncate" };
    let mask = format!("loss_mask = \"{mask}\"");
    let mut lines = vec![
        "\n[data]\n".to_owned(),
        line(&format!("data_type = \"{data_type}\""), ""),
        line(&format!("data_file = {}", quoted(&path)), ""),
        line(&mask, "assistant: replies of the assistant; pad: all tokens"),
        line(&format!("overlong = \"{overlong}\""), "documents longer than ctx_len"),
    ];
    if let Some([question, answer]) = &suited.sft_field {
        let keys = [question, answer].map(|key| quoted(Path::new(key))).join(", ");
        lines.push(line(&format!("sft_field = [{keys}]"), "keys of question and answer"));
    }
    if let Some(template) = &suited.template {
        lines.push(line(&format!("template = {template}"), ""));
    }
    if suited.is_one_text {
        lines.push(line("val_split = 0", "a single text; split it into files to hold some out"));
    } else if data_type != TOKENS {
        lines.push(line("val_split = 0.1", "share of documents for the validation loss"));
    }
    lines
}

/// The table `[model]`.
fn model_lines(args: &InitArgs, model: Option<&Path>, tokenizer: &Path) -> Vec<String> {
    let header = "\n[model]\n".to_owned();
    match model {
        Some(model) => {
            let tokenizer = match tokenizer {
                world if world == Path::new(WORLD) => quoted(world),
                file => quoted(&from(&args.dir, file)),
            };
            vec![
                header,
                line(&format!("load_model = {}", quoted(&from(&args.dir, model))), ""),
                line(&format!("tokenizer = {tokenizer}"), "vocabulary of the weights"),
            ]
        }
        None => vec![
            header,
            line("n_layer = 2", "a new model; load_model = \"FILE\" starts from weights"),
            line("n_embd = 64", ""),
            line("vocab_size = 65536", ""),
            line("tokenizer = \"world\"", ""),
        ],
    }
}

/// A line with a comment, aligned with the other comments if the line is short enough.
fn line(text: &str, comment: &str) -> String {
    if comment.is_empty() { format!("{text}\n") } else { format!("{text:<30} # {comment}\n") }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml_edit::Value::from(path.to_string_lossy().as_ref()).to_string().trim().to_owned()
}

/// The path to write into an experiment file in `dir`: relative, so that both can be moved together; absolute where they
/// share no folder but the root.
fn from(dir: &Path, file: &Path) -> PathBuf {
    if is_on_hub(file) {
        return file.to_path_buf();
    }
    let (dir, file) = (normal(dir), normal(file));
    let shared = dir.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    if shared < 2 {
        return file;
    }
    let up = dir.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(file.components().skip(shared)).collect()
}

/// The absolute path without `.` and `..`. Links are followed where a part is `..`, as the system does.
fn normal(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal = normal.canonicalize().unwrap_or(normal);
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

/// The `data_type` of a file by its name, and the `data_file` to write.
pub(super) fn data_format(file: &Path) -> (&'static str, PathBuf) {
    if is_on_hub(file) {
        return ("jsonl", file.to_path_buf());
    }
    let ending = file.extension().and_then(|extension| extension.to_str());
    let plain = match ending {
        Some("gz" | "zst") => {
            file.file_stem().and_then(|stem| Path::new(stem).extension()?.to_str())
        }
        _ => ending,
    };
    match ending {
        Some("bin" | "idx") => (TOKENS, file.with_extension("")),
        Some("txt") => ("utf-8", file.to_path_buf()),
        Some("npy") => ("numpy", file.to_path_buf()),
        _ => {
            let of_records = RECORDS.into_iter().find(|name| plain == Some(name));
            (of_records.unwrap_or("jsonl"), file.to_path_buf())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_normal() {
        let of = |dir: &str, file: &str| from(Path::new(dir), Path::new(file));
        assert_eq!(of("/a/p/x", "/a/p/data/d.jsonl"), Path::new("../data/d.jsonl"));
        assert_eq!(of("/a/p", "/a/p/./d.jsonl"), Path::new("d.jsonl"));
        assert_eq!(of("/a/p", "/b/d.jsonl"), Path::new("/b/d.jsonl"));
        assert_eq!(of("x", "d.jsonl"), Path::new("../d.jsonl"));
        assert_eq!(of("x", "hf://a/b/c.pth"), Path::new("hf://a/b/c.pth"));
    }
}
