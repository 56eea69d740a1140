//! Numbers against independent references: kernels, models, steps, files.

mod blocks;
mod chunk;
mod cuda;
mod devices;
mod dropout;
mod files;
mod memory;
mod numerics;
mod packing;
mod peft;
mod products;
mod quant;
mod quant_cuda;
mod quant_memory;
mod quant_peft;
mod state_tuning;
mod step;
mod versions;
mod wkv;
mod wkv_cpu;
mod wkv_vectors;
