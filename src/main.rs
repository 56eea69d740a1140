//! The command `statetune`: arguments -> one command -> exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    statetune::cli::main().into()
}
