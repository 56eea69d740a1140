//! `statetune merge`.

use std::path::PathBuf;

use clap::Args;

use super::subject::{fail, product};
use super::{Color, ExperimentArgs, say, show, tell};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{ModelSource, Purpose};
use statetune_core::runs::{StoredRun, find_moment};
use statetune_engine::pipeline::{Merge, MergedInto, merge as write};

/// Arguments of `merge`.
#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// A run: `latest`, its name, its four letters, or its path.
    run: String,
    /// The checkpoint to write, a `.pth` [default: `NAME-merged.pth` beside the run's newest product NAME].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The weights, where they do not lie any more where the run found them.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Take the packed weights that the run was tuned on, made dense again: exactly the model that was
    /// trained, with the errors of packing. Otherwise the weights of the base are taken.
    #[arg(long)]
    quantised: bool,
    /// Where run directories lie.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

pub(super) fn merge(args: &MergeArgs, color: Color) -> ExitCode {
    let refuse = |message: Diagnostic| {
        show(&message, color);
        ExitCode::Invalid
    };
    let (run, moment) = match find_moment(&args.runs_dir, &args.run) {
        Ok(found) => found,
        Err(refusal) => return refuse(*refusal),
    };
    let experiment =
        ExperimentArgs { runs_dir: Some(args.runs_dir.clone()), ..ExperimentArgs::default() };
    let plan = match experiment.plan(&run.join(StoredRun::SETTINGS), Purpose::Generate, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let product = match product(&plan, &run, moment, color) {
        Ok(product) => product,
        Err(code) => return code,
    };
    let base = match (&args.model, &plan.model.source) {
        (Some(model), _) | (None, ModelSource::Load(model)) => model.clone(),
        (None, ModelSource::Scratch { .. }) => {
            let message = msg!(RUN_HAS_NO_BASE, run);
            let help = msg!(RUN_MADE_WHOLE_MODEL, product);
            return refuse(Diagnostic::error(message).help(help));
        }
    };
    if args.quantised && plan.method.quant.is_none() {
        let message = msg!(RUN_WEIGHTS_NOT_PACKED);
        return refuse(Diagnostic::error(message).help(msg!(LEAVE_OUT_QUANTISED)));
    }
    let out = args.out.clone().unwrap_or_else(|| {
        let mut name = product.file_stem().unwrap_or_default().to_os_string();
        name.push("-merged.pth");
        product.with_file_name(name)
    });
    if out.extension().is_none_or(|extension| extension != "pth") {
        let message = msg!(NOT_A_PTH_NAME, out);
        let help = msg!(EXPORT_MAKES_OTHER_FORMS);
        return refuse(Diagnostic::error(message).help(help));
    }
    let is_input = |input: &PathBuf| {
        out.canonicalize().is_ok_and(|out| input.canonicalize().is_ok_and(|input| input == out))
    };
    if [&base, &product].into_iter().any(is_input) {
        let message = msg!(WOULD_OVERWRITE_INPUT, out);
        return refuse(Diagnostic::error(message).help(msg!(NAME_ANOTHER_OUT)));
    }
    let files = Merge { base: &base, product: &product, out: &out, quantised: args.quantised };
    match write(&plan, &files) {
        Ok(MergedInto { tensors, said }) => {
            for message in said {
                tell(format_args!("{}\n", message.render(color.on())));
            }
            tell(format_args!("product  {tensors} tensors of {}", product.display()));
            if let Some(format) = plan.method.quant.filter(|_| args.quantised) {
                tell(format_args!(
                    "the linear layers are the {format} ones that were trained on, made dense again: \
                     exactly the trained model, with the errors of packing"
                ));
            }
            say(out.display());
            ExitCode::Ok
        }
        Err(error) => fail(&error, color),
    }
}
