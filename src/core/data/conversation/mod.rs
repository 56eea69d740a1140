//! Conversations as text: their turns, and the target tokens in them.

mod mask;
mod role_words;
mod template;
mod unlearned;

pub use mask::Mask;
pub use role_words::{RoleWord, role_words};
pub use template::{FoundTurn, Role, Template, TemplateError, Turn};
pub use unlearned::{RoleWords, Unlearned};
