//! The time mix of RWKV-7 between its matrix products: the operands of the recurrence, the recurrence, and the norm of the
//! heads with bonus and gate.
//!
//! Formulas: arXiv:2503.14456, section 4. Shapes: B rows, T tokens, C = H * N channels.

use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::super::autograd::call_shim;
use super::super::{Wkv7, wkv7};
use super::head_gate::head_norm;
use super::{GPU_HEAD_SIZE, KernelError, Op, Packed, Place, StageLaunch, place_of_rows};
use crate::kernels::cuda::Launch;

/// Smallest length by which `kk` is divided.
const NORM_FLOOR: f64 = 1e-12;

unsafe extern "C" {
    fn statetune_time_mix7(
        inputs: *const *const C_tensor,
        n: usize,
        params: *const C_tensor,
        restarts: *const C_tensor,
        stage: Option<StageLaunch>,
        wkv: Option<Launch>,
        out: *mut *mut C_tensor,
        s_last: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// Parameters of C numbers each; `r_k` is (H, N).
#[derive(Debug)]
pub struct TimeMix7Params {
    w0: Tensor,
    a0: Tensor,
    v0: Option<Tensor>,
    k_k: Tensor,
    k_a: Tensor,
    r_k: Tensor,
    ln_x: [Tensor; 2],
    packed: Packed,
}

/// The products with the matrices, each (B, T, C).
#[derive(Clone, Copy, Debug)]
pub struct TimeMix7Inputs<'a> {
    /// Receptance.
    pub r: &'a Tensor,
    /// Key.
    pub k: &'a Tensor,
    /// Value.
    pub v: &'a Tensor,
    /// Of the decay, without `w0`.
    pub w_low: &'a Tensor,
    /// Of the in-context learning rate, without `a0`.
    pub a_low: &'a Tensor,
    /// The gate.
    pub g: &'a Tensor,
    /// In blocks that mix the values of block 0 in: the product for their share, without `v0`, and those values.
    pub values: Option<(&'a Tensor, &'a Tensor)>,
}

impl TimeMix7Params {
    /// The parameters by their names in a checkpoint; `ln_x` is weight and bias of the norm of the heads.
    pub fn new(
        [w0, a0, k_k, k_a, r_k]: [Tensor; 5],
        v0: Option<Tensor>,
        ln_x: [Tensor; 2],
    ) -> TimeMix7Params {
        let same = |x: &Tensor| x.shallow_clone();
        let v0_row = v0.as_ref().map_or_else(|| w0.detach().zeros_like(), same);
        // In the order of `Wkv7Param` in kernels/block.h.
        let packed = Packed::new(&[
            same(&w0),
            same(&a0),
            v0_row,
            same(&k_k),
            same(&k_a),
            same(&r_k),
            same(&ln_x[0]),
            same(&ln_x[1]),
        ]);
        TimeMix7Params { w0, a0, v0, k_k, k_a, r_k, ln_x, packed }
    }
}

/// What the output matrix of a time mix multiplies, (B, T, C), and the WKV state after the last token. `s0` and
/// `restarts` as for [`wkv7`].
///
/// # Errors
/// Those of [`wkv7`].
pub fn time_mix7(
    op: Op,
    params: &TimeMix7Params,
    inputs: &TimeMix7Inputs<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let [b, t, c] = inputs.r.size()[..] else { unreachable!("r has three axes") };
    let [h, n] = params.r_k.size()[..] else { unreachable!("r_k has two axes") };
    let place = place_of_rows(op, &inputs.r.view([b, t, h, n]), GPU_HEAD_SIZE);
    let Some((place, packed)) = params.packed.of_kernel(place) else {
        return params.plain(op, inputs, s0, restarts, [b, t, c, h, n]);
    };
    // The operands of an emulated GPU are on the CPU.
    let checked = if inputs.r.device() == Device::Cpu { Op::Cpu } else { op };
    let [r, w, k, v, a] =
        [inputs.r, inputs.w_low, inputs.k, inputs.v, inputs.a_low].map(|x| x.view([b, t, h, n]));
    Wkv7 { r: &r, w: &w, k: &k, v: &v, a: &a, b: &a }.check(checked, s0, restarts)?;
    fused(place, packed, inputs, s0, restarts)
}

impl TimeMix7Params {
    fn plain(
        &self,
        op: Op,
        inputs: &TimeMix7Inputs<'_>,
        s0: &Tensor,
        restarts: Option<&Tensor>,
        [b, t, c, h, n]: [i64; 5],
    ) -> Result<(Tensor, Tensor), KernelError> {
        let TimeMix7Inputs { r, k, v, w_low, a_low, g, values } = *inputs;
        let heads = |x: &Tensor| x.view([b, t, h, n]);
        let w = (&self.w0 + w_low).log_sigmoid() - 0.5;
        let iclr = (&self.a0 + a_low).sigmoid();
        let v = match (values, &self.v0) {
            (Some((v_low, first)), Some(v0)) => v.lerp_tensor(first, &(v0 + v_low).sigmoid()),
            _ => v.shallow_clone(),
        };

        // kk is made of k before the learning rate scales it.
        let kk = heads(&(k * &self.k_k));
        let length = kk.norm_scalaropt_dim(2.0, [-1i64], true).clamp_min(NORM_FLOOR);
        let kk = kk / length;
        let k = k * ((&iclr - 1.0) * &self.k_a + 1.0);

        let (r, w, k, v) = (heads(r), heads(&w), heads(&k), heads(&v));
        let (a, b_) = (kk.neg(), &kk * heads(&iclr));
        let ops = Wkv7 { r: &r, w: &w, k: &k, v: &v, a: &a, b: &b_ };
        let (y, wkv) = wkv7(op, &ops, s0, restarts)?;

        let bonus = (&r * &k * &self.r_k).sum_dim_intlist(&[-1i64][..], true, None::<Kind>) * &v;
        Ok(((head_norm(&y, &self.ln_x) + bonus.view([b, t, c])) * g, wkv))
    }
}

fn fused(
    place: Place,
    params: &Tensor,
    inputs: &TimeMix7Inputs<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let TimeMix7Inputs { r, k, v, w_low, a_low, g, values } = *inputs;
    // In the order of `Input` in kernels/time_mix7_call.h.
    let mut all = vec![r, k, v, w_low, a_low, g, s0];
    all.extend(values.into_iter().flat_map(|(v_low, first)| [v_low, first]));
    let all: Vec<Tensor> = all.into_iter().map(Tensor::contiguous).collect();
    let pointers: Vec<*const C_tensor> = all.iter().map(Tensor::as_ptr).collect();
    let restarts = restarts.map(Tensor::contiguous);
    let restarts = restarts.as_ref().map_or(null(), Tensor::as_ptr);
    let (mut out, mut s_last): (*mut C_tensor, *mut C_tensor) = (null_mut(), null_mut());
    let starts = match place {
        Place::Cpu => None,
        Place::Gpu(starts) => Some(starts),
    };
    call_shim(|message, len| {
        // SAFETY: the pointers are those of live tensors that outlive the call, seven or nine; shapes, dtypes and
        // device were checked; all are contiguous.
        unsafe {
            statetune_time_mix7(
                pointers.as_ptr(),
                pointers.len(),
                params.as_ptr(),
                restarts,
                starts.map(|starts| starts.stage),
                starts.map(|starts| starts.wkv),
                &mut out,
                &mut s_last,
                message,
                len,
            )
        }
    })?;
    // SAFETY: on success both pointers are tensors that the shim allocated for the caller to own.
    Ok(unsafe { (Tensor::from_ptr(out), Tensor::from_ptr(s_last)) })
}
