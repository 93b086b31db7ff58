//! Methods: encoder, heads and loss put together as one graph.

pub mod loss;
pub mod loss_file;
pub mod simclr;
