//! The lengths of documents, their target tokens, and the share of padding in the samples.

use serde::Serialize;

use super::Sample;
use crate::data::Overlong;
use crate::data::rows_when_packed;

/// Buckets of the histogram, at most.
const BUCKETS: usize = 12;

/// Statistics of documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Documents.
    pub documents: u64,
    /// Tokens, the closing tokens included.
    pub tokens: u64,
    /// Target tokens.
    pub learned: u64,
    /// Tokens per document.
    pub lengths: Lengths,
    /// Input tokens of a sample at most.
    pub ctx_len: u32,
    /// Documents that do not fit into a sample.
    pub overlong: u64,
    /// The share of padding when every sample is padded to `ctx_len`.
    pub pad_share: f64,
    /// Rows of `ctx_len` that packed documents need.
    pub pack_rows: u64,
    /// The filled share of the packed rows.
    pub pack_fill: f64,
    /// Number of documents by length.
    pub histogram: Vec<Bucket>,
}

/// Lengths in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 95th percentile.
    pub p95: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// Documents of `from` up to, but not including, `to` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// The first length.
    pub from: u64,
    /// The first length of the next bucket.
    pub to: u64,
    /// The documents.
    pub documents: u64,
}

/// Collects statistics document by document.
#[derive(Debug)]
pub struct Counter {
    ctx_len: u32,
    overlong: Overlong,
    lengths: Vec<u64>,
    learned: u64,
    /// Inputs of every sample.
    samples: Vec<u32>,
}

impl Counter {
    /// Of samples of `ctx_len` inputs, where documents that do not fit are treated as `overlong` says.
    pub fn new(ctx_len: u32, overlong: Overlong) -> Counter {
        Counter { ctx_len, overlong, lengths: Vec::new(), learned: 0, samples: Vec::new() }
    }

    /// Adds a document.
    pub fn add(&mut self, sample: &Sample) {
        let length = sample.ids.len();
        self.lengths.push(length as u64);
        self.learned += (0..length).filter(|&at| sample.is_learned(at)).count() as u64;
        let (inputs, ctx_len) = (length.saturating_sub(1) as u32, self.ctx_len);
        match self.overlong {
            Overlong::Drop if inputs > ctx_len => {}
            Overlong::Split => {
                let firsts = (0..inputs).step_by(ctx_len as usize);
                self.samples.extend(firsts.map(|first| ctx_len.min(inputs - first)));
            }
            _ => self.samples.push(inputs.min(ctx_len)),
        }
    }

    /// The figures.
    pub fn finish(mut self) -> Stats {
        self.lengths.sort_unstable();
        let tokens: u64 = self.lengths.iter().sum();
        let inputs: u64 = self.samples.iter().map(|&inputs| u64::from(inputs)).sum();
        let share = |rows: usize| match rows {
            0 => 0.0,
            rows => inputs as f64 / (rows as f64 * f64::from(self.ctx_len)),
        };
        let pack_rows = rows_when_packed(&self.samples, self.ctx_len);
        let fits = |length: &u64| *length <= u64::from(self.ctx_len) + 1;
        Stats {
            documents: self.lengths.len() as u64,
            tokens,
            learned: self.learned,
            lengths: lengths(&self.lengths, tokens),
            ctx_len: self.ctx_len,
            overlong: (self.lengths.len() - self.lengths.partition_point(fits)) as u64,
            pad_share: if self.samples.is_empty() { 0.0 } else { 1.0 - share(self.samples.len()) },
            pack_rows: pack_rows as u64,
            pack_fill: share(pack_rows),
            histogram: histogram(&self.lengths),
        }
    }
}

/// Figures of sorted lengths.
fn lengths(sorted: &[u64], tokens: u64) -> Lengths {
    let Some(&max) = sorted.last() else { return Lengths::default() };
    // The smallest length that at least `p` percent of the documents do not exceed.
    let percentile = |p: usize| sorted[(sorted.len() * p).div_ceil(100).max(1) - 1];
    Lengths {
        mean: tokens as f64 / sorted.len() as f64,
        p50: percentile(50),
        p90: percentile(90),
        p95: percentile(95),
        p99: percentile(99),
        max,
    }
}

/// Sorted lengths in buckets of one width, which is 1, 2 or 5 times a power of ten.
fn histogram(sorted: &[u64]) -> Vec<Bucket> {
    let Some(&max) = sorted.last() else { return Vec::new() };
    let widths = (0..).flat_map(|power| [1, 2, 5].map(|factor| factor * 10u64.pow(power)));
    let enough = |width: &u64| max / width < BUCKETS as u64;
    let width = widths.into_iter().find(enough).expect("some width is above every length");
    (0..=max / width)
        .map(|index| {
            let (from, to) = (index * width, (index + 1) * width);
            let below = |end: u64| sorted.partition_point(|length| *length < end);
            Bucket { from, to, documents: (below(to) - below(from)) as u64 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(lengths: &[usize], ctx_len: u32, overlong: Overlong) -> Stats {
        let mut counter = Counter::new(ctx_len, overlong);
        for &length in lengths {
            counter.add(&Sample::of_tokens(vec![1; length], vec![true; length]));
        }
        counter.finish()
    }

    #[test]
    fn lengths_have_percentiles() {
        let lengths: Vec<usize> = (1..=100).collect();
        let found = stats(&lengths, 1000, Overlong::Error).lengths;
        assert_eq!((found.p50, found.p90, found.p95, found.p99, found.max), (50, 90, 95, 99, 100));
        assert_eq!(found.mean, 50.5);
        assert_eq!(stats(&[7], 8, Overlong::Error).lengths.p50, 7);
        assert_eq!(stats(&[], 8, Overlong::Error).lengths, Lengths::default());
    }

    #[test]
    fn padding_and_packing_are_shares_of_full_rows() {
        let found = stats(&[5, 5, 9], 8, Overlong::Error);
        assert_eq!((found.tokens, found.learned, found.overlong), (19, 16, 0));
        assert_eq!(
            (found.pad_share, found.pack_rows, found.pack_fill),
            (1.0 - 16.0 / 24.0, 2, 1.0)
        );
    }

    #[test]
    fn overlong_documents_are_cut_split_or_dropped() {
        for (overlong, rows, fill) in [
            (Overlong::Truncate, 2, 12.0 / 16.0),
            (Overlong::Split, 3, 1.0),
            (Overlong::Drop, 1, 0.5),
        ] {
            let found = stats(&[5, 21], 8, overlong);
            assert_eq!((found.overlong, found.pack_rows, found.pack_fill), (1, rows, fill));
        }
    }

    #[test]
    fn the_histogram_has_round_borders() {
        let found = stats(&[3, 19, 20, 21, 110], 1000, Overlong::Error).histogram;
        assert_eq!(found.len(), 12);
        assert_eq!(found[1], Bucket { from: 10, to: 20, documents: 1 });
        assert_eq!(found[2], Bucket { from: 20, to: 30, documents: 2 });
        assert_eq!(found.iter().map(|bucket| bucket.documents).sum::<u64>(), 5);
        assert_eq!(stats(&[0, 1], 8, Overlong::Error).histogram.len(), 2);
    }
}
