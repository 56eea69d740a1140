//! Shift states beside WKV states, and states and adapters of chosen layers.

use std::collections::BTreeMap;

use statetune_core::peft::StateTuning as Table;
use statetune_core::tensorfile::{Dtype, TensorFile};
use statetune_engine::exports::{ExportOptions, StateFile, combine, save_state};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, Shift, TimeState, Version, Weights};
use statetune_engine::peft::{
    AdapterSpec, AnyMethod, Compute, Layers, Lora, Method, Parts, StatePart, StateSpec,
    StateTuning, TuningSpec, WeightTuning,
};
use statetune_engine::train::{Chunks, StepOptions};
use tch::{Device, Kind, Tensor};

use super::chunk_ctx::packed;
use super::numerics::{OPTIONS, assert_close, both_parts, gradients, trainer, weights_of};
use super::peft::passport;
use super::versions::{
    OPS, Outcome, STATE_FILL, hash_fill, model, next_tokens, packed_equals_separate, packed_rows,
    restarts, shapes, time_state,
};

const VOCAB_SIZE: i64 = 61;

fn shape(version: Version) -> Shape {
    Shape::for_scratch(version, 3, 64, VOCAB_SIZE)
}

/// States of both parts without zeros.
fn states(shape: &Shape) -> TimeState {
    let zeros = TimeState::zeros(shape, Kind::Float, Device::Cpu).with_shift(shape.n_embd);
    zeros.map(|s| {
        let numbers = Tensor::arange(s.numel() as i64, (Kind::Float, Device::Cpu));
        (numbers * 1.3).sin().view_as(s) * 0.3
    })
}

/// The layers that these keys of `[peft]` choose.
fn layers(text: &str) -> Layers {
    serde_json::from_str::<Table>(text).expect("keys").spec().layers
}

/// The gradients of one step by the names of the parameters.
fn named(method: &dyn Method, options: StepOptions, kind: Kind) -> (f64, BTreeMap<String, Tensor>) {
    let batches = [packed(52, 70, &[&[0, 16, 33], &[15, 17, 48, 52]])];
    let (loss, gradients) = gradients(method, kind, options, &batches);
    let names = method.parameters().into_iter().map(|parameter| parameter.name);
    (loss, names.zip(gradients).collect())
}

/// At once, block by block, and in chunks.
fn ways() -> [StepOptions; 4] {
    let chunks = Some(Chunks { tokens: 16, room: u64::MAX });
    [
        OPTIONS,
        StepOptions { grad_cp: true, ..OPTIONS },
        StepOptions { chunks, ..OPTIONS },
        StepOptions { chunks, grad_cp: true, ..OPTIONS },
    ]
}

#[test]
fn shift_states_of_zero_change_no_bit() {
    for version in Version::ALL {
        let weights = weights_of(shape(version));
        for (kind, op) in
            [(Kind::Float, Op::Cpu), (Kind::BFloat16, Op::Cpu), (Kind::Float, Op::Chunk)]
        {
            for options in ways() {
                let of = |states| {
                    let method = StateTuning::start(Model::new(&weights, kind, op), states);
                    named(&method, options, kind)
                };
                let (wkv, both) = (of(StateSpec::wkv(1.0)), of(both_parts()));
                assert_eq!(wkv.0.to_bits(), both.0.to_bits(), "{version} {kind:?} {op:?}");
                assert_eq!((wkv.1.len(), both.1.len()), (3, 9));
                for (name, gradient) in &both.1 {
                    assert!(gradient.any().int64_value(&[]) == 1, "{version} {name}");
                    if let Some(alone) = wkv.1.get(name) {
                        let tolerance = if kind == Kind::Float { 1e-5 } else { 2e-2 };
                        assert_close(
                            &[gradient.shallow_clone()],
                            &[alone.shallow_clone()],
                            tolerance,
                        );
                    }
                }
            }
        }
    }
}

/// The gradients of the states of some layers are those that they have among all; nothing else is trained.
#[test]
fn chosen_layers_have_their_gradients() {
    for version in Version::ALL {
        let weights = weights_of(shape(version));
        let start = states(weights.shape());
        for chosen in [r#"{"layers": [1]}"#, r#"{"layers": ["1-2"]}"#, r#"{"layers": [0]}"#] {
            for options in ways() {
                let of = |states| {
                    let model = Model::new(&weights, Kind::Float, Op::Cpu);
                    named(&StateTuning::from(model, &start, states), options, Kind::Float)
                };
                let all = of(both_parts());
                let some = of(StateSpec { layers: layers(chosen), ..both_parts() });
                assert_eq!(all.0, some.0);
                let is_chosen = |name: &String| layers(chosen).contains_tensor(name);
                let expected: Vec<_> = all.1.iter().filter(|(name, _)| is_chosen(name)).collect();
                assert_eq!(expected.len(), some.1.len());
                for ((name, gradient), (other, found)) in expected.into_iter().zip(&some.1) {
                    assert_eq!(name, other);
                    assert_close(&[found.shallow_clone()], &[gradient.shallow_clone()], 1e-5);
                }
            }
        }
    }
}

/// The first step of Adam moves each number by its rate.
#[test]
fn each_layer_moves_at_its_rate() {
    let weights = weights_of(shape(Version::V7));
    let scaled = || layers(r#"{"layers": ["0-1"], "lr_scale": {"0": 0.5, "2": 9.0}}"#);
    let states = StateSpec { layers: scaled(), ..both_parts() };
    let state = StateTuning::start(Model::new(&weights, Kind::Float, Op::Cpu), states);
    let text = r#"{"rank": 4, "layers": ["0-1"], "lr_scale": {"0": 0.5}, "state": true, "state_lr_scale": 10.0}"#;
    let lora: Lora = serde_json::from_str(text).expect("settings");
    let adapter = Some(AdapterSpec { method: AnyMethod::Lora(lora), targets: None });
    let recipe =
        TuningSpec { adapter, parts: Parts::Groups(Vec::new()), state_lr_scale: Some(10.0) };
    let compute = Compute { kind: Kind::Float, op: Op::Cpu, seed: 1, quant: None };
    let adapter = WeightTuning::start(&recipe, weights.share(), compute).expect("finite weights");
    for method in [&state as &dyn Method, &adapter] {
        let before: Vec<Tensor> =
            method.parameters().iter().map(|one| one.tensor.detach().copy()).collect();
        let batches = [packed(52, 70, &[&[0, 16, 33], &[15, 17, 48, 52]])];
        trainer(method, Kind::Float, OPTIONS).step(&batches, 0, 1e-3).expect("finite numbers");
        for (parameter, before) in method.parameters().iter().zip(before) {
            let name = &parameter.name;
            assert!(!name.starts_with("blocks.2."), "{name}");
            let moved = (&parameter.tensor - before).abs().max().double_value(&[]);
            let of_layer = if name.starts_with("blocks.0.") { 0.5 } else { 1.0 };
            let of_states =
                if name.contains("lora") || trains_states_alone(method) { 1.0 } else { 10.0 };
            // `lora_A` has no gradient while `lora_B` is zero.
            let rate = if name.ends_with("lora_A") { 0.0 } else { 1e-3 * of_layer * of_states };
            assert!((moved - rate).abs() <= 1e-2 * rate, "{name}: {moved} is not {rate}");
        }
    }
}

/// Whether the method trains states alone.
fn trains_states_alone(method: &dyn Method) -> bool {
    method.parameters().iter().all(|one| one.name.ends_with("_state"))
}

#[test]
fn an_adapter_of_some_blocks_changes_no_others() {
    let weights = weights_of(shape(Version::V7));
    let lora: Lora = serde_json::from_str(r#"{"rank": 4, "layers": [1]}"#).expect("settings");
    let adapter = Some(AdapterSpec { method: AnyMethod::Lora(lora), targets: None });
    let recipe = TuningSpec { adapter, parts: Parts::Groups(Vec::new()), state_lr_scale: None };
    let compute = Compute { kind: Kind::Float, op: Op::Cpu, seed: 1, quant: None };
    let method = WeightTuning::start(&recipe, weights, compute).expect("finite weights");
    let (expected, all) = named(&method, OPTIONS, Kind::Float);
    assert_eq!(all.len(), 12);
    assert!(all.keys().all(|name| name.starts_with("blocks.1.")), "{:?}", all.keys());
    for options in ways() {
        let (loss, found) = named(&method, options, Kind::Float);
        assert!((loss / expected - 1.0).abs() < 1e-6);
        for (name, gradient) in found {
            assert_close(&[gradient], &[all[&name].shallow_clone()], 1e-5);
        }
    }
}

/// A file has both parts under their names; a file for web-rwkv, which reads one of them, is not written.
#[test]
fn files_hold_both_parts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = shape(Version::V6);
    let state = states(&shape);
    let passport = passport(&shape);
    let export = ExportOptions { dtype: Dtype::F32, passport: &passport };
    let (stem, other) = (folder.path().join("state"), folder.path().join("other"));
    save_state(&state.wkv_alone(), &stem, &export).expect("written");
    assert!(stem.with_extension("st").is_file());
    let files = save_state(&state, &stem, &export).expect("written");
    assert_eq!(files, [stem.with_extension("pth")]);
    assert!(!stem.with_extension("st").exists(), "an earlier `.st` would be another state");
    let file = TensorFile::open(&files[0]).expect("a sound file");
    let names: Vec<&str> = file.names().collect();
    let of_layer =
        |i| ["att.shift_state", "ffn.shift_state"].map(|part| format!("blocks.{i}.{part}"));
    let expected: Vec<String> =
        (0..3).map(TimeState::name).chain((0..3).flat_map(of_layer)).collect();
    assert_eq!(names, expected);
    let found = TimeState::load(&files[0], &shape).expect("a state");
    for ((_, name, found), (_, _, expected)) in found.tensors().zip(state.tensors()) {
        assert_eq!(found, expected, "{name}");
    }
    let wide = Shape { n_embd: 128, ..shape };
    let error = TimeState::load(&files[0], &wide).expect_err("another width").to_string();
    let problem = "`blocks.0.att.shift_state` has shape [64], expected [128]";
    assert!(error.ends_with(problem), "{error}");

    // A state without shift states counts as one with zeros.
    save_state(&state.wkv_alone(), &other, &export).expect("written");
    let open = |path| StateFile::load(path).expect("a state");
    let both = [open(&stem.with_extension("pth")), open(&other.with_extension("pth"))];
    let (sum, passport) = combine(&both, &[0.5, 0.25], "mix").expect("alike");
    assert_eq!(passport.method["parts"], serde_json::json!(["wkv", "shift"]));
    let factor = |name: &str| if name.ends_with("time_state") { 0.75 } else { 0.5 };
    for ((_, name, sum), (_, _, s)) in sum.tensors().zip(state.tensors()) {
        assert!(sum.allclose(&(s * factor(&name)), 1e-6, 1e-7, false), "{name}");
    }
}

/// The numbers of trainable parameters, for the plan.
#[test]
fn trainable_parameters_are_counted() {
    let shape = shape(Version::V7);
    let weights: Weights = weights_of(shape);
    for (chosen, parts) in [
        ("{}", vec![StatePart::Wkv]),
        ("{}", vec![StatePart::Shift]),
        (r#"{"layers": [2, "0-1"]}"#, vec![StatePart::Wkv, StatePart::Shift]),
        (r#"{"layers": [2]}"#, vec![StatePart::Wkv, StatePart::Shift]),
    ] {
        let spec = StateSpec { parts, layers: layers(chosen), lr_scale: 1.0 };
        let planned = spec.trainable_parameters(&shape);
        let method = StateTuning::start(Model::new(&weights, Kind::Float, Op::Cpu), spec);
        let trained: usize = method.parameters().iter().map(|one| one.tensor.numel()).sum();
        assert_eq!(planned, trained as u64, "{chosen}");
    }
}

/// The initial states of the printed numbers with shift states.
fn shifted_state(shape: &Shape, kind: Kind) -> TimeState {
    let rows = hash_fill(STATE_FILL + 1, &[2 * shape.n_layer, shape.n_embd]).to_kind(kind);
    let shift = (0..shape.n_layer)
        .map(|layer| Shift { att: rows.get(2 * layer), ffn: rows.get(2 * layer + 1) });
    TimeState { shift: Some(shift.collect()), ..time_state(shape, kind) }
}

/// The gradients of shift states against central differences of the loss of packed documents, in float64, by the plain form
/// and by the fused stages.
#[test]
fn gradients_of_shift_states_match_central_differences() {
    const STEP: f64 = 1e-4;
    let (rows, restarts) = (packed_rows(), restarts());
    for shape in shapes() {
        for op in [Op::Reference, Op::Cpu] {
            let model = model(shape, Kind::Double, op);
            let outcome =
                |state| Outcome::new(&model, state, &rows, &next_tokens(&rows), Some(&restarts));
            let found = outcome(shifted_state(&shape, Kind::Double));
            let (layers, gradients) = (shape.n_layer as usize, found.state_gradients);
            let of_shift = &gradients[gradients.len() - 2 * layers..];
            for (layer, channel) in [(0, 3), (layers - 1, 70)] {
                for half in 0..2 {
                    let loss = |by: f64| {
                        let state = shifted_state(&shape, Kind::Double);
                        let Shift { att, ffn } =
                            &state.shift.as_ref().expect("shift states")[layer];
                        let _ = [att, ffn][half].get(channel).g_add_scalar_(by);
                        outcome(state).loss_sum
                    };
                    let expected = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
                    let gradient = of_shift[2 * layer + half].double_value(&[channel]);
                    assert!(
                        (gradient - expected).abs() < 1e-7 && expected.abs() > 1e-6,
                        "{shape:?} {op:?} {layer} {half}: {gradient:e} is not {expected:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn packed_documents_with_shift_states_equal_separate_ones() {
    for shape in shapes() {
        for op in OPS {
            for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
                packed_equals_separate(shape, op, (kind, tolerance), shifted_state);
            }
        }
    }
}
