//! Rules of `[guard]`.

use super::Faults;
use crate::diagnostic::{Diagnostic, msg};

impl Faults<'_> {
    /// A multiple below 1 would report losses that fall.
    pub(super) fn check_guard(&mut self) {
        let multiple = self.config().guard.loss_spike;
        if multiple > 0.0 && multiple < 1.0 {
            let message = msg!(LOSS_SPIKE_TOO_LOW, multiple);
            let fault = Diagnostic::error(message)
                .note(msg!(LOSS_SPIKE_MEANING))
                .help(msg!(LOSS_SPIKE_DEFAULT));
            self.add("guard.loss_spike", fault);
        }
    }
}
