//! A model of any version: one forward pass for whole sequences and, with one token at a time, for
//! generation.

use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::copying::{Copies, Copying};
use super::layers::{ChannelMix, Norm, TimeMix, TimeMixed};
use super::rwkv5::{ChannelMix5, PreFfn};
use super::versions::computation;
use super::{LayerState, Seen, Shape, State, Stream, TimeState, Weights};
use crate::kernels::{KernelError, MixInput, Op, linear, replace_products, send};

/// An RWKV model in one compute dtype.
///
/// Shapes: B rows, T tokens, C = `n_embd` channels, H heads of N channels, V = `vocab_size`.
#[derive(Debug)]
pub struct Model {
    shape: Shape,
    op: Op,
    /// [`Weights::embedding`].
    emb: Tensor,
    ln0: Norm,
    blocks: Vec<Block>,
    ln_out: Norm,
    head: Tensor,
    copying: Option<Copying>,
    /// The initial states beside the weights.
    states: Option<TimeState>,
    /// How the weights of blocks come from their file, if they are not to stay in memory.
    stream: Option<Rc<Stream>>,
}

/// `x + att(x)` and then `x + ffn(x)`, each with a norm of its own.
#[derive(Debug)]
struct Block {
    att: Box<dyn TimeMix>,
    ffn: Box<dyn ChannelMix>,
}

/// What a model makes of tokens, before the head: of a batch, or of some of its positions.
#[derive(Debug)]
pub struct Hidden {
    /// The hidden states: (B, T, C), or (n, C) after [`Hidden::at`], in the compute dtype.
    pub x: Tensor,
    /// What the head copies, in a model that has `head_qk`.
    pub copies: Option<Copies>,
}

/// What the first half of a block makes.
#[derive(Debug)]
pub struct AfterTimeMix {
    /// What the second half gets: (B, T, C).
    pub x: Tensor,
    /// What the blocks above mix in, (B, T, C), in RWKV-7.
    pub v_first: Option<Tensor>,
    /// What the time mix saw last: (B, C).
    pub att_x: Tensor,
    /// The WKV state after the last token: (B, H, N, N).
    pub wkv: Tensor,
}

impl Hidden {
    /// The hidden states of some positions of a batch; `positions` (n) int64 are `row * T + token`.
    pub fn at(&self, positions: &Tensor) -> Hidden {
        Hidden {
            x: self.x.flatten(0, 1).index_select(0, positions),
            copies: self.copies.as_ref().map(|copies| copies.at(positions)),
        }
    }

    /// `count` of n positions, from `first` on, in the same memory.
    #[must_use]
    pub fn narrow(&self, first: i64, count: i64) -> Hidden {
        self.map(|x| x.narrow(0, first, count))
    }

    /// Some of n positions; `positions` (m) int64 names them.
    #[must_use]
    pub fn select(&self, positions: &Tensor) -> Hidden {
        self.map(|x| x.index_select(0, positions))
    }

    fn map(&self, of: impl Fn(&Tensor) -> Tensor) -> Hidden {
        let copies = self.copies.as_ref();
        let copies = copies.map(|c| Copies { scores: of(&c.scores), ids: of(&c.ids) });
        Hidden { x: of(&self.x), copies }
    }
}

impl Block {
    fn new(weights: &Weights, layer: i64, kind: Kind) -> Block {
        let shape = weights.shape();
        let name = |part: &str| format!("blocks.{layer}.{part}");
        let norm = |part| Norm::new(weights, &name(part), kind);
        let (ln1, ln2) = (norm("ln1"), norm("ln2"));
        let computation = computation(shape.version());
        let att: Box<dyn TimeMix> = match shape.has_time_mix(layer) {
            true => (computation.time_mix)(weights, &name("att"), layer, &ln1, kind),
            false => Box::new(PreFfn(ChannelMix5::new(weights, &name("ffnPre"), &ln1, kind))),
        };
        let ffn = (computation.channel_mix)(weights, &name("ffn"), &ln2, kind);
        Block { att, ffn }
    }
}

impl Model {
    /// The model of these weights, computing in `kind` and its recurrence by `op`. Tensors of another
    /// dtype are converted, through autograd where they are trainable: trained weights stay float32 while the
    /// model computes in bf16.
    pub fn new(weights: &Weights, kind: Kind, op: Op) -> Model {
        replace_products();
        let shape = *weights.shape();
        Model {
            shape,
            op,
            emb: weights.embedding(),
            ln0: Norm::new(weights, "blocks.0.ln0", kind),
            blocks: (0..shape.n_layer).map(|layer| Block::new(weights, layer, kind)).collect(),
            ln_out: Norm::new(weights, "ln_out", kind),
            head: weights.get("head.weight", kind),
            copying: (shape.head_qk > 0).then(|| Copying::new(weights, kind)),
            states: weights.states().map(TimeState::share),
            stream: weights.stream(),
        }
    }

    /// Whether the file of the weights holds initial states too.
    pub fn has_states(&self) -> bool {
        self.states.is_some()
    }

    /// [`Weights::initial_states`] of the weights.
    pub fn initial_states(&self) -> TimeState {
        TimeState::initial(self.states.as_ref(), &self.shape, self.device())
    }

    /// The sizes of the model.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Which implementation computes the model.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The dtype in which the model computes.
    pub fn kind(&self) -> Kind {
        self.head.kind()
    }

    /// Where the model computes.
    pub fn device(&self) -> Device {
        self.head.device()
    }

    /// What a batch of `batch` rows starts from: `time_state` in every row.
    pub fn start(&self, time_state: &TimeState, batch: i64) -> State {
        let size = [batch, self.shape.n_embd];
        let nothing = Tensor::zeros(size, (self.kind(), self.device()));
        // Each row in float32, so that the sum of their gradients is.
        let rows = |x: &Tensor| x.unsqueeze(0).expand(size, false).to_kind(self.kind());
        let layer = |(i, s): (usize, &Tensor)| {
            let [h, n, _] = s.size()[..] else { unreachable!("a state has three axes") };
            let shift = time_state.shift.as_ref().map(|shift| &shift[i]);
            LayerState {
                att_x: shift.map_or_else(|| nothing.shallow_clone(), |shift| rows(&shift.att)),
                wkv: s.unsqueeze(0).expand([batch, h, n, n], false),
                ffn_x: shift.map_or_else(|| nothing.shallow_clone(), |shift| rows(&shift.ffn)),
            }
        };
        State { layers: time_state.wkv.iter().enumerate().map(layer).collect(), seen: None }
    }

    /// Runs `ids` (B, T) int64, best on the CPU, from `start`: the hidden states before the head and the state after the
    /// last token. One token at a time with the carried state comes to the same as all at once.
    ///
    /// `restarts` (B, T) bool is true where a document begins within a row: nothing is seen there of
    /// what stands before, and all states are those of `start` again.
    ///
    /// # Errors
    /// What the recurrence refuses.
    ///
    /// # Panics
    /// When `start` is that of a model with other sizes.
    pub fn forward(
        &self,
        ids: &Tensor,
        start: &State,
        restarts: Option<&Tensor>,
    ) -> Result<(Hidden, State), KernelError> {
        let mut x = self.embed(ids);
        let mut v_first = None;
        let mut layers = Vec::with_capacity(self.blocks.len());
        for layer in 0..self.blocks.len() {
            let before = &start.layers[layer];
            let after;
            (x, v_first, after) = self.block(layer, &x, v_first.as_ref(), before, restarts)?;
            layers.push(after);
        }
        let (hidden, seen) = self.finish(&x, ids, start.seen.as_ref(), restarts);
        Ok((hidden, State { layers, seen }))
    }

    /// The first part of [`Model::forward`]: what block 0 gets of `ids` (B, T), (B, T, C).
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        let ids = send(ids.shallow_clone(), self.emb.device());
        let rows = Tensor::embedding(&self.emb, &ids, -1, false, false).to_kind(self.kind());
        self.ln0.layer_norm(&send(rows, self.device()))
    }

    /// A block of [`Model::forward`]: from `x` (B, T, C) and the state `before` to what the next block
    /// gets and the state after the last token. `v_first` (B, T, C) comes from the block before and goes
    /// to the next one; block 0 gets none, and only RWKV-7 has it.
    ///
    /// It depends on nothing but its arguments, so that a trainer may drop what it computed and compute
    /// it again.
    ///
    /// # Errors
    /// What the recurrence refuses.
    pub fn block(
        &self,
        layer: usize,
        x: &Tensor,
        v_first: Option<&Tensor>,
        before: &LayerState,
        restarts: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>, LayerState), KernelError> {
        let AfterTimeMix { x, v_first, att_x, wkv } =
            self.time_mix(layer, x, v_first, &before.att_x, &before.wkv, restarts)?;
        let (x, ffn_x) = self.channel_mix(layer, &x, &before.ffn_x, restarts)?;
        Ok((x, v_first, LayerState { att_x, wkv, ffn_x }))
    }

    /// The first half of [`Model::block`]: `x + att(ln1(x))`, with what the time mix saw last, `att_x` (B, C),
    /// and its WKV state before, `wkv` (B, H, N, N).
    ///
    /// # Errors
    /// What the recurrence refuses.
    pub fn time_mix(
        &self,
        layer: usize,
        x: &Tensor,
        v_first: Option<&Tensor>,
        att_x: &Tensor,
        wkv: &Tensor,
        restarts: Option<&Tensor>,
    ) -> Result<AfterTimeMix, KernelError> {
        if let Some(stream) = &self.stream {
            stream.enter(layer);
        }
        let mut v_first = v_first.map(Tensor::shallow_clone);
        let input = MixInput { op: self.op, x, before: att_x, restarts };
        let TimeMixed { x, last, wkv } =
            self.blocks[layer].att.forward(&input, &mut v_first, wkv)?;
        Ok(AfterTimeMix { x, v_first, att_x: last, wkv })
    }

    /// The second half of [`Model::block`]: `x + ffn(ln2(x))`, with what the channel mix saw last before and
    /// after, (B, C) each.
    ///
    /// # Errors
    /// [`KernelError::Native`].
    pub fn channel_mix(
        &self,
        layer: usize,
        x: &Tensor,
        ffn_x: &Tensor,
        restarts: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor), KernelError> {
        let input = MixInput { op: self.op, x, before: ffn_x, restarts };
        self.blocks[layer].ffn.forward(&input)
    }

    /// The last part of [`Model::forward`]: the hidden states of what the last block returns, and what
    /// the head may copy later.
    pub fn finish(
        &self,
        x: &Tensor,
        ids: &Tensor,
        seen: Option<&Seen>,
        restarts: Option<&Tensor>,
    ) -> (Hidden, Option<Seen>) {
        let x = self.ln_out.layer_norm(x);
        let copied = self.copying.as_ref().map(|c| {
            let ids = send(ids.shallow_clone(), x.device());
            c.forward(&x, &ids, seen, restarts)
        });
        let (copies, seen) = copied.unzip();
        (Hidden { x, copies }, seen)
    }

    /// Whether the head copies tokens that it has seen: the option `head_qk`.
    pub fn copies(&self) -> bool {
        self.copying.is_some()
    }

    /// The weight (V, C) of the head, in the compute dtype.
    pub fn head(&self) -> &Tensor {
        &self.head
    }

    /// Logits (.., V) of hidden states, in the compute dtype.
    pub fn logits(&self, hidden: &Hidden) -> Tensor {
        let logits = linear(&hidden.x, &self.head);
        match &hidden.copies {
            Some(copies) => copies.add_to(&logits),
            None => logits,
        }
    }
}
