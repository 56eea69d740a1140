//! Conversations, and how they become text.

use super::mask::{ASSISTANT, SYSTEM, USER};

/// Who speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Whoever sets the scene.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The role that a record calls `name`.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "system" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// What one side says at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said; not blank.
    pub content: String,
}

/// Makes texts of conversations.
pub trait Render: Sync {
    /// A text that is another one when any conversation would be rendered differently.
    fn identity(&self) -> String;

    /// The text of a conversation.
    fn render(&self, turns: &[Turn]) -> String;
}

/// The form of the RWKV models: turns with `System:`, `User:` or `Assistant:` in front and a blank line
/// between them.
#[derive(Clone, Copy, Debug)]
pub struct RwkvChat;

impl Render for RwkvChat {
    fn identity(&self) -> String {
        "rwkv-chat".into()
    }

    fn render(&self, turns: &[Turn]) -> String {
        let turns: Vec<String> = turns.iter().map(turn).collect();
        turns.join("\n\n")
    }
}

/// One turn with its role word. A blank line would end it, so there is none in it.
fn turn(turn: &Turn) -> String {
    let word = match turn.role {
        Role::System => SYSTEM,
        Role::User => USER,
        Role::Assistant => ASSISTANT,
    };
    let content = turn.content.replace("\r\n", "\n");
    let lines = content.trim().lines().filter(|line| !line.trim().is_empty());
    format!("{word} {}", lines.collect::<Vec<_>>().join("\n"))
}
