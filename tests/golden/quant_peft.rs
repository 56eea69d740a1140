//! Methods on packed weights: frozen weights, trained parameters, merged models.

use std::collections::HashMap;

use statetune_engine::kernels::Op;
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::model::{Model, Version, Weights};
use statetune_engine::peft::{
    AnyMethod, Compute, Method as _, Pissa, TuningError, TuningSpec, WeightTuning, merged,
    packed_base,
};
use statetune_engine::quant::{Format, Packed, quantise};
use tch::{Kind, Tensor};

use super::peft::{
    adapter, compute, logits, logits_of, recipes, rounding, shape, start, train, trained, trainer,
    uniform, weights,
};

const FORMATS: [Format; 3] = [Format::Int8, Format::Nf4 { double: false }, Format::Fp8];

fn packing(kind: Kind, format: Format) -> Compute {
    Compute { quant: Some(format), ..compute(kind) }
}

/// The weights of a run: packed, except those that the recipe splits.
fn packed(recipe: &TuningSpec, base: &Weights, format: Format) -> Weights {
    let mut weights = base.share();
    quantise(&mut weights, format, |name| recipe.splits(name)).expect("finite weights");
    weights
}

/// Calls `test` with every recipe that keeps the linear layers frozen, every version, format and precision.
fn everywhere(test: impl Fn(&str, &TuningSpec, &Weights, Kind, Format)) {
    for version in Version::ALL {
        for (name, recipe) in recipes(version).into_iter().filter(|(name, _)| *name != "full") {
            for kind in [Kind::Float, Kind::BFloat16] {
                let base = weights(shape(version)).to_kind(kind);
                for format in FORMATS {
                    test(
                        &format!("{name}, {version}, {kind:?}, {format}"),
                        &recipe,
                        &base,
                        kind,
                        format,
                    );
                }
            }
        }
    }
}

/// The logits of the merged model, whose weights are rounded to the dtype of `base`, in which it computes.
fn merged_logits(
    recipe: &TuningSpec,
    base: &Weights,
    under: Option<&Weights>,
    tuning: &WeightTuning,
    tensors: &HashMap<String, Tensor>,
) -> Tensor {
    let all: HashMap<String, Tensor> =
        merged(recipe, base, under, tensors).map(|(name, x)| (name.to_string(), x)).collect();
    let one = Weights::from_fn(*base.shape(), |name, _| all[name].shallow_clone());
    let kind = base.iter().next().map(|(_, x)| x.kind()).expect("a tensor");
    logits(&Model::new(&one, kind, Op::Cpu), &tuning.time_state())
}

#[test]
fn merged_with_packed_weights_is_the_model_that_was_trained() {
    everywhere(|what, recipe, base, kind, format| {
        let (tuning, tensors) =
            trained(recipe, &packed(recipe, base, format), packing(kind, format));
        let under = packed_base(recipe, base, &tensors, format).expect("finite weights");
        let found = merged_logits(recipe, base, Some(&under), &tuning, &tensors);
        // In 16 bits both differ from the model without rounding, and the norm of heads with small outputs
        // amplifies the difference: merging adds no more than training had.
        let exact = &base.to_kind(Kind::Float);
        let exact = merged_logits(recipe, exact, Some(&under), &tuning, &tensors);
        let trained = relative_error(&logits_of(&tuning), &exact);
        let error = relative_error(&found, &exact);
        assert!(error < 2.0 * trained + rounding(kind), "{what}: off by {error:e}, {trained:e}");
        if kind == Kind::Float {
            assert!(trained < rounding(kind), "{what}: off by {trained:e}");
        }

        // The dense weights of the base give another model.
        let dense = merged_logits(recipe, &base.to_kind(Kind::Float), None, &tuning, &tensors);
        assert!(relative_error(&dense, &exact) > 1e-4, "{what}");
    });
}

#[test]
fn the_loss_falls_and_trained_parameters_resume_exactly() {
    everywhere(|what, recipe, base, kind, format| {
        let compute = packing(kind, format);
        let run = start(recipe, &packed(recipe, base, format), compute);
        let losses = train(&mut trainer(&run, kind), 0..6);
        assert!(losses[5] < losses[0] - 0.01, "{what}: {losses:?}");
        let tensors = run.trained_tensors().map(|(name, x)| (name.to_string(), x.detach().copy()));
        let tensors = tensors.collect();
        let again = WeightTuning::resume(recipe, packed(recipe, base, format), &tensors, compute);
        let again = again.expect("finite weights");
        for (found, expected) in again.time_state().wkv.iter().zip(&run.time_state().wkv) {
            tch::no_grad(|| found.shallow_clone().copy_(expected)); // states have files of their own
        }
        assert_eq!(logits_of(&again), logits_of(&run), "{what}");
    });
}

/// PiSSA on packed weights (QPiSSA): the residual in float32 is packed.
#[test]
fn the_residual_of_pissa_is_packed_after_an_exact_subtraction() {
    let method = Pissa { rank: 8, ..Pissa::default() };
    let recipe =
        TuningSpec { adapter: adapter(AnyMethod::Pissa(method.clone())), ..TuningSpec::nothing() };
    let mut base = weights(shape(Version::V7));
    for (name, size) in base.shape().linears() {
        // Most of the matrix has rank 8, as PiSSA assumes.
        let low = uniform(&name, &[size[0], 8]).matmul(&uniform("low", &[8, size[1]]));
        base.set(&name, low * 0.1 + uniform(&name, &size) * 0.02);
    }
    let format = Format::Nf4 { double: false };
    let tuning = start(&recipe, &packed(&recipe, &base, format), packing(Kind::Float, format));
    let tensors: HashMap<String, Tensor> =
        tuning.trained_tensors().map(|(name, x)| (name.to_string(), x.detach().copy())).collect();
    let under = packed_base(&recipe, &base, &tensors, format).expect("finite weights");
    for (name, _) in base.shape().linears() {
        let part = |part: &str| &tensors[&format!("{}.{part}", name.trim_end_matches(".weight"))];
        let (a, b) = (part("init_lora_A"), part("init_lora_B"));
        let matrix = base.get(&name, Kind::Float);
        let rest = &matrix - b.matmul(a);
        let pack = |matrix: &Tensor| {
            let packed = Packed::pack(matrix, format).expect("finite numbers");
            statetune_engine::model::Matrix::dense(&packed, Kind::Float)
        };
        let frozen = under.get(&name, Kind::Float);
        assert!(frozen.equal(&pack(&rest)), "{name}");
        // The principal part is exact, so that the sum is closer to the matrix than its packed form.
        let start = relative_error(&(frozen + b.matmul(a)), &matrix);
        let plain = relative_error(&pack(&matrix), &matrix);
        assert!(start < plain, "{name}: off by {start:e}, packed whole by {plain:e}");
    }
}

#[test]
fn matrices_with_a_nan_are_named() {
    let mut base = weights(shape(Version::V7)).to_kind(Kind::Float);
    let matrix = base.get("blocks.1.att.key.weight", Kind::Float).copy();
    let _ = matrix.get(0).get(0).fill_(f64::NAN);
    base.set("blocks.1.att.key.weight", matrix);
    let recipe = TuningSpec {
        adapter: adapter(AnyMethod::Pissa(Pissa { rank: 4, svd_niter: 2, ..Pissa::default() })),
        ..TuningSpec::nothing()
    };
    let error =
        WeightTuning::start(&recipe, base, compute(Kind::Float)).expect_err("to be refused");
    assert!(matches!(&error, TuningError::NotFinite(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "tensor `blocks.1.att.key.weight` contains NaN or infinite values, so its largest singular \
         values cannot be computed"
    );
}
