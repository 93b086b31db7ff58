//! Self-supervised pre-training of image encoders on any GPU: compute shaders in WGSL, with a CPU twin for each.
//!
//! The crate is the library behind the program `amcl-wgpu`. It trains encoders without labels (SimCLR, MoCo, SimSiam,
//! Barlow Twins, BYOL, VICReg, and the first four with AMCL's adaptive temperatures), evaluates them, and hands them
//! on. Below that stand its parts, which can be used by themselves: losses, layers, a static graph with gradients, ops.
//! [`prelude`] has what most users need.
//!
//! # A run
//!
//! ```
//! use amcl_wgpu::prelude::*;
//!
//! let settings = "version = 4\ndata.shapes_train = 64\ndata.shapes_test = 20\nmodel.width = 4\nrun.epochs = 1";
//! let config = Config::parse(settings, &["optim.batch_size=32".into()])?;
//! let folder = tempfile::tempdir()?;
//! let run = folder.path().join("run");
//! let mut steps = 0;
//! let outcome = Trainer::new(config)
//!     .device(Choice::Cpu)
//!     .out(&run)
//!     .on_event(|event| steps += usize::from(matches!(event, Event::Step(_))))
//!     .run()?;
//! assert!(outcome.finished && steps == 2);
//!
//! // The encoder that stays, on images of 32x32.
//! let images = amcl_wgpu::data::shapes::generate(0, 5, 0).train;
//! let mut encoder = Encoder::open(&run, &Choice::Cpu, (32, 32), |note| eprintln!("{note}"))?;
//! let features = encoder.features(&images, &mut |_, _| ())?;
//! assert_eq!(features.len(), 5 * encoder.dim());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A loss by itself
//!
//! ```
//! use amcl_wgpu::prelude::*;
//!
//! // The cosine of predictions p and targets z is 0.6 in both rows.
//! let p = Array::new(&[2, 2], [1.0, 0.0, 0.0, 2.0]);
//! let z = Array::new(&[2, 2], [3.0, 4.0, 4.0, 3.0]);
//! let inputs = [("p1", &p), ("z1", &z), ("p2", &p), ("z2", &z)];
//! let got = evaluate(&Loss::SimSiam, &inputs, &Choice::Cpu)?;
//! assert!((got.loss + 0.6).abs() < 1e-12);
//! // Half of the batch's mean of (cos p/|p| - z/|z|)/|p|, in the first row (0.6 - 0.6, 0 - 0.8) / 4.
//! let first = &got.gradients["p1"].values[..2];
//! assert!(first[0].abs() < 1e-12 && (first[1] + 0.2).abs() < 1e-12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A graph and its gradient
//!
//! ```
//! use amcl_wgpu::prelude::*;
//!
//! let mut g = Graph::new();
//! let x = g.input("x", TensorType::f32([3]));
//! let squares = g.mul(x, x)?;
//! let loss = g.sum(squares)?;
//! let gradient = backward(&mut g, loss, &[x])?[0].ok_or("no gradient")?;
//! let values = HostData::F64(vec![1.0, -2.0, 3.0]);
//! let got = HostExecutor::<f64>::new().evaluate(&g, &[(x, values)], &[loss, gradient])?;
//! assert_eq!(got[0], HostData::F64(vec![14.0]));
//! assert_eq!(got[1], HostData::F64(vec![2.0, -4.0, 6.0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/` goes on from here: training on a folder, a loss against PyTorch's number, searching by features, a
//! kernel and a method of one's own.
//!
//! # Rooms
//!
//! The top one first; each imports only those below it. `docs/ARCHITECTURE.md` is the tour.
//!
//! | room | what it holds |
//! |---|---|
//! | [`prelude`] | what most users need |
//! | `report` | HTML pages of runs and sweeps |
//! | [`experiment`] | sweeps: a grid of runs, resumable, measured, tabled |
//! | [`downstream`] | what is done with a trained encoder: features, probe, fine-tuning, similarity of pairs |
//! | [`export`] | the encoder for others: safetensors, ONNX; features as tables |
//! | [`verify`] | numbers of other implementations, from files, beside this one's |
//! | [`train`] | the loop: [`train::Trainer`] |
//! | [`run`] | the run folder: events, checkpoints, weights |
//! | [`config`] | settings with their ranges, presets, overrides |
//! | [`methods`] | a method is a file: settings, draws, graph; [`methods::loss`] |
//! | [`eval`] | kNN, principal components, spread of features |
//! | [`nn`] | the build context, layers, heads, encoders |
//! | [`data`] | data sets, augmentation |
//! | [`check`] | any op against its twin, with bounds; the table of all kernels |
//! | [`ops`] | the ops: shapes, gradients, dispatches |
//! | [`graph`] | the graph, its gradient, its plan, its executors on GPU and CPU |
//! | [`device`] | adapters, limits, kernels, recording |
//! | [`comm`] | bytes between ranks, sums over ranks |
//! | [`settings`] | sections of TOML with defaults and ranges |
//!
//! # Features
//!
//! All on by default: `cli` (the program), `report` (HTML pages), `download` (fetching public data sets), `tables`
//! (features of images as .npy and .parquet, data sets in parquet files). A loss, or a training of one's own, needs
//! none of them: `default-features = false`.
//!
//! What is public but not listed here, and not in these pages, is for the program, the tests and the benchmarks of this
//! repository alone, and changes without notice.

// A fault is an error with words, not a panic; tests may unwrap.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

#[doc(hidden)]
pub mod bench;
pub mod check;
pub mod comm;
pub mod config;
pub mod data;
pub mod device;
pub mod downstream;
pub mod eval;
pub mod experiment;
pub mod export;
#[doc(hidden)]
pub mod fixture;
pub mod graph;
pub mod methods;
pub mod nn;
pub mod ops;
pub mod prelude;
#[doc(hidden)]
pub mod reference;
#[cfg(feature = "report")]
pub mod report;
pub mod run;
pub mod settings;
pub mod train;
pub mod verify;

/// The README's and the guide's examples in Rust are compiled with the tests of the docs.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/guide/library.md")]
    struct Library;
}
