//! Numbers that PyTorch made (`tests/golden`), beside this program's: losses, data, networks, optimisers.

mod common;
mod golden_data;
mod golden_losses;
mod golden_masked;
mod golden_network;
mod golden_optimizer;
mod golden_rand_augment;
