//! The `Modelfile` of Ollama for a GGUF file.

use std::path::Path;

use statetune_core::data::Template;
use statetune_core::tensorfile::WeightsError;

use super::files::write_text;

/// Writes a `Modelfile` for the GGUF file `model` in the same folder: the template of the conversations and where answers
/// end.
///
/// # Errors
/// A file that cannot be written; no partial file is left behind.
pub fn save_modelfile(model: &Path, template: &Template, out: &Path) -> Result<(), WeightsError> {
    write_text(out, &modelfile(model, template))
}

fn modelfile(model: &Path, template: &Template) -> String {
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!("FROM ./{name}\n");
    if let Some(template) = template.ollama() {
        text += &format!("TEMPLATE \"\"\"{template}\"\"\"\n");
    }
    for stop in template.stops() {
        text += &format!("PARAMETER stop {}\n", serde_json::Value::String(stop));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_quoted() {
        let text = modelfile(Path::new("a/b.gguf"), &Template::rwkv_qa());
        assert!(text.starts_with("FROM ./b.gguf\nTEMPLATE \"\"\"{{ range"), "{text}");
        assert!(text.ends_with("Assistant:\"\"\"\nPARAMETER stop \"\\n\\nUser:\"\n"), "{text}");
        assert_eq!(modelfile(Path::new("b.gguf"), &Template::raw()), "FROM ./b.gguf\n");
    }
}
