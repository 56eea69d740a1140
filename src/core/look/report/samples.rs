//! Questions with the answers of the untouched and of the tuned models side by side.

use maud::{Markup, html};

use super::story::Story;

/// Questions that a report on one run shows at most; on several, their columns share the room.
const QUESTIONS: usize = 40;
/// Characters of a text at most.
const TEXT_CHARS: usize = 2000;

/// Names of the moments that are compared.
const BASE: &str = "base";
const TUNED: &str = "tuned";

/// The section of samples; nothing without samples.
pub(super) fn samples(stories: &[Story]) -> Markup {
    let questions = questions(stories);
    let shown = questions.len().min(QUESTIONS / stories.len().max(1));
    html! {
        @if !questions.is_empty() {
            section id="samples" {
                h2 { "Samples" }
                @for question in &questions[..shown] { (sample(stories, question)) }
                @if shown < questions.len() {
                    p.quiet {
                        (questions.len() - shown) " more questions stand in " code { "samples/" } "."
                    }
                }
            }
        }
    }
}

/// All questions that were asked, each once.
fn questions(stories: &[Story]) -> Vec<&str> {
    let mut questions = Vec::new();
    let moments = [BASE, TUNED];
    let lines = moments.iter().flat_map(|moment| {
        stories.iter().flat_map(move |story| story.samples.get(*moment).into_iter().flatten())
    });
    for line in lines {
        if !questions.contains(&line.prompt.as_str()) {
            questions.push(line.prompt.as_str());
        }
    }
    questions
}

fn sample(stories: &[Story], question: &str) -> Markup {
    let base = stories.iter().find_map(|story| answer(story, BASE, question));
    html! {
        article.sample {
            div.answers {
                div { h4 { "question" } p.question { (short(question.trim())) } }
                @if let Some(base) = base { div { h4 { "base" } p.answer { (short(base)) } } }
                @for (i, story) in stories.iter().enumerate() {
                    @if let Some(tuned) = answer(story, TUNED, question) {
                        div {
                            h4 { span class={ "swatch run-" (i) } {}
                                @if stories.len() > 1 { "tuned " (story.id) } @else { "tuned" } }
                            p.answer { (short(tuned)) }
                        }
                    }
                }
            }
        }
    }
}

fn answer<'a>(story: &'a Story, moment: &str, question: &str) -> Option<&'a str> {
    let line = story.samples.get(moment)?.iter().find(|line| line.prompt == question)?;
    Some(line.answer.trim())
}

/// The beginning of a long text.
fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS) {
        Some((cut, _)) => format!("{} …", &text[..cut]),
        None => text.to_string(),
    }
}
