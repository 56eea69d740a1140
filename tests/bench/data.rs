//! Speed of the tokenizer and of preparing data: `cargo bench --bench data`.
//!
//! Texts are synthetic: tokens of the shipped vocabulary as words in a seeded order, common ones more often, with token
//! lengths like those of written English and Chinese.

use std::fs;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statetune_core::data::{DataType, OnBadLine};
use statetune_core::data::{Mask, PrepareSpec, RecordForm, Source, Template, Tokenizer, prepare};

const TEXT_BYTES: usize = 4 << 20;
/// Bytes of the chat set that is prepared, in ten copies.
const CHAT_BYTES: usize = 12_600_000;

/// Tokens of the vocabulary that `fits` accepts, in the order of their ids.
fn words(tokenizer: &Tokenizer, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let tokens = (1..tokenizer.vocab_size() as u32).filter_map(|id| tokenizer.token_bytes(id));
    let texts = tokens.filter_map(|bytes| str::from_utf8(bytes).ok());
    texts.filter(|text| fits(text)).map(str::to_owned).collect()
}

/// A text of about `bytes` bytes, in which word n is about 1 / n as frequent as the first, with some commas and full
/// stops.
fn text(words: &[String], gap: &str, stops: [&str; 2], bytes: usize, seed: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut text = String::with_capacity(bytes + 100);
    while text.len() < bytes {
        let rank = (words.len() as f64).powf(rng.random::<f64>()) - 1.0;
        text.push_str(&words[rank as usize]);
        match rng.random_range(0..16) {
            0 => text.push_str(stops[0]),
            1 => text.push_str(stops[1]),
            _ => {}
        }
        text.push_str(gap);
    }
    text
}

fn english(tokenizer: &Tokenizer, bytes: usize, seed: u64) -> String {
    let is_word = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase());
    text(&words(tokenizer, is_word), " ", [",", ".\n"], bytes, seed)
}

fn chinese(tokenizer: &Tokenizer, bytes: usize, seed: u64) -> String {
    let is_word = |word: &str| word.chars().all(|c| ('\u{4e00}'..'\u{9fff}').contains(&c));
    text(&words(tokenizer, is_word), "", ["，", "。\n"], bytes, seed)
}

fn encode(c: &mut Criterion) {
    let tokenizer = Tokenizer::world();
    let mut group = c.benchmark_group("tokenizer/encode");
    for (name, text) in [
        ("english", english(&tokenizer, TEXT_BYTES, 1)),
        ("chinese", chinese(&tokenizer, TEXT_BYTES, 1)),
    ] {
        let ids = tokenizer.encode(text.as_bytes());
        assert_eq!(tokenizer.decode(&ids).expect("known ids"), text.as_bytes());
        println!("{name}: {:.2} bytes a token", text.len() as f64 / ids.len() as f64);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &text, |bencher, text| {
            bencher.iter(|| tokenizer.encode(black_box(text.as_bytes())));
        });
    }
    group.finish();
}

fn prepare_chat(c: &mut Criterion) {
    let tokenizer = Tokenizer::world();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("chat.jsonl");
    let english = english(&tokenizer, CHAT_BYTES, 2);
    let turns: Vec<&str> = english.lines().collect();
    let line = |turns: &[&str]| {
        let text = format!("User: {}\n\nAssistant: {}", turns[0], turns[turns.len() - 1]);
        serde_json::json!({ "text": text }).to_string() + "\n"
    };
    fs::write(&file, turns.chunks(2).map(line).collect::<String>()).expect("a file");

    let sources = [Source::new(DataType::Jsonl, &file).expect("a source")];
    let template = Template::rwkv_qa();
    let mask = Mask::Assistant(template.clone());
    let mut group = c.benchmark_group("prepare");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(fs::metadata(&file).expect("the file").len()));
    let mut runs = 0;
    group.bench_function("chat_x10", |bencher| {
        bencher.iter(|| {
            runs += 1;
            let prepared = prepare(&PrepareSpec {
                sources: &sources,
                tokenizer: &tokenizer,
                form: RecordForm::new(&template),
                mask: &mask,
                answers: statetune_core::data::Answers::Imitated,
                on_bad_line: OnBadLine::Error,
                end_of_doc: true,
                val_seed: 42,
                val_split: 0.02,
                repeat: 10,
                seed: 42,
                cache_dir: &folder.path().join(format!("cache-{runs}")),
            });
            assert!(!prepared.expect("prepared data").cached);
            fs::remove_dir_all(folder.path().join(format!("cache-{runs}"))).expect("a folder");
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encode(&mut criterion);
    prepare_chat(&mut criterion);
    criterion.final_summary();
}
