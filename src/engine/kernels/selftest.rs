//! Compares the kernels on the device of this machine with the reference in float64 on the CPU, in a second or two.

use std::time::{Duration, Instant};

use tch::{Cuda, Device, Kind, Tensor};

use super::reference::relative_error;
use super::{HEAD_SIZE, KernelError, Op, Wkv5, Wkv6, Wkv7, backward, wkv5, wkv6, wkv7};

/// Tokens and heads of the comparison. The reference takes one token at a time.
const COMPARED: (i64, i64) = (70, 2);
/// Tokens and heads that are timed: a layer of the 0.1B model.
const TIMED: (i64, i64) = (512, 12);
/// Repetitions of the timing, of which the fastest counts.
const TIMES: usize = 5;
/// Largest error of a correct float32 kernel.
const TOLERANCE: f64 = 2e-5;

/// A recurrence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recurrence {
    /// That of RWKV-5.
    Wkv5,
    /// That of RWKV-6.
    Wkv6,
    /// That of RWKV-7.
    Wkv7,
}

impl Recurrence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wkv5, Self::Wkv6, Self::Wkv7];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wkv5 => "wkv5",
            Self::Wkv6 => "wkv6",
            Self::Wkv7 => "wkv7",
        }
    }

    /// Operands like those of a model, in the order of the formula, and an initial state: float32.
    fn operands(self, (t, h): (i64, i64), device: Device) -> Vec<Tensor> {
        let n = HEAD_SIZE;
        let randn = |size: &[i64]| Tensor::randn(size, (Kind::Float, device));
        let of_tokens = || randn(&[1, t, h, n]);
        // The decay's operand is at most -0.5.
        let decay = |x: Tensor| -x.neg().softplus() - 0.5;
        let [r, k, v] = [0; 3].map(|_| of_tokens());
        let mut operands = match self {
            Self::Wkv5 => vec![r, decay(randn(&[h, n])), k, v, randn(&[h, n])],
            Self::Wkv6 => vec![r, decay(of_tokens()), k, v, randn(&[h, n])],
            Self::Wkv7 => {
                let kk = of_tokens();
                let length = (&kk * &kk).sum_dim_intlist(-1, true, Kind::Float).sqrt();
                let kk = kk / length;
                let b = &kk * of_tokens().sigmoid();
                vec![r, decay(of_tokens()), k, v, -kk, b]
            }
        };
        operands.push(randn(&[1, h, n, n]));
        operands
    }

    /// y and the last state.
    fn compute(self, op: Op, x: &[Tensor]) -> Result<(Tensor, Tensor), KernelError> {
        let [r, w, k, v] = [&x[0], &x[1], &x[2], &x[3]];
        let s0 = &x[x.len() - 1];
        match self {
            Self::Wkv5 => wkv5(op, &Wkv5 { r, w, k, v, u: &x[4] }, s0, None),
            Self::Wkv6 => wkv6(op, &Wkv6 { r, w, k, v, u: &x[4] }, s0, None),
            Self::Wkv7 => wkv7(op, &Wkv7 { r, w, k, v, a: &x[4], b: &x[5] }, s0, None),
        }
    }
}

/// How a kernel compares with the reference.
#[derive(Clone, Debug)]
pub struct KernelCheck {
    /// The recurrence.
    pub recurrence: Recurrence,
    /// The largest [`relative_error`] of the result, the last state and all gradients.
    pub error: f64,
    /// The largest error of a correct kernel.
    pub tolerance: f64,
    /// Tokens a second of the forward pass in one layer of the 0.1B model.
    pub tokens_per_sec: f64,
}

impl KernelCheck {
    /// Whether the kernel is correct. A NaN error is not.
    pub fn is_correct(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// Compares the kernel `op` of a recurrence with the reference on `device`, and times it.
///
/// # Errors
/// A kernel that does not run.
pub fn check_kernel(
    recurrence: Recurrence,
    op: Op,
    device: Device,
) -> Result<KernelCheck, KernelError> {
    check(recurrence, device, |x| recurrence.compute(op, x))
}

/// [`check_kernel`] of anything that computes y and the last state.
fn check(
    recurrence: Recurrence,
    device: Device,
    kernel: impl Fn(&[Tensor]) -> Result<(Tensor, Tensor), KernelError>,
) -> Result<KernelCheck, KernelError> {
    tch::manual_seed(7);
    let operands = recurrence.operands(COMPARED, Device::Cpu);
    let exact: Vec<Tensor> = operands.iter().map(|x| x.to_kind(Kind::Double)).collect();
    let expected = outcome(&exact, |x| recurrence.compute(Op::Reference, x))?;
    let operands: Vec<Tensor> = operands.iter().map(|x| x.to_device(device)).collect();
    poison(&expected, device);
    let found = outcome(&operands, &kernel)?;
    let found = found.iter().map(|x| x.to_device(Device::Cpu));
    let errors = found.zip(&expected).map(|(found, expected)| relative_error(&found, expected));
    // A NaN among the errors is kept.
    let error = errors.fold(0.0, |worst: f64, error| if worst >= error { worst } else { error });
    let tokens_per_sec = TIMED.0 as f64 / fastest(recurrence, device, &kernel)?.as_secs_f64();
    Ok(KernelCheck { recurrence, error, tolerance: TOLERANCE, tokens_per_sec })
}

/// Fills free memory of the device with NaN, in pieces of the sizes of these results: what a kernel does not write is
/// then not by chance what a kernel before it left there.
fn poison(results: &[Tensor], device: Device) {
    let nan = |x: &Tensor| Tensor::full(x.size(), f64::NAN, (Kind::Float, device));
    let held: Vec<[Tensor; 2]> = results.iter().map(|x| [nan(x), nan(x)]).collect();
    drop(held);
}

/// y, the last state, and the gradient of every operand for given gradients of these two.
fn outcome(
    operands: &[Tensor],
    kernel: impl Fn(&[Tensor]) -> Result<(Tensor, Tensor), KernelError>,
) -> Result<Vec<Tensor>, KernelError> {
    let leaves: Vec<Tensor> =
        operands.iter().map(|x| x.detach().copy().set_requires_grad(true)).collect();
    let (y, s) = kernel(&leaves)?;
    let (dy, ds) = (operands[0].sin(), operands[operands.len() - 1].cos());
    backward(&[(&y, &dy), (&s, &ds)])?;
    let gradients = leaves.iter().map(Tensor::grad);
    Ok([y.detach(), s.detach()].into_iter().chain(gradients).collect())
}

/// The fastest forward pass of several.
fn fastest(
    recurrence: Recurrence,
    device: Device,
    kernel: impl Fn(&[Tensor]) -> Result<(Tensor, Tensor), KernelError>,
) -> Result<Duration, KernelError> {
    let operands = recurrence.operands(TIMED, device);
    let finish = || {
        if let Device::Cuda(index) = device {
            Cuda::synchronize(index as i64);
        }
    };
    let mut fastest = Duration::MAX;
    for _ in 0..TIMES {
        finish();
        let started = Instant::now();
        let _ = kernel(&operands)?;
        finish();
        fastest = fastest.min(started.elapsed());
    }
    Ok(fastest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_kernels_are_correct() {
        for recurrence in Recurrence::ALL {
            let check = check_kernel(recurrence, Op::Cpu, Device::Cpu).expect("it runs");
            println!("{check:?}");
            assert!(check.is_correct() && check.tokens_per_sec > 0.0, "{check:?}");
        }
    }

    #[test]
    fn a_slightly_wrong_kernel_is_found() {
        type Wrong = fn(Tensor, Tensor) -> (Tensor, Tensor);
        let wrong: [Wrong; 3] =
            [|y, s| (y * 1.0001, s), |y, s| (y, s * 1.0001), |y, s| (y * f64::NAN, s)];
        for recurrence in Recurrence::ALL {
            for wrong in wrong {
                let kernel = |x: &[Tensor]| {
                    let (y, s) = recurrence.compute(Op::Cpu, x)?;
                    Ok(wrong(y, s))
                };
                let check = check(recurrence, Device::Cpu, kernel).expect("it runs");
                assert!(!check.is_correct(), "{check:?}");
            }
        }
    }
}
