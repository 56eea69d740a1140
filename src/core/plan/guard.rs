//! Rules of `[guard]`.

use super::Faults;
use crate::diagnostic::Diagnostic;

impl Faults<'_> {
    /// A multiple below 1 would report losses that fall.
    pub(super) fn check_guard(&mut self) {
        let multiple = self.config().guard.loss_spike;
        if multiple > 0.0 && multiple < 1.0 {
            let message = format!("`guard.loss_spike = {multiple}` would report usual losses");
            let fault = Diagnostic::error("ST7010", message)
                .note("it is the multiple of the usual loss above which a loss is reported")
                .help("4.0 is the default; 0 reports nothing");
            self.add("guard.loss_spike", fault);
        }
    }
}
