//! JSON Schemas of the records, generated from the structs.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::{EventLine, LedgerRecord, Metrics, RunRecord, SuitesRecord, Times, ValLossesRecord};

/// Name in `schemas/` and text of each schema file.
pub fn record_schemas() -> [(&'static str, String); 7] {
    [
        ("metrics.schema.json", text::<Metrics>()),
        ("events.schema.json", text::<EventLine>()),
        ("ledger.schema.json", text::<LedgerRecord>()),
        ("run.schema.json", text::<RunRecord>()),
        ("suites.schema.json", text::<SuitesRecord>()),
        ("times.schema.json", text::<Times>()),
        ("val_losses.schema.json", text::<ValLossesRecord>()),
    ]
}

/// The JSON Schema of a type, draft 7.
fn text<T: JsonSchema>() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>();
    format!("{:#}\n", schema.to_value())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_schema_files_are_current() {
        let bless = std::env::var_os("STATETUNE_BLESS").is_some_and(|value| value == "1");
        for (name, text) in record_schemas() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas").join(name);
            if bless {
                std::fs::write(&file, &text).expect("the schema file can be written");
            }
            let stored = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(stored == text, "run the tests with STATETUNE_BLESS=1 to write {file:?}");
        }
    }
}
