//! `--drop shift`: leaves the shift states of a state out, for a program that does not read them.

use clap::{Args, ValueEnum};
use serde_json::json;
use statetune_core::diagnostic::msg;
use statetune_core::peft::StateReader;
use statetune_engine::RunError;
use statetune_engine::exports::Passport;
use statetune_engine::model::TimeState;

#[derive(Args, Debug)]
pub(crate) struct DropArgs {
    /// Leave a part of the state out, for a program that does not read it; the model then differs from the trained one.
    #[arg(long, value_name = "PART", value_enum)]
    drop: Option<DropPart>,
}

/// Part of a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum DropPart {
    /// What the token shifts start from.
    Shift,
}

impl DropArgs {
    /// Whether the option is given.
    pub(crate) fn is_given(&self) -> bool {
        self.drop.is_some()
    }

    /// The state without the part to leave out.
    pub(crate) fn of(&self, state: TimeState) -> TimeState {
        if self.is_given() { state.wkv_alone() } else { state }
    }

    /// The state for a program.
    ///
    /// # Errors
    /// The refusal of a part that the program does not read.
    pub(crate) fn for_program(
        &self,
        state: TimeState,
        program: StateReader,
    ) -> Result<TimeState, RunError> {
        let state = self.of(state);
        match program.refusal().filter(|_| state.shift.is_some()) {
            Some(refusal) => Err(RunError::Foreign(Box::new(refusal.help(msg!(DROP_SHIFT))))),
            None => Ok(state),
        }
    }

    /// The passport of a file without the part.
    pub(crate) fn passport(&self, mut passport: Passport) -> Passport {
        if self.is_given() && passport.method.is_object() {
            passport.method["dropped"] = json!(["shift"]);
        }
        passport
    }
}
