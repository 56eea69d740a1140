//! Values of YAML as values of TOML; `None` for a value of another kind or out of its range.

use toml_edit::Value;
use yaml_rust2::Yaml;

use crate::import::imported::as_written;

/// Whether a path has a gap that the user of the file must fill: `<TO-OVERRIDE>.pth`, `${MODEL}`.
pub(super) fn is_template(path: &str) -> bool {
    path.contains(['<', '>', '$', '{'])
}

pub(super) fn written(yaml: &Yaml) -> String {
    match yaml {
        Yaml::Real(text) | Yaml::String(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        Yaml::Array(_) => "[...]".to_string(),
        Yaml::Null => "null".to_string(),
        _ => String::new(),
    }
}

/// A number; YAML reads numbers such as `1e-5` as text.
fn real(yaml: &Yaml) -> Option<f64> {
    match yaml {
        Yaml::Integer(number) => Some(*number as f64),
        Yaml::Real(text) | Yaml::String(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

fn number(yaml: &Yaml, is_valid: fn(f64) -> bool) -> Option<Value> {
    let number = real(yaml).filter(|number| is_valid(*number))?;
    Some(as_written(&written(yaml), number))
}

pub(super) fn above_0(yaml: &Yaml) -> Option<Value> {
    number(yaml, |number| number > 0.0)
}

pub(super) fn not_below_0(yaml: &Yaml) -> Option<Value> {
    number(yaml, |number| number >= 0.0)
}

pub(super) fn share(yaml: &Yaml) -> Option<Value> {
    real(yaml).filter(|share| (0.0..1.0).contains(share)).map(Value::from)
}

pub(super) fn integer(yaml: &Yaml) -> Option<Value> {
    yaml.as_i64().filter(|&number| number >= 0).map(Value::from)
}

pub(super) fn positive(yaml: &Yaml) -> Option<Value> {
    yaml.as_i64().filter(|number| (1..=u32::MAX.into()).contains(number)).map(Value::from)
}

/// A count; -1 means 0.
pub(super) fn not_negative(yaml: &Yaml) -> Option<Value> {
    yaml.as_i64().map(|number| number.clamp(0, u32::MAX.into()).into())
}

pub(super) fn switch(yaml: &Yaml) -> Option<Value> {
    yaml.as_bool().or_else(|| yaml.as_i64().map(|number| number != 0)).map(Value::from)
}

pub(super) fn text(yaml: &Yaml) -> Option<String> {
    yaml.as_str().filter(|text| !text.is_empty()).map(str::to_string)
}

pub(super) fn accelerator(yaml: &Yaml) -> Option<Value> {
    match yaml.as_str()? {
        "gpu" | "cuda" => Some("gpu".into()),
        known @ ("cpu" | "auto") => Some(known.into()),
        _ => None,
    }
}

/// The precision names of Lightning: `bf16`, `bf16-mixed`, `16`, `32-true`.
pub(super) fn precision(yaml: &Yaml) -> Option<Value> {
    match written(yaml).trim_end_matches("-mixed").trim_end_matches("-true") {
        "bf16" => Some("bf16".into()),
        "16" | "fp16" => Some("fp16".into()),
        "32" | "fp32" => Some("fp32".into()),
        _ => None,
    }
}
