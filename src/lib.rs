//! Self-supervised pre-training of image encoders on any GPU.
//!
//! Floors, top first; each imports only those below it:
//! `report`, `export`, `bench`, `train`, `eval`, `methods`, `nn`, `data`, `check`, `ops`, `graph`, `device`, `reference`.
//! `docs/ARCHITECTURE.md` is the one-page tour.

pub mod bench;
pub mod check;
pub mod data;
pub mod device;
pub mod eval;
pub mod export;
pub mod graph;
pub mod methods;
pub mod nn;
pub mod ops;
pub mod reference;
pub mod report;
pub mod train;
