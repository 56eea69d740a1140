//! Declarative fine-tuning of RWKV models: one TOML file in, one run directory out.
//!
//! Text becomes a [`config::Config`] (what was asked), that a [`plan::Plan`] (what will be done), and
//! [`pipeline::run`] executes it: documents become token ids and batches ([`data`]), a checkpoint
//! becomes a [`model`], in fewer bits where [`quant`] is asked to, a method ([`peft`]) says what of it learns, [`train`] and [`optim`] change it,
//! [`output`] and [`runs`] write down what came of it. The recurrences stand in [`kernels`].

pub mod cli;
pub mod config;
pub mod data;
pub mod diagnostic;
pub mod diff;
pub mod exit;
pub mod forecast;
pub mod hub;
pub mod import;
pub mod inspect;
pub mod kernels;
pub mod lang;
pub mod model;
pub mod mount;
pub mod optim;
pub mod output;
pub mod peft;
pub mod pipeline;
pub mod plan;
pub mod quant;
pub mod report;
pub mod runs;
pub mod sample;
pub mod score;
pub mod tensorfile;
pub mod train;
