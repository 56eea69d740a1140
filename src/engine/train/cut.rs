//! How a micro-batch is cut into chunks of tokens.

use tch::Tensor;

use super::BatchTensors;
use super::batch::int64;
use super::part::{Direction, Observer};
use crate::kernels::send;

/// A micro-batch that is cut into chunks.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) rows: Vec<Rows>,
}

/// Rows that are computed side by side.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) first: i64,
    pub(super) count: i64,
    pub(super) chunks: Vec<Chunk>,
}

/// Tokens of some rows that are computed at once.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Counted from 0 over the micro-batch.
    pub(super) number: u64,
    /// The first token in its row.
    first: i64,
    /// Whether the first token begins a document: nothing is carried to it.
    pub(super) starts: bool,
    /// The tokens, and the targets among them.
    pub(super) batch: BatchTensors,
    /// The targets among those of the micro-batch: (targets) int64.
    pub(super) targets: Tensor,
}

/// Consecutive tokens of a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    first: i64,
    len: i64,
    starts: bool,
}

/// A target of a micro-batch.
#[derive(Clone, Copy)]
struct Target {
    /// Among those of the micro-batch.
    index: i64,
    row: i64,
    token: i64,
}

/// Cuts `tokens` tokens into spans of at most `chunk`. One to which a document continues ends before the next document;
/// with `apart`, so does every other.
fn spans(tokens: i64, restarts: Option<&[bool]>, chunk: i64, apart: bool) -> Vec<Span> {
    let begins = |at: i64| restarts.is_some_and(|restarts| restarts[at as usize]);
    let mut spans = Vec::new();
    let (mut first, mut starts) = (0, true);
    while first < tokens {
        let end = tokens.min(first + chunk);
        let next = (first + 1..end).find(|&at| (apart || !starts) && begins(at));
        let end = next.unwrap_or(end);
        spans.push(Span { first, len: end - first, starts });
        starts = end < tokens && begins(end);
        first = end;
    }
    spans
}

/// Whether the rows of a micro-batch are longer than `chunk` tokens.
pub(super) fn is_longer(batch: &BatchTensors, chunk: i64) -> bool {
    batch.inputs.size()[1] > chunk
}

impl Cut {
    /// Cuts a micro-batch whose rows are longer than `chunk` tokens; `None` for others, and without `chunk`.
    pub(super) fn longer_than(chunk: Option<i64>, batch: &BatchTensors) -> Option<Cut> {
        Some(Cut::new(chunk.filter(|&chunk| is_longer(batch, chunk))?, batch, false))
    }

    /// Cuts a micro-batch into chunks of at most `chunk` tokens, if any, of which none holds a restart.
    pub(super) fn by_document(chunk: Option<i64>, batch: &BatchTensors) -> Cut {
        let tokens = batch.inputs.size()[1].max(1);
        Cut::new(chunk.unwrap_or(tokens).min(tokens), batch, true)
    }

    fn new(chunk: i64, batch: &BatchTensors, apart: bool) -> Cut {
        let [count, tokens] = batch.inputs.size()[..] else { unreachable!("inputs have two axes") };
        let positions = Vec::<i64>::try_from(&batch.target_positions).expect("a vector of int64");
        let restarts = batch.restarts.as_ref().map(|restarts| {
            Vec::<bool>::try_from(restarts.flatten(0, -1)).expect("a vector of flags")
        });
        let side_by_side = if restarts.is_some() { 1 } else { count };
        let mut number = 0;
        let mut rows = Vec::new();
        for first in (0..count).step_by(side_by_side as usize) {
            let place = first * tokens..(first + side_by_side) * tokens;
            let here = (0..).zip(&positions).filter(|(_, at)| place.contains(at));
            let mut targets: Vec<Target> = here
                .map(|(index, at)| Target { index, row: at / tokens - first, token: at % tokens })
                .collect();
            // Nothing after the last target is computed.
            let end = targets.iter().map(|target| target.token + 1).max().unwrap_or(0);
            let restarts =
                restarts.as_ref().map(|all| &all[place.start as usize..place.end as usize]);
            let spans = spans(end, restarts, chunk, apart);
            // Those of each chunk together, in their order.
            let of_span = |token| spans.partition_point(|span| span.first <= token);
            targets.sort_by_key(|target| of_span(target.token));
            let mut rest = &targets[..];
            let mut chunks = Vec::with_capacity(spans.len());
            for span in spans {
                let inside = rest.partition_point(|target| target.token < span.first + span.len);
                let (targets, later) = rest.split_at(inside);
                chunks.push(Chunk::new(number, batch, [first, side_by_side], span, targets));
                (rest, number) = (later, number + 1);
            }
            rows.push(Rows { first, count: side_by_side, chunks });
        }
        Cut { rows }
    }
}

impl Chunk {
    fn new(
        number: u64,
        batch: &BatchTensors,
        [first_row, rows]: [i64; 2],
        span: Span,
        targets: &[Target],
    ) -> Chunk {
        let Span { first, len, starts } = span;
        let device = batch.targets.device();
        let list = |of: &dyn Fn(&Target) -> i64| {
            let values: Vec<i64> = targets.iter().map(of).collect();
            send(int64(&values), device)
        };
        let part = |x: &Tensor| x.narrow(0, first_row, rows).narrow(1, first, len);
        let indices = list(&|target| target.index);
        let batch = BatchTensors {
            inputs: part(&batch.inputs),
            restarts: batch.restarts.as_ref().filter(|_| starts).map(part),
            target_positions: list(&|target| target.row * len + target.token - first),
            targets: batch.targets.index_select(0, &indices),
        };
        Chunk { number, first, starts, batch, targets: indices }
    }

    /// Tells an observer whose values come next.
    pub(super) fn enter(&self, first_row: i64, direction: Direction, observer: &mut impl Observer) {
        let len = self.batch.inputs.size()[1];
        observer.enter(first_row, self.first..self.first + len);
        observer.begin(self.batch.inputs.numel() as u64, direction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spans as `first+len`, with a star where nothing is carried.
    fn cut(tokens: i64, documents: &[usize], chunk: i64) -> String {
        cut_apart(tokens, documents, chunk, false)
    }

    fn cut_apart(tokens: i64, documents: &[usize], chunk: i64, apart: bool) -> String {
        let mut restarts = vec![false; tokens as usize];
        documents.iter().for_each(|&at| restarts[at] = true);
        let name = |Span { first, len, starts }: Span| {
            format!("{first}+{len}{}", if starts { "*" } else { "" })
        };
        let restarts = (!documents.is_empty()).then_some(&*restarts);
        spans(tokens, restarts, chunk, apart).into_iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_document_that_continues_ends_its_chunk() {
        assert_eq!(cut(0, &[], 16), "");
        assert_eq!(cut(32, &[], 16), "0+16* 16+16");
        assert_eq!(cut(33, &[], 16), "0+16* 16+16 32+1");
        assert_eq!(cut(40, &[5, 9], 16), "0+16* 16+16 32+8");
        assert_eq!(cut(40, &[16], 16), "0+16* 16+16* 32+8");
        assert_eq!(cut(40, &[5, 17, 20], 16), "0+16* 16+1 17+16* 33+7");
        assert_eq!(cut(40, &[0, 15, 31], 16), "0+16* 16+15 31+9*");
    }

    #[test]
    fn documents_may_be_cut_apart() {
        assert_eq!(cut_apart(40, &[], 40, true), "0+40*");
        assert_eq!(cut_apart(40, &[5, 9], 40, true), "0+5* 5+4* 9+31*");
        assert_eq!(cut_apart(40, &[0, 15, 31], 10, true), "0+10* 10+5 15+10* 25+6 31+9*");
    }
}
