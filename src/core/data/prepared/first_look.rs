//! A first look at the documents of an experiment: the errors and warnings that a run would give for the first ones.

use crate::data::binidx::Binidx;
use crate::data::error::DataError;
use crate::data::readers::Source;
use crate::data::samples::{Loader, LoaderOptions, Survey};
use crate::diagnostic::{Diagnostic, msg};

use super::ingest::{FIRST, FirstDocuments, build_first};
use super::layout::{PrepareSpec, cuts_in, origin_in};
use super::prepare::files;

/// The error with which a run would refuse the first documents of the sources, or the warnings that it would give.
/// `experiment` has the arguments of commands in helps: the file and its options.
///
/// The cache is neither read nor written. Nothing is found where temporary files cannot be written.
pub fn first_look(
    spec: &PrepareSpec<'_>,
    options: LoaderOptions,
    vocab_size: usize,
    experiment: &str,
) -> Vec<Diagnostic> {
    let Ok(folder) = tempfile::tempdir() else { return Vec::new() };
    let first = match build_first(folder.path(), spec) {
        Ok(built) => built,
        Err(DataError::Io { .. }) => return Vec::new(),
        Err(error) => return vec![error.diagnostic()],
    };
    let files = files(spec.sources);
    let origin = |index: usize| origin_in(folder.path(), &files, u32::try_from(index).ok()?);
    let FirstDocuments { pair, records, muted, is_partial } = first;
    let Ok(cuts) = cuts_in(folder.path()) else { return Vec::new() };
    let options = LoaderOptions { muted, cuts, ..options };
    let (mask, ctx_len) = (options.mask.clone(), options.ctx_len);
    let cut = |survey: &Survey| survey.cut_conversations(&mask, ctx_len);
    let loader = Binidx::open(&pair)
        .and_then(|pair| Loader::new(pair, spec.tokenizer, options, vocab_size, &[]));
    let found = match loader {
        Ok(loader) => {
            let of_turns = loader.turns().warnings(experiment, &origin);
            of_turns.into_iter().chain(cut(loader.survey())).collect()
        }
        // The documents that were not read may be enough.
        Err(
            DataError::AllDropped { .. }
            | DataError::ShorterThanWindow { .. }
            | DataError::NoWalk { .. },
        ) if is_partial => Vec::new(),
        Err(mut error) => {
            if let DataError::AllDropped { file, .. }
            | DataError::ShorterThanWindow { file, .. }
            | DataError::NoWalk { file, .. } = &mut error
                && let Some((first, _)) = files.first()
            {
                file.clone_from(first);
            }
            vec![error.in_source(origin).for_experiment(experiment).diagnostic()]
        }
    };
    let of_records = Source::record_warnings(spec.sources, &records, &spec.form);
    let found = found.into_iter().chain(of_records);
    let partly = |one: Diagnostic| match is_partial {
        true => one.note(msg!(FIRST_DOCUMENTS_READ, most = FIRST)),
        false => one,
    };
    found.map(partly).collect()
}
