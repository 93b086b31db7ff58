//! The tests of the library and of the program, a module a subject, in one binary: each binary holds the whole library,
//! so one for each subject would take gigabytes and most of the time of a build. What needs a process or a harness of
//! its own is not here: `allocation` (it counts what the allocator is asked for), `kernels`, `translation`, `settings`,
//! and `golden`, whose fixtures the package leaves out.

mod centre_crop;
mod changed_data;
mod classes;
mod cli;
mod common;
mod contract;
mod corpus;
mod csv_lists;
mod data;
mod decoding;
mod docs;
mod evaluation;
mod events;
mod examples;
mod experiment;
mod face;
mod files;
mod floors;
mod folders;
mod formulas;
mod gpu_calls;
mod gradient_cache;
mod ilsvrc;
mod kept;
mod learning;
mod lists;
mod masked;
mod memory;
mod methods;
mod mixed;
mod mocov3;
mod momentum;
mod nan;
mod onnx;
mod pack;
mod pack_faults;
mod plans;
mod presets;
mod product;
mod recordings;
mod rematerialise;
mod robustness;
mod shards;
mod short_side;
mod similarity;
mod streamed_loss;
mod streaming;
mod subsets;
mod switches;
mod tar_files;
mod tiles;
mod verify;
mod vit_files;
