//! Trainable parameters in one piece: sums over all of their numbers, and Adam.
//!
//! A piece is a contiguous float32 tensor of an even number of numbers. On a GPU each operation is one kernel of
//! `kernels/flat.cu`; on the CPU the digest is one of `kernels/flat_cpu.cpp`, and the others are tensor operations.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::KernelError;
use super::autograd::call_shim;
use super::cuda::{StageLaunch, stage_starts};

/// Numbers of a piece that tensor operations work on at a time: few enough for the second cache of a CPU.
const PART: i64 = 1 << 18;
/// Numbers that one thread sums. libtorch splits the sum of more than 32768 numbers by the number of threads.
pub const STRETCH: i64 = 16_384;

unsafe extern "C" {
    fn statetune_set_gradient(
        leaf: *const C_tensor,
        gradient: *const C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_flat_squares(
        start: StageLaunch,
        numbers: *const C_tensor,
        parts: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_flat_digest(
        start: Option<StageLaunch>,
        numbers: *const C_tensor,
        parts: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_copies(
        start: StageLaunch,
        leaves: *const *const C_tensor,
        n: usize,
        values: *const C_tensor,
        gradients: *const C_tensor,
        dtype: c_int,
        copies: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_flat_adam(
        start: StageLaunch,
        step: *const AdamStep,
        values: *const C_tensor,
        gradients: *const C_tensor,
        m: *const C_tensor,
        v: *const C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// The numbers of one step of Adam: `m = beta1 m + rest1 g`, `v = beta2 v + rest2 g^2`,
/// `p = decay p - rate m / (sqrt(v / bias2) + eps)`. `FlatAdam` of `kernels/flat.h`, whose pointers the shim fills in.
#[derive(Debug)]
#[repr(C)]
struct AdamStep {
    n: i64,
    arrays: [usize; 4],
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    bias2: f32,
    eps: f32,
    rate: f32,
    decay: f32,
}

const _: () = assert!(size_of::<AdamStep>() == 72, "as FlatAdam in kernels/flat.h");

/// How one step of Adam changes a piece.
#[derive(Clone, Copy, Debug)]
pub struct AdamRule {
    /// Decay of the running mean of gradients.
    pub beta1: f64,
    /// Decay of the running mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// The step, counted from 1.
    pub step: i32,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay; 0 turns it off.
    pub weight_decay: f64,
}

/// A piece of parameters with its gradients and running means.
#[derive(Debug)]
pub struct Pieces {
    /// The parameters.
    pub values: Tensor,
    /// Their gradients.
    pub gradients: Tensor,
    /// Running means of the gradients.
    pub m: Tensor,
    /// Running means of their squares.
    pub v: Tensor,
}

impl Pieces {
    /// One step of Adam: `p -= lr ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p)`.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn step(&mut self, rule: &AdamRule) -> Result<(), KernelError> {
        let _guard = tch::no_grad_guard();
        let AdamRule { beta1, beta2, eps, step, lr, weight_decay } = *rule;
        let (rate, bias2) = (lr / (1.0 - beta1.powi(step)), 1.0 - beta2.powi(step));
        let decay = 1.0 - lr * weight_decay;
        if let Some(starts) = stage_starts(&self.values) {
            let step = AdamStep {
                n: 0,
                arrays: [0; 4],
                beta1: beta1 as f32,
                rest1: (1.0 - beta1) as f32,
                beta2: beta2 as f32,
                rest2: (1.0 - beta2) as f32,
                bias2: bias2 as f32,
                eps: eps as f32,
                rate: rate as f32,
                decay: decay as f32,
            };
            let [values, gradients, m, v] =
                [&self.values, &self.gradients, &self.m, &self.v].map(Tensor::as_ptr);
            return call_shim(|message, len| {
                // SAFETY: the tensors outlive the call; they are pieces of one size on the device of the kernels.
                unsafe {
                    statetune_flat_adam(starts.stage, &step, values, gradients, m, v, message, len)
                }
            });
        }
        for (first, len) in parts(&self.values) {
            let part = |x: &Tensor| x.narrow(0, first, len);
            let (mut p, g) = (part(&self.values), part(&self.gradients));
            let (mut m, mut v) = (part(&self.m), part(&self.v));
            let _ = m.g_mul_scalar_(beta1).g_add_(&(&g * (1.0 - beta1)));
            let _ = v.g_mul_scalar_(beta2).g_add_(&(g.square() * (1.0 - beta2)));
            if weight_decay > 0.0 {
                let _ = p.g_mul_scalar_(decay);
            }
            let denominator = (v / bias2).sqrt() + eps;
            let _ = p.g_sub_(&(m * rate / denominator));
        }
        Ok(())
    }
}

thread_local! {
    /// The copies of parameters on this thread, by the address of their first number.
    static COPIES: RefCell<HashMap<usize, Tensor>> = RefCell::default();
}

/// Copies of the parameters of a piece, which [`in_kind`] finds until this is dropped.
#[derive(Debug)]
pub struct Copies(());

impl Drop for Copies {
    fn drop(&mut self) {
        COPIES.with_borrow_mut(HashMap::clear);
    }
}

/// On a GPU copies of `leaves`, the parameters of the piece `values`, in `kind`, for [`in_kind`] on this thread. One kernel makes
/// them all, and one adds the gradients of up to 64 of them to `gradients`.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn copies<'a>(
    values: &Tensor,
    gradients: &Tensor,
    leaves: impl Iterator<Item = &'a Tensor>,
    kind: Kind,
) -> Result<Option<Copies>, KernelError> {
    // The numbers of libtorch.
    let dtype = match kind {
        Kind::Half => 5,
        Kind::BFloat16 => 15,
        _ => return Ok(None),
    };
    let starts = stage_starts(values);
    let leaves: Vec<&Tensor> = leaves.filter(|leaf| leaf.numel() > 0).collect();
    let Some(starts) = starts.filter(|_| !leaves.is_empty()) else { return Ok(None) };
    let pointers: Vec<*const C_tensor> = leaves.iter().map(|leaf| leaf.as_ptr()).collect();
    let mut copies: Vec<*mut C_tensor> = vec![null_mut(); leaves.len()];
    call_shim(|message, len| {
        // SAFETY: the tensors outlive the call, and there is room for a copy of each leaf.
        unsafe {
            statetune_copies(
                starts.stage,
                pointers.as_ptr(),
                pointers.len(),
                values.as_ptr(),
                gradients.as_ptr(),
                dtype,
                copies.as_mut_ptr(),
                message,
                len,
            )
        }
    })?;
    let addresses = leaves.iter().map(|leaf| leaf.data_ptr().addr());
    // SAFETY: on success all pointers are tensors that the shim allocated for the caller to own.
    let copies = copies.into_iter().map(|copy| unsafe { Tensor::from_ptr(copy) });
    COPIES.set(addresses.zip(copies).collect());
    Ok(Some(Copies(())))
}

/// `x` in `kind`, through autograd: a parameter's copy where [`Copies`] live.
pub fn in_kind(x: &Tensor, kind: Kind) -> Tensor {
    let copy = COPIES.with_borrow(|copies| {
        copies.get(&x.data_ptr().addr()).filter(|_| x.requires_grad()).map(Tensor::shallow_clone)
    });
    copy.filter(|copy| copy.kind() == kind).unwrap_or_else(|| x.to_kind(kind))
}

/// Makes `gradient`, of the same size, the tensor into which backward passes accumulate the gradient of `leaf`.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn set_gradient(leaf: &Tensor, gradient: &Tensor) -> Result<(), KernelError> {
    call_shim(|message, len| {
        // SAFETY: both tensors outlive the call; the leaf takes a reference of its own.
        unsafe { statetune_set_gradient(leaf.as_ptr(), gradient.as_ptr(), message, len) }
    })
}

/// The sum of the squares of all numbers, in an order that does not depend on the number of threads: a float64 on the device.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn sum_of_squares(numbers: &Tensor) -> Result<Tensor, KernelError> {
    let _guard = tch::no_grad_guard();
    if let Some(starts) = stage_starts(numbers) {
        return Ok(squares_of_parts(starts.stage, numbers)?.sum(Kind::Double));
    }
    let n = numbers.numel() as i64;
    let whole = n - n % STRETCH;
    let stretches = squares_of_stretches(&numbers.narrow(0, 0, whole))?;
    sum_of_stretches(&stretches, &numbers.narrow(0, whole, n - whole))
}

/// The sums of the squares of the parts of a piece that a GPU sums, of which a [`STRETCH`] has a whole number: float64.
fn squares_of_parts(start: StageLaunch, numbers: &Tensor) -> Result<Tensor, KernelError> {
    if numbers.numel() == 0 {
        return Ok(Tensor::zeros([0], (Kind::Double, numbers.device())));
    }
    made(|parts, message, len| {
        // SAFETY: the tensor outlives the call and is a piece on the device of the kernels.
        unsafe { statetune_flat_squares(start, numbers.as_ptr(), parts, message, len) }
    })
}

/// The sums of the squares of each [`STRETCH`] of `numbers` (n [`STRETCH`]): (n) float64. On a GPU, of each part of a stretch: a multiple of n.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn squares_of_stretches(numbers: &Tensor) -> Result<Tensor, KernelError> {
    let _guard = tch::no_grad_guard();
    if let Some(starts) = stage_starts(numbers) {
        return squares_of_parts(starts.stage, numbers);
    }
    let sums = parts(numbers).map(|(first, len)| {
        let squares = numbers.narrow(0, first, len).square();
        squares.view([-1, STRETCH]).sum_dim_intlist(1, false, Kind::Double)
    });
    let sums: Vec<Tensor> = sums.collect();
    Ok(match sums.is_empty() {
        true => Tensor::zeros([0], (Kind::Double, numbers.device())),
        false => Tensor::cat(&sums, 0),
    })
}

/// The sum of squares of a piece from those of its `stretches`, and from the numbers after them, fewer than a stretch: to the bit
/// that of [`sum_of_squares`]. On a CPU the [`sum`] of every part of the piece, and of these.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn sum_of_stretches(stretches: &Tensor, rest: &Tensor) -> Result<Tensor, KernelError> {
    let _guard = tch::no_grad_guard();
    if let Some(starts) = stage_starts(rest) {
        let rest = squares_of_parts(starts.stage, rest)?;
        return Ok(Tensor::cat(&[stretches, &rest], 0).sum(Kind::Double));
    }
    let n = stretches.numel() as i64 * STRETCH + rest.numel() as i64;
    let rest = rest.square().sum(Kind::Double).view([1]);
    let sums = parts_of(n).map(|(first, len)| {
        let of_part = stretches.narrow(0, first / STRETCH, len / STRETCH);
        let rest = if first + len == n { rest.shallow_clone() } else { rest.zeros_like() };
        match len {
            ..STRETCH => rest.view([]),
            STRETCH => of_part.view([]),
            _ => Tensor::cat(&[of_part, rest], 0).sum(Kind::Double),
        }
    });
    let sums: Vec<Tensor> = sums.collect();
    Ok(match sums.is_empty() {
        true => Tensor::zeros([], (Kind::Double, stretches.device())),
        false => sum(&Tensor::stack(&sums, 0)),
    })
}

/// The digest of all numbers, the same on every device, and how many of them are NaN or infinite: (2) int64 on the
/// device. `kernels/flat.h` defines the digest.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn digest(numbers: &Tensor) -> Result<Tensor, KernelError> {
    let _guard = tch::no_grad_guard();
    let start = stage_starts(numbers).map(|starts| starts.stage);
    let parts = made(|parts, message, len| {
        // SAFETY: the tensor outlives the call and is a piece where the kernels are.
        unsafe { statetune_flat_digest(start, numbers.as_ptr(), parts, message, len) }
    })?;
    Ok(parts.sum_dim_intlist(1, false, Kind::Int64))
}

/// First index and length of the parts of a piece.
fn parts(piece: &Tensor) -> impl Iterator<Item = (i64, i64)> + use<> {
    parts_of(piece.numel() as i64)
}

/// Those of a piece of `n` numbers.
fn parts_of(n: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..n).step_by(PART as usize).map(move |first| (first, PART.min(n - first)))
}

/// The sum of all numbers in float64, in an order that does not depend on the number of threads: stretches first, then
/// their sums.
pub fn sum(numbers: &Tensor) -> Tensor {
    let mut numbers = numbers.reshape([-1]);
    while numbers.numel() as i64 > STRETCH {
        let rest = numbers.numel() as i64 % STRETCH;
        let whole = numbers.numel() as i64 - rest;
        let stretches = numbers.narrow(0, 0, whole).view([-1, STRETCH]);
        let stretches = stretches.sum_dim_intlist(1, false, Kind::Double);
        let rest = numbers.narrow(0, whole, rest).sum(Kind::Double).view([1]);
        numbers = Tensor::cat(&[stretches, rest], 0);
    }
    numbers.sum(Kind::Double)
}

/// The tensor that a function of the shim makes.
fn made(
    shim: impl FnOnce(*mut *mut C_tensor, *mut c_char, usize) -> c_int,
) -> Result<Tensor, KernelError> {
    let mut out: *mut C_tensor = null_mut();
    call_shim(|message, len| shim(&mut out, message, len))?;
    // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn piece(n: i64) -> Tensor {
        let i = Tensor::arange(n, (Kind::Double, Device::Cpu));
        (i * 0.37).sin().to_kind(Kind::Float)
    }

    fn digest_of(numbers: &Tensor) -> [i64; 2] {
        let found = Vec::<i64>::try_from(digest(numbers).expect("a digest")).expect("two numbers");
        [found[0], found[1]]
    }

    #[test]
    fn a_digest_tells_values_and_places_apart() {
        let numbers = piece(1000);
        let whole = digest_of(&numbers);
        assert_eq!(whole, digest_of(&numbers.copy()));
        assert_eq!(whole[1], 0);
        for at in [0, 1, 2, 499, 999] {
            let other = numbers.copy();
            let _ = other.get(at).g_add_scalar_(1e-3);
            assert_ne!(digest_of(&other), whole, "number {at} changed");
        }
        assert_ne!(digest_of(&numbers.flip([0])), whole, "the order");
        let exchanged = numbers.copy();
        exchanged.narrow(0, 0, 2).copy_(&numbers.narrow(0, 2, 2));
        exchanged.narrow(0, 2, 2).copy_(&numbers.narrow(0, 0, 2));
        assert_ne!(digest_of(&exchanged), whole, "two words exchanged");
    }

    #[test]
    fn a_digest_counts_what_is_not_finite() {
        let numbers = piece(40_000);
        for (at, value) in [(0, f64::NAN), (7, f64::INFINITY), (39_999, f64::NEG_INFINITY)] {
            let _ = numbers.get(at).fill_(value);
        }
        assert_eq!(digest_of(&numbers)[1], 3);
    }

    /// Neither the place at which a piece is cut nor the length of the whole changes a bit of the sum that an earlier version took.
    #[test]
    fn a_sum_of_squares_can_be_put_together_from_stretches() {
        let before = |numbers: &Tensor| {
            let part = |(first, len)| sum(&numbers.narrow(0, first, len).square());
            sum(&Tensor::stack(&parts(numbers).map(part).collect::<Vec<_>>(), 0))
        };
        for n in [2, 480, STRETCH, STRETCH + 16, 3 * STRETCH, PART, PART + STRETCH, 3 * PART + 7000]
        {
            let numbers = piece(n);
            let expected = before(&numbers).double_value(&[]).to_bits();
            let found = sum_of_squares(&numbers).expect("a sum").double_value(&[]).to_bits();
            assert_eq!(found, expected, "{n} numbers");
            let stretch = |i| squares_of_stretches(&numbers.narrow(0, i * STRETCH, STRETCH));
            let each = (0..n / STRETCH).map(stretch).collect::<Result<Vec<Tensor>, _>>();
            let each = each.expect("sums");
            if each.is_empty() {
                continue;
            }
            let rest = numbers.narrow(0, n - n % STRETCH, n % STRETCH);
            let found = sum_of_stretches(&Tensor::cat(&each, 0), &rest).expect("a sum");
            let found = found.double_value(&[]);
            assert_eq!(found.to_bits(), expected, "{n} numbers in stretches");
        }
    }

    #[test]
    fn sums_and_digests_do_not_depend_on_the_number_of_threads() {
        let numbers = piece(300_000);
        let threads = tch::get_num_threads();
        let found = [1, 2, 3, 7].map(|n| {
            tch::set_num_threads(n);
            let sum = sum_of_squares(&numbers).expect("a sum").double_value(&[]);
            (sum.to_bits(), digest_of(&numbers))
        });
        tch::set_num_threads(threads);
        assert_eq!(found, [found[0]; 4]);
        let expected = numbers.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
        assert!((f64::from_bits(found[0].0) / expected - 1.0).abs() < 1e-7);
    }
}
