//! An experiment file while it is put together.

use toml_edit::Value;

/// Tables in the order of a file.
const TABLES: [&str; 11] = [
    "data",
    "model",
    "peft",
    "quant",
    "train",
    "hardware",
    "optimizer",
    "schedule",
    "checkpoint",
    "eval",
    "log",
];

/// Settings with their reasons.
#[derive(Debug, Default)]
pub(super) struct Draft {
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    table: &'static str,
    key: &'static str,
    value: Value,
    remark: String,
}

impl Draft {
    /// Sets `table.key`, over an earlier value; `remark` stands behind it as a comment, if it is not empty.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>, remark: &str) {
        let (table, key) = key.split_once('.').unwrap_or(("", key));
        debug_assert!(table.is_empty() || TABLES.contains(&table), "[{table}]");
        let setting = Setting { table, key, value: value.into(), remark: remark.to_string() };
        let same = |one: &&mut Setting| (one.table, one.key) == (table, key);
        match self.settings.iter_mut().find(same) {
            Some(found) => *found = setting,
            None => self.settings.push(setting),
        }
    }

    /// The value of a setting.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let (table, key) = key.split_once('.').unwrap_or(("", key));
        self.settings.iter().find(|one| (one.table, one.key) == (table, key)).map(|one| &one.value)
    }

    /// The file: `head` as comment lines, then the settings by table.
    pub(super) fn to_toml(&self, head: &[String]) -> String {
        let mut text: String = head.iter().map(|line| format!("# {line}\n")).collect();
        for table in [""].iter().chain(&TABLES) {
            let settings: Vec<_> = self.settings.iter().filter(|one| one.table == *table).collect();
            if !table.is_empty() && !settings.is_empty() {
                text += &format!("\n[{table}]\n");
            }
            for Setting { key, value, remark, .. } in settings {
                let line = format!("{key} = {}", value.to_string().trim());
                text += &match remark.as_str() {
                    "" => line + "\n",
                    remark => format!("{line:<32}  # {remark}\n"),
                };
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_by_table_with_their_remarks() {
        let mut draft = Draft::default();
        draft.set("train.ctx_len", 512, "");
        draft.set("name", "x", "");
        draft.set("data.data_file", "a \"b\".jsonl", "from make_data");
        draft.set("train.ctx_len", 1024, "");
        let expected = "\
# head
name = \"x\"

[data]
data_file = 'a \"b\".jsonl'         # from make_data

[train]
ctx_len = 1024
";
        assert_eq!(draft.to_toml(&["head".into()]), expected);
        assert_eq!(draft.get("train.ctx_len").and_then(Value::as_integer), Some(1024));
    }
}
