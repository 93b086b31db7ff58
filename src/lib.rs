//! Self-supervised pre-training of image encoders on any GPU.
//!
//! Floors, top first; each imports only those below it:
//! `report`, `experiment`, `downstream`, `export`, `bench`, `train`, `run`, `config`, `methods`, `eval`,
//! `nn`, `data`, `check`, `ops`, `graph`, `device`, `reference`. `docs/ARCHITECTURE.md` is the one-page tour.
//!
//! Features, all on by default: `cli` (the program), `report` (HTML pages), `download` (fetching public data
//! sets), `tables` (features of images as .npy and .parquet). Whoever wants one loss or a training of their
//! own needs none of them: `default-features = false`.

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
pub mod prelude;
pub mod reference;
#[cfg(feature = "report")]
pub mod report;
pub mod run;
pub mod settings;
pub mod train;
