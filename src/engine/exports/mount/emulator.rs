//! What other programs compute with a state file, by their published rules and in their memory layout.
//!
//! A second implementation of the models on purpose: it takes only the checkpoint's tensors from `model` and nothing
//! from `kernels`. Slow: the recurrence is plain loops over float32.
//!
//! Shapes: T tokens, C channels, H heads of N channels.

use std::path::Path;

use half::{bf16, f16};
use statetune_core::diagnostic::{Text, msg};
use statetune_core::tensorfile::{Dtype, TensorFile, TensorRef};
use tch::{Device, Kind, Tensor};

use super::Program;
use crate::model::{Arch, Shape, TimeState, Version, Weights};

/// Index order of a state matrix in a program's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Layout {
    /// `s[key * N + value]`: RWKV-5 and 6 in the `rwkv` package, all versions in web-rwkv.
    KeyValue,
    /// `s[value * N + key]`: RWKV-7 in the `rwkv` package.
    ValueKey,
}

/// Another program with a loaded model and a mounted state.
#[derive(Debug)]
pub struct Emulator<'a> {
    weights: &'a Weights,
    layout: Layout,
    /// H * N * N values per layer in that layout.
    states: Vec<Vec<f32>>,
    /// What the token shifts of the two halves of a layer start from, (C) each.
    shift: Vec<[Tensor; 2]>,
}

impl<'a> Emulator<'a> {
    /// Reads `file` as `program` does.
    ///
    /// # Errors
    /// The program's reason for refusing the file.
    pub fn mount(
        program: Program,
        weights: &'a Weights,
        file: &Path,
    ) -> Result<Emulator<'a>, Text> {
        let file = TensorFile::open(file).map_err(|error| error.text())?;
        let shape = weights.shape();
        let layers = shape.n_layer as usize;
        let is_v7 = shape.version() == Version::V7;
        let by_pth = program != Program::Ai00;
        // The program for the package takes tensors by name, RWKV Runner counts them.
        let tensors = file.names().len();
        let has_shift = program == Program::RwkvPip && tensors > layers;
        if by_pth && tensors != if has_shift { 3 * layers } else { layers } {
            return Err(msg!(RWKV_STATE_COUNT, count = tensors, layers));
        }
        let shift = |i: usize| {
            let [att, ffn] = ["att", "ffn"].map(|part| match has_shift {
                true => {
                    let name = format!("blocks.{i}.{part}.shift_state");
                    let tensor =
                        file.get(&name).ok_or_else(|| msg!(RWKV_TENSOR_NOT_FOUND, name))?;
                    Ok::<_, Text>(Tensor::from_slice(&numbers(&tensor)?))
                }
                false => Ok(Tensor::zeros([shape.n_embd], (Kind::Float, Device::Cpu))),
            });
            Ok([att?, ffn?])
        };
        let layer = |i: usize| {
            let name = TimeState::name(i);
            let tensor = file.get(&name).ok_or_else(|| msg!(RWKV_TENSOR_NOT_FOUND, name))?;
            if !by_pth && tensor.dtype() != Dtype::F16 {
                return Err(msg!(RWKV_TENSOR_DTYPE, name, dtype = tensor.dtype().to_string()));
            }
            let expected = [shape.n_head, shape.head_size, shape.head_size].map(|n| n as usize);
            if tensor.shape() != expected {
                return Err(msg!(
                    RWKV_TENSOR_SHAPE,
                    name,
                    shape = format_args!("{:?}", tensor.shape())
                ));
            }
            let s = numbers(&tensor)?;
            // The package transposes the matrices of RWKV-5 and 6 and keeps those of RWKV-7; web-rwkv keeps all.
            Ok(if by_pth && !is_v7 { swapped(&s, shape.head_size as usize) } else { s })
        };
        let layout = if by_pth && is_v7 { Layout::ValueKey } else { Layout::KeyValue };
        let states = (0..layers).map(layer).collect::<Result<_, Text>>()?;
        let shift = (0..layers).map(shift).collect::<Result<_, Text>>()?;
        Ok(Emulator { weights, layout, states, shift })
    }

    /// The same with every matrix transposed: a mistake that no program notices.
    pub fn transposed(&self) -> Emulator<'a> {
        let n = self.weights.shape().head_size as usize;
        let states = self.states.iter().map(|s| swapped(s, n)).collect();
        let same = |pair: &[Tensor; 2]| pair.each_ref().map(Tensor::shallow_clone);
        let shift = self.shift.iter().map(same).collect();
        Emulator { weights: self.weights, layout: self.layout, states, shift }
    }

    /// Logits (T, V), float32, after each of `ids`, read from the mounted state on.
    pub fn logits(&self, ids: &[i64]) -> Tensor {
        let shape = *self.weights.shape();
        let ids = Tensor::from_slice(ids);
        let emb = self.weights.embedding().index_select(0, &ids);
        let mut x = self.norm(&emb.to_kind(Kind::Float), "blocks.0.ln0"); // (T, C)
        let mut v_first = None;
        for i in 0..shape.n_layer {
            let layer = Layer { emulator: self, shape, i };
            let att = self.norm(&x, &format!("blocks.{i}.ln1"));
            x += layer.time_mix(&att, &mut v_first);
            let ffn = self.norm(&x, &format!("blocks.{i}.ln2"));
            x += layer.channel_mix(&ffn);
        }
        self.norm(&x, "ln_out").matmul(&self.get("head.weight").tr())
    }

    fn get(&self, name: &str) -> Tensor {
        self.weights.get(name, Kind::Float)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Tensor {
        let centred = x - x.mean_dim(-1, true, Kind::Float);
        let variance = centred.square().mean_dim(-1, true, Kind::Float);
        centred / (variance + 1e-5).sqrt() * self.get(&format!("{name}.weight"))
            + self.get(&format!("{name}.bias"))
    }
}

/// One block of the model.
struct Layer<'a> {
    emulator: &'a Emulator<'a>,
    shape: Shape,
    i: i64,
}

impl Layer<'_> {
    fn att(&self, name: &str) -> Tensor {
        self.emulator.get(&format!("blocks.{}.att.{name}", self.i))
    }

    fn ffn(&self, name: &str) -> Tensor {
        self.emulator.get(&format!("blocks.{}.ffn.{name}", self.i))
    }

    /// Token shift in half `half` of the block: the row of the previous token for each row of `x` (T, C).
    fn before(&self, half: usize, x: &Tensor) -> Tensor {
        let first = self.emulator.shift[self.i as usize][half].unsqueeze(0);
        Tensor::cat(&[&first, &x.narrow(0, 0, x.size()[0] - 1)], 0)
    }

    fn time_mix(&self, x: &Tensor, v_first: &mut Option<Tensor>) -> Tensor {
        match self.shape.arch {
            Arch::V5(_) => self.time_mix_5(x),
            Arch::V6(_) => self.time_mix_6(x),
            Arch::V7(_) => self.time_mix_7(x, v_first),
        }
    }

    fn time_mix_5(&self, x: &Tensor) -> Tensor {
        let before = self.before(0, x);
        let mixed = |name: &str| -> Tensor {
            let m = self.att(&format!("time_mix_{name}")).view(-1);
            x * &m + &before * (1.0 - &m)
        };
        let [r, k, v, g] = [("r", "receptance"), ("k", "key"), ("v", "value"), ("g", "gate")]
            .map(|(mix, linear)| mixed(mix).matmul(&self.att(&format!("{linear}.weight")).tr()));
        let decay = (-self.att("time_decay").exp()).exp().view([1, -1]).expand_as(&k);
        self.finish_56(&r, &k, &v, &g, &decay)
    }

    /// Token shift and decay depend on the token.
    fn time_mix_6(&self, x: &Tensor) -> Tensor {
        let xx = self.before(0, x) - x;
        let maa = |name: &str| self.att(&format!("time_maa_{name}")).view(-1);
        let low = (x + &xx * maa("x")).matmul(&self.att("time_maa_w1")).tanh(); // (T, 5 M)
        let low = low.view([x.size()[0], 5, -1]);
        let up = self.att("time_maa_w2");
        let mixed = |name: &str, group: i64| {
            let m = low.select(1, group).matmul(&up.get(group));
            x + &xx * (maa(name) + m)
        };
        let linear = |x: Tensor, name: &str| x.matmul(&self.att(&format!("{name}.weight")).tr());
        let w = mixed("w", 0).matmul(&self.att("time_decay_w1")).tanh();
        let w = w.matmul(&self.att("time_decay_w2")) + self.att("time_decay").view(-1);
        let k = linear(mixed("k", 1), "key");
        let v = linear(mixed("v", 2), "value");
        let r = linear(mixed("r", 3), "receptance");
        let g = linear(mixed("g", 4), "gate");
        self.finish_56(&r, &k, &v, &g, &(-w.exp()).exp())
    }

    /// Recurrence, head norm, gate and output projection of RWKV-5 and 6.
    fn finish_56(&self, r: &Tensor, k: &Tensor, v: &Tensor, g: &Tensor, decay: &Tensor) -> Tensor {
        let u = floats(&self.att("time_faaaa"));
        let rows = [r, k, v, decay].map(floats);
        let y = self.recur(r.size()[0] as usize, |h, t, s, at, y| {
            let n = self.shape.head_size as usize;
            let from = (t * self.shape.n_head as usize + h) * n;
            let [r, k, v, d] = rows.each_ref().map(|x| &x[from..from + n]);
            for key in 0..n {
                for value in 0..n {
                    let kv = k[key] * v[value];
                    let s = &mut s[at(key, value)];
                    y[value] += r[key] * (u[h * n + key] * kv + *s);
                    *s = *s * d[key] + kv;
                }
            }
        });
        (self.head_norm(&y) * g * g.sigmoid()).matmul(&self.att("output.weight").tr())
    }

    fn time_mix_7(&self, x: &Tensor, v_first: &mut Option<Tensor>) -> Tensor {
        let t = x.size()[0];
        let xx = self.before(0, x) - x;
        let vector = |name: &str| self.att(name).view(-1);
        let mixed = |name: &str| x + &xx * vector(name);
        let linear = |x: &Tensor, name: &str| x.matmul(&self.att(&format!("{name}.weight")).tr());
        let low_rank = |x: &Tensor, name: char| {
            let down = x.matmul(&self.att(&format!("{name}1")));
            let down = if name == 'w' { down.tanh() } else { down };
            down.matmul(&self.att(&format!("{name}2"))) + vector(&format!("{name}0"))
        };
        let r = linear(&mixed("x_r"), "receptance");
        let k = linear(&mixed("x_k"), "key");
        let mut v = linear(&mixed("x_v"), "value");
        let decay = (low_rank(&mixed("x_w"), 'w').sigmoid() * -(-0.5f64).exp()).exp();
        let iclr = low_rank(&mixed("x_a"), 'a').sigmoid();
        let g = mixed("x_g").matmul(&self.att("g1")).sigmoid().matmul(&self.att("g2"));
        match v_first {
            Some(first) => {
                let share = low_rank(&mixed("x_v"), 'v').sigmoid();
                v = &v + (&*first - &v) * share;
            }
            None => *v_first = Some(v.shallow_clone()),
        }
        let heads = [t, self.shape.n_head, self.shape.head_size];
        let kk = (&k * vector("k_k")).view(heads);
        let length = kk.square().sum_dim_intlist(&[-1i64][..], true, Kind::Float).sqrt();
        let kk = (kk / length.clamp_min(1e-12)).view([t, -1]);
        let k = &k * ((&iclr - 1.0) * vector("k_a") + 1.0);

        let rows = [&r, &k, &v, &decay, &kk.neg(), &(&kk * &iclr)].map(floats);
        let y = self.recur(t as usize, |h, t, s, at, y| {
            let n = self.shape.head_size as usize;
            let from = (t * self.shape.n_head as usize + h) * n;
            let [r, k, v, d, a, b] = rows.each_ref().map(|x| &x[from..from + n]);
            for value in 0..n {
                let sa: f32 = (0..n).map(|key| s[at(key, value)] * a[key]).sum();
                for key in 0..n {
                    let s = &mut s[at(key, value)];
                    *s = *s * d[key] + sa * b[key] + v[value] * k[key];
                    y[value] += *s * r[key];
                }
            }
        });
        let bonus = (&r * &k * vector("r_k")).view(heads);
        let bonus = bonus.sum_dim_intlist(&[-1i64][..], true, Kind::Float) * v.view(heads);
        ((self.head_norm(&y) + bonus.view([t, -1])) * g).matmul(&self.att("output.weight").tr())
    }

    fn channel_mix(&self, x: &Tensor) -> Tensor {
        let before = self.before(1, x);
        let mixed = |name: &str| match self.shape.arch {
            Arch::V5(_) => {
                let m = self.ffn(&format!("time_mix_{name}")).view(-1);
                x * &m + &before * (1.0 - &m)
            }
            Arch::V6(_) => x + (&before - x) * self.ffn(&format!("time_maa_{name}")).view(-1),
            Arch::V7(_) => x + (&before - x) * self.ffn(&format!("x_{name}")).view(-1),
        };
        let hidden = mixed("k").matmul(&self.ffn("key.weight").tr()).relu().square();
        let out = hidden.matmul(&self.ffn("value.weight").tr());
        match self.shape.arch {
            Arch::V7(_) => out,
            _ => out * mixed("r").matmul(&self.ffn("receptance.weight").tr()).sigmoid(),
        }
    }

    /// Runs `step(head, token, s, at, y)` over all tokens and heads, where `s[at(key, value)]` is the state of the head
    /// and `y[value]` its output. Returns (T, C).
    fn recur(
        &self,
        tokens: usize,
        step: impl Fn(usize, usize, &mut [f32], &dyn Fn(usize, usize) -> usize, &mut [f32]),
    ) -> Tensor {
        let (heads, n) = (self.shape.n_head as usize, self.shape.head_size as usize);
        let layout = self.emulator.layout;
        let at = move |key: usize, value: usize| match layout {
            Layout::KeyValue => key * n + value,
            Layout::ValueKey => value * n + key,
        };
        let mut states = self.emulator.states[self.i as usize].clone();
        let mut y = vec![0.0; tokens * heads * n];
        for t in 0..tokens {
            for h in 0..heads {
                let s = &mut states[h * n * n..(h + 1) * n * n];
                let from = (t * heads + h) * n;
                step(h, t, s, &at, &mut y[from..from + n]);
            }
        }
        Tensor::from_slice(&y).view([tokens as i64, -1])
    }

    /// Group norm over heads: (T, C) -> (T, C).
    fn head_norm(&self, y: &Tensor) -> Tensor {
        let t = y.size()[0];
        let y = y.view([t, self.shape.n_head, self.shape.head_size]);
        let centred = &y - y.mean_dim(-1, true, Kind::Float);
        let variance = centred.square().mean_dim(-1, true, Kind::Float);
        let normed = (centred / (variance + 64e-5).sqrt()).view([t, -1]);
        normed * self.att("ln_x.weight") + self.att("ln_x.bias")
    }
}

/// The elements in row-major order.
fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(x.contiguous().view(-1)).expect("float32 numbers")
}

/// Every N x N matrix transposed.
fn swapped(s: &[f32], n: usize) -> Vec<f32> {
    let mut swapped = vec![0.0; s.len()];
    for (from, to) in s.chunks(n * n).zip(swapped.chunks_mut(n * n)) {
        for i in 0..n {
            for j in 0..n {
                to[j * n + i] = from[i * n + j];
            }
        }
    }
    swapped
}

/// The elements of a tensor in a file in row-major order, or the reason why a program refuses them.
fn numbers(tensor: &TensorRef<'_>) -> Result<Vec<f32>, Text> {
    let bytes = tensor.bytes();
    let two = |convert: fn([u8; 2]) -> f32| {
        bytes.chunks_exact(2).map(|pair| convert([pair[0], pair[1]])).collect()
    };
    match tensor.dtype() {
        Dtype::BF16 => Ok(two(|pair| bf16::from_le_bytes(pair).to_f32())),
        Dtype::F16 => Ok(two(|pair| f16::from_le_bytes(pair).to_f32())),
        Dtype::F32 => Ok(bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect()),
        other => Err(msg!(TENSOR_IS, name = tensor.name(), other = other.to_string())),
    }
}
