//! Tagged tables: tables of the experiment file whose key `type` names a variant.

use schemars::Schema;
use serde_json::Value;

/// The key that names the variant of a tagged table.
pub const TAG: &str = "type";

/// Makes the first variant of a tagged table the default of its `type`.
pub fn first_type_is_default(schema: &mut Schema) {
    let first = schema.get_mut("oneOf").and_then(|variants| variants.get_mut(0));
    let Some(first) = first.and_then(Value::as_object_mut) else { return };
    first.shift_remove("required");
    if let Some(tag) = first.get_mut("properties").and_then(|properties| properties.get_mut(TAG)) {
        tag["default"] = tag["const"].clone();
    }
}
