//! Self-supervised pre-training of image encoders on any GPU.
//!
//! Floors, top first; each imports only those below it:
//! `report`, `experiment`, `downstream`, `export`, `bench`, `train`, `run`, `config`, `methods`, `eval`, `nn`, `data`, `check`, `ops`, `graph`, `device`, `reference`.
//! `docs/ARCHITECTURE.md` is the one-page tour.

pub mod bench;
pub mod check;
pub mod config;
pub mod data;
pub mod device;
pub mod downstream;
pub mod eval;
pub mod experiment;
pub mod export;
pub mod graph;
pub mod methods;
pub mod nn;
pub mod ops;
pub mod reference;
pub mod report;
pub mod run;
pub mod train;
