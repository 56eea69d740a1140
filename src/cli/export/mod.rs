//! `statetune export`.

mod args;
mod convert;
mod gguf;
mod hf;
mod peft;
mod shared;

use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;

pub(super) use self::args::ExportArgs;
use self::args::FormName;
use super::replace::say_written;
use super::subject::fail;
use super::{Color, show};

pub(super) fn export(args: &ExportArgs, color: Color) -> ExitCode {
    if let Some(option) = args.stray_option() {
        let message = msg!(OPTION_OF_OTHER_FORMS, option, form = args.to.name());
        show(&Diagnostic::error(message).help(msg!(REMOVE_OPTION, option)), color);
        return ExitCode::Invalid;
    }
    let export = match args.to {
        FormName::Hf => hf::export,
        FormName::Gguf => gguf::export,
        FormName::Peft => peft::export,
        FormName::Pth | FormName::St | FormName::Safetensors | FormName::State => {
            return convert::export(args, color);
        }
    };
    let found = match args.subject.find_model(&args.name, color) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match export(args, &found, color) {
        Ok(files) => {
            files.iter().for_each(|file| say_written(file, file.display()));
            ExitCode::Ok
        }
        Err(error) => fail(&error, color),
    }
}
