//! Cases for the WKV recurrences: operands, the results of an implementation, and their comparison.

use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{KernelError, Op, Wkv5, Wkv6, Wkv7, wkv5, wkv6, wkv7};
use tch::{Device, Kind, Tensor};

/// One of the three recurrences.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// RWKV-5.
    V5,
    /// RWKV-6.
    V6,
    /// RWKV-7.
    V7,
}

use Version::{V5, V6, V7};

impl Version {
    /// All three.
    pub const ALL: [Version; 3] = [V5, V6, V7];

    /// Names of the inputs in the order of [`Case::inputs`].
    pub fn inputs(self) -> &'static [&'static str] {
        match self {
            V5 | V6 => &["r", "w", "k", "v", "u", "s0"],
            V7 => &["r", "w", "k", "v", "a", "b", "s0"],
        }
    }

    /// Whether this input has a row for every token, (B, T, H, N).
    fn is_of_tokens(self, input: &str) -> bool {
        !matches!((self, input), (_, "u" | "s0") | (V5, "w"))
    }
}

/// The operands of a call, and the gradients that reach its results.
#[derive(Debug)]
pub struct Case {
    /// The recurrence.
    pub version: Version,
    /// The operands and s0, in the order of [`Version::inputs`].
    pub inputs: Vec<Tensor>,
    /// (B, T) bool.
    pub restarts: Option<Tensor>,
    /// The gradient of y.
    pub dy: Tensor,
    /// The gradient of s_T.
    pub ds_last: Tensor,
}

impl Case {
    /// Random float64 operands, with a and b as in RWKV-7: `a = -kk`, `b = kk * iclr`.
    pub fn random(version: Version, seed: i64, [b, t, h, n]: [i64; 4]) -> Case {
        tch::manual_seed(seed);
        let options = (Kind::Double, Device::Cpu);
        let randn = || Tensor::randn([b, t, h, n], options);
        let kk = randn();
        let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
        let inputs = version.inputs().iter().map(|&name| match name {
            "s0" => Tensor::randn([b, h, n, n], options),
            "u" => Tensor::randn([h, n], options),
            "w" if version == V5 => Tensor::randn([h, n], options) * 1.5 - 1.0,
            "w" => randn() * 1.5 - 1.0,
            "a" => kk.neg(),
            "b" => &kk * Tensor::rand([b, t, h, n], options),
            _ => randn(),
        });
        Case {
            version,
            inputs: inputs.collect(),
            restarts: None,
            dy: randn(),
            ds_last: Tensor::randn([b, h, n, n], options),
        }
    }

    /// The same case with documents that begin at these (row, token) positions too.
    pub fn with_restarts(mut self, places: &[(i64, i64)]) -> Case {
        let size = self.dy.size();
        let restarts = Tensor::zeros([size[0], size[1]], (Kind::Bool, Device::Cpu));
        for &(row, token) in places {
            let _ = restarts.get(row).get(token).fill_(1);
        }
        self.restarts = Some(restarts);
        self
    }

    /// The same operands, rounded to `kind`, so that implementations in other dtypes get the same numbers.
    pub fn rounded(mut self, kind: Kind) -> Case {
        let s0 = self.inputs.len() - 1;
        let state_kind = state_kind(kind);
        for (i, x) in self.inputs.iter_mut().enumerate() {
            *x = x.to_kind(if i == s0 { state_kind } else { kind }).to_kind(Kind::Double);
        }
        self.dy = self.dy.to_kind(kind).to_kind(Kind::Double);
        self.ds_last = self.ds_last.to_kind(state_kind).to_kind(Kind::Double);
        self
    }

    /// The operation on `inputs`: y and s_T.
    pub fn call(&self, op: Op, inputs: &[Tensor]) -> Result<(Tensor, Tensor), KernelError> {
        call(self.version, op, inputs, self.restarts.as_ref())
    }

    /// Copies of the inputs in the dtypes of a call with operands of `kind`.
    pub fn inputs_of(&self, kind: Kind) -> Vec<Tensor> {
        let kind_of = |i| if i + 1 == self.inputs.len() { state_kind(kind) } else { kind };
        self.inputs.iter().enumerate().map(|(i, x)| x.to_kind(kind_of(i)).copy()).collect()
    }

    /// y, s_T and the gradients of all inputs, of a call with operands of `kind`.
    pub fn run(&self, op: Op, kind: Kind) -> Vec<Tensor> {
        let inputs: Vec<Tensor> =
            self.inputs_of(kind).into_iter().map(|x| x.set_requires_grad(true)).collect();
        let (y, s_last) = self.call(op, &inputs).expect("valid operands");
        let mut out = vec![y.detach(), s_last.detach()];
        out.extend(Tensor::run_backward(&[self.loss(&y, &s_last)], &inputs, false, false));
        out
    }

    /// A scalar whose gradients with respect to `y` and `s_last` are those of the case.
    pub fn loss(&self, y: &Tensor, s_last: &Tensor) -> Tensor {
        let kind = s_last.kind();
        (y * self.dy.to_kind(y.kind())).sum(kind) + (s_last * self.ds_last.to_kind(kind)).sum(kind)
    }

    /// Names of the results of [`Case::run`].
    pub fn outputs(&self) -> Vec<String> {
        let gradients = self.version.inputs().iter().map(|name| format!("d{name}"));
        ["y", "s_T"].into_iter().map(str::to_string).chain(gradients).collect()
    }

    /// Rows `batch` and tokens `start..end` as a case of their own: one document, from the same s0. The
    /// last state has a gradient only where `is_last`.
    pub fn document(&self, batch: i64, start: i64, end: i64, is_last: bool) -> Case {
        let cut = |x: &Tensor| x.narrow(0, batch, 1).narrow(1, start, end - start);
        let row = |x: &Tensor| x.narrow(0, batch, 1);
        let names = self.version.inputs();
        let inputs = names.iter().zip(&self.inputs).map(|(&name, x)| match name {
            "s0" => row(x),
            _ if self.version.is_of_tokens(name) => cut(x),
            _ => x.shallow_clone(),
        });
        Case {
            version: self.version,
            inputs: inputs.collect(),
            restarts: None,
            dy: cut(&self.dy),
            ds_last: if is_last { row(&self.ds_last) } else { row(&self.ds_last).zeros_like() },
        }
    }
}

/// `version` on inputs in the order of [`Version::inputs`].
pub fn call(
    version: Version,
    op: Op,
    inputs: &[Tensor],
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    match (version, inputs) {
        (V5, [r, w, k, v, u, s0]) => wkv5(op, &Wkv5 { r, w, k, v, u }, s0, restarts),
        (V6, [r, w, k, v, u, s0]) => wkv6(op, &Wkv6 { r, w, k, v, u }, s0, restarts),
        (V7, [r, w, k, v, a, b, s0]) => wkv7(op, &Wkv7 { r, w, k, v, a, b }, s0, restarts),
        _ => unreachable!("a case has the inputs of its version"),
    }
}

/// The dtype of states beside operands of `kind`.
pub fn state_kind(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}

/// Checks all results against the expected ones by [`relative_error`], and returns the largest error.
pub fn assert_close(
    case: &Case,
    found: &[Tensor],
    expected: &[Tensor],
    tolerance: f64,
    what: &str,
) -> f64 {
    let mut worst = 0.0f64;
    for ((name, x), reference) in case.outputs().iter().zip(found).zip(expected) {
        let error = relative_error(x, reference);
        // A NaN fails too.
        let is_close = error <= tolerance;
        assert!(is_close, "{what}: {name} is off by {error:e}, allowed {tolerance:e}");
        worst = worst.max(error);
    }
    worst
}
