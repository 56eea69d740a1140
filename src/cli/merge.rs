//! `statetune merge`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::hub::is_on_hub;
use statetune_core::plan::{ModelSource, PeftPlan, Plan, Purpose, TokenizerPlan};
use statetune_core::records::RunDir;
use statetune_core::shell::shell_path;
use statetune_core::store::find_run_ref;
use statetune_core::tensorfile::is_written_through;
use statetune_engine::exports::ExportKind;
use statetune_engine::run::{Merge, Merged, StatesPlace, merge as write};

use super::replace::{ReplaceArgs, is_export, is_of_run, say_written, with_passport};
use super::subject::{exported_file, fail, state_of};
use super::{Color, ExperimentArgs, MovedFiles, say, show, tell};

#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// The run: `latest`, a name, an id or a path.
    run: String,
    /// Checkpoint to write, a `.pth` [default: `NAME-merged.pth` next to the run's newest exported file NAME].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    replace: ReplaceArgs,
    #[command(flatten)]
    moved: MovedFiles,
    /// Merge into the dequantised weights instead of the original base: exactly the trained model, including
    /// quantisation errors.
    #[arg(long)]
    quantised: bool,
    /// Where to write initial states [default: `beside` for RWKV-7, whose programs ignore states in a model file;
    /// `embed` for RWKV-5 and 6].
    #[arg(long, value_name = "PLACE", value_enum)]
    states: Option<States>,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

/// Where to write initial states.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum States {
    /// In the model file, behind the weights.
    Embed,
    /// In a state file, `NAME-state.pth` for `NAME.pth`.
    Beside,
}

pub(super) fn merge(args: &MergeArgs, color: Color) -> ExitCode {
    let refuse = |message: Diagnostic| {
        show(&message, color);
        ExitCode::Invalid
    };
    let (run, moment) = match find_run_ref(&args.runs_dir, &args.run) {
        Ok(found) => found,
        Err(refusal) => return refuse(*refusal),
    };
    let experiment = ExperimentArgs {
        runs_dir: Some(args.runs_dir.clone()),
        moved: args.moved.clone(),
        ..ExperimentArgs::default()
    };
    let plan = match experiment.plan(&run.join(RunDir::SETTINGS), Purpose::Generate, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let exported = match exported_file(&plan, &run, moment, color) {
        Ok(exported) => exported,
        Err(code) => return code,
    };
    let base = match (&args.moved.model, &plan.model.source) {
        (Some(model), _) if !is_on_hub(model) => model.clone(),
        (_, ModelSource::Load(model)) => model.clone(),
        (_, ModelSource::Scratch { .. }) => {
            let message = msg!(RUN_HAS_NO_BASE, run);
            let help = msg!(RUN_MADE_WHOLE_MODEL, exported);
            return refuse(Diagnostic::error(message).help(help));
        }
    };
    if args.quantised && plan.method.quant.is_none() {
        let message = msg!(RUN_WEIGHTS_NOT_PACKED);
        return refuse(Diagnostic::error(message).help(msg!(LEAVE_OUT_QUANTISED)));
    }
    let out = args.out.clone().unwrap_or_else(|| {
        let mut name = exported.file_stem().unwrap_or_default().to_os_string();
        name.push("-merged.pth");
        exported.with_file_name(name)
    });
    if out.extension().is_none_or(|extension| extension != "pth") && !is_written_through(&out) {
        let message = msg!(NOT_A_PTH_NAME, out);
        let help = msg!(EXPORT_MAKES_OTHER_FORMS, pth = out.with_extension("pth"));
        return refuse(Diagnostic::error(message).help(help));
    }
    let states = args.states.map(|states| match states {
        States::Embed => StatesPlace::Embed,
        States::Beside => StatesPlace::Beside,
    });
    let quantised = args.quantised;
    let files = Merge { base: &base, exported: &exported, out: &out, quantised, states };
    if let Err(code) = check_out(args, &files, color) {
        return code;
    }
    match write(&plan, &files) {
        Ok(Merged { tensors, state, warnings }) => {
            for message in warnings {
                tell(format_args!("{}\n", message.render(color.on())));
            }
            tell(format_args!("export   {tensors} tensors of {}", exported.display()));
            if let Some(format) = plan.method.quant.filter(|_| args.quantised) {
                tell(format_args!(
                    "the linear layers are the {format} ones that were trained on, made dense again: \
                     exactly the trained model, with the errors of packing"
                ));
            }
            if let Some(state) = &state {
                tell(where_the_state_is(&plan, &out, state));
            }
            say_written(&out, out.display());
            if let Some(state) = state {
                say(state.display());
            }
            ExitCode::Ok
        }
        Err(error) => fail(&error, color),
    }
}

/// Which of the two files has what the run trained, and how a program gets both.
fn where_the_state_is(plan: &Plan, out: &Path, state: &Path) -> String {
    let model = match plan.method.peft {
        PeftPlan::State(_) => "has the unchanged weights of the base model",
        PeftPlan::Weights(_) => "has the trained weights",
    };
    let tokenizer = match &plan.model.tokenizer {
        TokenizerPlan::File(path) => {
            format!(" --tokenizer {}", shell_path(path))
        }
        TokenizerPlan::World | TokenizerPlan::Characters => String::new(),
    };
    let [out, state] = [out, state].map(shell_path);
    format!(
        "state    {state} has the initial state, {out} {model}; for a program: statetune mount {state} --model \
         {out}{tokenizer} --for rwkv-pip"
    )
}

/// Refuses to replace an input of the merge, and a file that no earlier merge made. Shows the error.
fn check_out(args: &MergeArgs, files: &Merge<'_>, color: Color) -> Result<(), ExitCode> {
    let inputs = [files.base.to_path_buf(), files.exported.to_path_buf(), state_of(files.exported)];
    let is_own =
        |file: &Path, kind| is_export(file, kind) && (args.out.is_none() || !is_of_run(file));
    let state = files.state_file();
    for (file, kind) in [(files.out, ExportKind::Model), (state.as_path(), ExportKind::State)] {
        args.replace.check(&with_passport(file), &inputs, |file| is_own(file, kind), color)?;
    }
    Ok(())
}
