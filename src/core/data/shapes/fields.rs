//! The keys of an object, taken one by one, so that what is left is what no reader used.

use serde_json::{Map, Value};

/// The keys of a record that shapes read. `data.ignore_keys` takes them from a record as if they were absent.
pub(super) const KEYS: [&str; 24] = [
    "text",
    "messages",
    "conversations",
    "conversation",
    "chat_rounds",
    "chat",
    "dialogue",
    "dialog",
    "turns",
    "instruction",
    "input",
    "output",
    "history",
    "system",
    "tools",
    "functions",
    "prompt",
    "completion",
    "response",
    "question",
    "answer",
    "query",
    "chosen",
    "rejected",
];

/// Whether ignoring the key at `path`, such as `messages[].weight`, can change documents.
pub(super) fn is_read(path: &str, sft_field: &[String]) -> bool {
    KEYS.contains(&path) || path.contains('.') || sft_field.iter().any(|key| key == path)
}

/// What a record leaves to report, while it is read.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    /// The paths that are read as if they were absent, if shapes read them at all.
    ignored: &'a [String],
    sft_field: &'a [String],
    /// The paths that no reader used, each once.
    pub(super) unused: Vec<String>,
    /// Where reasoning was found first.
    pub(super) reasoning: Option<String>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(ignored: &'a [String], sft_field: &'a [String]) -> Ledger<'a> {
        Ledger { ignored, sft_field, unused: Vec::new(), reasoning: None }
    }

    /// Reports a path that no reader used.
    pub(super) fn leave(&mut self, path: String) {
        if !self.unused.contains(&path) {
            self.unused.push(path);
        }
    }

    /// Whether the key at `path` is read as if it were absent.
    fn ignores(&self, path: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored == path) && is_read(path, self.sft_field)
    }
}

/// The keys of an object that no reader has used so far.
#[derive(Debug)]
pub(super) struct Fields {
    keys: Map<String, Value>,
    /// The path of the object, such as `messages[]`; empty for a record.
    path: String,
}

impl Fields {
    /// The keys of the object at `path`. Null is the same as absent.
    pub(super) fn new(keys: Map<String, Value>, path: &str, ledger: &Ledger<'_>) -> Fields {
        let mut fields = Fields { keys, path: path.to_owned() };
        if ledger.ignored.is_empty() {
            return fields;
        }
        let is_absent = |key: &&String| ledger.ignores(&fields.path_of(key));
        let absent: Vec<String> = fields.keys.keys().filter(is_absent).cloned().collect();
        absent.iter().for_each(|key| drop(fields.keys.shift_remove(key)));
        fields
    }

    /// The path of a key.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, which counts as used; `None` for null.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.keys.shift_remove(key).filter(|value| !value.is_null())
    }

    /// [`Fields::take`] for the first of these keys that there is, with the key.
    pub(super) fn take_first<'k>(&mut self, keys: &[&'k str]) -> Option<(&'k str, Value)> {
        let key = keys.iter().find(|key| self.has(key))?;
        Some((key, self.take(key)?))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The keys that shapes read.
    pub(super) fn usual(&self) -> Vec<&'static str> {
        KEYS.into_iter().filter(|key| self.has(key)).collect()
    }

    /// The names of all keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The keys of text, in their order.
    pub(super) fn strings(&self) -> impl Iterator<Item = &str> {
        let strings = self.keys.iter().filter(|(_, value)| value.is_string());
        strings.map(|(key, _)| key.as_str())
    }

    /// The same keys, one of them under another name.
    pub(super) fn renamed(&self, key: &str, name: &str) -> Fields {
        let named = |known: &String| if known == key { name.to_owned() } else { known.clone() };
        let keys = self.keys.iter().map(|(known, value)| (named(known), value.clone())).collect();
        Fields { keys, path: self.path.clone() }
    }

    /// Reports the keys that are left.
    pub(super) fn finish(self, ledger: &mut Ledger<'_>) {
        for (key, _) in self.keys.iter().filter(|(_, value)| !value.is_null()) {
            ledger.leave(self.path_of(key));
        }
    }
}
