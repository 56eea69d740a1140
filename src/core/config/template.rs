use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IntoDeserializer as _;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a conversation is written as text: the name of a built-in template, or a table that changes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Template {
    /// A built-in template.
    Named(TemplateName),
    /// A built-in template with other words.
    Table(Box<TemplateTable>),
}

/// A built-in template.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum TemplateName {
    /// `User:` and `Assistant:`, a blank line between turns; `System:` is understood, too.
    #[default]
    RwkvQa,
    /// The same by the name of conversations of several turns.
    RwkvChat,
    /// `Instruction:`, `Input:` and `Response:`, a blank line between them.
    Instruction,
    /// `### Instruction:`, `### Input:` and `### Response:`, each on a line of its own.
    Alpaca,
    /// Plain text, in which nobody speaks.
    Raw,
}

impl TemplateName {
    /// All built-in templates.
    pub const ALL: [Self; 5] =
        [Self::RwkvQa, Self::RwkvChat, Self::Instruction, Self::Alpaca, Self::Raw];
}

/// `[data.template]`: a template that starts from a built-in one.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct TemplateTable {
    /// The template to start from; `raw` has no roles of its own.
    #[serde(default = "raw")]
    pub extends: TemplateName,
    /// What stands between turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"\n\n", extend("x-default" = "that of the template it extends"))]
    pub separator: Option<String>,
    /// What stands between the words that open a turn and what is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &" ", extend("x-default" = "that of the template it extends"))]
    pub gap: Option<String>,
    /// The words that open a turn of each role, in place of those of the template it extends.
    #[serde(default, skip_serializing_if = "Roles::is_empty")]
    pub roles: Roles,
    /// Further words for a role, which are found in texts but not written: `Bot` for `Bot:` where the role
    /// has `Assistant:`.
    #[serde(default, skip_serializing_if = "Aliases::is_empty")]
    pub aliases: Aliases,
}

fn raw() -> TemplateName {
    TemplateName::Raw
}

/// The words that open a turn of each role.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Roles {
    /// Who sets the scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the template it extends"), length(min = 1), example = &"System:")]
    pub system: Option<String>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the template it extends"), length(min = 1), example = &"User:")]
    pub user: Option<String>,
    /// What is added to a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the template it extends"), length(min = 1), example = &"Input:")]
    pub input: Option<String>,
    /// Who answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the template it extends"), length(min = 1), example = &"Assistant:")]
    pub assistant: Option<String>,
}

impl Roles {
    fn is_empty(&self) -> bool {
        *self == Roles::default()
    }
}

/// Further words for each role.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Aliases {
    /// For who sets the scene.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no further words"), example = ["Setting"])]
    pub system: Vec<String>,
    /// For who asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no further words"), example = ["Question"])]
    pub user: Vec<String>,
    /// For what is added to a question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no further words"), example = ["Text"])]
    pub input: Vec<String>,
    /// For who answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no further words"), example = ["Bot"])]
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
