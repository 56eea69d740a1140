//! Looking at stored runs: what differs between them, and one of them as an HTML page.

pub mod diff;
pub mod report;
