//! One file a verb: parse, call the library, print.

pub mod bench;
pub mod check;
pub mod console;
pub mod data;
pub mod devices;
pub mod embed;
pub mod eval;
mod experiment;
pub mod export;
pub mod loss;
mod opened;
pub mod presets;
pub mod preview;
pub mod report;
pub mod sweep;
pub mod train;
