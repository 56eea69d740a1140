//! `statetune ctl`: sends a request to a live run and prints the answer.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::{
    Answer, Now, Request, RequestSource, SentRequest, WaitingRequest, is_busy, send_request,
};
use statetune_core::shell::shell_path;
use statetune_core::store::find_run;

use super::{Color, say, show, tell};

/// Interval between two reads of the answer.
const LOOK: Duration = Duration::from_millis(20);
/// Longer waits are explained.
const LONG: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct CtlArgs {
    /// The run: `latest`, a name, an id or a path.
    run: String,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    #[command(subcommand)]
    request: Wanted,
}

/// A request. The run handles requests after the current step or evaluation; `stop` also ends an evaluation.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Wanted {
    /// Save a checkpoint.
    Save,
    /// Generate the answers of `[sample]`.
    Sample,
    /// Measure validation loss and probes; the best checkpoint and early stopping do not change.
    Eval,
    /// Save everything and stop with exit code 75.
    Stop,
    /// Extend the run by whole mini-epochs; the rest of the learning rate schedule is recomputed.
    Extend {
        /// Optimizer steps to add.
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

/// Sends the request and waits for the answer while the run lives.
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
                say(format_args!("next     statetune resume {}", shell_path(run)));
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

/// Waits until the request is done and prints when the run has accepted it, and meanwhile what the run does; returns the
/// last known answer if the run ends first.
fn last_answer(run: &Path, ticket: &WaitingRequest) -> Option<Answer> {
    let mut accepted = false;
    let mut told = (Instant::now(), String::new());
    loop {
        // Checked before the answer is read: the run may write the answer and then end.
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
        if told.0.elapsed() >= LONG
            && let Some(now) = Now::load(run).filter(|now| now.what != told.1)
        {
            tell(format_args!("waiting: the run is at work on {}", now.text));
            told = (Instant::now(), now.what);
        }
        sleep(LOOK);
    }
}
