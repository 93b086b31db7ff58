//! What computes.

use super::{Grade, Result};
use crate::check::self_test;
use crate::device::{Choice, Device, DeviceError, Options};
use crate::graph::gpu::GpuExecutor;
use crate::graph::host::HostExecutor;
use crate::graph::{Executor, GraphError};
use std::sync::Arc;

/// What computes. It makes an executor for every network, since an executor holds the states of one.
#[derive(Clone)]
pub enum Computer {
    /// The CPU twins in f64: the reference.
    Reference,
    /// The CPU executor in f32.
    Cpu,
    /// A GPU, or a driver that does as one, in f32.
    Gpu(Arc<Device>),
}

impl Computer {
    /// The device that computes in f32.
    ///
    /// # Errors
    /// No such adapter.
    pub fn open(choice: &Choice, mut tell: impl FnMut(String)) -> Result<Self> {
        if *choice == Choice::Cpu {
            return Ok(Self::Cpu);
        }
        match self_test::open(choice, Options::default(), false, &mut tell) {
            Ok(device) => Ok(Self::Gpu(device)),
            Err(DeviceError::NoAdapter(_)) if *choice == Choice::Auto => {
                tell("no hardware GPU found: verifying on the CPU executor".into());
                Ok(Self::Cpu)
            }
            Err(e) => Err(GraphError::from(e).into()),
        }
    }

    /// How near it has to come.
    pub fn grade(&self) -> Grade {
        match self {
            Self::Reference => Grade::Oracle,
            Self::Cpu | Self::Gpu(_) => Grade::Device,
        }
    }

    /// An executor without states.
    pub fn executor(&self) -> Box<dyn Executor> {
        match self {
            Self::Reference => Box::new(HostExecutor::<f64>::new()),
            Self::Cpu => Box::new(HostExecutor::<f32>::new()),
            Self::Gpu(device) => Box::new(GpuExecutor::new(device.clone())),
        }
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        match self {
            Self::Reference => "f64 reference".into(),
            Self::Cpu | Self::Gpu(_) => self.executor().name(),
        }
    }
}
