//! What a run tells programs: one JSON object an event, and one at its end.

use serde_json::{Map, Value, json};

use statetune_core::records::Metrics;
use statetune_engine::pipeline::{Counted, Outcome, Progress, RunError, Summary};

/// Names and versions of the objects.
const EVENT: &str = "statetune.event/1";
const RESULT: &str = "statetune.result/1";

/// The object of an event; steps have none of their own, but intervals do.
pub(super) fn of(progress: &Progress<'_>) -> Option<Value> {
    let (name, details) = match progress {
        Progress::Step { .. } | Progress::Begins => return None,
        Progress::Warning(warning) => {
            ("warning", json!({ "code": warning.code, "message": warning.message.to_string() }))
        }
        Progress::Started { run, steps, epoch_steps, .. } => {
            ("start", json!({ "run": run, "steps": steps, "epoch_steps": epoch_steps }))
        }
        Progress::Resumed { steps } => ("resume", json!({ "steps": steps })),
        Progress::Extended { steps } => ("extend", json!({ "total_steps": steps })),
        Progress::Interval(metrics) => ("interval", interval(metrics)),
        Progress::Evaluated { steps, epochs, val_loss, probes } => (
            "eval",
            json!({ "steps": steps, "epochs": epochs, "val_loss": val_loss, "probes": rates(probes) }),
        ),
        Progress::Sampling { moment } => ("sample", json!({ "moment": moment })),
        Progress::Controlled { asked, steps, result } => (
            "control",
            json!({ "request": asked.request, "from": asked.from, "steps": steps, "result": result }),
        ),
    };
    let mut object = json!({ "schema": EVENT, "event": name });
    if let (Some(object), Value::Object(mut details)) = (object.as_object_mut(), details) {
        object.append(&mut details);
    }
    Some(object)
}

/// An interval with how long it took.
fn interval(metrics: &Metrics) -> Value {
    let mut interval = json!(metrics);
    interval["positions_per_s"] = json!(metrics.positions_per_s);
    interval["data_wait"] = json!(metrics.data_wait);
    interval
}

/// The object of the end of a run.
pub(super) fn of_end(result: &Result<Outcome, RunError>) -> Value {
    match result {
        Ok(Outcome::Done(summary)) => of_summary(summary),
        Ok(Outcome::Interrupted { run, steps, total_steps }) => json!({
            "schema": RESULT, "status": "interrupted", "run": run, "steps": steps, "total_steps": total_steps,
        }),
        Ok(Outcome::Needless { run }) => {
            json!({ "schema": RESULT, "status": "needless", "run": run })
        }
        Err(error) => {
            let message = error.diagnostic();
            json!({
                "schema": RESULT, "status": "failed", "code": message.code, "message": message.message.to_string(),
            })
        }
    }
}

fn of_summary(summary: &Summary) -> Value {
    let probe = |(name, base, tuned): &(String, Option<f64>, Option<f64>)| {
        (name.clone(), json!({ "base": base, "tuned": tuned }))
    };
    let probes: Map<String, Value> = summary.probes.iter().map(probe).collect();
    json!({
        "schema": RESULT,
        "status": "done",
        "run": summary.run,
        "val_loss": summary.val_loss.map(|(base, tuned)| json!({ "base": base, "tuned": tuned })),
        "probes": probes,
        "best": summary.best,
        "stopped_early": summary.stopped_early.as_ref().map(|(step, why)| json!({ "step": step, "why": why.to_string() })),
        "products": summary.products,
        "train_secs": summary.train_secs,
        "peak_gpu_bytes": summary.peak_gpu_bytes,
    })
}

fn rates(probes: &[Counted]) -> Value {
    let rate = |one: &Counted| (one.name.clone(), json!(one.rate));
    Value::Object(probes.iter().map(rate).collect())
}
