//! A run's encoder and data, as the verbs that look at a finished run need them.

use super::console::Console;
use amcl_wgpu::config::Precision;
use amcl_wgpu::data::Split;
use amcl_wgpu::device::Choice;
use amcl_wgpu::downstream::encoder::{Encoder, Feature};
use amcl_wgpu::run::weights;
use amcl_wgpu::train::session::open_executor;
use std::path::PathBuf;

/// Which run, on which data, where.
#[derive(clap::Args, Debug)]
pub struct On {
    /// Run folder.
    pub run: PathBuf,
    /// Other data than the run's.
    #[arg(long)]
    pub data: Option<String>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    pub device: Choice,
}

impl On {
    /// Opens the data (the run's own, or `--data`) and the run's encoder for it.
    ///
    /// # Errors
    /// No such run or data, no usable checkpoint, no such device.
    pub fn open(&self, console: &Console) -> anyhow::Result<(Encoder, Split)> {
        self.open_for(console, Feature::Backbone)
    }

    /// As [`On::open`], for other features.
    ///
    /// # Errors
    /// As [`On::open`]; a head that is not there.
    pub fn open_for(&self, console: &Console, f: Feature) -> anyhow::Result<(Encoder, Split)> {
        let found = weights::of_run(&self.run, |w| console.warn(&w))?;
        let mut config = found.config.clone();
        config.data.path = self.data.clone().unwrap_or(config.data.path);
        let split =
            config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
        console.say(&format!("data: {}", split.description));
        for w in &split.warnings {
            console.warn(&format!("data: {w}"));
        }
        let exec = open_executor(&self.device, &[], Precision::F32, |l| console.say(&l))?;
        let side = (split.train.height, split.train.width);
        let encoder = Encoder::of(&config, &found.weights, found.at.epoch, exec, side, f)?;
        Ok((encoder, split))
    }
}
