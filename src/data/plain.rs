//! Batches as plain numbers, for records.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::Batch;
use super::batch::Row;

/// A row of a batch.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PlainRow {
    /// Its tokens, padding included.
    pub inputs: Vec<i64>,
    /// Where documents begin behind the start of the row.
    pub restarts: Vec<usize>,
    /// Its learned positions.
    pub learned_at: Vec<usize>,
    /// The tokens to predict there.
    pub targets: Vec<i64>,
}

impl Batch {
    /// The rows.
    pub fn plain(&self) -> Vec<PlainRow> {
        let [b, t] = self.inputs.size()[..] else { unreachable!("inputs have two axes") };
        let mut rows: Vec<PlainRow> = (0..b)
            .map(|row| PlainRow { inputs: ids(&self.inputs.select(0, row)), ..PlainRow::default() })
            .collect();
        for (at, target) in ids(&self.learned_at).into_iter().zip(ids(&self.targets)) {
            let row = &mut rows[(at / t) as usize];
            row.learned_at.push((at % t) as usize);
            row.targets.push(target);
        }
        if let Some(restarts) = &self.restarts {
            for at in ids(&restarts.flatten(0, 1).nonzero().flatten(0, 1)) {
                rows[(at / t) as usize].restarts.push((at % t) as usize);
            }
        }
        rows
    }

    /// The batch of these rows, which nobody knows the documents of.
    pub fn from_plain(rows: &[PlainRow]) -> Batch {
        let row = |row: &PlainRow| {
            let targets = row.learned_at.iter().copied().zip(row.targets.iter().copied());
            Row::from_numbers(row.inputs.clone(), row.restarts.clone(), targets.collect())
        };
        Batch::new(&rows.iter().map(row).collect::<Vec<_>>())
    }
}

fn ids(tensor: &Tensor) -> Vec<i64> {
    let tensor = tensor.to_device(tch::Device::Cpu).to_kind(Kind::Int64).contiguous();
    Vec::try_from(tensor).expect("one axis of integers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back() {
        let rows = [
            PlainRow {
                inputs: vec![5, 6, 7, 8],
                restarts: vec![2],
                learned_at: vec![0, 3],
                targets: vec![6, 9],
            },
            PlainRow {
                inputs: vec![1, 2, 0, 0],
                learned_at: vec![1],
                targets: vec![3],
                ..PlainRow::default()
            },
        ];
        let batch = Batch::from_plain(&rows);
        assert_eq!((batch.inputs.size(), batch.learned), (vec![2, 4], 3));
        assert_eq!(batch.plain(), rows);
    }
}
