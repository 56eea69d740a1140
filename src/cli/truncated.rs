//! A file that is mapped into memory and becomes shorter: one message and exit code 21 instead of a signal.

use std::io;

use rustix::stdio::stderr;
use signal_hook::consts::SIGBUS;
use signal_hook::low_level::{exit, register};
use statetune_core::exit::ExitCode;
use statetune_core::lang::Lang;

const ENGLISH: &str = "error[ST4025]: a file of weights or tokens became shorter while it was in use; saved files are \
intact\n";
const CHINESE: &str = "错误[ST4025]: 权重或 token 文件在使用中变短；已保存的文件完好\n";

/// Ends the process in words when a page of a mapped file is gone.
///
/// # Errors
/// When the operating system refuses to deliver the signal.
pub(super) fn watch_mapped_files() -> io::Result<()> {
    let message = match Lang::spoken() {
        Lang::En => ENGLISH,
        Lang::Zh => CHINESE,
    };
    let end = move || {
        let _ = rustix::io::write(stderr(), message.as_bytes());
        exit(ExitCode::Model as i32);
    };
    // SAFETY: the handler writes a constant text and leaves the process, both by calls that signal handlers may make.
    unsafe { register(SIGBUS, end) }.map(drop)
}
