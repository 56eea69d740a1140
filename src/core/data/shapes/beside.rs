//! `system` and `tools` beside the turns of a record.

use serde_json::Value;

use crate::data::conversation::{Role, tools_text};
use crate::data::fault::LineFault;
use crate::diagnostic::msg;

use super::calls;
use super::fields::{Fields, Ledger};
use super::said::{Said, ShapeFault, type_of};

/// What a record says about the whole conversation.
pub(super) struct Beside {
    /// The system prompt; empty for none.
    system: String,
    /// The functions that the assistant may call.
    tools: Option<Value>,
}

impl Beside {
    /// Takes `system`, and `tools` or `functions`.
    ///
    /// # Errors
    /// A system prompt that is not a text, or tools that are not a list.
    pub(super) fn take(record: &mut Fields, ledger: &mut Ledger<'_>) -> Result<Beside, ShapeFault> {
        let system = match record.take("system") {
            None => String::new(),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(other) => {
                let found = type_of(&other);
                let fault = LineFault::TextType { key: "system".to_owned(), found };
                return Err(ShapeFault::at("system", fault));
            }
        };
        let tools = match record.take_first(&["tools", "functions"]) {
            None => None,
            Some((key, value)) => calls::functions(value, key, ledger).map_err(|found| {
                let problem = msg!(TOOLS_NOT_A_LIST, key, found = type_of(&found));
                ShapeFault::messages(key, problem)
            })?,
        };
        Ok(Beside { system, tools })
    }

    /// Puts the system prompt and the functions at the start of `said`. A system turn of the conversation follows the
    /// system prompt.
    pub(super) fn put(&self, said: &mut Vec<Said>) {
        if self.system.is_empty() && self.tools.is_none() {
            return;
        }
        let is_first = said.first().is_some_and(|first| first.role == Role::System);
        let first = is_first.then(|| said.remove(0));
        let muted = first.as_ref().is_some_and(|first| first.muted);
        let own = first.map(|first| first.content).filter(|own| *own != self.system);
        let texts = [Some(self.system.clone()), own].into_iter().flatten();
        let system = texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        let content = match &self.tools {
            Some(tools) => tools_text(tools, &system),
            None => system,
        };
        said.insert(0, Said { muted, ..Said::new(Role::System, &content) });
    }
}
