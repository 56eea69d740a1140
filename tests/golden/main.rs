//! Numbers against independent references: kernels, models, steps, files.

mod blocks;
mod chunk;
mod chunk_ctx;
mod cuda;
mod devices;
mod distill;
mod dropout;
mod few_rows;
mod files;
#[path = "../gpu.rs"]
mod gpu;
mod in_turn;
mod kl;
mod likelihood;
mod mapped;
mod memory;
mod model_files;
#[path = "../null_gpu/mod.rs"]
mod null_gpu;
mod null_gpu_tests;
mod numerics;
mod packing;
mod peft;
mod preferences;
mod products;
mod quant;
mod quant_cuda;
mod quant_memory;
mod quant_peft;
mod shift;
mod stages_cuda;
mod state_tuning;
mod step;
mod versions;
mod wkv;
mod wkv_cpu;
mod wkv_vectors;
