//! Which processor computes.

use std::fs;

use super::InstructionSet;

/// The processor as a record names it: its model, and the best instruction set that it shares with the kernels,
/// because sums are taken in another order with another one.
pub(super) fn processor_model() -> String {
    let sets = [(InstructionSet::Avx512, "AVX-512"), (InstructionSet::Avx2, "AVX2")];
    let best = sets.into_iter().find(|(set, _)| set.is_supported());
    let best = best.map_or("baseline", |(_, name)| name);
    // Linux says it here; elsewhere the instruction set alone has to do.
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match model_name(&known) {
        Some(model) => format!("processor ({model}, {best})"),
        None => format!("processor ({best})"),
    }
}

/// The first processor's model in the text of `/proc/cpuinfo`.
fn model_name(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_is_named() {
        let text =
            "processor\t: 0\nmodel name\t: AMD EPYC 9B14\n\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(model_name(text), Some("AMD EPYC 9B14"));
        assert_eq!(model_name("flags\t: fpu\n"), None);
        assert!(processor_model().starts_with("processor ("));
    }
}
