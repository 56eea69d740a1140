//! Rules of `[objective]`: what an objective that compares answers needs of the documents and of training.

use super::{Faults, Plan};
use crate::config::Data;
use crate::data::{Content, DataType, Dataload, LossMask, Overlong, format};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::lr_curve::LrInit;
use crate::objective::{DpoLoss, Objective};

/// Refuses settings that do not fit the objective.
pub(super) fn check(faults: &mut Faults<'_>) {
    let loaded = faults.loaded;
    let config = &loaded.config;
    if let Objective::Dpo(dpo) = &config.objective
        && dpo.loss == DpoLoss::Ipo
        && dpo.label_smoothing > 0.0
    {
        let fault = Diagnostic::error(msg!(SMOOTHING_NEEDS_SIGMOID));
        faults.add_superfluous("objective.label_smoothing", fault);
    }
    if !config.objective.answers().are_compared() {
        return;
    }
    let name = config.objective.name();
    check_documents(faults, &config.data, name);
    if config.train.l2wrap > 0.0 {
        let fault = Diagnostic::error(msg!(L2WRAP_NEEDS_SFT, name));
        faults.add_superfluous("train.l2wrap", fault);
    }
    if config.schedule.lr_init == LrInit::Auto {
        faults.add("schedule.lr_init", no_range_test(name));
    }
}

/// Refuses documents in which answers cannot be told apart, and samples that take them apart.
fn check_documents(faults: &mut Faults<'_>, data: &Data, name: &str) {
    let mut add = |key: &str, problem: Text, help: Text| {
        faults.add(key, Diagnostic::error(problem).help(help));
    };
    let types = data.source.iter().map(|source| source.data_type);
    let types = data.source.is_empty().then_some(data.data_type).into_iter().chain(types);
    let is_record = |data_type: DataType| format(data_type).content() == Content::Records;
    if !types.into_iter().all(is_record) {
        let key = if data.source.is_empty() { "data.data_type" } else { "data.source" };
        add(key, msg!(PREFERENCES_ARE_RECORDS, name), msg!(SET_JSONL));
    }
    if matches!(data.loss_mask, LossMask::Pad | LossMask::None) {
        add("data.loss_mask", msg!(PREFERENCES_NEED_ANSWERS, name), msg!(SET_MASK_ASSISTANT));
    }
    if matches!(data.dataload, Dataload::Pack | Dataload::Get) {
        add("data.dataload", msg!(PREFERENCES_NEED_ROWS, name), msg!(SET_DATALOAD_PAD));
    }
    if data.overlong == Overlong::Split {
        add("data.overlong", msg!(PREFERENCES_ARE_NOT_SPLIT, name), msg!(SET_OVERLONG_DROP));
    }
}

/// The refusal of a range test.
fn no_range_test(name: &str) -> Diagnostic {
    Diagnostic::error(msg!(RANGE_TEST_NEEDS_SFT, name)).help(msg!(SET_LR_INIT_NUMBER))
}

impl Plan {
    /// The refusal of a command that takes documents, unless the objective imitates documents.
    pub fn refuses_imitation(&self, command: &str) -> Option<Diagnostic> {
        let name = self.objective.name();
        let refusal = || Diagnostic::error(msg!(COMMAND_TAKES_DOCUMENTS, command, name));
        let compares = self.objective.answers().are_compared();
        compares.then(|| self.experiment.at("objective.type", refusal()))
    }

    /// The refusal of a range test, unless the objective imitates documents.
    pub fn refuses_range_test(&self) -> Option<Diagnostic> {
        let compares = self.objective.answers().are_compared();
        compares.then(|| self.experiment.at("objective.type", no_range_test(self.objective.name())))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, parse};
    use crate::plan::Faults;

    /// What is wrong with an experiment with these lines in `[objective]`, `[data]`, `[train]` and `[schedule]`.
    fn found([objective, data, train, schedule]: [&str; 4]) -> Vec<String> {
        let text = format!(
            "name = \"x\"\npeft = {{ type = \"state\" }}\n[objective]\n{objective}\n[data]\n\
             data_file = \"x.jsonl\"\n{data}\n[train]\n{train}\n[schedule]\n{schedule}\n"
        );
        let loaded = parse("x.toml".as_ref(), text, &Overrides::default()).expect("valid");
        let mut faults = Faults { loaded: &loaded, found: Vec::new() };
        super::check(&mut faults);
        faults.found.iter().map(|one| format!("{} {}", one.code, one.message)).collect()
    }

    const RATE: &str = "lr_init = 0.1\nlr_final = 0.1";
    const ANSWERS: &str = "loss_mask = \"assistant\"";

    #[test]
    fn every_setting_that_does_not_fit_is_named() {
        for kind in ["dpo", "orpo", "simpo", "kto"] {
            let objective = format!("type = \"{kind}\"");
            let of = |data: &str, train, schedule| found([&objective, data, train, schedule]);
            assert!(of(ANSWERS, "", RATE).is_empty());
            let cases = [
                (of("", "", RATE), "loss_mask"),
                (of("loss_mask = \"qa\"\ndataload = \"pack\"", "", RATE), "dataload"),
                (of("loss_mask = \"qa\"\noverlong = \"split\"", "", RATE), "overlong"),
                (of("loss_mask = \"qa\"\ndata_type = \"binidx\"", "", RATE), "records"),
                (of(ANSWERS, "l2wrap = 1e-4", RATE), "l2wrap"),
                (of(ANSWERS, "", "lr_init = \"auto\""), "auto"),
            ];
            for (found, word) in cases {
                let [one] = &found[..] else { panic!("{word}: {found:?}") };
                assert!(one.starts_with("ST2185 ") && one.contains(word), "{word}: {one}");
            }
        }
        let smoothing = "type = \"dpo\"\nloss = \"ipo\"\nlabel_smoothing = 0.1";
        assert_eq!(found([smoothing, ANSWERS, "", RATE]).len(), 1);
        assert!(found(["", "dataload = \"pack\"", "l2wrap = 1e-4", RATE]).is_empty());
    }
}
