//! Conversations as text: who speaks where, and which tokens the loss is taken over.

pub(crate) mod mask;
pub(crate) mod role_words;
pub(crate) mod template;

pub use mask::Mask;
pub use role_words::{RoleWord, RoleWords, Unlearned, role_words};
pub use template::{FoundTurn, Role, Template, TemplateError, Turn};
