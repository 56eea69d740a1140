//! `statetune score`: the ways to compute the same numbers agree, the gradient is that of the printed loss,
//! and faults are named.

use serde_json::Value;
use statetune_core::data::Tokenizer;
use statetune_core::tensorfile::{Dtype, TensorFile};
use statetune_engine::model::{Shape, TimeState, Weights, copied};
use tch::{Device, Kind, Tensor};

use crate::case::{Case, Output};

const TOKENS: &str =
    "[1, 72, 4095, 5, 0, 33, 33, 900, 2, 17, 1023, 64, 8, 9, 3000, 11, 12, 40, 41]";

fn case() -> Case {
    Case::new().having("tokens.json", TOKENS)
}

fn score(case: &Case, arguments: &[&str]) -> Output {
    let mut all = vec!["score", "--model", "base.pth"];
    all.extend(arguments);
    case.statetune(&all)
}

/// What is printed about `tokens.json`.
#[track_caller]
fn printed(case: &Case, arguments: &[&str]) -> Value {
    let mut all = vec!["--tokens", "tokens.json"];
    all.extend(arguments);
    let output = score(case, &all);
    output.is_done();
    // The states of these tests have no passport, so their weights are unknown.
    match arguments.contains(&"--state") {
        true => assert!(output.stderr.starts_with("warning[ST8003]: "), "{output:?}"),
        false => assert_eq!(output.stderr, ""),
    }
    serde_json::from_str(&output.stdout).expect("one JSON object")
}

fn numbers(value: &Value) -> Vec<f64> {
    let items = value.as_array().expect("a list").iter();
    items.map(|number| number.as_f64().expect("a number")).collect()
}

/// The largest difference of the numbers of two sequences.
fn difference(x: &Value, y: &Value) -> f64 {
    let mut largest = 0.0_f64;
    for key in ["logprobs", "last_logits"] {
        let (x, y) = (numbers(&x[key]), numbers(&y[key]));
        assert_eq!(x.len(), y.len(), "{key}");
        largest = x.iter().zip(&y).fold(largest, |most, (x, y)| most.max((x - y).abs()));
    }
    largest
}

/// Writes `NAME.pth`: `factor` times fixed signs, exact in bfloat16 when `factor` is. Returns the
/// signs.
fn write_state(case: &Case, name: &str, factor: f64) -> Vec<Tensor> {
    let weights = Weights::load(&case.path("base.pth")).expect("the model");
    let zeros = TimeState::zeros(weights.shape(), Kind::Double, Device::Cpu);
    // Not by chance: tests run at once and share libtorch's generator.
    let sign = |s: &Tensor| {
        let numbers = Tensor::arange(s.numel() as i64, (Kind::Double, Device::Cpu));
        (numbers * 1.7 + 1.0).sin().sign().view_as(s)
    };
    let signs: Vec<Tensor> = zeros.wkv.iter().map(sign).collect();
    let state = TimeState::of_wkv(signs.iter().map(|s| s * factor).collect());
    case.write_state(name, &state, weights.shape());
    signs
}

#[test]
fn the_object_is_complete() {
    let case = case();
    let printed = printed(&case, &["--format", "json"]);
    let keys: Vec<&String> = printed.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["schema", "logprobs", "mean_nll", "last_logits"]);
    assert_eq!(printed["schema"], "statetune.score/1");
    let logprobs = numbers(&printed["logprobs"]);
    assert_eq!((logprobs.len(), numbers(&printed["last_logits"]).len()), (18, 4096));
    let mean = -logprobs.iter().sum::<f64>() / 18.0;
    let mean_nll = printed["mean_nll"].as_f64().expect("a number");
    assert!((mean - mean_nll).abs() < 1e-12, "{mean} {mean_nll}");
}

#[test]
fn all_ways_to_compute_agree() {
    let case = case();
    write_state(&case, "state", 0.25);
    for (precision, tolerance) in [("fp32", 1e-4), ("fp64", 1e-10)] {
        let with = |more: &[&str]| {
            let mut all = vec!["--state", "state.pth", "--precision", precision];
            all.extend(more);
            printed(&case, &all)
        };
        let whole = with(&[]);
        let others: [&[&str]; 4] =
            [&["--recurrent"], &["--op", "chunk"], &["--op", "reference"], &["--grad-out", "g.st"]];
        for other in others {
            let difference = difference(&whole, &with(other));
            println!("{precision} {other:?}: {difference:e}");
            assert!(difference < tolerance, "{precision} {other:?}: {difference:e}");
        }
    }
    let zeros = printed(&case, &[]);
    assert!(difference(&zeros, &printed(&case, &["--state", "state.pth"])) > 1e-3);
}

#[test]
fn a_batch_is_its_sequences() {
    let lists = [TOKENS, "[7]", "[3, 3000, 5]"];
    let case = case().having("batch.json", format!("[{}]", lists.join(",")));
    let output = score(&case, &["--tokens", "batch.json"]);
    let batch: Value = serde_json::from_str(&output.is_done().stdout).expect("one JSON object");
    let keys: Vec<&String> = batch.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["schema", "sequences", "mean_nll"]);
    let (mut sum, mut count) = (0.0, 0);
    for (i, list) in lists.iter().enumerate() {
        case.write("tokens.json", list);
        let mut single = printed(&case, &[]);
        single.as_object_mut().expect("an object").shift_remove("schema");
        assert_eq!(batch["sequences"][i], single, "{list}");
        sum -= numbers(&single["logprobs"]).iter().sum::<f64>();
        count += numbers(&single["logprobs"]).len();
    }
    assert_eq!(batch["sequences"][1]["logprobs"], Value::Array(Vec::new()));
    assert_eq!(batch["sequences"][1]["mean_nll"], Value::Null);
    let mean = batch["mean_nll"].as_f64().expect("a number");
    assert!((mean - sum / f64::from(count as u32)).abs() < 1e-12);
}

#[test]
fn a_text_is_its_tokens() {
    let ids =
        Tokenizer::load(&Case::new().path("vocab.txt")).expect("a vocabulary").encode(b"a cat\n");
    let ids = serde_json::to_string(&ids).expect("JSON");
    let case = Case::new().having("text.txt", "a cat\n").having("tokens.json", ids);
    let output = score(&case, &["--text", "text.txt", "--tokenizer", "vocab.txt"]);
    let text: Value = serde_json::from_str(&output.is_done().stdout).expect("one JSON object");
    assert_eq!(text, printed(&case, &[]));
}

#[test]
fn the_gradient_is_that_of_the_mean() {
    let case = case();
    let fp64 = ["--precision", "fp64"];
    printed(&case, &[fp64[0], fp64[1], "--grad-out", "gradient.safetensors"]);
    let file = TensorFile::open(case.path("gradient.safetensors")).expect("a sound file");
    let shape: Shape = *Weights::load(&case.path("base.pth")).expect("the model").shape();
    let size = [shape.n_head, shape.head_size, shape.head_size].map(|size| size as usize);

    // Central differences along a direction of signs, by steps that bfloat16 holds exactly.
    // Near a state of zeros the norm of the heads is far from linear, so they are small.
    let step = 2_f64.powi(-16);
    let signs = write_state(&case, "plus", step);
    write_state(&case, "minus", -step);
    let mean = |state| {
        let printed = printed(&case, &[fp64[0], fp64[1], "--state", state]);
        printed["mean_nll"].as_f64().expect("a number")
    };
    let difference = (mean("plus.pth") - mean("minus.pth")) / (2.0 * step);

    let mut slope = 0.0;
    for (layer, signs) in signs.iter().enumerate() {
        let tensor = file.get(&TimeState::name(layer)).expect("a layer's gradient");
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F64, &size[..]));
        let gradient = Tensor::from_data_size(&tensor.bytes(), &signs.size(), Kind::Double);
        slope += (gradient * signs).sum(Kind::Double).double_value(&[]);
    }
    assert_eq!(file.names().len(), signs.len());
    let error = ((slope - difference) / slope).abs();
    println!("slope {slope:e}, difference {difference:e}, error {error:e}");
    assert!(error < 1e-5, "slope {slope:e}, difference {difference:e}");

    printed(&case, &["--grad-out", "gradient.safetensors"]);
    let file = TensorFile::open(case.path("gradient.safetensors")).expect("a sound file");
    assert!(file.tensors().all(|tensor| tensor.dtype() == Dtype::F32));
}

/// Without a factor on the loss, float16 rounds small gradients to zero: 15 % of the norm were missing.
#[test]
fn the_gradient_of_float16_is_scaled() {
    let case = case();
    let gradient = |precision: &str| -> Tensor {
        let file = format!("{precision}.safetensors");
        printed(&case, &["--precision", precision, "--grad-out", &file]);
        let file = TensorFile::open(case.path(file)).expect("a sound file");
        let layers = (0..file.names().len()).map(|layer| {
            copied(&file.get(&TimeState::name(layer)).expect("a layer")).expect("numbers")
        });
        Tensor::cat(&layers.collect::<Vec<_>>(), 0)
    };
    let exact = gradient("fp32");
    let error = |precision| {
        let norm = |x: &Tensor| x.norm().double_value(&[]);
        norm(&(gradient(precision) - &exact)) / norm(&exact)
    };
    let (fp16, bf16) = (error("fp16"), error("bf16"));
    println!("relative error: fp16 {fp16:.2e}, bf16 {bf16:.2e}");
    assert!(fp16 < 0.01 && fp16 < bf16, "fp16 {fp16:.2e}, bf16 {bf16:.2e}");
}

#[test]
fn faulty_tokens_are_named() {
    const ITEMS: &str = "\n  |\n  = help: write one list of token ids, or a list of such lists; items are counted from 0";
    const IDS: &str = "\n  |\n  = help: use the tokenizer that the model was trained with; items are counted from 0";
    let id = "expected a token id from 0 to 4095";
    for (content, message) in [
        (
            "{}",
            format!(
                "error[ST3041]: `tokens.json` is an object, expected a list of token ids, or a list of such lists{ITEMS}"
            ),
        ),
        (
            "[1, 2.5]",
            format!(
                "error[ST3041]: item [1] of `tokens.json` is the number 2.5, expected a token id{ITEMS}"
            ),
        ),
        (
            "[[1], 2]",
            format!(
                "error[ST3041]: item [1] of `tokens.json` is the number 2, expected a list of token ids, like the other items{ITEMS}"
            ),
        ),
        ("[1, -2]", format!("error[ST3042]: item [1] of `tokens.json` is -2, {id}{IDS}")),
        (
            "[[1], [5, 4096]]",
            format!("error[ST3042]: item [1][1] of `tokens.json` is 4096, {id}{IDS}"),
        ),
        (
            "[18446744073709551615]",
            format!("error[ST3042]: item [0] of `tokens.json` is 18446744073709551615, {id}{IDS}"),
        ),
        ("[]", "error[ST3043]: `tokens.json` is empty, expected at least one token".to_string()),
        (
            "[[1], []]",
            "error[ST3043]: item [1] of `tokens.json` is empty, expected at least one token"
                .to_string(),
        ),
    ] {
        let case = case().having("tokens.json", content);
        let arguments = ["score", "--model", "base.pth", "--tokens", "tokens.json"];
        case.refuses_to(&arguments, 20, &message);
    }
    let output = score(&case().having("tokens.json", "[1,"), &["--tokens", "tokens.json"]);
    assert!(
        output.stderr.starts_with("error[ST3040]: `tokens.json` is not valid JSON"),
        "{output:?}"
    );
    assert_eq!((output.code, &*output.stdout), (Some(20), ""));
}

#[test]
fn other_faults_have_their_exit_codes() {
    let case = case().having("empty.txt", "");
    for (arguments, code, beginning) in [
        (&["--tokens", "none.json"][..], 20, "error[ST3005]: cannot read `none.json`"),
        (
            &["--text", "empty.txt", "--tokenizer", "vocab.txt"],
            20,
            "error[ST3043]: `empty.txt` is empty",
        ),
        (&["--tokens", "tokens.json", "--state", "base.pth"], 21, "error[ST4003]: base.pth: "),
        (&["--tokens", "tokens.json", "--grad-out", "no/g.st"], 29, "error[ST4014]: "),
        (&[], 2, "error: the following required arguments were not provided:"),
        (&["--tokens", "tokens.json", "--text", "empty.txt"], 2, "error: the argument "),
        (&["--tokens", "tokens.json", "--tokenizer", "world"], 2, "error: the argument "),
        (
            &["--tokens", "tokens.json", "--recurrent", "--grad-out", "g.st"],
            2,
            "error: the argument '--recurrent' cannot be used with '--grad-out <FILE>'",
        ),
    ] {
        let output = score(&case, arguments);
        assert!(output.stderr.starts_with(beginning), "{arguments:?} {output:?}");
        assert_eq!((output.code, &*output.stdout), (Some(code), ""), "{arguments:?}");
    }
    let output = case.statetune(&["score", "--model", "none.pth", "--tokens", "tokens.json"]);
    assert!(output.stderr.starts_with("error[ST4010]: "), "{output:?}");
    assert_eq!(output.code, Some(21));
}
