//! Documents on disk -> batches, in an order that depends only on the seed, the pass and the samples.

use std::collections::{BTreeMap, HashSet};

use crate::data::binidx::Binidx;
use crate::data::conversation::{Mask, TurnSurvey};
use crate::data::error::DataError;
use crate::data::order::{MagicWalk, below, generator, shuffle};
use crate::data::tokenizer::Tokenizer;
use crate::data::{Dataload, Walk};

use super::batch::{Batch, Row};
use super::options::LoaderOptions;
use super::packing::pack;
use super::survey::{Piece, Survey, partners, survey};

/// Reads samples from a pair.
#[derive(Debug)]
pub struct Loader<'a> {
    pub(super) data: Binidx,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) options: LoaderOptions,
    pub(super) samples: Samples,
    survey: Survey,
    turns: TurnSurvey,
    /// Documents that no batch contains.
    pub(super) skipped: HashSet<usize>,
    /// The document in source order that each document of the pair is a copy of; empty when there are no copies.
    pub(super) sources: Vec<usize>,
    /// For each record the piece whose answer stands behind its question; empty unless asked for.
    pub(super) partners: BTreeMap<usize, usize>,
}

/// Where samples come from.
#[derive(Debug)]
pub(super) enum Samples {
    /// Pieces of documents.
    Pieces {
        pieces: Vec<Piece>,
        /// The pass of the last batch.
        pass: Pass,
    },
    /// Windows at random positions.
    Random,
    /// Windows in the order of a walk.
    Walk(MagicWalk),
}

/// The samples of one pass over the documents, each as indices of pieces.
#[derive(Debug)]
pub(super) struct Pass {
    number: u64,
    pub(super) samples: Vec<Vec<u32>>,
}

impl Pass {
    fn new(number: u64, pieces: &[Piece], options: &LoaderOptions) -> Pass {
        let mut rng = generator(options.seed, number);
        let mut samples = samples_of(pieces);
        shuffle(&mut samples, &mut rng);
        if options.dataload == Dataload::Pack {
            let order = samples.concat();
            let inputs = |piece: u32| pieces[piece as usize].inputs;
            let mut rows = pack(&order, inputs, options.ctx_len as u32);
            shuffle(&mut rows, &mut rng);
            samples = rows;
        }
        Pass { number, samples }
    }

    /// Becomes another pass.
    pub(super) fn turn_to(&mut self, number: u64, pieces: &[Piece], options: &LoaderOptions) {
        if self.number != number {
            *self = Pass::new(number, pieces, options);
        }
    }
}

/// The samples of the pieces in their order: each piece, or the answers of a record together.
fn samples_of(pieces: &[Piece]) -> Vec<Vec<u32>> {
    let numbered: Vec<(u32, &Piece)> = (0..).zip(pieces).collect();
    let is_one = |(_, a): &(u32, &Piece), (_, b): &(u32, &Piece)| {
        a.side.is_some() && a.document == b.document
    };
    let samples = numbered.chunk_by(is_one);
    samples.map(|pieces| pieces.iter().map(|(number, _)| *number).collect()).collect()
}

impl<'a> Loader<'a> {
    /// A loader of `data`, whose ids are those of `tokenizer`. Reads every document once. `sources[i]` is the document
    /// that document i of the pair is a copy of; empty when there are no copies.
    ///
    /// # Errors
    /// An id that is not below `vocab_size`, a document that does not fit and must ([`Overlong::Error`]), a document
    /// without target tokens, and fewer tokens than one window needs.
    ///
    /// [`Overlong::Error`]: crate::data::Overlong::Error
    pub fn new(
        data: Binidx,
        tokenizer: &'a Tokenizer,
        options: LoaderOptions,
        vocab_size: usize,
        sources: &[usize],
    ) -> Result<Loader<'a>, DataError> {
        let muted = options.muted.of_copies(sources);
        let cuts = options.cuts.of_copies(sources);
        let options = LoaderOptions { muted, cuts, ..options };
        let (tokens, ctx_len) = (data.tokens(), options.ctx_len);
        let file = || data.prefix().to_path_buf();
        if options.dataload == Dataload::Get && tokens <= ctx_len as u64 {
            return Err(DataError::ShorterThanWindow { file: file(), tokens, ctx_len });
        }
        let (pieces, survey, turns) = survey(&data, tokenizer, &options, vocab_size, sources)?;
        let partners = match options.mismatched {
            true => partners(&pieces, sources),
            false => BTreeMap::new(),
        };
        let samples = match (options.dataload, options.walk) {
            (Dataload::Get, Walk::Random) => Samples::Random,
            (Dataload::Get, Walk::MagicPrime) => {
                let walk = MagicWalk::new(tokens, ctx_len as u64);
                let file = file();
                Samples::Walk(walk.ok_or(DataError::NoWalk { file, tokens, ctx_len })?)
            }
            _ => Samples::Pieces { pass: Pass::new(0, &pieces, &options), pieces },
        };
        let skipped = HashSet::new();
        let sources = sources.to_vec();
        Ok(Loader { data, tokenizer, options, samples, survey, turns, skipped, sources, partners })
    }

    /// Removes these documents of the pair from all further batches, which stay the same otherwise. Windows, which
    /// ignore the borders of documents, keep them.
    pub fn skip(&mut self, documents: impl IntoIterator<Item = usize>) {
        self.skipped.extend(documents);
    }

    /// Leaves out all documents but the first `documents`; the samples are new ones. Windows keep all.
    pub fn keep_first(&mut self, documents: usize) {
        if let Samples::Pieces { pieces, pass } = &mut self.samples {
            pieces.retain(|piece| piece.document < documents);
            *pass = Pass::new(0, pieces, &self.options);
            if self.options.mismatched {
                self.partners = partners(pieces, &self.sources);
            }
        }
    }

    /// The tokenizer of the documents.
    pub fn tokenizer(&self) -> &'a Tokenizer {
        self.tokenizer
    }

    /// Counts of the documents.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// What is odd about the turns of the documents.
    pub fn turns(&self) -> &TurnSurvey {
        &self.turns
    }

    /// The samples of one pass over all documents (for random windows: over as many tokens as there are); the same for
    /// every pass.
    pub fn samples_per_pass(&self) -> u64 {
        match &self.samples {
            Samples::Pieces { pass, .. } => pass.samples.len() as u64,
            Samples::Random => self.data.tokens().div_ceil(self.options.ctx_len as u64),
            Samples::Walk(walk) => walk.steps(),
        }
    }

    /// The share of positions that documents fill when every sample is padded to `ctx_len`.
    pub fn fill(&self) -> f64 {
        let room = self.samples_per_pass() as f64 * self.options.ctx_len as f64;
        (self.survey.positions as f64 / room).min(1.0)
    }

    /// T of every micro-batch of the first pass: the inputs of its longest row.
    pub fn batch_lengths(&self, micro_bsz: u64) -> Vec<u64> {
        let Samples::Pieces { pieces, .. } = &self.samples else {
            let batches = self.samples_per_pass().div_ceil(micro_bsz);
            return vec![self.options.ctx_len as u64; batches as usize];
        };
        let compared = self.options.cuts.is_some();
        let inputs = |piece: &u32| u64::from(pieces[*piece as usize].inputs);
        let row = |row: &Vec<u32>| match compared {
            true => row.iter().map(inputs).max().unwrap_or(0),
            false => row.iter().map(inputs).sum::<u64>(),
        };
        let pass = Pass::new(0, pieces, &self.options);
        let batches = pass.samples.chunks(micro_bsz as usize);
        batches.map(|rows| rows.iter().map(row).max().unwrap_or(0)).collect()
    }

    /// The samples `first .. first + micro_bsz`, counted over all passes.
    ///
    /// # Errors
    /// A document that cannot be read.
    pub fn batch(&mut self, first: u64, micro_bsz: u64) -> Result<Batch, DataError> {
        self.batch_of(first..first + micro_bsz)
    }

    /// These samples, counted over all passes.
    ///
    /// # Errors
    /// A document that cannot be read.
    pub fn batch_of(&mut self, samples: impl Iterator<Item = u64>) -> Result<Batch, DataError> {
        if self.options.cuts.is_some() {
            return self.batch_of_answers(samples);
        }
        let rows = samples.map(|i| self.row(i));
        Ok(Batch::new(&rows.collect::<Result<Vec<_>, _>>()?))
    }

    /// Sample `i` of all passes.
    fn row(&mut self, i: u64) -> Result<Row, DataError> {
        let ctx_len = self.options.ctx_len as u64;
        let per_pass = self.samples_per_pass();
        match &mut self.samples {
            Samples::Pieces { pieces, pass } => {
                let (number, place) = (i / per_pass, i % per_pass);
                pass.turn_to(number, pieces, &self.options);
                let mut row = Row::default();
                let pieces = pass.samples[place as usize].iter().map(|&i| pieces[i as usize]);
                for piece in pieces.filter(|piece| !self.skipped.contains(&piece.document)) {
                    let ids = self.data.doc(piece.document)?;
                    let LoaderOptions { mask, muted, .. } = &self.options;
                    let muted = muted.of(piece.document);
                    let learned = mask.of_tokens_without(self.tokenizer, &ids, muted);
                    row.push(&ids[piece.tokens()], &learned[piece.tokens()]);
                    row.documents.push(piece.document);
                }
                Ok(row)
            }
            Samples::Random => {
                let starts = self.data.tokens() - ctx_len;
                let mut rng = generator(self.options.seed, i);
                loop {
                    // Draw again when a window has no target tokens. Some window has, because every document has.
                    let row = self.window(below(starts, &mut rng))?;
                    if row.has_targets() {
                        return Ok(row);
                    }
                }
            }
            Samples::Walk(walk) => {
                let slot = walk.slot(i + 1);
                self.window(slot * ctx_len)
            }
        }
    }

    /// The window whose inputs begin at position `start` of the tokens of all documents.
    fn window(&self, start: u64) -> Result<Row, DataError> {
        let tokens = start..start + self.options.ctx_len as u64 + 1;
        let mut row = Row::default();
        row.documents.extend(self.data.documents_in(tokens.clone()));
        let len = (tokens.end - tokens.start) as usize;
        let LoaderOptions { mask, muted, .. } = &self.options;
        if *mask == Mask::All && muted.is_empty() {
            row.push(&self.data.slice(start, len)?, &vec![true; len]);
            return Ok(row);
        }
        // Only whole documents tell who speaks.
        let whole = self.data.documents_around(tokens.clone());
        let ids = self.data.slice(whole.start, (whole.end - whole.start) as usize)?;
        let learned = if muted.is_empty() {
            mask.of_tokens(self.tokenizer, &ids)
        } else {
            let mut learned = Vec::with_capacity(ids.len());
            for document in self.data.documents_in(tokens) {
                let (ids, muted) = (self.data.doc(document)?, muted.of(document));
                learned.extend(mask.of_tokens_without(self.tokenizer, &ids, muted));
            }
            learned
        };
        let at = (start - whole.start) as usize;
        row.push(&ids[at..at + len], &learned[at..at + len]);
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::data::Overlong;
    use crate::data::tokenizer::tests::WORLD_TOKENIZER;
    use crate::data::{BinidxWriter, Cuts, END_OF_DOCUMENT, Muted, Template};

    const OPTIONS: LoaderOptions = LoaderOptions {
        ctx_len: 8,
        dataload: Dataload::Pad,
        walk: Walk::Random,
        overlong: Overlong::Error,
        mask: Mask::All,
        muted: Muted::NONE,
        cuts: Cuts::NONE,
        mismatched: false,
        seed: 5,
    };

    /// A pair of these documents.
    fn pair(documents: &[Vec<u32>]) -> (TempDir, Binidx) {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        let mut writer = BinidxWriter::create(&prefix, 65536).unwrap();
        documents.iter().for_each(|ids| writer.push(ids).unwrap());
        writer.finish().unwrap();
        let pair = Binidx::open(&prefix).unwrap();
        (folder, pair)
    }

    fn loader(
        documents: &[Vec<u32>],
        options: LoaderOptions,
    ) -> Result<Loader<'static>, DataError> {
        let (_folder, pair) = pair(documents);
        Loader::new(pair, &WORLD_TOKENIZER, options, 65536, &[])
    }

    /// Documents of these lengths whose tokens are all different.
    fn numbered(lengths: &[usize]) -> Vec<Vec<u32>> {
        let mut next = 1;
        let document = |&length: &usize| {
            let mut ids: Vec<u32> = (next..next + length as u32 - 1).collect();
            next += length as u32 - 1;
            ids.push(END_OF_DOCUMENT);
            ids
        };
        lengths.iter().map(document).collect()
    }

    /// Every pair of an input and its target in all samples of a pass.
    fn target_pairs(loader: &mut Loader<'_>, micro_bsz: u64, pass: u64) -> Vec<(i64, i64)> {
        let per_pass = loader.samples_per_pass();
        let mut pairs = Vec::new();
        for first in (0..per_pass).step_by(micro_bsz as usize) {
            let size = micro_bsz.min(per_pass - first);
            let batch = loader.batch(pass * per_pass + first, size).unwrap();
            assert_eq!(batch.rows as u64, size);
            assert!(batch.tokens <= loader.options.ctx_len);
            let learned = batch.learned_at.iter().map(|&at| batch.inputs[at as usize]);
            pairs.extend(learned.zip(batch.targets.iter().copied()));
        }
        pairs.sort_unstable();
        pairs
    }

    /// The pairs of the first `end` tokens of a document.
    fn pairs_of(ids: &[u32], end: usize) -> impl Iterator<Item = (i64, i64)> {
        ids[..end].windows(2).map(|pair| (i64::from(pair[0]), i64::from(pair[1])))
    }

    #[test]
    fn shorter_samples_are_padded() {
        let mut loader = loader(&numbered(&[4, 2]), OPTIONS).unwrap();
        let batch = loader.batch(0, 2).unwrap();
        assert_eq!((batch.rows, batch.tokens), (2, 3));
        assert_eq!(batch.inputs, [4, 0, 0, 1, 2, 3]);
        assert_eq!(batch.learned_at, [0, 3, 4, 5]);
        assert_eq!(batch.targets, [0, 2, 3, 0]);
        assert!(batch.restarts.is_none());
    }

    #[test]
    fn packed_samples_mark_where_documents_begin() {
        let options = LoaderOptions { dataload: Dataload::Pack, ..OPTIONS };
        let mut loader = loader(&numbered(&[4, 6, 2]), options).unwrap();
        assert_eq!((loader.samples_per_pass(), loader.survey().positions), (2, 9));
        assert_eq!(loader.fill(), 9.0 / 16.0);
        let batch = loader.batch(0, 2).unwrap();
        let rows = batch.inputs;
        let restarts = batch.restarts.unwrap();
        let shared = if rows[..2] == [4, 5] { 0 } else { 1 };
        let t = batch.tokens;
        assert_eq!(rows[shared * t..(shared + 1) * t], [4, 5, 6, 7, 8, 1, 2, 3][..t]);
        assert_eq!(restarts.iter().filter(|restart| **restart).count(), 1);
        assert!(restarts[shared * t + 5]);
    }

    /// The order must not change: it makes runs repeatable.
    #[test]
    fn the_order_depends_only_on_seed_and_pass() {
        let documents = numbered(&[2; 6]);
        let order = |seed, first, micro_bsz| {
            let mut loader = loader(&documents, LoaderOptions { seed, ..OPTIONS }).unwrap();
            loader.batch(first, micro_bsz).unwrap().inputs
        };
        assert_eq!(order(5, 0, 6), [6, 1, 3, 5, 4, 2]);
        assert_eq!(order(5, 6, 6), [5, 3, 6, 1, 4, 2]);
        assert_ne!(order(6, 0, 6), order(5, 0, 6));
        // A batch across passes, and one sample at a time, in any order.
        assert_eq!(order(5, 4, 4), [4, 2, 5, 3]);
        let mut loader = loader(&documents, OPTIONS).unwrap();
        let single = [7, 0, 6, 1].map(|i| loader.batch(i, 1).unwrap().inputs[0]);
        assert_eq!(single, [3, 6, 5, 1]);
    }

    #[test]
    fn the_first_documents_are_samples_of_their_own() {
        let mut loader = loader(&numbered(&[2; 6]), OPTIONS).unwrap();
        loader.keep_first(2);
        assert_eq!(loader.samples_per_pass(), 2);
        let mut inputs = loader.batch(0, 2).unwrap().inputs;
        inputs.sort_unstable();
        assert_eq!(inputs, [1, 2]);
    }

    #[test]
    fn a_skipped_document_is_in_no_batch() {
        let mut loader = loader(&numbered(&[2; 6]), OPTIONS).unwrap();
        let batch = loader.batch(0, 6).unwrap();
        assert_eq!(batch.documents, [[5], [0], [2], [4], [3], [1]]);
        loader.skip([2]);
        for pass in 0..2 {
            let batch = loader.batch(pass * 6, 6).unwrap();
            let place = batch.documents.iter().position(Vec::is_empty).expect("an empty row");
            assert_eq!(batch.inputs[place], 0);
            assert_eq!((batch.learned(), batch.documents.concat().contains(&2)), (5, false));
        }
        let batch = loader.batch(0, 6).unwrap();
        assert_eq!(batch.inputs, [6, 1, 0, 5, 4, 2]);
    }

    #[test]
    fn nothing_after_the_last_target_is_computed() {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let text = b"Assistant: a\n\nUser: a long text without targets";
        let options = LoaderOptions { mask: mask.clone(), ctx_len: 64, ..OPTIONS };
        let mut loader = loader(&[mask.encode(&WORLD_TOKENIZER, text)], options).unwrap();
        let batch = loader.batch(0, 1).unwrap();
        assert_eq!(batch.inputs, [5585, 41693, 59, 332]);
        assert_eq!(batch.targets, [332, 261]);
    }

    #[test]
    fn a_copy_is_the_same_document() {
        let (_folder, pair) = pair(&numbered(&[3, 3, 3, 3]));
        let loader = Loader::new(pair, &WORLD_TOKENIZER, OPTIONS, 65536, &[1, 7, 7, 1]).unwrap();
        let survey = loader.survey();
        assert_eq!((survey.documents, survey.copies, survey.tokens), (2, 4, 12));
    }

    /// In samples of documents and in windows, and in every copy of a document.
    #[test]
    fn muted_text_is_never_a_target() {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let text = "User: a\n\nAssistant: bad\n\nUser: c\n\nAssistant: good";
        let document = mask.encode(&WORLD_TOKENIZER, text.as_bytes());
        let start = text.find(" bad").unwrap();
        for (dataload, ctx_len) in [(Dataload::Pad, 64), (Dataload::Pack, 64), (Dataload::Get, 20)]
        {
            let mut muted = Muted::NONE;
            muted.add(7, std::iter::once(start..start + " bad\n\n".len()).collect());
            let options = LoaderOptions { mask: mask.clone(), muted, dataload, ctx_len, ..OPTIONS };
            let (_folder, pair) = pair(&[document.clone(), document.clone()]);
            let mut loader = Loader::new(pair, &WORLD_TOKENIZER, options, 65536, &[7, 7]).unwrap();
            for first in 0..loader.samples_per_pass() {
                let batch = loader.batch(first, 1).unwrap();
                let targets: Vec<u32> = batch.targets.iter().map(|&id| id as u32).collect();
                let said = WORLD_TOKENIZER.decode(&targets).unwrap();
                let said = String::from_utf8(said).unwrap();
                assert!(!said.contains("bad"), "{dataload:?}: {said}");
                assert!(said.contains("good"), "{dataload:?}: {said}");
            }
        }
    }

    #[test]
    fn documents_that_teach_nothing_are_counted_once() {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let document = mask.encode(&WORLD_TOKENIZER, b"User: a\n\nBot: b");
        let (_folder, pair) = pair(&[document.clone(), document.clone(), document]);
        let options = LoaderOptions { mask, ctx_len: 64, ..OPTIONS };
        let error = Loader::new(pair, &WORLD_TOKENIZER, options, 65536, &[4, 4, 9]).unwrap_err();
        assert_eq!(error.to_string(), "2 of 2 documents have no target tokens");
    }

    #[test]
    fn windows_know_who_speaks() {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let texts = ["User: hi\n\nAssistant: b c d", "User: x\n\nAssistant: y z"];
        let documents = texts.map(|text| mask.encode(&WORLD_TOKENIZER, text.as_bytes()));
        let options =
            LoaderOptions { mask: mask.clone(), dataload: Dataload::Get, ctx_len: 6, ..OPTIONS };
        let mut loader = loader(&documents, options).unwrap();
        let stream = documents.concat();
        let learned = mask.of_tokens(&WORLD_TOKENIZER, &stream);
        for i in 0..40 {
            let batch = loader.batch(i, 1).unwrap();
            let inputs = batch.inputs;
            let at = stream
                .windows(6)
                .position(|window| window.iter().map(|&id| i64::from(id)).eq(inputs.clone()))
                .expect("a window of the stream");
            let expected: Vec<i64> =
                (0..6).filter(|&j| learned[at + j + 1]).map(|j| j as i64).collect();
            assert!(!expected.is_empty(), "a window without targets is drawn again");
            assert_eq!(batch.learned_at, expected);
        }
    }

    #[test]
    fn the_walk_begins_windows_at_slots() {
        let documents = numbered(&[1000]);
        let options = LoaderOptions {
            dataload: Dataload::Get,
            walk: Walk::MagicPrime,
            ctx_len: 5,
            ..OPTIONS
        };
        let mut loader = loader(&documents, options).unwrap();
        assert_eq!(loader.samples_per_pass(), 197); // 200 slots
        let walk = MagicWalk::new(1000, 5).unwrap();
        for i in [0, 1, 196, 197] {
            let start = walk.slot(i + 1) as i64 * 5;
            let batch = loader.batch(i, 1).unwrap();
            assert_eq!(batch.inputs, (start + 1..start + 6).collect::<Vec<_>>());
            assert_eq!(batch.learned_at, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn refusals_name_their_reason() {
        let refused = |documents: &[Vec<u32>], options: LoaderOptions| {
            let message = loader(documents, options).unwrap_err().diagnostic().render(false);
            let start = message.find('`').unwrap();
            let end = message[start + 1..].find('`').unwrap() + start + 1;
            message.replace(&message[start..=end], "`d`")
        };
        let walk = LoaderOptions { dataload: Dataload::Get, walk: Walk::MagicPrime, ..OPTIONS };
        assert_eq!(
            refused(&numbered(&[30]), walk.clone()),
            "\
error[ST3034]: `d` has 3 windows of `ctx_len = 8`, too few for the magic-prime walk
  |
  = note: the largest usable prime is 2, and windows beyond it would never be seen; it must cover nine tenths of all windows
  = help: lower `train.ctx_len`, or set `data.walk = \"random\"`"
        );
        assert_eq!(
            refused(&numbered(&[20]), walk),
            "\
error[ST3034]: `d` has 2 windows of `ctx_len = 8`, too few for the magic-prime walk
  |
  = note: the walk requires at least three windows
  = help: lower `train.ctx_len`, or set `data.walk = \"random\"`"
        );
        let drop = LoaderOptions { overlong: Overlong::Drop, ..OPTIONS };
        assert_eq!(
            refused(&numbered(&[10, 11]), drop),
            "\
error[ST3033]: no document of `d` fits into `ctx_len = 8`
  |
  = note: `data.overlong = \"drop\"` skips documents that do not fit
  = help: raise `train.ctx_len`, or set `data.overlong = \"split\"`"
        );
    }

    fn any_overlong() -> impl Strategy<Value = Overlong> {
        prop_oneof![Just(Overlong::Truncate), Just(Overlong::Split), Just(Overlong::Drop)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// In every pass each token is a target exactly as often as the survey says: once, unless it was truncated or
        /// its document dropped. The batches do not matter.
        #[test]
        fn no_document_is_lost_and_none_seen_twice(
            lengths in proptest::collection::vec(2usize..30, 1..20),
            ctx_len in 1usize..20,
            micro_bsz in 1u64..6,
            packs in any::<bool>(),
            overlong in any_overlong(),
            pass in 0u64..3,
        ) {
            let documents = numbered(&lengths);
            let dataload = if packs { Dataload::Pack } else { Dataload::Pad };
            let options = LoaderOptions { ctx_len, dataload, overlong, ..OPTIONS };
            let too_long = lengths.iter().filter(|&&length| length > ctx_len + 1).count() as u64;
            let mut loader = match loader(&documents, options) {
                Err(DataError::AllDropped { .. }) => {
                    prop_assert_eq!(too_long, lengths.len() as u64);
                    return Ok(());
                }
                loader => loader.unwrap(),
            };
            let mut expected = Vec::new();
            for ids in &documents {
                let fits = ids.len() <= ctx_len + 1;
                expected.extend(match overlong {
                    Overlong::Drop if !fits => continue,
                    Overlong::Truncate if !fits => pairs_of(ids, ctx_len + 1),
                    _ => pairs_of(ids, ids.len()),
                });
            }
            expected.sort_unstable();
            let survey = *loader.survey();
            prop_assert_eq!(survey.documents, documents.len() as u64);
            prop_assert_eq!(survey.target_tokens, expected.len() as u64);
            prop_assert_eq!(survey.positions, expected.len() as u64);
            let counted = match overlong {
                Overlong::Truncate => survey.truncated,
                Overlong::Split => survey.split,
                _ => survey.dropped,
            };
            prop_assert_eq!(counted, too_long);
            prop_assert_eq!(target_pairs(&mut loader, micro_bsz, pass), expected);
        }

        /// A pass of the walk predicts every token up to the last slot of the prime.
        #[test]
        fn the_walk_covers_its_slots(tokens in 40usize..400, ctx_len in 1usize..6) {
            let options = LoaderOptions {
                dataload: Dataload::Get, walk: Walk::MagicPrime, ctx_len, ..OPTIONS
            };
            let documents = numbered(&[tokens]);
            let Ok(mut loader) = loader(&documents, options) else { return Ok(()) };
            let end = loader.samples_per_pass() as usize * ctx_len + 1;
            let expected: Vec<_> = pairs_of(&documents[0], end).collect();
            prop_assert_eq!(target_pairs(&mut loader, 3, 0), expected);
            prop_assert!(end * 10 > tokens * 9 - 10 * ctx_len);
        }

        /// Each document of a pass is in exactly one row.
        #[test]
        fn packing_is_repeatable(lengths in proptest::collection::vec(2usize..10, 1..20)) {
            let documents = numbered(&lengths);
            let options = LoaderOptions { dataload: Dataload::Pack, ..OPTIONS };
            let rows = |pass: u64| {
                let mut loader = loader(&documents, options.clone()).unwrap();
                let samples = loader.samples_per_pass();
                loader.batch(pass * samples, samples).unwrap().inputs
            };
            prop_assert_eq!(rows(0), rows(0));
            prop_assert_eq!(rows(1), rows(1));
            let mut starts = HashMap::new();
            for (index, ids) in documents.iter().enumerate() {
                starts.insert(i64::from(ids[0]), index);
            }
            let found = rows(1).into_iter().filter(|id| starts.contains_key(id)).count();
            prop_assert_eq!(found, documents.len());
        }
    }
}
