//! `statetune chat`.

use clap::Args;
use serde_json::{Value, json};
use statetune_core::diagnostic::msg;
use statetune_core::exit::ExitCode;
use statetune_core::plan::Purpose;
use statetune_engine::RunError;
use statetune_engine::inference::{Answer, GenerateOptions, LoadedModel, Session};

use super::chat_input::Input;
use super::generate::shown_tag;
use super::output::say_piece;
use super::subject::{
    Found, Part, SampleArgs, SubjectArgs, at_least_0, check, fail, from_0_to_1, probability,
    tell_parts,
};
use super::{Color, Format, say, show, stop, tell};

/// Name and version of the JSON object printed for each turn.
const SCHEMA: &str = "statetune.chat/1";
const HELP: &str = "\
/reset          forget the conversation
/undo           forget the last question and its answer
/set KEY VALUE  change temperature, top_p, presence_penalty, frequency_penalty, penalty_decay, seed or max_tokens
/quit           end; so do `quit`, `exit` and the end of input";

#[derive(Args, Debug)]
pub(super) struct ChatArgs {
    /// One run, two runs to compare, state files for `--model`, or nothing to use `--model` alone.
    #[arg(value_name = "RUN|STATE", num_args = 0..=2)]
    names: Vec<String>,
    /// Also show the answers of the base model.
    #[arg(long)]
    base: bool,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    sample: SampleArgs,
    /// Output format; `json` prints one object per turn.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

pub(super) fn chat(args: &ChatArgs, color: Color) -> ExitCode {
    let found = match find(args, color) {
        Ok(found) => found,
        Err(code) => return code,
    };
    for one in &found {
        if let Err(refusal) = args.sample.check_thinking(&one.subject.template) {
            show(&refusal, color);
            return ExitCode::Invalid;
        }
    }
    match talk(args, &found, color) {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
    }
}

/// Finds the models that answer.
fn find(args: &ChatArgs, color: Color) -> Result<Vec<Found>, ExitCode> {
    let first = args.names.first().map(String::as_str);
    let mut asked: Vec<(Option<&str>, Part)> =
        args.names.iter().map(|name| (Some(&**name), Part::Tuned)).collect();
    if args.base || asked.is_empty() {
        asked.push((first, Part::Base));
    }
    asked
        .into_iter()
        .map(|(name, part)| args.subject.find(name, part, Purpose::Generate, color))
        .collect()
}

fn talk(args: &ChatArgs, found: &[Found], color: Color) -> Result<(), RunError> {
    let mut loaded: Vec<LoadedModel> = Vec::new();
    for one in found {
        if one.run.is_none() || args.subject.has_model() {
            check(&one.subject, color)?;
        }
        let one_loaded = one.subject.load()?;
        tell_parts(&one.subject, &one_loaded.model);
        loaded.push(one_loaded);
    }
    let mut options = args.sample.options(found[0].plan(), &found[0].subject.template);
    let mut sessions: Vec<Session<'_>> = loaded
        .iter()
        .map(|one| Session::new(&one.model, &one.state, &one.tokenizer, &options))
        .map(|session| session.stopped_by(stop::asked()))
        .collect();
    let mut input = Input::new();
    let is_typed = matches!(input, Input::Terminal(_));
    if is_typed {
        tell("type a question, /quit to end, /help for more; Ctrl-C stops an answer");
    }
    loop {
        let Some(line) = input.next() else { return Ok(()) };
        match line.trim() {
            "" => {}
            "/quit" | "/exit" | "quit" | "exit" => return Ok(()),
            "/help" => tell(HELP),
            "/reset" => {
                sessions.iter_mut().for_each(|session| session.reset(&options));
                tell("the conversation is forgotten");
            }
            "/undo" => {
                let undone = sessions.iter_mut().filter_map(Session::undo).count();
                tell(match undone {
                    0 => "nothing to undo",
                    _ => "the last question and its answer are forgotten",
                });
            }
            command if command.starts_with("/set ") => match set(&mut options, command) {
                Ok(said) => {
                    sessions.iter_mut().for_each(|session| session.set_options(&options));
                    tell(said);
                }
                Err(problem) => tell(problem),
            },
            command if command.starts_with('/') => {
                tell(format_args!("unknown command `{command}`\n{HELP}"));
            }
            question => {
                let interrupts = is_typed.then(stop::interrupts_answers);
                turn(args, question, found, &mut sessions)?;
                drop(interrupts);
            }
        }
    }
}

/// Lets every model answer a question.
fn turn(
    args: &ChatArgs,
    question: &str,
    found: &[Found],
    sessions: &mut [Session<'_>],
) -> Result<(), RunError> {
    let mut answers: Vec<Value> = Vec::new();
    let mut has_answered = Vec::new();
    for one in found {
        if let Err(error) = args.sample.prompt(&one.subject.template, question) {
            tell(msg!(CANNOT_ASK_THIS, error = error.text()).said());
            return Ok(());
        }
    }
    for (one, session) in found.iter().zip(&mut *sessions) {
        let name = &one.subject.name;
        let template = &one.subject.template;
        let prompt = args.sample.prompt(template, question).expect("checked above");
        match args.format {
            Format::Human => {
                if found.len() > 1 {
                    say_piece(&format!("{name}: "));
                }
                say_piece(shown_tag(&prompt));
                let answer = session.turn(template, &prompt, &mut say_piece)?;
                has_answered.push(!answer.is_stopped_before_text());
                say("");
            }
            Format::Json => {
                let answer = session.turn(template, &prompt, &mut |_| {})?;
                has_answered.push(!answer.is_stopped_before_text());
                let Answer { text, tokens, stop_reason } = answer;
                let reply = template.reply(&prompt, &text);
                let mut object = json!({
                    "name": name,
                    "answer": reply.answer,
                    "tokens": tokens,
                    "ending": stop_reason.name(),
                });
                if let Some(thinking) = reply.thinking {
                    object["thinking"] = thinking.into();
                }
                answers.push(object);
            }
        }
    }
    // All models keep the same conversation: a question that one of them did not answer is forgotten by all.
    if has_answered.contains(&false) {
        for (session, _) in sessions.iter_mut().zip(&has_answered).filter(|(_, has)| **has) {
            session.undo();
        }
        tell("stopped; the question is forgotten");
    }
    if args.format == Format::Json {
        say(json!({ "schema": SCHEMA, "question": question, "answers": answers }));
    }
    Ok(())
}

/// Runs `/set KEY VALUE`; returns what is in force now, or the message for an invalid command.
fn set(options: &mut GenerateOptions, command: &str) -> Result<String, String> {
    let [_, key, value] = command.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("write `/set KEY VALUE`".to_string());
    };
    let wrong = |problem: String| format!("cannot set `{key}` to `{value}`: {problem}");
    let number = |text: &str| text.parse().map_err(|_| "not a number".to_string());
    match key {
        "temperature" => options.temperature = at_least_0(value).map_err(wrong)?,
        "top_p" => options.top_p = probability(value).map_err(wrong)?,
        "presence_penalty" => options.presence_penalty = number(value).map_err(wrong)?,
        "frequency_penalty" => options.frequency_penalty = number(value).map_err(wrong)?,
        "penalty_decay" => options.penalty_decay = from_0_to_1(value).map_err(wrong)?,
        "seed" => {
            options.seed = value.parse().map_err(|_| wrong("not a whole number".to_string()))?;
        }
        "max_tokens" => match value.parse() {
            Ok(tokens) if tokens > 0 => options.max_tokens = tokens,
            _ => return Err(wrong("not a positive number".to_string())),
        },
        _ => return Err(format!("unknown setting `{key}`\n{HELP}")),
    }
    Ok(format!("{key} is {value} from the next answer on"))
}
