//! Conversations as text: their turns, and the target tokens in them.

mod mask;
mod role_words;
mod template;

pub use mask::Mask;
pub use role_words::{RoleWord, RoleWords, Unlearned, role_words};
pub use template::{FoundTurn, Role, Template, TemplateError, Turn};
