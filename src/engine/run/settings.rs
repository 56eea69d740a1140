//! The settings of a plan that concern libtorch in the whole process.

use statetune_core::plan::Plan;
use statetune_core::tensorfile::Dtype;

use crate::kernels::{allow_tf32, fix_threads, has_bfloat16_products, use_device};
use crate::tensors::device;

/// Passes device, precision and threads of a plan to libtorch.
pub(super) fn set_up_libtorch(plan: &Plan) {
    use_device(device(plan.train.device));
    allow_tf32(plan.train.tf32());
    if let Some(threads) = plan.train.threads {
        fix_threads(threads as usize);
    }
}

/// The dtype in which the matrices of a plan are multiplied, by its name in run records, where it is not that of the
/// weights.
pub(super) fn widened_products(plan: &Plan) -> Option<&'static str> {
    let dtype = plan.train.dtype;
    let widens = !plan.train.device.is_gpu()
        && (dtype == Dtype::F16 || dtype == Dtype::BF16 && !has_bfloat16_products());
    widens.then_some("float32")
}
