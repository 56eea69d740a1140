//! A forecast as lines of text.

use statetune_core::diagnostic::Diagnostic;
use statetune_core::forecast::{
    DataFacts, Forecast, Rate, StreamFacts, SuiteFacts, SuitesFacts, WIDENED_PRODUCTS,
};
use statetune_core::rate_search::{FoundRate, Trial};
use statetune_core::words::{count, estimate, gib, grouped, size};

/// Levels of a sparkline, lowest first.
const LEVELS: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];
/// Number of learning rates in the table.
const RATES_SHOWN: usize = 9;

/// The experiment in one line.
pub(super) fn headline(forecast: &Forecast) -> String {
    let Forecast { model, settings, .. } = forecast;
    let method = settings.peft["type"].as_str().unwrap_or_default();
    let quant = settings.quant["type"].as_str().filter(|format| *format != "none");
    let quant = quant.map_or(String::new(), |format| format!("  {format}"));
    format!(
        "{}  {} {} layers x {}, {} parameters  {method}{quant}  {}",
        forecast.name,
        model.version,
        model.n_layer,
        model.n_embd,
        grouped(model.parameters.unsigned_abs()),
        settings.precision
    )
}

/// The other lines: a subject and a text; the subject is empty on continuation lines.
pub(super) fn facts(forecast: &Forecast, warnings: &[Diagnostic]) -> Vec<(&'static str, String)> {
    let Forecast { settings, trains, .. } = forecast;
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut fact = |name: &'static str, text: String| facts.push((name, text));
    fact("device", format!("{}, op {}", settings.device, settings.op));
    if let Some(devices) = settings.devices {
        let (parts, of, whole): (u64, _, _) = match (settings.in_chunks, forecast.boundaries) {
            (false, _) => (settings.accumulate_grad_batches.into(), ["pass", "passes"], "step"),
            (true, cut) => (cut.map_or(1, |cut| cut.chunks), ["chunk", "chunks"], "sample"),
        };
        let idle = match devices.saturating_sub(parts) {
            0 => String::new(),
            idle => {
                let of = of[usize::from(parts != 1)];
                format!(" ({} {of} in a {whole}, {} wait)", grouped(parts), grouped(idle))
            }
        };
        let text = format!("take the {} of a {whole} in turn", of[1]);
        let devices = grouped(devices);
        fact("devices", format!("{devices} {text}{idle}; each needs the memory below"));
    }
    if let Some(strategies) = &forecast.strategies {
        let each = strategies.all.iter().map(|one| {
            let is_chosen = one.strategy == strategies.chosen;
            let chosen = if is_chosen { " (chosen)" } else { "" };
            format!("{} {}{chosen}", one.strategy.name(), size(one.bytes))
        });
        fact("strategy", format!("{} each", each.collect::<Vec<_>>().join(", ")));
    }
    if settings.products.is_some() {
        fact("products", WIDENED_PRODUCTS.to_string());
    }
    let percent = trains.share * 100.0;
    fact("trains", format!("{} parameters, {percent:.2} % of the model", grouped(trains.numbers)));
    match &forecast.data {
        Some(data) => data_facts(data, settings.ctx_len, &mut fact),
        None => fact(
            "data",
            "not prepared: full rows of ctx_len are assumed; pass `--prepare` for exact numbers"
                .to_string(),
        ),
    }
    if let Some(suites) = &forecast.suites {
        suites_facts(suites, &mut fact);
    }
    if let Some(rate) = &forecast.rate {
        rate_facts(rate, &mut fact);
    }
    if let Some(found) = &forecast.range_test {
        range_test_facts(found, &mut fact);
    }
    match (&forecast.memory, forecast.available_bytes) {
        (Some(memory), available) => {
            let of = available.map_or(String::new(), |bytes| format!(" of {} free", gib(bytes)));
            fact("memory", format!("{}{of}", gib(memory.total)));
            for one in &memory.items {
                let item = one.item.text().to_string();
                fact("", format!("{item:32} {:>9}", size(one.bytes)));
            }
        }
        (None, _) => fact("memory", format!("unknown for op {}", settings.op)),
    }
    if let Some((tokens, boundaries)) = settings.chunk_ctx.zip(forecast.boundaries) {
        let states = match boundaries.kept_every {
            1 => "every state between them is kept".to_string(),
            every => format!("1 state of {every} is kept, the others are computed again"),
        };
        let chunks = count(boundaries.chunks, "chunk");
        fact(
            "chunks",
            format!("{chunks} of {} tokens in the longest row; {states}", grouped(tokens.into())),
        );
    }
    if let Some(StreamFacts { bytes, held, read, to_gpu: Some(true), .. }) = forecast.stream {
        fact(
            "stream",
            format!(
                "{} of weights stay in the memory of the host, {} on the GPU at a time; a pass copies {}",
                size(bytes),
                size(held),
                size(read)
            ),
        );
    } else if let Some(StreamFacts { bytes, held, read, disk, .. }) = forecast.stream {
        let at = disk.map_or(String::new(), |disk| format!(" at {}/s", size(disk as u64)));
        fact(
            "stream",
            format!(
                "{} of weights stay in the file, {} in memory at a time; a pass reads {} from the disk{at}",
                size(bytes),
                size(held),
                size(read)
            ),
        );
    }
    match &forecast.time {
        Some(time) => fact(
            "time",
            format!(
                "{} at {:.0} positions/s, padding included ({})",
                estimate(time.secs),
                time.positions_per_step / time.step_secs,
                time.basis
            ),
        ),
        None => fact("time", "unknown; pass `--measure` to measure the speed".to_string()),
    }
    if let Some(saves) = &forecast.saves {
        fact(
            "saves",
            format!(
                "{} of {}, keeps {}; exports of {}; {} on disk",
                count(saves.checkpoints, "checkpoint"),
                size(saves.checkpoint_bytes),
                saves.kept,
                size(saves.export_bytes),
                size(saves.disk_bytes)
            ),
        );
    }
    for (index, warning) in warnings.iter().enumerate() {
        let name = if index == 0 { "warnings" } else { "" };
        fact(name, format!("{} {}", warning.code, warning.message));
    }
    let origins = forecast.origins;
    let elsewhere = [
        (origins.parent, "the extended file"),
        (origins.profile, "a profile"),
        (origins.recipe, "a recipe"),
    ];
    let elsewhere = elsewhere.iter().filter(|(count, _)| *count > 0);
    let elsewhere: String =
        elsewhere.map(|(count, place)| format!(", {count} from {place}")).collect();
    fact(
        "origin",
        format!(
            "{} values from the file{elsewhere}, {} from --set, {} from the environment, {} defaults",
            origins.file, origins.command_line, origins.environment, origins.default
        ),
    );
    facts
}

fn data_facts(data: &DataFacts, ctx_len: u32, fact: &mut impl FnMut(&'static str, String)) {
    let DataFacts { documents, copies, held_out, samples_per_pass, longest, .. } = *data;
    let (documents, held_out) = (count(documents, "document"), grouped(held_out));
    let per_pass = count(samples_per_pass, "sample");
    fact("data", format!("{documents}, {held_out} for validation, {per_pass} per pass"));
    let padding = data.padding * 100.0;
    fact("", format!("longest row {longest} of ctx_len {ctx_len}, {padding:.0} % padding"));
    let samples = data.steps * data.samples_per_step;
    let DataFacts { learned, tokens, cut_tokens, .. } = *data;
    let seen = (1.0 - data.unseen) * (tokens - cut_tokens) as f64 / tokens.max(1) as f64;
    let of_tokens = match cut_tokens {
        0 => String::new(),
        _ => format!("the {} tokens of ", grouped(tokens)),
    };
    fact(
        "coverage",
        format!(
            "{} steps x {} = {} samples: {:.0} % of {of_tokens}{}, each document {:.2} times",
            grouped(data.steps),
            data.samples_per_step,
            grouped(samples),
            100.0 * seen,
            if copies == 1 { "1 copy".to_string() } else { format!("{} copies", grouped(copies)) },
            data.exposures
        ),
    );
    fact(
        "targets",
        format!("{} of {} tokens are target tokens", grouped(learned), grouped(tokens)),
    );
}

/// What the suites cost at each evaluation.
fn suites_facts(suites: &SuitesFacts, fact: &mut impl FnMut(&'static str, String)) {
    for (i, SuiteFacts { name, items, read, write }) in suites.suites.iter().enumerate() {
        let written = match write {
            0 => String::new(),
            write => format!(", at most {} to write", count(*write, "token")),
        };
        let items = count(*items, "item");
        let text = format!("{name}: {items}, {} to read{written}", count(*read, "token"));
        fact(if i == 0 { "suites" } else { "" }, text);
    }
    let evaluations = suites.evaluations.map_or("each evaluation".to_owned(), |n| match n {
        1 => "the evaluation".to_owned(),
        n => format!("each of {}", count(n, "evaluation")),
    });
    fact("", format!("all of them at {evaluations}"));
}

/// The trials of a range test, the interval and the proposal.
fn range_test_facts(found: &FoundRate, fact: &mut impl FnMut(&'static str, String)) {
    let FoundRate { lr_init, lowest, highest, total_steps, held_out, trials } = found;
    fact(
        "rates",
        format!(
            "loss on {} after short runs, for a run of {}",
            count(*held_out, "held-out sample"),
            count(*total_steps, "step")
        ),
    );
    for steps in trials.chunk_by(|a, b| a.steps == b.steps) {
        let best = steps.iter().filter_map(|trial| trial.loss).fold(f64::INFINITY, f64::min);
        for Trial { steps, rate, loss } in steps {
            let loss = match loss {
                Some(loss) if *loss == best => format!("{loss:.4}  lowest"),
                Some(loss) => format!("{loss:.4}"),
                None => "diverged".to_string(),
            };
            fact("", format!("{:>10}  lr_init {rate:<9.2e}  {loss}", count(*steps, "step")));
        }
    }
    fact(
        "",
        format!("lr_init = {lr_init} is proposed; {lowest} to {highest} are probably as good"),
    );
}

/// The learning rate curve, and some of its values.
fn rate_facts(rate: &Rate, fact: &mut impl FnMut(&'static str, String)) {
    let most = rate.points.iter().map(|point| point.lr).fold(0.0, f64::max);
    let level = |lr: f64| LEVELS[(lr / most * (LEVELS.len() - 1) as f64).round() as usize];
    let line: String = rate.points.iter().map(|point| level(point.lr)).collect();
    fact(
        "rate",
        format!("{}, {} of warmup  {line}", rate.schedule, count(rate.warmup_steps, "step")),
    );
    let every = (rate.points.len() - 1).div_ceil(RATES_SHOWN - 1).max(1);
    let shown: Vec<_> = rate.points.iter().step_by(every).collect();
    let row =
        |cells: Vec<String>| cells.iter().map(|cell| format!("{cell:>9}")).collect::<String>();
    fact("", row(shown.iter().map(|point| format!("{}", point.step)).collect()));
    fact("", row(shown.iter().map(|point| format!("{:.2e}", point.lr)).collect()));
}
