//! `statetune ctl`: asks a live run for something and prints its answer.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, Subcommand};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::{
    Answer, Request, RequestSource, SentRequest, WaitingRequest, is_busy, send_request,
};
use statetune_core::store::find_run;

use super::{Color, say, show};

/// From one look at the answer to the next.
const LOOK: Duration = Duration::from_millis(20);

/// Arguments of `ctl`.
#[derive(Args, Debug)]
pub(super) struct CtlArgs {
    /// A run: `latest`, its name, its four letters, or its path.
    run: String,
    /// Where run directories lie.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    #[command(subcommand)]
    request: Wanted,
}

/// What is asked for. The run does it after the step that it is in.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Wanted {
    /// Write a checkpoint.
    Save,
    /// Answer the questions of `[sample]`.
    Sample,
    /// Take the held-out loss and the probes; neither best nor patience depend on it.
    Eval,
    /// Save everything and end with exit code 75.
    Stop,
    /// Make the run longer by whole mini-epochs; learning rates are planned anew from there.
    Extend {
        /// Optimizer steps.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        steps: u64,
    },
}

pub(super) fn ctl(args: &CtlArgs, color: Color) -> ExitCode {
    let run = match find_run(&args.runs_dir, &args.run) {
        Ok(run) => run,
        Err(refusal) => {
            show(&refusal, color);
            return ExitCode::Invalid;
        }
    };
    let request = match args.request {
        Wanted::Save => Request::Save,
        Wanted::Sample => Request::Sample,
        Wanted::Eval => Request::Eval,
        Wanted::Stop => Request::Stop,
        Wanted::Extend { steps } => Request::Extend { steps },
    };
    match speak(&run, request) {
        Ok(()) => ExitCode::Ok,
        Err((refusal, code)) => {
            show(&refusal, color);
            code
        }
    }
}

/// Asks, and waits for the answer as long as the run lives.
fn speak(run: &Path, request: Request) -> Result<(), (Box<Diagnostic>, ExitCode)> {
    let no = |message: Diagnostic| (Box::new(message), ExitCode::AnswerNo);
    let name = run.display();
    if !is_busy(run) {
        let message =
            Diagnostic::error(msg!(NO_PROCESS_OF_RUN, name)).help(msg!(RESUME_IF_NOT_DONE, name));
        return Err(no(message));
    }
    let ticket =
        send_request(run, SentRequest { request, from: RequestSource::Ctl }).map_err(|error| {
            let message = msg!(CANNOT_WRITE_RUN, name);
            let message = Diagnostic::error(message).note(Text::library(error));
            (Box::new(message), ExitCode::Disk)
        })?;
    let answer = last_answer(run, &ticket);
    ticket.close();
    match answer {
        Some(Answer::Done { step, result }) => {
            say(format_args!("done after step {step}: {result}"));
            if request == Request::Stop {
                while is_busy(run) {
                    sleep(LOOK);
                }
                say(format_args!("next     statetune resume {name}"));
            }
            Ok(())
        }
        Some(Answer::Refused { step, reason }) => {
            let message = msg!(RUN_REFUSES_REQUEST, request = request.to_string(), step);
            let known = [msg!(REQUEST_UNKNOWN), msg!(NO_QUESTIONS), msg!(NOTHING_TO_EVALUATE)];
            Err(no(Diagnostic::error(message).note(Text::recorded(&reason, known))))
        }
        Some(Answer::Accepted { .. }) | None => {
            let message = msg!(RUN_ENDED_BEFORE_REQUEST, name);
            Err(no(Diagnostic::error(message)))
        }
    }
}

/// Waits for the end of the request and tells that it was accepted; what was known last where the run ended
/// before.
fn last_answer(run: &Path, ticket: &WaitingRequest) -> Option<Answer> {
    let mut accepted = false;
    loop {
        // Looked at before the answer, as the run may write it and end.
        let alive = is_busy(run);
        let answer = ticket.answer();
        if let (Some(answer), false) = (&answer, accepted) {
            say(format_args!("accepted after step {}", answer.step()));
            accepted = true;
        }
        let is_last = matches!(answer, Some(Answer::Done { .. } | Answer::Refused { .. }));
        if is_last || !alive {
            return answer;
        }
        sleep(LOOK);
    }
}
