//! `statetune generate`.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::{Color, ExperimentArgs, say, show};
use crate::diagnostic::Diagnostic;
use crate::exit::ExitCode;
use crate::model::{Model, TimeState};
use crate::pipeline::{RunError, load_tokenizer, load_tuned, load_weights};
use crate::plan::{Plan, Purpose};
use crate::runs::{find_run, newest_product};
use crate::sample::generate as continue_texts;

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// A run: `latest`, its name, its four letters, or its path.
    run: String,
    /// The text to continue.
    #[arg(long, short, value_name = "TEXT", default_value = "How are you today?", value_parser = NonEmptyStringValueParser::new())]
    prompt: String,
    /// Take the prompt as it is, without `User:` and `Assistant:` around it.
    #[arg(long)]
    raw: bool,
    /// Use the model that the run started from.
    #[arg(long)]
    base: bool,
    /// Where run directories lie.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Override a setting of the run, such as `sample.temperature`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn generate(args: &GenerateArgs, color: Color) -> ExitCode {
    let Some(run) = find_run(&args.runs_dir, &args.run) else {
        let message = format!("there is no run `{}` in `{}`", args.run, args.runs_dir.display());
        show(&Diagnostic::error("ST0201", message), color);
        return ExitCode::Invalid;
    };
    let experiment =
        ExperimentArgs { set: args.set.clone(), runs_dir: Some(args.runs_dir.clone()) };
    let plan = match experiment.plan(&run.join("resolved.toml"), Purpose::Generate, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let prompt = if args.raw {
        args.prompt.clone()
    } else {
        format!("User: {}\n\nAssistant:", args.prompt.trim())
    };
    let product = if args.base { None } else { newest_product(&run) };
    if product.is_none() && !args.base {
        let message = format!("the run `{}` has not saved anything yet", run.display());
        show(&Diagnostic::error("ST6002", message), color);
        return ExitCode::Invalid;
    }
    match answer(&plan, product, &prompt) {
        Ok(answer) => {
            say(answer);
            ExitCode::Ok
        }
        Err(error) => {
            show(&error.diagnostic(), color);
            error.exit_code()
        }
    }
}

/// Continues `prompt` with the base model, its state or weights replaced by a run's product.
fn answer(plan: &Plan, product: Option<PathBuf>, prompt: &str) -> Result<String, RunError> {
    let tokenizer = load_tokenizer(plan)?;
    let (model, state) = match &product {
        Some(product) => load_tuned(plan, &tokenizer, product)?,
        None => {
            let model = Model::new(&load_weights(plan, &tokenizer)?, plan.kind, plan.op);
            let zeros = TimeState::zeros(model.shape(), tch::Kind::Float, tch::Device::Cpu);
            (Rc::new(model), zeros)
        }
    };
    let mut answers = continue_texts(&model, &state, &tokenizer, &[prompt], &plan.generate)?;
    Ok(answers.remove(0))
}
