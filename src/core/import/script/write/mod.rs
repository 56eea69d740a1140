//! The way back: an experiment as a script for `train.py` of RWKV-PEFT. Each setting is taken once; what has
//! no flag there stands in comments at the end of the script, unless it is as here by default.

mod course;
mod data;
mod method;

use serde_json::Value;

use super::super::{Facts, Setting};
use super::table::SAME;
use crate::words::shell_word;

/// The script; `source` is what the experiment file is called.
pub(in crate::import) fn export(settings: Vec<Setting>, facts: &Facts, source: &str) -> String {
    let mut script =
        Script { settings, head: Vec::new(), before: None, flags: Vec::new(), remarks: Vec::new() };
    script.name(source);
    script.model(facts);
    script.data(facts);
    script.steps(facts);
    script.schedule();
    script.optimizer();
    script.method(facts);
    script.quant();
    script.same();
    script.machine();
    script.rest();
    script.text()
}

struct Script {
    /// Settings that are not accounted for yet.
    settings: Vec<Setting>,
    head: Vec<String>,
    /// The command that prepares the data.
    before: Option<String>,
    /// Names with their values, as a shell reads them.
    flags: Vec<(String, String)>,
    remarks: Vec<String>,
}

impl Script {
    fn look(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|one| one.key == key).map(|one| &one.value)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.settings.iter().position(|one| one.key == key)?;
        Some(self.settings.remove(at).value)
    }

    /// Takes a setting whose value is a word; empty where there is none.
    fn word(&mut self, key: &str) -> String {
        self.take(key).as_ref().and_then(Value::as_str).unwrap_or_default().to_string()
    }

    fn flag(&mut self, name: &str, value: &str) {
        self.flags.push((name.to_string(), shell_word(value)));
    }

    /// A line about a setting that was taken.
    fn remark(&mut self, key: &str, value: &Value, why: &str) {
        self.remarks.push(format!("{key} = {value}: {why}"));
    }

    /// Takes a setting and says why it is not there, unless `is_same` says that it is.
    fn lost(&mut self, key: &str, is_same: impl Fn(&Value) -> bool, why: &str) {
        if let Some(value) = self.take(key).filter(|value| !is_same(value)) {
            self.remark(key, &value, why);
        }
    }

    fn name(&mut self, source: &str) {
        let name = self.word("name");
        let description = self.word("description");
        let separator = if description.is_empty() { "" } else { ": " };
        self.head.push(format!("{name}{separator}{description}"));
        self.head.push(format!(
            "Written from {source} by `statetune config show --as rwkv-peft`. It is run in RWKV-PEFT's folder."
        ));
        self.flag("proj_dir", &format!("out/{name}"));
        self.take("format");
    }

    /// The flags that mean the same.
    fn same(&mut self) {
        for &(flag, key, _) in SAME {
            match self.take(key) {
                Some(Value::Bool(yes)) => self.flag(flag, if yes { "1" } else { "0" }),
                Some(value) => self.flag(flag, &plain(&value)),
                None => {}
            }
        }
    }

    fn machine(&mut self) {
        if let Some(devices) = self.take("hardware.devices") {
            self.flag("devices", &plain(&devices));
        }
        self.flag("strategy", "deepspeed_stage_1");
    }

    /// What is left: nothing there is like it. It matters where somebody chose it.
    fn rest(&mut self) {
        let chosen: Vec<Setting> = self.settings.drain(..).filter(|one| one.is_chosen).collect();
        let table =
            |one: &Setting| one.key.split_once('.').map_or("", |(table, _)| table).to_string();
        for of_table in chosen.chunk_by(|a, b| table(a) == table(b)) {
            let keys: Vec<&str> = of_table.iter().map(|one| one.key.as_str()).collect();
            self.remarks.push(format!("{}: there is nothing like it", keys.join(", ")));
        }
    }

    fn text(&self) -> String {
        let mut text = "#!/bin/sh\n".to_string();
        let line = |one: &str| format!("# {}\n", one.replace(['\n', '\r'], " "));
        text.extend(self.head.iter().map(|one| line(one)));
        text += "set -e\n";
        if let Some(before) = &self.before {
            text += &format!("{before}\n");
        }
        text += "python train.py";
        text.extend(self.flags.iter().map(|(name, value)| format!(" \\\n  --{name} {value}")));
        text += "\n";
        if !self.remarks.is_empty() {
            text += "\n# Not the same there:\n";
            text.extend(self.remarks.iter().map(|one| line(&format!("  {one}"))));
        }
        text
    }
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
