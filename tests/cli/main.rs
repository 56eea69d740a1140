//! Runs the real program in temporary folders and compares exit code, standard output and standard error.

mod bad_data;
mod bad_experiment;
mod bad_model;
mod case;
mod commands;
mod control;
mod data;
mod data_look;
mod device;
mod edges;
mod emoji_state;
mod peft;
mod quant;
mod resume;
mod run;
mod score;
mod state;
mod talking;
mod terminal;
mod use_elsewhere;
mod watch;
