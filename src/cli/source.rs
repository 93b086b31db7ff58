//! Which run, on which data and device: the arguments of the verbs that look at a finished run.

use super::console::Console;
use amcl_wgpu::data::Split;
use amcl_wgpu::device::Choice;
use amcl_wgpu::downstream::Source;
use amcl_wgpu::downstream::encoder::{Encoder, Feature};
use std::path::PathBuf;

/// Which run, on which data, where.
#[derive(clap::Args, Debug)]
pub struct SourceArgs {
    /// Run folder.
    pub run: PathBuf,
    /// Other data than the run's.
    #[arg(long)]
    data: Option<String>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Several devices share the images when features are made: gpu:0,gpu:1.
    #[arg(long, value_delimiter = ',', conflicts_with = "device")]
    devices: Vec<Choice>,
}

impl SourceArgs {
    /// The same as the library takes it.
    pub fn source(&self) -> Source {
        let (first, others) = match self.devices.split_first() {
            Some((first, others)) => (first, others.to_vec()),
            None => (&self.device, Vec::new()),
        };
        Source {
            run: self.run.clone(),
            data: self.data.clone(),
            device: first.clone(),
            others,
        }
    }

    /// Opens the data (the run's own, or `--data`) and the run's encoder for it, with this feature.
    ///
    /// # Errors
    /// No such run, data or feature, no usable checkpoint, no such device.
    pub fn open(&self, feature: Feature, console: &Console) -> anyhow::Result<(Encoder, Split)> {
        let (source, tell) = (self.source(), console.teller());
        let (trained, split) = source.read(&tell)?;
        let encoder = source.encoder(&trained, &split, &[feature], &tell)?;
        Ok((encoder, split))
    }
}
