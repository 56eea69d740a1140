//! Conversations as text: their turns, the parts of answers, the target tokens in them, and what is odd about them.

mod answer;
mod chat_template;
mod cleaning;
mod g1;
mod mask;
mod missed_openings;
mod muted;
mod proposal;
mod role_counts;
mod role_words;
mod target_tokens;
mod template;
mod turn_survey;
mod unlearned;
mod written;

pub use answer::{
    AnswerPart, Learn, Reply, ThinkLength, Thinking, ToolCall, answer_text, is_open, rest_of_tag,
    tools_text,
};
pub use mask::Mask;
pub use missed_openings::{MissedOpening, Obstacle, missed_openings, with_openings};
pub use muted::Muted;
pub use proposal::Proposal;
pub use role_counts::RoleWords;
pub use template::{FoundTurn, Role, Template, TemplateError, Turn};
pub use turn_survey::{ForeignWord, OddTurn, TurnOddity, TurnPlace, TurnSurvey};
pub use unlearned::Unlearned;
