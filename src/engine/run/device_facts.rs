//! What each device of a run is: which GPU, of which model, with how much free memory.

use serde::{Deserialize, Serialize};
use statetune_core::diagnostic::Text;
use statetune_core::plan::Plan;

use crate::kernels::{available_bytes, device_model, gpu_uuid};
use crate::tensors::device;
use crate::train::{Devices, DevicesError};

/// The device of one process.
#[derive(Debug, Deserialize, Serialize)]
struct DeviceFacts {
    /// What tells its GPU from others.
    gpu: Option<String>,
    /// As [`device_model`].
    model: String,
    /// Free memory of its GPU.
    free: Option<u64>,
}

/// What is known of all devices together.
#[derive(Debug)]
pub(super) struct AllDevices {
    /// The model of the devices, or the models with the numbers of the devices.
    pub(super) model: String,
    /// The least free memory of a GPU, in bytes; absent on CPUs.
    pub(super) free: Option<u64>,
}

/// Learns what the devices of a run are. All devices make this call.
///
/// # Errors
/// Two devices with one GPU, the same error on every device, or a device that is gone.
pub(super) fn all_devices(plan: &Plan, devices: &dyn Devices) -> Result<AllDevices, DevicesError> {
    let device = device(plan.train.device);
    let model = device_model(device);
    if devices.is_single() {
        return Ok(AllDevices { model, free: None });
    }
    let free = available_bytes(device).filter(|_| device.is_cuda());
    let mine = DeviceFacts { gpu: gpu_uuid(device), model, free };
    let text = serde_json::to_string(&mine).expect("plain data");
    let read = |text: &String| serde_json::from_str(text).map_err(|_| text.clone());
    let all = devices.gather_texts(&text)?.iter().map(read).collect::<Result<Vec<_>, _>>();
    let all: Vec<DeviceFacts> = all.map_err(|text| DevicesError::Native(Text::verbatim(text)))?;
    for (rank, one) in all.iter().enumerate() {
        let is_same = |other: &DeviceFacts| one.gpu.is_some() && other.gpu == one.gpu;
        if let Some(first) = all[..rank].iter().position(is_same) {
            return Err(DevicesError::SharedGpu { ranks: [first, rank] });
        }
    }
    let models: Vec<&str> = all.iter().map(|one| &*one.model).collect();
    Ok(AllDevices {
        model: models_text(&models),
        free: all.iter().filter_map(|one| one.free).min(),
    })
}

/// The model that all devices have, or each model with the numbers of its devices: the order of the passes depends on them.
fn models_text(models: &[&str]) -> String {
    let mut known: Vec<(&str, Vec<String>)> = Vec::new();
    for (rank, model) in models.iter().enumerate() {
        match known.iter_mut().find(|(name, _)| name == model) {
            Some((_, ranks)) => ranks.push(rank.to_string()),
            None => known.push((model, vec![rank.to_string()])),
        }
    }
    if let [(model, _)] = &*known {
        return (*model).to_owned();
    }
    let one = |(model, ranks): &(&str, Vec<String>)| match &ranks[..] {
        [rank] => format!("{model} (device {rank})"),
        ranks => format!("{model} (devices {})", ranks.join(", ")),
    };
    known.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_several_models_are_told_apart() {
        assert_eq!(models_text(&["A", "A"]), "A");
        assert_eq!(models_text(&["A", "B", "A"]), "A (devices 0, 2); B (device 1)");
    }
}
