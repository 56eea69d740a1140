//! Errors of data as the user sees them: excerpt, notes and helps.

use std::io;

use crate::data::container_fault::ContainerFault;
use crate::data::conversation::{TurnOddity, Unlearned};
use crate::data::error::{DataError, Origin, OtherLines};
use crate::data::fault::{BinidxFault, LineFault, NotJson, TokenFileFault};
use crate::data::order::magic_prime;
use crate::data::readers::{conversion_from, conversion_help};
use crate::data::turn_notes::{is_repaired, missed_words};
use crate::diagnostic::{Diagnostic, Join, Span, Text, msg};
use crate::words::grouped;

impl DataError {
    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.text());
        match self {
            Self::Line { place, fault, others } => {
                let diagnostic = explain_line(diagnostic.at((**place).clone()), place, fault);
                match others.sentence(place.row.is_some()) {
                    Some(sentence) => diagnostic.note(sentence),
                    None => diagnostic,
                }
            }
            Self::Vocabulary { place, .. } => {
                diagnostic.at((**place).clone()).note(msg!(VOCABULARY_LINE_FORM))
            }
            Self::NoDocuments { .. } | Self::TooManyDocuments => diagnostic,
            Self::NoFiles { .. } => diagnostic.note(msg!(PATTERN_FORM)),
            Self::EmptyFolder { folders, .. } => {
                let diagnostic = diagnostic.note(msg!(FOLDER_MEANS_ITS_FILES));
                let names = folders.iter().take(3).map(|folder| folder.display());
                match folders.is_empty() {
                    true => diagnostic,
                    false => diagnostic
                        .help(msg!(NAME_SUB_FOLDER, folders = Text::quoted(Join::Or, names))),
                }
            }
            Self::StrangeFile { path, ending, .. } => {
                let pattern = path.join(format!("*.{ending}"));
                let diagnostic = diagnostic.note(msg!(FOLDER_MEANS_ITS_FILES));
                diagnostic.help(msg!(NAME_FILES_BY_PATTERN, pattern))
            }
            Self::Encoding { file, encoding, .. } => match *encoding {
                "UTF-8" => diagnostic.help(conversion_help(file)),
                _ => diagnostic.help(msg!(IS_IT_UTF8)),
            },
            Self::Container { file, fault: ContainerFault::Encoding { name } } => {
                diagnostic.help(conversion_from(file, name))
            }
            Self::Container { fault, .. } => fault.explain(diagnostic),
            Self::ChangedMeanwhile { .. } => diagnostic.help(msg!(TRY_AGAIN_WHEN_COMPLETE)),
            Self::TokenFile { fault, .. } => match fault {
                TokenFileFault::Size { .. } | TokenFileFault::OddBytes { .. } => {
                    diagnostic.note(msg!(FILE_IS_PARTIAL))
                }
                _ => diagnostic,
            },
            Self::Read { source, .. } => {
                let diagnostic = diagnostic.note(Text::library(source));
                match source.kind() {
                    io::ErrorKind::NotFound => diagnostic.help(msg!(RELATIVE_PATH)),
                    io::ErrorKind::IsADirectory => diagnostic.help(msg!(NAME_FILE_IN_FOLDER)),
                    _ => diagnostic,
                }
            }
            Self::Io { source, .. } => {
                diagnostic.note(Text::library(source)).note(msg!(NOTHING_HALF_WRITTEN))
            }
            Self::Binidx { fault, .. } => explain_binidx(diagnostic, fault),
            Self::MissingBytes { .. } => diagnostic.note(msg!(EVERY_BYTE_A_TOKEN)),
            Self::NotText { others, .. } => {
                let diagnostic = match others {
                    0 => diagnostic,
                    n => diagnostic.note(msg!(OTHERS_NOT_TEXT, n = grouped(*n as u64))),
                };
                diagnostic.note(msg!(JSON_HOLDS_ONLY_TEXT)).help(msg!(WRONG_VOCABULARY))
            }
            Self::Exists { .. } => diagnostic.help(msg!(CHOOSE_OUT_OR_FORCE)),
            Self::CharacterVocabulary { .. } => diagnostic.note(msg!(CHARACTER_VOCABULARY_FORM)),
            Self::UnknownToken { .. } => diagnostic.help(msg!(CHOOSE_VOCABULARY_OF_DATA)),
            Self::RoundTrip { .. } => diagnostic.note(msg!(DEFECT_OF_TOKENIZER)),
            Self::Overlong { document, tokens, others, .. } => {
                let diagnostic = document.show(diagnostic);
                let diagnostic = match others {
                    0 => diagnostic,
                    n => diagnostic.note(msg!(OTHERS_OVERLONG, n = grouped(*n as u64))),
                };
                let least = tokens.saturating_sub(1);
                diagnostic.help(msg!(RAISE_CTX_LEN_TO, least)).help(msg!(SET_OVERLONG))
            }
            Self::IdBeyondModel { document, .. } => {
                document.show(diagnostic).help(msg!(TOKENISE_FOR_MODEL))
            }
            Self::ShorterThanWindow { .. } => diagnostic.help(msg!(LOWER_CTX_LEN_OR_PAD)),
            Self::AllDropped { .. } => {
                diagnostic.note(msg!(OVERLONG_DROP_LEAVES_OUT)).help(msg!(RAISE_CTX_LEN_OR_SPLIT))
            }
            Self::NoWalk { tokens, ctx_len, .. } => {
                let reason = match magic_prime(*tokens, *ctx_len as u64) {
                    None => msg!(WALK_NEEDS_WINDOWS),
                    Some(prime) => msg!(WALK_PRIME_TOO_SMALL, prime),
                };
                diagnostic.note(reason).help(msg!(LOWER_CTX_LEN_OR_RANDOM))
            }
            Self::NothingLearned { document, why, documents, experiment, .. } => {
                let diagnostic = document.show(diagnostic);
                let diagnostic = match document {
                    Origin::Jsonl(_) => diagnostic,
                    Origin::Text(_) | Origin::Binidx { .. } => {
                        diagnostic.note(msg!(FIRST_ONE_IS, document = document.text()))
                    }
                };
                let experiment = experiment.as_deref().unwrap_or("FILE");
                explain_unlearned(diagnostic, document, (*documents, experiment), why)
            }
        }
    }
}

impl OtherLines {
    /// What is to be said of them, if anything; `are_rows`: whether they are called rows.
    fn sentence(&self, are_rows: bool) -> Option<Text> {
        let n = grouped(self.fine as u64);
        let fine = (self.fine > 0).then(|| match are_rows {
            true => msg!(OTHER_ROWS_FINE, n),
            false => msg!(OTHER_LINES_FINE, n),
        });
        let etc = (self.same > self.first.len()).then(|| "...".to_owned());
        let numbers = Text::list(Join::Comma, self.first.iter().map(usize::to_string).chain(etc));
        let n = grouped(self.same as u64);
        let same = (self.same > 0).then(|| msg!(MORE_WITH_SAME_PROBLEM, n, numbers));
        let parts: Vec<Text> = [fine, same].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| Text::list(Join::Semicolon, parts))
    }
}

fn explain_line(diagnostic: Diagnostic, place: &Span, fault: &LineFault) -> Diagnostic {
    match fault {
        LineFault::Json { after_quote: true, .. } => {
            diagnostic.label(msg!(TEXT_ENDED_AT_QUOTE)).note(msg!(ESCAPE_QUOTES))
        }
        LineFault::Json { looks_like: Some(NotJson::CommaBehind), .. } => {
            diagnostic.label(msg!(COMMA_BEHIND_RECORD)).help(msg!(REMOVE_COMMA))
        }
        LineFault::Json { problem, looks_like: Some(NotJson::PythonDict), .. } => {
            diagnostic.label(problem).note(msg!(IS_A_PYTHON_DICT)).help(msg!(WRITE_WITH_JSON_DUMPS))
        }
        LineFault::Json { problem, .. } => {
            let is_other = place.line() == 1 && !place.text.trim_start().starts_with(['{', '[']);
            let diagnostic = diagnostic.label(problem);
            if is_other { diagnostic.help(msg!(IS_IT_A_TABLE_OR_TEXT)) } else { diagnostic }
        }
        LineFault::NotUtf8 { byte } => {
            let diagnostic = diagnostic.label(msg!(BYTE_VALUE, byte = format_args!("{byte:#04x}")));
            match place.first_line {
                0 => diagnostic.help(msg!(WRITE_TEXT_COLUMNS)),
                _ => diagnostic.help(conversion_help(&place.file)),
            }
        }
        LineFault::Cells { .. } => diagnostic.note(msg!(CELLS_OF_HEADER)),
        LineFault::TooLong { limit } => diagnostic.note(msg!(RECORD_LIMIT, mib = limit >> 20)),
        LineFault::TextType { key, .. } if key != "text" => diagnostic,
        LineFault::NotAnObject { .. } | LineFault::TextType { .. } => {
            diagnostic.note(msg!(JSONL_LINE_FORM))
        }
        LineFault::NoText { keys, .. } | LineFault::NoShape { keys, .. } if keys.is_empty() => {
            diagnostic.label(msg!(OBJECT_IS_EMPTY))
        }
        LineFault::NoText { keys, .. } => {
            diagnostic.label(msg!(KEYS_FOUND, keys = Text::quoted(Join::Comma, keys)))
        }
        LineFault::NoShape { misspelt: Some(misspelt), .. } => {
            let [key, known] = &**misspelt;
            diagnostic.label(msg!(DID_YOU_MEAN_WORD, word = known)).help(msg!(
                RENAME_KEY_OF_LINE,
                key,
                known
            ))
        }
        LineFault::NoShape { keys, .. } if keys.iter().any(|key| is_sentence(key)) => {
            diagnostic.note(msg!(FIRST_ROW_IS_TEXT, key = keys[0])).help(msg!(ADD_HEADER_OF_PAIR))
        }
        LineFault::NoShape { keys, texts, .. } => {
            let keys = Text::quoted(Join::Comma, keys);
            let diagnostic = diagnostic.label(msg!(KEYS_FOUND, keys)).note(msg!(SHAPES_OF_RECORDS));
            match texts {
                None => diagnostic.note(msg!(SFT_FIELD_READS_TEXTS)),
                Some([question, answer]) => diagnostic
                    .help(msg!(SET_SFT_FIELD, keys = format!("[{question:?}, {answer:?}]"))),
            }
        }
        LineFault::Preference => diagnostic
            .note(msg!(PAIRS_NEED_OBJECTIVE))
            .help(msg!(SET_DPO))
            .help(msg!(IGNORE_REJECTED)),
        LineFault::NoPair => diagnostic
            .note(msg!(OBJECTIVE_COMPARES_TWO))
            .help(msg!(WRITE_CHOSEN_AND_REJECTED))
            .help(msg!(SET_SFT)),
        LineFault::NoLabel => diagnostic
            .note(msg!(OBJECTIVE_JUDGES_ANSWERS))
            .help(msg!(WRITE_LABEL))
            .help(msg!(SET_SFT)),
        LineFault::LabelType { .. } => diagnostic.help(msg!(WRITE_LABEL)),
        LineFault::TextTwice { .. } => diagnostic.label(msg!(OTHER_WOULD_BE_LOST)),
        LineFault::EmptyText { .. } => {
            diagnostic.label(msg!(NOTHING_TO_LEARN)).help(msg!(DELETE_LINE))
        }
        LineFault::Messages { problem, helps } => {
            let diagnostic = diagnostic.label(problem).note(msg!(MESSAGES_FORM));
            helps.iter().cloned().fold(diagnostic, Diagnostic::help)
        }
    }
}

/// Whether a key reads like a sentence, as it does where a table has no header.
fn is_sentence(key: &str) -> bool {
    let ends = key.trim_end().ends_with(['.', '?', '!', ',', '。', '？', '！', '，']);
    let words = key.split_whitespace().count();
    words > 4 || words > 1 && ends || ends && !key.is_ascii()
}

fn explain_unlearned(
    diagnostic: Diagnostic,
    document: &Origin,
    (documents, experiment): (usize, &str),
    why: &Unlearned,
) -> Diagnostic {
    let diagnostic = match why {
        Unlearned::TooShort => {
            return diagnostic.label(msg!(ONE_TOKEN)).help(msg!(REMOVE_SHORT_DOCUMENTS));
        }
        Unlearned::Muted => {
            return diagnostic.label(msg!(EVERY_ANSWER_MUTED)).help(msg!(REMOVE_MUTED_DOCUMENTS));
        }
        Unlearned::BeyondContext => {
            diagnostic.label(msg!(TARGETS_BEYOND_CTX_LEN)).help(msg!(RAISE_CTX_LEN))
        }
        Unlearned::NoMark { on } => {
            diagnostic.label(msg!(NO_MARK_ALL_MASKED, on)).note(msg!(LOSS_MASK_SE_LEARNS))
        }
        Unlearned::NoAnswer { template, openings, answer, words, proposal, fixable } => {
            let openings: Vec<&str> = openings.iter().map(|words| words.trim()).collect();
            let counts =
                words.counts.iter().take(8).map(|(word, n)| format!("{word} {}", grouped(*n)));
            let counts = Text::list(Join::Comma, counts);
            let diagnostic =
                diagnostic.label(msg!(NO_TURN_ALL_MASKED, answer = answer.trim())).note(msg!(
                    LOSS_MASK_LOOKS_FOR,
                    template,
                    openings = Text::quoted(Join::Comma, openings)
                ));
            let missed = missed_words(words);
            let diagnostic = match counts.is_empty() {
                true if missed.is_none() => diagnostic.note(msg!(NO_ROLE_WORDS_FOUND)),
                true => diagnostic,
                false => diagnostic.note(msg!(ROLE_WORDS_FOUND, words = counts)),
            };
            let diagnostic = missed.into_iter().fold(diagnostic, Diagnostic::note);
            let diagnostic = match document {
                Origin::Jsonl(line)
                    if *fixable > 0 && is_repaired(TurnOddity::MissedOpening, &line.text) =>
                {
                    diagnostic.help(msg!(FIX_WRITES_COPY, experiment, n = grouped(*fixable)))
                }
                _ => diagnostic,
            };
            match proposal {
                Some(proposal) => diagnostic.help(proposal.help(documents as u64)),
                None => diagnostic,
            }
        }
    };
    let diagnostic = match document {
        Origin::Jsonl(place) => {
            diagnostic.help(msg!(DATA_SHOW_PRINTS_MASK, experiment, line = place.number()))
        }
        Origin::Text(_) | Origin::Binidx { .. } => diagnostic,
    };
    diagnostic.help(msg!(MEND_DOCUMENTS))
}

fn explain_binidx(diagnostic: Diagnostic, fault: &BinidxFault) -> Diagnostic {
    match fault {
        BinidxFault::NoPair { .. } => {
            diagnostic.help(msg!(DATA_FILE_WITHOUT_ENDING)).help(msg!(RELATIVE_PATH))
        }
        BinidxFault::HalfMissing { .. } => diagnostic.note(msg!(PAIR_FORM)),
        BinidxFault::Pointer { .. } => diagnostic.note(msg!(DOCUMENTS_FOLLOW)),
        BinidxFault::DataSize { .. } | BinidxFault::PartialToken { .. } => {
            diagnostic.note(msg!(PAIR_DOES_NOT_MATCH))
        }
        _ => diagnostic,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::error::place;
    use crate::data::{Mask, Template, TurnSurvey};

    #[test]
    fn other_lines_are_summed_up() {
        let others = |fine, same, first: &[usize]| {
            OtherLines { fine, same, first: first.to_vec() }.sentence(false).unwrap_or_default()
        };
        assert_eq!(others(0, 0, &[]), "");
        assert_eq!(others(1, 0, &[]), "1 other line is fine");
        assert_eq!(others(0, 1, &[7]), "1 more has the same problem (7)");
        assert_eq!(
            others(4093, 2, &[604, 1311]),
            "4,093 other lines are fine; 2 more have the same problem (604, 1311)"
        );
        assert_eq!(others(0, 3, &[2, 3]), "3 more have the same problem (2, 3, ...)");
    }

    #[test]
    fn an_overlong_document_is_named() {
        let document = Origin::Binidx { prefix: "d".into(), index: 26 };
        let error = DataError::Overlong { document, tokens: 900, limit: 513, others: 1200 };
        let expected = "\
error[ST3030]: document 26 of `d` has 900 tokens, more than the 513 that fit
  |
  = note: 1,200 other documents are too long as well
  = help: raise `train.ctx_len` to 899 or more
  = help: or set `data.overlong` to `split` (several samples), `truncate` (drops the end) or `drop` (skips the document)";
        assert_eq!(error.diagnostic().render(false), expected);
    }

    #[test]
    fn a_prepared_document_is_named_by_its_source_line() {
        let line = br#"{"text": "User: hi\n\nBot: yo"}"#;
        let origin = Origin::Jsonl(place(Path::new("d.jsonl"), 2, line, 0..0));
        let document = Origin::Binidx { prefix: "train".into(), index: 1 };
        let mask = Mask::Assistant(Template::rwkv_qa());
        let mut turns = TurnSurvey::new(&mask);
        turns.add(0, "User: hi\n\nBot: yo", None);
        turns.add(1, "User: hi\n\nAssistant: yo", None);
        let why = Box::new(Unlearned::new(&mask, &turns, false));
        let error = DataError::NothingLearned {
            document,
            others: 311,
            documents: 4014,
            why,
            experiment: None,
        };
        let known = |index| (index == 1).then_some(origin);
        let message = error.in_source(known).diagnostic().render(false);
        let expected = r#"
error[ST3102]: 312 of 4,014 documents have no target tokens
 --> d.jsonl:2:23
  |
2 | {"text": "User: hi\n\nBot: yo"}
  |                       ^^^^ no `Assistant:` turn, so every token is masked
  |
  = note: `loss_mask = "assistant"` with template `rwkv-qa` looks for `System:`, `User:`, `Assistant:`
  = note: role words found: User 2, Bot 1, Assistant 1
  = help: set `data.template = { extends = "rwkv-qa", aliases = { assistant = ["Bot"] } }`
  = help: run `statetune data show FILE --line 2` to print the sample with its mask
  = help: fix or remove such documents, or set `data.loss_mask = "pad"`"#;
        assert_eq!(message, expected.trim_start());
    }
}
