//! `state`: states that are looked at, compared, and made of others.

use std::fs;

use serde_json::Value;
use statetune_engine::model::{Shape, TimeState, Version};
use tch::{Device, Kind, Tensor};

use crate::case::{Case, STATE};

fn shape(version: Version) -> Shape {
    Shape::for_scratch(version, 2, 128, 4096)
}

/// A state without symmetry, exact in bfloat16.
fn state(seed: f64) -> TimeState {
    let zeros = TimeState::zeros(&shape(Version::V7), Kind::Float, Device::Cpu);
    let wave = |s: &Tensor| {
        let numbers = Tensor::arange(s.numel() as i64, (Kind::Double, Device::Cpu));
        ((numbers * 1.7 + seed).sin() * 8.0).round().view_as(s).to_kind(Kind::Float) / 8.0
    };
    TimeState::of_wkv(zeros.wkv.iter().map(wave).collect())
}

fn case() -> Case {
    let case = Case::new();
    case.write_state("a", &state(1.0), &shape(Version::V7));
    case.write_state("b", &state(2.0), &shape(Version::V7));
    case
}

fn read(case: &Case, name: &str) -> TimeState {
    TimeState::read(&case.path(name)).expect("a state")
}

fn same(x: &TimeState, y: &TimeState) -> bool {
    x.wkv.len() == y.wkv.len() && x.wkv.iter().zip(&y.wkv).all(|(x, y)| x.equal(y))
}

#[test]
fn scale_mean_and_mix() {
    let case = case();
    case.statetune(&["state", "scale", "0", "a.pth", "--out", "zero"])
        .succeeds("state  zero.pth\nstate  zero.st", "");
    let zeros = TimeState::zeros(&shape(Version::V7), Kind::Float, Device::Cpu);
    case.statetune(&["state", "mean", "a.pth", "a.st", "--out", "same"]).is_done();
    case.statetune(&["state", "scale", "-2", "a.pth", "--out", "double"]).is_done();
    let mix = ["state", "mix", "a.pth", "b.pth", "--weights", "0.5,-2", "--dtype", "fp32"];
    case.statetune(&[&mix[..], &["--out", "mix"]].concat()).is_done();
    for extension in ["pth", "st"] {
        assert!(same(&read(&case, &format!("zero.{extension}")), &zeros));
        assert!(same(&read(&case, &format!("same.{extension}")), &state(1.0)));
    }
    let doubled = TimeState::of_wkv(state(1.0).wkv.iter().map(|s| s * -2.0).collect());
    assert!(same(&read(&case, "double.pth"), &doubled));
    let expected = state(1.0).wkv.into_iter().zip(state(2.0).wkv).map(|(a, b)| a * 0.5 - b * 2.0);
    assert!(same(&read(&case, "mix.pth"), &TimeState::of_wkv(expected.collect())));

    let passport: Value = serde_json::from_str(&case.read("mix.json")).expect("JSON");
    assert_eq!(passport["model"]["version"], "x070");
    assert_eq!(passport["method"]["made_by"], "mix");
    assert_eq!(passport["method"]["of"][1]["file"], "b.pth");
    assert_eq!(passport["method"]["of"][1]["weight"], -2.0);
}

#[test]
fn info_and_diff() {
    let case = case();
    let json = |arguments: &[&str]| -> Value {
        let output = case.statetune(&[&["state"], arguments, &["--format", "json"]].concat());
        serde_json::from_str(&output.is_done().stdout).expect("JSON")
    };
    let info = json(&["info", "a.st"]);
    assert_eq!(info["dtype"], "float16");
    assert_eq!(
        (&info["n_layer"], &info["n_head"], &info["head_size"]),
        (&2.into(), &2.into(), &64.into())
    );
    assert_eq!(info["passport"]["product"], "state");
    let norm =
        |s: &Tensor| s.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[]);
    assert!((info["norms"][1].as_f64().expect("a number") - norm(&state(1.0).wkv[1])).abs() < 1e-9);

    let diff = json(&["diff", "a.pth", "b.pth"]);
    let head = &diff["layers"][1]["heads"][1];
    let (a, b) = (state(1.0).wkv[1].get(1), state(2.0).wkv[1].get(1));
    let close = |value: &Value, expected: f64| {
        assert!((value.as_f64().expect("a number") - expected).abs() < 1e-9, "{value} {expected}");
    };
    close(&head["norms"][0], norm(&a));
    close(&head["norms"][1], norm(&b));
    close(&head["difference"], norm(&(&a - &b)));
    close(&json(&["diff", "a.pth", "a.st"])["layers"][0]["cosine"], 1.0);

    case.statetune(&["state", "diff", "a.pth", "a.pth"]).is_done();
    fs::remove_file(case.path("a.json")).expect("it was there");
    let output = case.statetune(&["state", "info", "a.pth"]);
    let lines: Vec<&str> = output.is_done().stdout.lines().collect::<Vec<_>>();
    assert_eq!(
        lines[..2],
        [
            "a.pth: 2 layers x 2 heads x 64 x 64, float32",
            "passport  none: the base weights are unknown"
        ]
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let case = case();
    let small = Shape::for_scratch(Version::V7, 1, 128, 4096);
    case.write_state("small", &TimeState::of_wkv(vec![state(1.0).wkv.remove(0)]), &small);
    case.write_state("v6", &state(3.0), &shape(Version::V6));
    case.write("broken.pth", &fs::read(case.path("a.pth")).expect("a file")[..9000]);
    let refuses = |arguments: &[&str], code: i32, message: &str| {
        let output = case.statetune(&[&["state"], arguments].concat());
        // The name of a temporary file is drawn.
        let stderr = output.stderr.split(" at path ").next().unwrap_or_default();
        assert_eq!(stderr.trim_end(), message);
        assert_eq!((output.code, &*output.stdout), (Some(code), ""));
        assert!(!case.list("").iter().any(|name| name.starts_with("out")), "{:?}", case.list(""));
    };
    refuses(
        &["mean", "a.pth", "small.pth", "--out", "out"],
        21,
        "error[ST8005]: `a.pth` has 2 layers x 2 heads x 64 x 64, but `small.pth` has 1 layers x 2 heads x 64 x 64",
    );
    refuses(
        &["mean", "a.pth", "v6.st", "--out", "out"],
        28,
        "\
error[ST8006]: `a.pth` and `v6.st` have different base weights
  |
  = note: states of different base models cannot be combined or compared",
    );
    refuses(
        &["mix", "a.pth", "b.pth", "--weights", "1", "--out", "out"],
        2,
        "\
error[ST0204]: 1 weight given for 2 states
  |
  = help: pass one weight for each state",
    );
    refuses(
        &["info", "nowhere"],
        2,
        "error[ST0205]: `nowhere` is neither a file nor a run in `runs`",
    );
    refuses(
        &["scale", "1e6", "a.pth", "--out", "out"],
        21,
        "error[ST4015]: out.st: tensor `blocks.0.att.time_state` contains 1e6, but the largest float16 is 6.5504e4",
    );
    refuses(
        &["scale", "1", "base.pth", "--out", "out"],
        21,
        "error[ST4003]: base.pth: tensor `blocks.0.att.time_state` is missing",
    );
    refuses(&["info", "broken.pth"], 21, "\
error[ST4012]: broken.pth: the file is corrupted: the end is missing, as after an interrupted download
  |
  = help: download or copy the file again, and compare its size with the original");
    case.write("a.json", "{}");
    refuses(
        &["info", "a.pth"],
        21,
        "\
error[ST8001]: `a.json` is not a passport that this version of statetune can read
  |
  = note: missing field `schema` at line 1 column 2",
    );
    refuses(
        &["scale", "1", "b.pth", "--out", "nowhere/out"],
        29,
        "\
error[ST4014]: cannot write the weights file `nowhere/out.pth`
  |
  = note: No such file or directory (os error 2)",
    );
}

/// The ending of a written file may be given too.
#[test]
fn out_may_have_an_ending() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    for out in ["mean.pth", "mean.st", "mean", "v1.2"] {
        let name = out.trim_end_matches(".pth").trim_end_matches(".st");
        let files = [format!("{name}.pth"), format!("{name}.st")];
        let lines = files.iter().map(|file| format!("state  {file}\n")).collect::<String>();
        case.statetune(&["state", "mean", "latest", "--out", out]).succeeds(&lines, "");
        for file in files {
            std::fs::remove_file(case.path(file)).expect("written");
        }
    }
    case.statetune(&["data", "export", STATE, "--to", "jsonl", "--out", "texts.jsonl"]).is_done();
    assert!(case.path("texts.jsonl").exists() && !case.path("texts.jsonl.jsonl").exists());
}
