//! `[data.template]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IntoDeserializer as _;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How conversations are written as text: the name of a built-in template, or a table that changes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Template {
    /// A built-in template.
    Named(TemplateName),
    /// A built-in template with changes.
    Table(Box<TemplateTable>),
}

/// A built-in template.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum TemplateName {
    /// `User:` and `Assistant:`, a blank line between turns; also recognises `System:`.
    #[default]
    RwkvQa,
    /// The same as `rwkv-qa`, by the usual name for conversations of several turns.
    RwkvChat,
    /// The format of the G1 models without reasoning: `rwkv-qa` with an empty think block in front of each answer and
    /// results of functions as `User: Function output:`.
    G1,
    /// The same as `g1` with reasoning in the think block.
    G1Think,
    /// `Instruction:`, `Input:` and `Response:`, a blank line between them.
    Instruction,
    /// `### Instruction:`, `### Input:` and `### Response:`, each on a line of its own.
    Alpaca,
    /// Plain text without roles.
    Raw,
}

impl TemplateName {
    /// All built-in templates.
    pub const ALL: [Self; 7] = [
        Self::RwkvQa,
        Self::RwkvChat,
        Self::G1,
        Self::G1Think,
        Self::Instruction,
        Self::Alpaca,
        Self::Raw,
    ];
}

/// `[data.template]`: a built-in template with changes.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct TemplateTable {
    /// The built-in template to start from; `raw` has no roles.
    #[serde(default = "raw")]
    pub extends: TemplateName,
    /// The text between turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"\n\n", extend("x-default" = "as in the built-in template"))]
    pub separator: Option<String>,
    /// The text between a role name and the content of the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &" ", extend("x-default" = "as in the built-in template"))]
    pub gap: Option<String>,
    /// The text that opens a turn of each role, in place of that of the built-in template.
    #[serde(default, skip_serializing_if = "Roles::is_empty")]
    pub roles: Roles,
    /// Additional role names that are recognised in documents but never written: with `Bot` for a role that opens
    /// with `Assistant:`, `Bot:` opens a turn too. A name may end with a full-width colon, which then replaces the
    /// colon: `用户：`.
    #[serde(default, skip_serializing_if = "Aliases::is_empty")]
    pub aliases: Aliases,
}

fn raw() -> TemplateName {
    TemplateName::Raw
}

/// The text that opens a turn of each role.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Roles {
    /// Opens the system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "as in the built-in template"), length(min = 1), example = &"System:")]
    pub system: Option<String>,
    /// Opens a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "as in the built-in template"), length(min = 1), example = &"User:")]
    pub user: Option<String>,
    /// Opens additional input of a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "as in the built-in template"), length(min = 1), example = &"Input:")]
    pub input: Option<String>,
    /// Opens an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "as in the built-in template"), length(min = 1), example = &"Assistant:")]
    pub assistant: Option<String>,
}

impl Roles {
    fn is_empty(&self) -> bool {
        *self == Roles::default()
    }
}

/// Additional names of each role.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Aliases {
    /// Additional names of the system role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no additional names"), example = ["Setting"])]
    pub system: Vec<String>,
    /// Additional names of the user role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no additional names"), example = ["Question"])]
    pub user: Vec<String>,
    /// Additional names of the input role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no additional names"), example = ["Text"])]
    pub input: Vec<String>,
    /// Additional names of the assistant role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no additional names"), example = ["Bot"])]
    pub assistant: Vec<String>,
}

impl Aliases {
    fn is_empty(&self) -> bool {
        *self == Aliases::default()
    }
}

impl Default for Template {
    fn default() -> Self {
        Template::Named(TemplateName::default())
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Template::Named(name) => name.serialize(serializer),
            Template::Table(table) => table.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Template;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("the name of a template or a table")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Template, E> {
                TemplateName::deserialize(name.into_deserializer()).map(Template::Named)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Template, A::Error> {
                TemplateTable::deserialize(MapAccessDeserializer::new(map))
                    .map(|table| Template::Table(Box::new(table)))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                generator.subschema_for::<TemplateName>(),
                generator.subschema_for::<TemplateTable>(),
            ]
        })
    }
}
