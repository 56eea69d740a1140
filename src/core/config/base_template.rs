//! The template of weights: what their passport or their name says about it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::tables::TemplateName;
use crate::data::Template;

/// The most bytes of a passport that are read.
const PASSPORT_BYTES: u64 = 1 << 20;

/// `g1` as a part of a file name, with the letter and number of its data: `rwkv7-g1a4-2.9b.pth`.
static G1: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:^|[-_. ])g1(?:[a-z][0-9]?)?(?:[-_. ]|$)").expect("a valid expression")
});

/// Where the template of weights was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemplateHint {
    /// In the passport beside them.
    Passport,
    /// In their name.
    FileName,
}

/// The template of the documents that `weights` were trained on, if their passport or name says so.
pub fn template_of_weights(weights: &Path) -> Option<(TemplateName, TemplateHint)> {
    if let Some(name) = of_passport(weights) {
        return Some((name, TemplateHint::Passport));
    }
    is_of_g1(weights).then_some((TemplateName::G1, TemplateHint::FileName))
}

/// Whether the name of the weights says that they are of the G1 series.
pub fn is_of_g1(weights: &Path) -> bool {
    weights.file_name().is_some_and(|name| G1.is_match(&name.to_string_lossy()))
}

/// The template in the passport beside the weights: the built-in one with the same prompt, or that of their base.
fn of_passport(weights: &Path) -> Option<TemplateName> {
    let mut text = String::new();
    let path = weights.with_extension("json");
    let file = path.is_file().then(|| File::open(path)).and_then(Result::ok)?;
    file.take(PASSPORT_BYTES).read_to_string(&mut text).ok()?;
    let passport: Value = serde_json::from_str(&text).ok()?;
    if !passport["schema"].as_str()?.starts_with("statetune.passport/") {
        return None;
    }
    match passport["template"].as_str() {
        Some(prompt) => {
            let is_same = |own: &&Template| own.prompt("{}").is_ok_and(|own| own == prompt);
            let template = Template::built_in().iter().find(is_same)?;
            serde_json::from_value(Value::from(&*template.name)).ok()
        }
        None => {
            let base = passport["base"]["file"].as_str()?;
            is_of_g1(Path::new(base)).then_some(TemplateName::G1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_g1_series() {
        for name in [
            "rwkv7-g1-0.1b-20250307-ctx4096.pth",
            "rwkv7-g1a4-2.9b-20251118-ctx8192.pth",
            "RWKV-x070-G1b-1.5B.safetensors",
            "hf://BlinkDL/rwkv7-g1/rwkv7-g1c-7.2b.pth",
            "g1.pth",
        ] {
            assert!(is_of_g1(Path::new(name)), "{name}");
        }
        for name in ["rwkv7-g0a-7.2b.pth", "rwkv-g10.pth", "big1.pth", "RWKV-x070-World-0.1B.pth"] {
            assert!(!is_of_g1(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn a_passport_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let weights = folder.path().join("rwkv7-g1-mine.pth");
        let of = |passport: &str| {
            std::fs::write(weights.with_extension("json"), passport).expect("written");
            template_of_weights(&weights)
        };
        let g1 = Some((TemplateName::G1, TemplateHint::FileName));
        assert_eq!(template_of_weights(&weights), g1);
        assert_eq!(of("{}"), g1);
        let passport = |rest: &str| format!("{{\"schema\": \"statetune.passport/1\", {rest}}}");
        assert_eq!(
            of(&passport("\"template\": \"User: {}\\n\\nAssistant:\"")),
            Some((TemplateName::RwkvQa, TemplateHint::Passport))
        );
        assert_eq!(
            of(&passport("\"template\": \"User: {}\\n\\nAssistant: <think\"")),
            Some((TemplateName::G1Think, TemplateHint::Passport))
        );
        assert_eq!(
            of(&passport("\"base\": {\"file\": \"rwkv7-g1-0.4b.pth\"}")),
            Some((TemplateName::G1, TemplateHint::Passport))
        );
    }
}
