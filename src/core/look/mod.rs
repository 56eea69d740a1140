//! Looking at files and stored runs: the files of an experiment, documents before training, what differs between runs, a run as an HTML page.

pub mod diff;
pub mod files;
pub mod inspect;
pub mod report;
