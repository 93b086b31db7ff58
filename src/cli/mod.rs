//! One file a verb: parse, call the library, print.

pub mod bench;
pub mod check;
pub mod devices;
pub mod eval;
pub mod loss;
pub mod train;
