//! What a user of the library writes against, in one line: `use amcl_wgpu::prelude::*;`.

pub use crate::check::{Case, Feed, Harness};
pub use crate::config::{Config, ConfigError};
pub use crate::data::{DataError, Dataset, Split};
pub use crate::device::recording::{Kernel, Recorder};
pub use crate::device::{Choice, Device, DeviceError, Options};
pub use crate::downstream::DownstreamError;
pub use crate::downstream::encoder::{Encoder, Feature};
pub use crate::graph::gpu::GpuExecutor;
pub use crate::graph::host::HostExecutor;
pub use crate::graph::{
    Bindings, Class, Executor, Graph, GraphError, HostData, HostIo, Op, StepScalars, TensorId,
    TensorType,
};
pub use crate::methods::loss::LossOutput;
pub use crate::methods::loss::evaluate::{Array, Evaluated, Loss, LossError, evaluate};
pub use crate::methods::loss_file::LossFile;
pub use crate::methods::{Batch, Draws, METHODS, Method, Views};
pub use crate::nn::heads::Mlp;
pub use crate::nn::{Backbone, Mode, Model, Net, Part};
pub use crate::ops::backward;
pub use crate::reference::Scalar;
pub use crate::run::RunError;
pub use crate::run::event::Event;
pub use crate::train::{Outcome, TrainError, Trainer};
