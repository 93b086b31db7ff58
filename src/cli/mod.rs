//! One file a verb: parse, call the library, print.

pub mod bench;
mod bench_comm;
mod bench_compare;
mod bench_data;
pub mod check;
mod check_web;
pub mod console;
pub mod data;
mod data_inspect;
mod data_pack;
pub mod devices;
pub mod embed;
pub mod eval;
pub mod export;
pub mod launch;
pub mod loss;
mod number;
pub mod plan;
pub mod presets;
pub mod preview;
#[cfg(test)]
mod reference;
pub mod report;
mod source;
pub mod sweep;
pub mod train;
pub mod verify;
