//! The option `head_qk` of RWKV-5 and RWKV-6: the head may copy tokens that it has seen.
//!
//! With `q = head_q(x)` and `k = head_k(x)`, of width Q, the logits of position t become
//! `head(x_t) + sum over s <= t of (q_t . k_s / Q) onehot(id_s)`, where s stays in the document of t.

use tch::{Kind, Tensor};

use super::Weights;
use crate::kernels::linear;

/// The matrices of the option, (Q, C) each.
#[derive(Debug)]
pub(super) struct Copying {
    head_q: Tensor,
    head_k: Tensor,
}

/// The tokens that may be copied later: those of a call and of all calls before it, S in number.
#[derive(Debug)]
pub struct Seen {
    /// (B, S, Q) in the compute dtype.
    keys: Tensor,
    /// (B, S) int64.
    ids: Tensor,
    /// (B, S) int64: the document of each token, counted in its row.
    documents: Tensor,
}

impl Seen {
    /// What is copied by, (B, S, Q): the floating-point numbers of what is seen.
    pub fn keys(&self) -> &Tensor {
        &self.keys
    }

    /// The same tokens, with what `f` makes of the keys.
    pub fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Seen {
        let [ids, documents] = [&self.ids, &self.documents].map(Tensor::shallow_clone);
        Seen { keys: f(&self.keys), ids, documents }
    }

    /// What `count` rows of the batch have seen, from row `first` on.
    pub(super) fn narrow(&self, first: i64, count: i64) -> Seen {
        let of = |x: &Tensor| x.narrow(0, first, count);
        Seen { keys: of(&self.keys), ids: of(&self.ids), documents: of(&self.documents) }
    }

    /// What some rows of the batch have seen; `rows` int64 names them.
    pub(super) fn of_rows(&self, rows: &Tensor) -> Seen {
        let of = |x: &Tensor| x.index_select(0, rows);
        Seen { keys: of(&self.keys), ids: of(&self.ids), documents: of(&self.documents) }
    }

    /// The rows of all parts, one part after the other. Parts that have seen less begin with tokens of another
    /// document, so nothing is copied from them.
    pub(super) fn joined(parts: &[&Seen]) -> Seen {
        let longest = parts.iter().map(|part| part.ids.size()[1]).max().unwrap_or(0);
        let padded = |part: &&Seen, of: fn(&Seen) -> &Tensor, value: i64| {
            let tensor = of(part);
            let mut front = tensor.size();
            front[1] = longest - front[1];
            let front = Tensor::full(front, value, (tensor.kind(), tensor.device()));
            Tensor::cat(&[&front, tensor], 1)
        };
        let all = |of: fn(&Seen) -> &Tensor, value: i64| {
            let rows: Vec<Tensor> = parts.iter().map(|part| padded(part, of, value)).collect();
            Tensor::cat(&rows, 0)
        };
        Seen {
            keys: all(|seen| &seen.keys, 0),
            ids: all(|seen| &seen.ids, 0),
            documents: all(|seen| &seen.documents, -1),
        }
    }
}

/// What each position copies.
#[derive(Debug)]
pub struct Copies {
    /// (.., S) in the compute dtype: what the logit of each seen token gains; 0 for later tokens and
    /// other documents.
    pub scores: Tensor,
    /// (.., S) int64: the seen tokens.
    pub ids: Tensor,
}

impl Copying {
    pub(super) fn new(weights: &Weights, kind: Kind) -> Copying {
        let get = |name: &str| weights.get(name, kind);
        Copying { head_q: get("head_q.weight"), head_k: get("head_k.weight") }
    }

    /// What the positions of `x` (B, T, C), the hidden states of `ids` (B, T), copy from each other and
    /// from `seen`; and what is seen after them.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        ids: &Tensor,
        seen: Option<&Seen>,
        restarts: Option<&Tensor>,
    ) -> (Copies, Seen) {
        let [b, t] = ids.size()[..] else { unreachable!("ids are (B, T)") };
        let q = linear(x, &self.head_q); // (B, T, Q)
        let width = self.head_q.size()[0] as f64;
        let documents = match restarts {
            Some(restarts) => restarts.cumsum(1, Kind::Int64),
            None => ids.zeros_like(),
        };
        let new = Seen { keys: linear(x, &self.head_k), ids: ids.shallow_clone(), documents };
        let (new, earlier) = match seen {
            Some(seen) => (new.after(seen), seen.ids.size()[1]),
            None => (new, 0),
        };
        let scores = q.matmul(&new.keys.transpose(1, 2)) / width; // (B, T, S)
        let own = new.documents.narrow(1, earlier, t).unsqueeze(-1);
        let same_document = own.eq_tensor(&new.documents.unsqueeze(1)); // (B, T, S)
        let scores = scores.tril(earlier) * same_document;
        let ids = new.ids.unsqueeze(1).expand([b, t, earlier + t], false);
        (Copies { scores, ids }, new)
    }
}

impl Seen {
    /// What `earlier` had seen, and then this, whose documents are counted on.
    fn after(self, earlier: &Seen) -> Seen {
        let joined = |x: &Tensor, y: &Tensor| Tensor::cat(&[x, y], 1);
        let last = earlier.documents.narrow(1, earlier.documents.size()[1] - 1, 1);
        Seen {
            keys: joined(&earlier.keys, &self.keys),
            ids: joined(&earlier.ids, &self.ids),
            documents: joined(&earlier.documents, &(self.documents + last)),
        }
    }
}

impl Copies {
    /// The copies of some of the positions, counted over the rows of the batch: (n, S).
    pub(super) fn at(&self, positions: &Tensor) -> Copies {
        let select = |x: &Tensor| x.flatten(0, 1).index_select(0, positions);
        Copies { scores: select(&self.scores), ids: select(&self.ids) }
    }

    /// Adds what is copied to the `logits` (.., V).
    pub(super) fn add_to(&self, logits: &Tensor) -> Tensor {
        logits.scatter_add(-1, &self.ids, &self.scores)
    }
}
