//! The parts that all versions share: tokens cut into chunks, decays within a chunk, the carried state.

use tch::{Device, Kind, Tensor};

/// Binary digits of a token's position in its chunk.
const LEVELS: i64 = 4;

/// Tokens in a chunk, L. Of 8, 16, 32 and 64, this was the fastest for RWKV-6 and RWKV-7 on a CPU
/// (B 1, T 512, H 12, N 64, float32, forward and backward).
const CHUNK_LEN: i64 = 1 << LEVELS;

/// A larger `w` is replaced by this value. `exp(-exp(7))` and its derivative are zero even in
/// float64, so the replacement changes no result; it keeps the logarithm of the decay finite.
const MAX_W: f64 = 7.0;

/// How (B, T, H, N) is cut into M chunks of [`CHUNK_LEN`] tokens, and which documents lie in them.
pub(super) struct Cut {
    tokens: i64,
    chunks: i64,
    kind: Kind,
    device: Device,
    documents: Option<Documents>,
}

/// Which documents lie in the chunks.
struct Documents {
    /// 1 where two tokens of a chunk are of one document, else 0: (B, 1, M, L, L).
    same: Tensor,
    /// Whether the document of a token began in the chunk: (B, 1, M, L, 1) bool.
    began: Tensor,
}

/// Factors of at most 1 that decays make within the chunks.
pub(super) struct Decays {
    /// Decay of the token itself, `d_i`: (B, H, M, L, N).
    pub(super) token: Tensor,
    /// From the token's start to before the token, `e_i`: (B, H, M, L, N).
    pub(super) from_start: Tensor,
    /// From after the token to the end of the chunk, 0 where its document ends before: (B, H, M,
    /// L, N).
    pub(super) to_end: Tensor,
    /// From the last token's start to the end of the chunk, `e_L`: (B, H, M, 1, N).
    pub(super) whole: Tensor,
    /// Factors on either side of the cuts of each level: (B, H, M, LEVELS, L, N).
    levels: Tensor,
}

/// The affine maps that the chunks are: `Y = rows start^T + y0` and `S_L = start_L p + q`.
pub(super) struct Maps {
    /// (B, H, M, L, N)
    pub(super) rows: Tensor,
    /// (B, H, M, L, N)
    pub(super) y0: Tensor,
    /// (B, H, M, N, N), or (B, H, M, 1, N) for diagonals.
    pub(super) p: Tensor,
    /// (B, H, M, N, N)
    pub(super) q: Tensor,
}

impl Cut {
    /// Cuts operands like `x` (B, T, H, N) that are computed in the dtype of `s0`; documents begin
    /// at `restarts` (B, T).
    pub(super) fn new(x: &Tensor, s0: &Tensor, restarts: Option<&Tensor>) -> Cut {
        let (kind, tokens) = (s0.kind(), x.size()[1]);
        let chunks = (tokens + CHUNK_LEN - 1) / CHUNK_LEN;
        let documents = restarts.map(|restarts| {
            let padded = restarts.constant_pad_nd([0, chunks * CHUNK_LEN - tokens]);
            let begun = padded.view([-1, 1, chunks, CHUNK_LEN]).cumsum(-1, Kind::Int64);
            let begun = begun.unsqueeze(-1); // (B, 1, M, L, 1)
            let same = begun.eq_tensor(&begun.transpose(-1, -2)).to_kind(kind);
            Documents { same, began: begun.gt(0) }
        });
        Cut { tokens, chunks, kind, device: x.device(), documents }
    }

    /// (B, T, H, N) to (B, H, M, L, N), with zeros after the last token.
    pub(super) fn split(&self, x: &Tensor) -> Tensor {
        x.to_kind(self.kind)
            .transpose(1, 2)
            .constant_pad_nd([0, 0, 0, self.chunks * CHUNK_LEN - self.tokens])
            .unflatten(2, [self.chunks, CHUNK_LEN])
            .contiguous()
    }

    /// (B, H, M, L, N) to (B, T, H, N).
    fn join(&self, y: &Tensor) -> Tensor {
        y.flatten(2, 3).narrow(2, 0, self.tokens).transpose(1, 2).contiguous()
    }

    /// The decays of `w` (B, T, H, N). After the last token nothing decays.
    pub(super) fn decays(&self, w: &Tensor) -> Decays {
        let c = self.split(&w.to_kind(self.kind).clamp_max(MAX_W).exp().neg());
        let token = c.exp();
        let before = self.table(|i, m| m < i);
        let to_end = self.table(|j, m| m > j).matmul(&c).exp();
        let (before, to_end) = match &self.documents {
            Some(documents) => {
                (before * &documents.same, to_end * last(&documents.same).transpose(-1, -2))
            }
            None => (before, to_end),
        };
        let from_start = before.matmul(&c).exp();
        let whole = last(&from_start) * last(&token);
        let sums = self.tables(|level, i, m| {
            let is_behind_cut = (i >> level) % 2 == 1;
            m >> level == i >> level && if is_behind_cut { m < i } else { m > i }
        });
        let levels = sums.matmul(&c.unsqueeze(3)).exp();
        Decays { token, from_start, to_end, whole, levels }
    }

    /// `x_i . y_j`, decayed from after token `j` to before token `i`, where `j < i` are of one
    /// document, and 0 elsewhere.
    ///
    /// X vectors a token, (B, H, M, X, L, N), and Y vectors a token, (B, H, M, Y, L, N), give (B,
    /// H, M, X, L, Y, L).
    pub(super) fn pairs(&self, x: &Tensor, y: &Tensor, decays: &Decays) -> Tensor {
        let shape = [x.size()[3], CHUNK_LEN, y.size()[3], CHUNK_LEN];
        let by_level = decays.levels.unsqueeze(4); // (B, H, M, LEVELS, 1, L, N)
        let [x, y] = [x, y].map(|z| (z.unsqueeze(3) * &by_level).flatten(-3, -2));
        let products = x.matmul(&y.transpose(-1, -2)); // (B, H, M, LEVELS, X L, Y L)
        let products = products.unflatten(-1, &shape[2..]).unflatten(-3, &shape[..2]);
        let of_level = self.tables(|level, i, j| j < i && (i ^ j) >> level == 1);
        let of_level = of_level.view([LEVELS, 1, CHUNK_LEN, 1, CHUNK_LEN]);
        let pairs = (products * of_level).sum_dim_intlist([3i64].as_slice(), false, None::<Kind>);
        match &self.documents {
            Some(documents) => pairs * documents.same.unsqueeze(4).unsqueeze(3),
            None => pairs,
        }
    }

    /// Carries the state through the chunks. Returns y (B, T, H, N) and the last state (B, H, N,
    /// N).
    ///
    /// `advance` multiplies a state by the `p` of one chunk.
    pub(super) fn carry(
        &self,
        maps: &Maps,
        s0: &Tensor,
        advance: impl Fn(&Tensor, &Tensor) -> Tensor,
    ) -> (Tensor, Tensor) {
        let mut s = s0.shallow_clone();
        let mut carried = Vec::new();
        for (m, (p, q)) in (0..).zip(maps.p.unbind(2).iter().zip(maps.q.unbind(2))) {
            carried.push(s.shallow_clone());
            if let Some(documents) = &self.documents {
                s = s0.where_self(&last(&documents.began.select(2, m)), &s);
            }
            s = advance(&s, p) + q;
        }
        let read = |start: &Tensor| maps.rows.matmul(&start.transpose(-1, -2));
        let mut y = read(&Tensor::stack(&carried, 2));
        if let Some(documents) = &self.documents {
            y = read(&s0.unsqueeze(2)).where_self(&documents.began, &y);
        }
        (self.join(&(y + &maps.y0)), s)
    }

    /// The (L, L) matrix of `entry(row, column)`, as 0 and 1.
    fn table(&self, entry: impl Fn(i64, i64) -> bool) -> Tensor {
        let entries: Vec<f32> = (0..CHUNK_LEN * CHUNK_LEN)
            .map(|at| f32::from(entry(at / CHUNK_LEN, at % CHUNK_LEN)))
            .collect();
        let table = Tensor::from_slice(&entries).view([CHUNK_LEN, CHUNK_LEN]);
        table.to_kind(self.kind).to_device(self.device)
    }

    /// One [`Cut::table`] a level: (LEVELS, L, L).
    fn tables(&self, entry: impl Fn(i64, i64, i64) -> bool) -> Tensor {
        let tables = (0..LEVELS).map(|level| self.table(|i, j| entry(level, i, j)));
        Tensor::stack(&tables.collect::<Vec<_>>(), 0)
    }
}

/// The row of the last token of each chunk: (.., L, X) to (.., 1, X).
fn last(x: &Tensor) -> Tensor {
    x.narrow(-2, CHUNK_LEN - 1, 1)
}
