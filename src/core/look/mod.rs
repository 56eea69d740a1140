//! Looking at documents and stored runs: documents before training, what differs between runs, a run as an HTML page.

pub mod diff;
pub mod inspect;
pub mod report;
