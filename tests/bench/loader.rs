//! Speed of loading batches: `cargo bench --bench loader`.
//!
//! A hundred copies of the emoji documents, in samples of 256 tokens, with the assistant's mask. Prints tokens a
//! second for each way of loading; training computes about 10,000 positions a second with the shipped model on two
//! cores, and about 1,000 with a 0.1B model.

use std::path::Path;
use std::time::Instant;

use statetune_core::data::{
    Binidx, BinidxWriter, Cuts, Loader, LoaderOptions, Mask, Muted, Template, Tokenizer,
};
use statetune_core::data::{Dataload, Overlong, Walk};

const COPIES: usize = 100;
const CTX_LEN: usize = 256;
const MICRO_BSZ: u64 = 8;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tokenizer = Tokenizer::load(&root.join("models/tiny-vocab.txt")).expect("a vocabulary");
    let mask = Mask::Assistant(Template::rwkv_qa());
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("d");
    let text = std::fs::read_to_string(root.join("data/emoji-qa.jsonl")).expect("documents");
    let mut pair = BinidxWriter::create(&prefix, tokenizer.vocab_size()).expect("a pair");
    for _ in 0..COPIES {
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = record["text"].as_str().expect("a text");
            pair.push(&mask.encode(&tokenizer, text.as_bytes())).expect("a document");
        }
    }
    pair.finish().expect("a pair");

    for dataload in [Dataload::Pad, Dataload::Pack, Dataload::Get] {
        let options = LoaderOptions {
            ctx_len: CTX_LEN,
            dataload,
            walk: Walk::Random,
            overlong: Overlong::Error,
            mask: mask.clone(),
            muted: Muted::NONE,
            cuts: Cuts::NONE,
            mismatched: false,
            seed: 1,
        };
        let data = Binidx::open(&prefix).expect("a pair");
        let vocab_size = tokenizer.vocab_size();
        let mut loader = Loader::new(data, &tokenizer, options, vocab_size, &[]).expect("a loader");
        let samples = loader.samples_per_pass() / MICRO_BSZ * MICRO_BSZ;
        let started = Instant::now();
        let (mut learned, mut positions) = (0, 0);
        for first in (0..samples).step_by(MICRO_BSZ as usize) {
            let batch = loader.batch(first, MICRO_BSZ).expect("a batch");
            learned += batch.learned();
            positions += batch.inputs.len();
        }
        let rate = positions as f64 / started.elapsed().as_secs_f64();
        let name = format!("{dataload:?}").to_lowercase();
        println!("loader/{name}: {rate:.0} positions/s ({positions} positions, {learned} learned)");
    }
}
