//! Layer norm, token shift and the mixes of a token with the one before.
//!
//! Shapes: B rows, T tokens, C channels.

use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::super::autograd::call_shim;
use super::{
    GPU_CHANNELS, KernelError, Op, Packed, Place, StageLaunch, learns, place_of_rows, wide,
};

const EPS: f64 = 1e-5;

unsafe extern "C" {
    fn statetune_norm_mix(
        x: *const C_tensor,
        shares: *const C_tensor,
        before: *const C_tensor,
        restarts: *const C_tensor,
        params: *const C_tensor,
        start: Option<StageLaunch>,
        out: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// How much of a mixture is the token before: a tensor of C numbers.
#[derive(Debug)]
pub enum Share {
    /// The share of the token before.
    Before(Tensor),
    /// The share of the token itself, which with that of the token before adds up to 1.
    Own(Tensor),
}

impl Share {
    /// The share of the token before, where that is what is kept.
    fn of_before(&self) -> Option<&Tensor> {
        match self {
            Share::Before(share) => Some(share),
            Share::Own(_) => None,
        }
    }
}

/// Layer norm and mixes: `n_t = norm(x_t)`, and each mixture `n_t + (n_{t-1} - n_t) share`.
#[derive(Debug)]
pub struct NormMix {
    weight: Tensor,
    bias: Tensor,
    shares: Vec<Share>,
    packed: Packed,
}

/// What becomes of an input.
#[derive(Debug)]
pub struct Mixed {
    /// The mixtures, each (B, T, C).
    pub mixtures: Vec<Tensor>,
    /// The normed last token: (B, C).
    pub last: Tensor,
    /// The input itself, (B, T, C). What uses this one in place of the input has its gradient added in the same pass.
    pub x: Tensor,
}

/// What is normed and mixed.
#[derive(Clone, Copy, Debug)]
pub struct MixInput<'a> {
    /// Which implementation computes.
    pub op: Op,
    /// (B, T, C)
    pub x: &'a Tensor,
    /// What stands, normed, before the first token and before each token at which a document begins: (B, C).
    pub before: &'a Tensor,
    /// (B, T) bool, true where a document begins.
    pub restarts: Option<&'a Tensor>,
}

impl NormMix {
    /// The stage with weight and bias (C) of its norm.
    pub fn new(weight: Tensor, bias: Tensor, shares: Vec<Share>) -> NormMix {
        let same = |x: &Tensor| x.shallow_clone();
        let mut rows = vec![same(&weight), same(&bias)];
        rows.extend(shares.iter().map(|share| match share {
            Share::Before(x) => same(x),
            Share::Own(x) => 1.0 - wide(x),
        }));
        let packed = Packed::new(&rows);
        NormMix { weight, bias, shares, packed }
    }

    /// Norms and mixes the input. `moving` (n, B, T, C) is added to the share of the token before in each of the n
    /// mixtures.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn apply(
        &self,
        input: &MixInput<'_>,
        moving: Option<&Tensor>,
    ) -> Result<Mixed, KernelError> {
        let place = place_of_rows(input.op, input.x, GPU_CHANNELS);
        match self.packed.of_kernel(place) {
            Some((place, params)) => self.fused(place, input, moving, params),
            None => Ok(self.plain(input, moving)),
        }
    }

    fn plain(&self, input: &MixInput<'_>, moving: Option<&Tensor>) -> Mixed {
        let x = layer_norm(input.x, &self.weight, &self.bias);
        let shifted = token_shift(&x, input.before, input.restarts);
        let step = &shifted - &x;
        let last = x.select(1, x.size()[1] - 1);
        if moving.is_none() && x.device() != Device::Cpu {
            let shares: Option<Vec<&Tensor>> = self.shares.iter().map(Share::of_before).collect();
            if let Some(shares) = shares {
                let mixtures = mixed_at_once(&x, &step, &shares);
                return Mixed { mixtures, last, x: input.x.shallow_clone() };
            }
        }
        let mixed = |(i, share): (i64, &Share)| match (share, moving) {
            (Share::Before(share), None) => x.addcmul(&step, share),
            (Share::Before(share), Some(moving)) => x.addcmul(&step, &(share + moving.get(i))),
            (Share::Own(own), None) => shifted.addcmul(&step.neg(), own),
            (Share::Own(own), Some(moving)) => shifted.addcmul(&step.neg(), &(own - moving.get(i))),
        };
        let mixtures = (0..).zip(&self.shares).map(mixed).collect();
        Mixed { mixtures, last, x: input.x.shallow_clone() }
    }

    fn fused(
        &self,
        place: Place,
        input: &MixInput<'_>,
        moving: Option<&Tensor>,
        params: &Tensor,
    ) -> Result<Mixed, KernelError> {
        let [x, before] = [input.x, input.before].map(Tensor::contiguous);
        let [moving, restarts] = [moving, input.restarts].map(|x| x.map(Tensor::contiguous));
        let pointer = |x: &Option<Tensor>| x.as_ref().map_or(null(), Tensor::as_ptr);
        let mut out: Vec<*mut C_tensor> = vec![null_mut(); self.shares.len() + 2];
        call_shim(|message, len| {
            // SAFETY: the tensors outlive the call and have the shapes, dtypes and contiguity that the shim
            // documents; there is room for the mixtures, the last token and x.
            unsafe {
                statetune_norm_mix(
                    x.as_ptr(),
                    pointer(&moving),
                    before.as_ptr(),
                    pointer(&restarts),
                    params.as_ptr(),
                    place.start(),
                    out.as_mut_ptr(),
                    message,
                    len,
                )
            }
        })?;
        // SAFETY: on success all pointers are tensors that the shim allocated for the caller to own.
        let mut mixtures: Vec<Tensor> =
            out.into_iter().map(|x| unsafe { Tensor::from_ptr(x) }).collect();
        let x = mixtures.pop().expect("the input");
        let last = mixtures.pop().expect("the last token");
        Ok(Mixed { mixtures, last, x })
    }
}

/// Layer norm over the channels, with weight and bias (C): x (.., C) -> (.., C).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    if x.device() == Device::Cpu && learns(weight) {
        // libtorch adds up the gradients of the weights of a norm by threads, those of a product in one order. Float32 as
        // within libtorch's norm, so that the result is the same.
        let normed = wide(x).layer_norm::<Tensor>(weight.size(), None, None, EPS, false);
        return wide(bias).addcmul(&normed, &wide(weight)).to_kind(x.kind());
    }
    x.layer_norm(weight.size(), Some(weight), Some(bias), EPS, false)
}

/// `x + step * share` (B, T, C) for each share (.., C), in few operations: on a GPU each is a launch, back as well.
fn mixed_at_once(x: &Tensor, step: &Tensor, shares: &[&Tensor]) -> Vec<Tensor> {
    let shares: Vec<Tensor> = shares.iter().map(|share| share.reshape([1, 1, -1])).collect();
    x.addcmul(step, &Tensor::stack(&shares, 0)).unbind(0)
}

/// What stood one token earlier: (B, T, C). `before` (B, C) stands before the first token and before each token at
/// which a document begins.
fn token_shift(x: &Tensor, before: &Tensor, restarts: Option<&Tensor>) -> Tensor {
    let t = x.size()[1];
    let before = before.unsqueeze(1);
    let shifted = Tensor::cat(&[&before, &x.narrow(1, 0, t - 1)], 1);
    match restarts {
        Some(restarts) => before.where_self(&restarts.unsqueeze(-1), &shifted),
        None => shifted,
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn mixtures_at_once_are_those_one_by_one_with_their_gradients() {
        let leaf = |size: &[i64], phase: f64| {
            let i = Tensor::arange(size.iter().product::<i64>(), (Kind::Double, Device::Cpu));
            (i * 0.37 + phase).sin().view(size).set_requires_grad(true)
        };
        let outcome = |at_once: bool| {
            let (x, step) = (leaf(&[2, 3, 5], 0.0), leaf(&[2, 3, 5], 1.0));
            let shares = [leaf(&[1, 1, 5], 2.0), leaf(&[5], 3.0), leaf(&[1, 1, 5], 4.0)];
            let mixtures = match at_once {
                true => mixed_at_once(&x, &step, &shares.each_ref()),
                false => shares.iter().map(|share| x.addcmul(&step, share)).collect(),
            };
            let y = Tensor::stack(&mixtures, 0);
            (&y * y.detach().cos()).sum(Kind::Double).backward();
            let leaves = [x, step].into_iter().chain(shares);
            [y.detach()].into_iter().chain(leaves.map(|x| x.grad())).collect::<Vec<_>>()
        };
        for (found, expected) in outcome(true).iter().zip(&outcome(false)) {
            assert!(found.allclose(expected, 1e-13, 1e-14, false), "{found} {expected}");
        }
    }

    #[test]
    fn a_document_starts_from_what_stands_before_its_row() {
        let x = Tensor::arange_start(1, 9, (Kind::Float, Device::Cpu)).view([2, 4, 1]);
        let before = Tensor::from_slice(&[-1f32, -2.0]).view([2, 1]);
        let restarts = Tensor::from_slice(&[false, false, true, false, true, false, false, false]);
        let expect = |shifted: Tensor, values: [f32; 8]| {
            assert_eq!(Vec::<f32>::try_from(shifted.view(-1)).expect("a vector"), values);
        };
        expect(token_shift(&x, &before, None), [-1.0, 1.0, 2.0, 3.0, -2.0, 5.0, 6.0, 7.0]);
        expect(
            token_shift(&x, &before, Some(&restarts.view([2, 4]))),
            [-1.0, 1.0, -1.0, 3.0, -2.0, 5.0, 6.0, 7.0],
        );
    }
}
