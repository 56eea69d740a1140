//! Batches of answers that are compared: each in a row of its own, the answers of a record next to each other.

use std::collections::HashSet;

use crate::data::error::DataError;

use super::batch::{Batch, Row, RowAnswer, RowAnswers};
use super::loader::{Loader, Samples};
use super::survey::Piece;

impl Loader<'_> {
    /// The number of a document of the pair in source order.
    fn record(&self, document: usize) -> usize {
        self.sources.get(document).copied().unwrap_or(document)
    }

    /// The first sample of the first pass of each record, in the order of that pass.
    pub fn first_samples(&self) -> Vec<u64> {
        let Samples::Pieces { pieces, pass } = &self.samples else { return Vec::new() };
        let mut seen = HashSet::new();
        let record = |sample: &Vec<u32>| {
            sample.first().map(|&piece| self.record(pieces[piece as usize].document))
        };
        let is_new = |(_, sample): &(u64, &Vec<u32>)| {
            record(sample).is_some_and(|record| seen.insert(record))
        };
        (0..).zip(&pass.samples).filter(is_new).map(|(i, _)| i).collect()
    }

    /// The numbers of the records in source order, those of both answers of a pair twice.
    pub fn records(&self) -> impl Iterator<Item = usize> {
        let pieces = match &self.samples {
            Samples::Pieces { pieces, .. } => pieces.as_slice(),
            _ => &[],
        };
        pieces.iter().map(|piece| self.record(piece.document))
    }

    /// Mean number of rows of a sample.
    pub fn rows_per_sample(&self) -> f64 {
        match &self.samples {
            Samples::Pieces { pieces, pass } if self.options.cuts.is_some() => {
                pieces.len() as f64 / pass.samples.len() as f64
            }
            _ => 1.0,
        }
    }

    /// The rows of these samples. A document that is left out has rows without tokens.
    pub(super) fn batch_of_answers(
        &mut self,
        samples: impl Iterator<Item = u64>,
    ) -> Result<Batch, DataError> {
        let (mut rows, mut answers, mut mismatched) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            let pieces = self.pieces_of(sample);
            for &Piece { document, side, .. } in &pieces {
                let side = side.expect("answers are compared");
                answers.push(RowAnswer { record: self.record(document), side });
            }
            let is_left_out =
                pieces.first().is_some_and(|one| self.skipped.contains(&one.document));
            if is_left_out {
                rows.extend(pieces.iter().map(|_| Row::default()));
                mismatched.extend(self.options.mismatched.then(Row::default));
                continue;
            }
            for piece in &pieces {
                rows.push(self.answer(piece)?.0);
            }
            if let Some(first) = pieces.first().filter(|_| self.options.mismatched) {
                mismatched.push(self.mismatched(first)?);
            }
        }
        let mismatched = match self.options.mismatched {
            true => Batch::new(&mismatched),
            false => Batch::default(),
        };
        let answers = Some(Box::new(RowAnswers { rows: answers, mismatched }));
        Ok(Batch { answers, ..Batch::new(&rows) })
    }

    /// The pieces of a sample.
    fn pieces_of(&mut self, sample: u64) -> Vec<Piece> {
        let per_pass = self.samples_per_pass();
        let Samples::Pieces { pieces, pass } = &mut self.samples else { return Vec::new() };
        pass.turn_to(sample / per_pass, pieces, &self.options);
        let sample = &pass.samples[(sample % per_pass) as usize];
        sample.iter().map(|&piece| pieces[piece as usize]).collect()
    }

    /// The row of an answer, its tokens, and the place of the answer among them.
    fn answer(&self, piece: &Piece) -> Result<(Row, Vec<u32>, usize), DataError> {
        let ids = self.data.doc(piece.document)?;
        let conversations = self.options.conversations(self.tokenizer, piece.document, &ids);
        let one = conversations.into_iter().find(|one| one.side == piece.side);
        let one = one.expect("the survey has found the piece");
        let ids = ids[one.tokens.clone()].to_vec();
        let inputs = piece.inputs as usize + 1;
        let mut row = Row::default();
        row.push(&ids[..inputs], &one.targets[..inputs]);
        row.documents.push(piece.document);
        let begin = one.targets.iter().position(|target| *target).unwrap_or(ids.len());
        Ok((row, ids, begin))
    }

    /// The question of a record with the answer of the next one in source order.
    fn mismatched(&self, piece: &Piece) -> Result<Row, DataError> {
        let Samples::Pieces { pieces, .. } = &self.samples else { return Ok(Row::default()) };
        let other = pieces[self.partners[&self.record(piece.document)]];
        let (_, mut ids, begin) = self.answer(piece)?;
        let (_, answer, other_begin) = self.answer(&other)?;
        ids.truncate(begin);
        ids.extend(&answer[other_begin..]);
        ids.truncate(self.options.ctx_len + 1);
        let targets: Vec<bool> = (0..ids.len()).map(|at| at >= begin).collect();
        let mut row = Row::default();
        row.push(&ids, &targets);
        row.documents.push(piece.document);
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::LoaderOptions;
    use super::*;
    use crate::data::answers::Side::{Chosen, Rejected};
    use crate::data::tokenizer::tests::WORLD_TOKENIZER;
    use crate::data::{
        Binidx, BinidxWriter, Cuts, Dataload, Mask, Muted, Overlong, Template, Walk,
    };

    /// A loader of documents of these conversations: a pair each, or one side of it.
    fn loader(records: &[[&str; 2]], ctx_len: usize, overlong: Overlong) -> Loader<'static> {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        let mut writer = BinidxWriter::create(&prefix, 65536).unwrap();
        let mut cuts = Vec::new();
        for sides in records {
            let [chosen, rejected] = sides.map(|text| match text {
                "" => Vec::new(),
                text => mask.encode(&WORLD_TOKENIZER, text.as_bytes()),
            });
            cuts.push(chosen.len() as u32);
            writer.push(&[chosen, rejected].concat()).unwrap();
        }
        writer.finish().unwrap();
        let options = LoaderOptions {
            ctx_len,
            dataload: Dataload::Pad,
            walk: Walk::Random,
            overlong,
            mask,
            muted: Muted::NONE,
            cuts: Cuts::new(cuts),
            mismatched: true,
            seed: 5,
        };
        let pair = Binidx::open(&prefix).unwrap();
        Loader::new(pair, &WORLD_TOKENIZER, options, 65536, &[]).unwrap()
    }

    /// What each row of a batch is: the record, the side, and the text of its targets.
    fn rows(batch: &Batch) -> Vec<(usize, crate::data::Side, String)> {
        let answers = &batch.answers.as_ref().expect("answers").rows;
        let targets = texts(batch);
        answers.iter().zip(targets).map(|(row, text)| (row.record, row.side, text)).collect()
    }

    /// The text of the targets of each row.
    fn texts(batch: &Batch) -> Vec<String> {
        let mut rows = vec![Vec::new(); batch.rows];
        for (at, id) in batch.learned_at.iter().zip(&batch.targets) {
            rows[*at as usize / batch.tokens].push(*id as u32);
        }
        let text = |ids: &Vec<u32>| WORLD_TOKENIZER.decode(ids).unwrap();
        rows.iter().map(|ids| String::from_utf8(text(ids)).unwrap()).collect()
    }

    const RECORDS: [[&str; 2]; 3] = [
        ["User: a\n\nAssistant: b\n\nUser: c\n\nAssistant: good", "User: a\n\nAssistant: bad"],
        ["User: d\n\nAssistant: fine", ""],
        ["", "User: e\n\nAssistant: poor"],
    ];

    #[test]
    fn answers_of_a_record_are_adjacent_rows_with_the_last_answer_as_targets() {
        let mut loader = loader(&RECORDS, 64, Overlong::Error);
        assert_eq!(loader.samples_per_pass(), 3);
        let first = loader.first_samples();
        assert_eq!(first, [0, 1, 2]);
        let mut found = rows(&loader.batch(0, 3).unwrap());
        found.sort_by_key(|(record, ..)| *record);
        let row = |record, side, text: &str| (record, side, text.to_owned());
        let expected = [
            row(0, Chosen, " good"),
            row(0, Rejected, " bad"),
            row(1, Chosen, " fine"),
            row(2, Rejected, " poor"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn mismatched_answers_are_those_of_the_next_record() {
        let mut loader = loader(&RECORDS, 64, Overlong::Error);
        let mut found = Vec::new();
        for sample in 0..3 {
            let batch = loader.batch(sample, 1).unwrap();
            let answers = batch.answers.expect("answers");
            found.push((answers.rows[0].record, texts(&answers.mismatched).concat()));
        }
        found.sort();
        let expected = [(0, " fine"), (1, " poor"), (2, " good")];
        assert_eq!(found, expected.map(|(record, text)| (record, text.to_owned())));
    }

    #[test]
    fn the_first_documents_are_partners_of_each_other() {
        let mut loader = loader(&RECORDS, 64, Overlong::Error);
        loader.keep_first(2);
        assert_eq!(loader.records().collect::<Vec<_>>(), [0, 0, 1]);
        let batch = loader.batch(0, 2).unwrap();
        let mut found = texts(&batch.answers.expect("answers").mismatched);
        found.sort();
        assert_eq!(found, [" fine", " good"]);
    }

    #[test]
    fn a_record_is_left_out_or_cut_with_both_answers() {
        let long = "User: a\n\nAssistant: one two three four five six seven";
        let records = [[long, "User: a\n\nAssistant: b"], ["User: d\n\nAssistant: e", ""]];
        let mut dropped = loader(&records, 8, Overlong::Drop);
        assert_eq!(rows(&dropped.batch(0, 1).unwrap()), [(1, Chosen, " e".to_owned())]);
        let mut cut = loader(&records, 8, Overlong::Truncate);
        let mut found = rows(&cut.batch(0, 2).unwrap());
        found.sort_by_key(|(record, ..)| *record);
        assert_eq!(found.len(), 3);
        assert!(long.contains(&found[0].2) && !found[0].2.is_empty(), "{found:?}");
    }

    #[test]
    fn a_skipped_record_keeps_its_rows_without_targets() {
        let mut loader = loader(&RECORDS, 64, Overlong::Error);
        loader.skip([0]);
        let batch = loader.batch(0, 3).unwrap();
        assert_eq!(batch.rows, 4);
        let texts: Vec<_> = rows(&batch).into_iter().filter(|(record, ..)| *record == 0).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts.iter().all(|(.., text)| text.is_empty()));
    }
}
