//! `--format jsonl` and `--progress json`: one JSON object per event of a run, and one at its end.

use serde_json::{Map, Value, json};
use statetune_core::records::{Event, Metrics, ProbeCount, ProbeRate, Request, RequestOutcome};
use statetune_engine::RunError;
use statetune_engine::run::{Outcome, Summary};

/// Names and versions of the objects.
const EVENT: &str = "statetune.event/1";
const RESULT: &str = "statetune.result/1";

/// The objects of an event in a run with `epoch_steps` steps per mini-epoch. Intervals have an object, single steps do not.
pub(super) fn of(event: &Event, epoch_steps: u64) -> Vec<Value> {
    match event {
        Event::Warning(warning) => {
            let details = json!({ "code": warning.code, "message": warning.message.to_string() });
            vec![object("warning", details)]
        }
        Event::Start { run, steps, epoch_steps, after, .. } => {
            let details = json!({ "run": run, "steps": steps, "epoch_steps": epoch_steps });
            let mut objects = vec![object("start", details)];
            if *after > 0 {
                objects.push(object("resume", json!({ "steps": after })));
            }
            objects
        }
        Event::Rollback { steps, .. } => vec![object("resume", json!({ "steps": steps }))],
        Event::Interval(metrics) => vec![object("interval", interval(metrics))],
        Event::Eval { steps, epochs, val_loss, rewards, counts, .. } => {
            let epochs = steps.is_multiple_of(epoch_steps).then_some(epochs);
            let mut details = json!({
                "steps": steps, "epochs": epochs, "val_loss": val_loss, "probes": rates(counts),
            });
            if let Some(rewards) = rewards {
                details["rewards"] = json!(rewards);
            }
            vec![object("eval", details)]
        }
        Event::Forgetting { steps, kl } => {
            vec![object("forgetting", json!({ "steps": steps, "kl": kl }))]
        }
        Event::Sampling { moment } => vec![object("sample", json!({ "moment": moment }))],
        Event::Control { request, from, steps, total_steps, answer, result } => {
            let is_longer =
                matches!(request, Request::Extend { .. }) && *answer == RequestOutcome::Done;
            let extended =
                is_longer.then(|| object("extend", json!({ "total_steps": total_steps })));
            let details =
                json!({ "request": request, "from": from, "steps": steps, "result": result });
            extended.into_iter().chain([object("control", details)]).collect()
        }
        _ => Vec::new(),
    }
}

fn object(event: &str, details: Value) -> Value {
    let mut object = json!({ "schema": EVENT, "event": event });
    if let (Some(object), Value::Object(mut details)) = (object.as_object_mut(), details) {
        object.append(&mut details);
    }
    object
}

/// An interval with its speed.
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
        Ok(Outcome::NotNeeded { run }) => {
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
    let probe =
        |one: &ProbeRate| (one.name.clone(), json!({ "base": one.base, "tuned": one.tuned }));
    let probes: Map<String, Value> = summary.probes.iter().map(probe).collect();
    let mut object = json!({
        "schema": RESULT,
        "status": "done",
        "run": summary.run,
        "val_loss": summary.val_loss.map(|(base, tuned)| json!({ "base": base, "tuned": tuned })),
        "probes": probes,
        "best": summary.best,
        "stopped_early": summary.stopped_early.as_ref().map(|(step, why)| json!({ "step": step, "why": why.to_string() })),
        "products": summary.exported,
        "train_secs": summary.train_secs,
        "peak_gpu_bytes": summary.peak_gpu.map(|peak| peak.allocated),
        "peak_gpu_reserved_bytes": summary.peak_gpu.map(|peak| peak.reserved),
    });
    if let Some((base, tuned)) = &summary.rewards {
        object["rewards"] = json!({ "base": base, "tuned": tuned });
    }
    object
}

fn rates(probes: &[ProbeCount]) -> Value {
    let rate = |one: &ProbeCount| (one.name.clone(), json!(one.rate));
    Value::Object(probes.iter().map(rate).collect())
}
