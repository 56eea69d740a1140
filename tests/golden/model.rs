//! RWKV-7 as a whole against printed numbers, and against itself in other dtypes, batches and chunks.
//!
//! The model is filled by a hash, so that any implementation can be given the same one. The printed numbers
//! come from one without a tensor library, in float64: losses and logits from its forward pass, gradients
//! from central differences of its loss.

use statetune::kernels::Op;
use statetune::kernels::reference::relative_error;
use statetune::model::{LayerState, Ranks, Rwkv7, Shape, State, TimeState, Weights};
use statetune::peft::{Method, StateTuning};
use tch::{Device, Kind, Reduction, Tensor};

const SHAPE: Shape = Shape {
    n_layer: 2,
    n_embd: 128,
    vocab_size: 32,
    n_head: 2,
    head_size: 64,
    dim_ffn: 512,
    ranks: Ranks { w: 32, a: 32, v: 32, g: 32 },
    first_layer_v: false,
};
const TOKENS: [i64; 16] = [1, 5, 9, 2, 31, 7, 7, 3, 0, 12, 20, 28, 4, 16, 11, 6];
/// Stands in the hash for the number of the tensor when the states are filled.
const STATE_FILL: u32 = 1000;
/// How far the printed gradients may be off: they are central differences of a loss near 4.
const DIFFERENCES_ERROR: f64 = 5e-11;
const OPS: [Op; 2] = [Op::Reference, Op::Cpu];

/// Numbers in [-1, 1) from the tensor's number and the element's row-major index, float64.
fn hash_fill(tensor: u32, size: &[i64]) -> Tensor {
    let hash = |element: u32| {
        let mut h =
            element.wrapping_mul(0x9E37_79B1).wrapping_add(tensor.wrapping_mul(0x85EB_CA77));
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
        h ^= h >> 15;
        f64::from(h) / f64::from(1_u32 << 31) - 1.0
    };
    let values: Vec<f64> = (0..size.iter().product::<i64>() as u32).map(hash).collect();
    Tensor::from_slice(&values).view(size)
}

/// The model of the printed numbers, float64. Tensors are numbered in the order of their names.
fn weights() -> Weights {
    let mut names: Vec<String> = SHAPE.tensors().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    Weights::from_fn(SHAPE, |name, size| {
        let number =
            names.binary_search_by(|known| known.as_str().cmp(name)).expect("a name of the shape");
        let u = hash_fill(number as u32, size);
        let (module, parameter) = name.rsplit_once('.').expect("every name has a dot");
        let is_norm = module.rsplit('.').next().is_some_and(|module| module.starts_with("ln"));
        match parameter {
            "weight" if is_norm => u * 0.1 + 1.0,
            "bias" => u * 0.1,
            "x_r" | "x_w" | "x_k" | "x_v" | "x_a" | "x_g" => u * 0.4 + 0.5,
            "w0" => u - 1.0,
            "k_k" | "k_a" => u * 0.1 + 0.9,
            _ => u * 0.12,
        }
    })
}

/// The initial states of the printed numbers.
fn time_state(kind: Kind) -> TimeState {
    let size = [SHAPE.n_layer, SHAPE.n_head, SHAPE.head_size, SHAPE.head_size];
    let all = hash_fill(STATE_FILL, &size) * 0.2;
    TimeState(all.unbind(0).iter().map(|layer| layer.to_kind(kind)).collect())
}

/// The dtype of the states of a model that computes in `kind`.
fn state_kind(kind: Kind) -> Kind {
    if kind == Kind::Double { kind } else { Kind::Float }
}

fn model(kind: Kind, op: Op) -> Rwkv7 {
    Rwkv7::new(&weights(), kind, op)
}

/// Two different rows: the tokens of the printed numbers, and the same backwards.
fn batch() -> Tensor {
    let row = Tensor::from_slice(&TOKENS);
    Tensor::stack(&[row.shallow_clone(), row.flip([0])], 0)
}

/// What a model makes of a batch.
struct Outcome {
    /// (B, T, V)
    logits: Tensor,
    end: State,
    /// Mean cross-entropy; the target of a token is the next one, and 0 after the last.
    loss: f64,
    /// Derivatives of `loss`, (L, H, N, N).
    state_gradients: Tensor,
}

impl Outcome {
    fn new(model: &Rwkv7, state: TimeState, ids: &Tensor) -> Outcome {
        let state = TimeState(state.0.into_iter().map(|s| s.set_requires_grad(true)).collect());
        let [b, t] = ids.size()[..] else { unreachable!("ids are (B, T)") };
        let (hidden, end) =
            model.forward(ids, &state.start(b, model.kind())).expect("valid operands");
        let logits = model.logits(&hidden);
        let targets = ids.narrow(1, 1, t - 1).constant_pad_nd([0, 1]).view([b * t]);
        let loss = logits
            .view([b * t, SHAPE.vocab_size])
            .to_kind(state_kind(model.kind()))
            .cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.0);
        let gradients = Tensor::run_backward(&[&loss], &state.0, false, false);
        Outcome {
            logits: logits.detach(),
            end,
            loss: loss.double_value(&[]),
            state_gradients: Tensor::stack(&gradients, 0),
        }
    }

    /// The sequence of the printed numbers from their initial states.
    fn printed(kind: Kind, op: Op) -> Outcome {
        Outcome::new(&model(kind, op), time_state(state_kind(kind)), &batch().narrow(0, 0, 1))
    }
}

/// Checks numbers against their printed forms, to half a unit of the last digit.
fn assert_printed(what: &str, found: impl IntoIterator<Item = f64>, printed: &str) {
    let printed: Vec<&str> = printed.split_whitespace().collect();
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), printed.len(), "{what}");
    for (found, printed) in found.into_iter().zip(printed) {
        let expected: f64 = printed.parse().expect("a number");
        let (digits, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
        let decimals = digits.split_once('.').expect("a decimal point").1.len() as i32;
        let unit = 10_f64.powi(exponent.parse::<i32>().expect("an exponent") - decimals);
        // A little more than half, for the float64 of the printed number itself.
        assert!((found - expected).abs() <= 0.5001 * unit, "{what}: {found:e} is not {printed}");
    }
}

fn first_logits(outcome: &Outcome, t: i64) -> [f64; 4] {
    std::array::from_fn(|id| outcome.logits.double_value(&[0, t, id as i64]))
}

fn assert_within(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let error = relative_error(found, expected);
    assert!(error <= tolerance, "{what} is off by {error:e}, allowed {tolerance:e}");
}

fn assert_same_state(found: &State, expected: &State, tolerance: f64) {
    for (layer, (found, expected)) in found.0.iter().zip(&expected.0).enumerate() {
        assert_within(&format!("att_x of layer {layer}"), &found.att_x, &expected.att_x, tolerance);
        assert_within(&format!("wkv of layer {layer}"), &found.wkv, &expected.wkv, tolerance);
        assert_within(&format!("ffn_x of layer {layer}"), &found.ffn_x, &expected.ffn_x, tolerance);
    }
}

#[test]
fn the_fill_is_the_printed_one() {
    let start = |tensor, n| Vec::<f64>::try_from(hash_fill(tensor, &[n])).expect("a vector");
    assert_printed("tensor 0", start(0, 4), "-1.0 -.7471003286 -.5009105899 .8667391594");
    assert_printed("tensor 7", start(7, 2), ".9994879654 -.9787129732");
    let state = &time_state(Kind::Double).0[0];
    let start: [f64; 3] = std::array::from_fn(|key| state.double_value(&[0, 0, key as i64]));
    assert_printed("state", start, "-.09977779 -.16360541 .02943215");
    assert_eq!(SHAPE.parameters(), 464_000);
}

#[test]
fn matches_printed_numbers_float64() {
    for op in OPS {
        let tuned = Outcome::printed(Kind::Double, op);
        assert_printed("loss", [tuned.loss], "3.832752618");
        assert_printed("t=0", first_logits(&tuned, 0), ".2491459 .7647097 -.6790519 .0442015");
        assert_printed(
            "t=15",
            first_logits(&tuned, 15),
            "-1.5186677 -1.7760511 1.0742646 .3380002",
        );
        for (place, expected) in [
            ([0, 0, 0, 0], -1.3583445e-5),
            // A transposed state would give neither of these two.
            ([0, 0, 3, 10], 5.2857947e-4),
            ([0, 1, 10, 3], 5.3754690e-5),
            ([1, 0, 5, 6], 1.12125021e-4),
            ([1, 1, 63, 1], -2.28085684e-4),
        ] {
            let found = tuned.state_gradients.double_value(&place);
            let near = (found - expected).abs() <= DIFFERENCES_ERROR;
            assert!(near, "{op:?}: gradient {place:?} is {found:e}, not {expected:e}");
        }

        let zeros = TimeState::zeros(&SHAPE, Kind::Double, Device::Cpu);
        let untuned = Outcome::new(&model(Kind::Double, op), zeros, &batch().narrow(0, 0, 1));
        assert_printed("loss, zero state", [untuned.loss], "3.851371570");
        let printed = "-1.5254788 -1.7800126 1.0672045 .3381785";
        assert_printed("t=15, zero state", first_logits(&untuned, 15), printed);
    }
}

/// Logits, loss and state gradients against the reference in float64.
fn is_near_the_reference(op: Op, kind: Kind, tensors: f64, loss: f64) {
    let expected = Outcome::printed(Kind::Double, Op::Reference);
    let found = Outcome::printed(kind, op);
    assert_within("logits", &found.logits, &expected.logits, tensors);
    assert_within("state gradients", &found.state_gradients, &expected.state_gradients, tensors);
    let error = (found.loss - expected.loss).abs() / expected.loss;
    assert!(error <= loss, "{op:?}: the loss is off by {error:e}, allowed {loss:e}");
}

#[test]
fn kernel_is_near_the_reference_float64() {
    is_near_the_reference(Op::Cpu, Kind::Double, 1e-14, 1e-14);
}

#[test]
fn float32_is_near_float64() {
    for op in OPS {
        is_near_the_reference(op, Kind::Float, 2e-6, 5e-7);
    }
}

/// Weights and activations have 8 bits of mantissa; states and loss stay float32.
#[test]
fn bf16_is_near_float64() {
    for op in OPS {
        is_near_the_reference(op, Kind::BFloat16, 2e-2, 5e-4);
    }
}

/// All tokens at once against one token at a time with the carried state.
fn token_by_token(kind: Kind, tolerance: f64) {
    for op in OPS {
        let model = model(kind, op);
        let whole = Outcome::new(&model, time_state(kind), &batch());
        let mut state = time_state(kind).start(2, kind);
        let mut logits = Vec::new();
        for id in batch().split(1, 1) {
            let (hidden, next) = model.forward(&id, &state).expect("valid operands");
            logits.push(model.logits(&hidden));
            state = next;
        }
        assert_within("logits", &Tensor::cat(&logits, 1), &whole.logits, tolerance);
        assert_same_state(&state, &whole.end, tolerance);
    }
}

#[test]
fn token_by_token_float64() {
    token_by_token(Kind::Double, 1e-14);
}

#[test]
fn token_by_token_float32() {
    token_by_token(Kind::Float, 2e-6);
}

/// Rows do not see each other, and the gradient of a mean over rows is the mean of their gradients.
fn row_by_row(kind: Kind, tolerance: f64) {
    for op in OPS {
        let model = model(kind, op);
        let whole = Outcome::new(&model, time_state(kind), &batch());
        let outcome = |row: &Tensor| Outcome::new(&model, time_state(kind), row);
        let rows: Vec<Outcome> = batch().split(1, 0).iter().map(outcome).collect();
        let logits: Vec<&Tensor> = rows.iter().map(|row| &row.logits).collect();
        assert_within("logits", &Tensor::cat(&logits, 0), &whole.logits, tolerance);
        let gradients: Vec<&Tensor> = rows.iter().map(|row| &row.state_gradients).collect();
        let mean = Tensor::stack(&gradients, 0).mean_dim([0_i64].as_slice(), false, None::<Kind>);
        assert_within("state gradients", &mean, &whole.state_gradients, tolerance);
    }
}

#[test]
fn row_by_row_float64() {
    row_by_row(Kind::Double, 1e-14);
}

#[test]
fn row_by_row_float32() {
    row_by_row(Kind::Float, 2e-6);
}

/// A state that has not learned yet changes nothing: not one bit differs from a start without it.
#[test]
fn an_unlearned_state_equals_none() {
    let model = model(Kind::Float, Op::Cpu);
    let [b, c] = [2, SHAPE.n_embd];
    let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
    let wkv = [b, SHAPE.n_head, SHAPE.head_size, SHAPE.head_size];
    let layer = |_| LayerState { att_x: zeros(&[b, c]), wkv: zeros(&wkv), ffn_x: zeros(&[b, c]) };
    let nothing = State((0..SHAPE.n_layer).map(layer).collect());
    let (expected, _) = model.forward(&batch(), &nothing).expect("valid operands");
    let tuning = StateTuning::new(model);
    let start = tuning.time_state().start(b, Kind::Float);
    let (found, _) = tuning.model().forward(&batch(), &start).expect("valid operands");
    assert!(found.equal(&expected));
}
