//! A model with its programs on an executor: gradient step, update, features. Training and evaluation both start here.

use super::{Config, Result, TrainError};
use crate::data::Dataset;
use crate::device::{Choice, Device, DeviceError, Options};
use crate::eval::knn;
use crate::graph::gpu::GpuExecutor;
use crate::graph::host::HostExecutor;
use crate::graph::{
    Executor, Graph, GraphError, HostData, ProgramId, StepScalars, TensorId, TensorType,
};
use crate::methods::loss::Built;
use crate::methods::simclr::SimClr;
use crate::nn::{Model, resnet::ResNet};
use crate::ops;
use crate::ops::accumulate::Accumulate;
use crate::ops::sgd::Sgd;
use crate::ops::sum_all::SumSquares;

/// Images a feature batch holds.
const FEATURE_BATCH: usize = 250;

/// Opens the executor for a device choice. `auto` falls back to the CPU and says so through `tell`.
///
/// # Errors
/// No such adapter.
pub fn open_executor(choice: &Choice, mut tell: impl FnMut(String)) -> Result<Box<dyn Executor>> {
    let cpu = || Box::new(HostExecutor::<f32>::new());
    if *choice == Choice::Cpu {
        return Ok(cpu());
    }
    match Device::open(choice, Options::default()) {
        Ok(device) => Ok(Box::new(GpuExecutor::new(device))),
        Err(DeviceError::NoAdapter(_)) if *choice == Choice::Auto => {
            tell("no hardware GPU found: running on the CPU executor (`amcl-wgpu devices` lists adapters)".into());
            Ok(cpu())
        }
        Err(e) => Err(GraphError::from(e).into()),
    }
}

/// A compiled model.
pub struct Session {
    /// What computes.
    pub exec: Box<dyn Executor>,
    /// Parameters and statistics.
    pub model: Model,
    config: Config,
    grad: ProgramId,
    views: TensorId,
    /// Loss, similarities, scores.
    pub built: Built,
    update: ProgramId,
    inputs: (TensorId, TensorId, TensorId),
    features: ProgramId,
    images: TensorId,
    feature: TensorId,
}

impl Session {
    /// Builds the graphs of a configuration and compiles them; weights are initialised from the seed.
    ///
    /// # Errors
    /// Impossible shapes, memory, device.
    pub fn new(config: &Config, mut exec: Box<dyn Executor>) -> Result<Self> {
        let (c, o) = (&config.model, &config.optim);
        let encoder = ResNet::named(&c.encoder, c.width, c.stem_stride).ok_or_else(|| {
            TrainError::Config(format!(
                "no encoder `{}`; there are tiny, resnet18, resnet34",
                c.encoder
            ))
        })?;
        let method = SimClr {
            encoder,
            heads: config.heads.count,
            hidden: config.heads.hidden,
            out: config.heads.out,
            amcl: config.amcl.enabled.then_some(config.amcl.switches),
            temperature: config.loss.temperature,
        };
        let mut model = Model::default();
        let mut g = Graph::new();
        let (views, built) = method.train_graph(
            &mut g,
            &mut model,
            o.batch_size / o.micro_batches,
            c.image_size,
        )?;
        let params: Vec<TensorId> = model
            .params
            .iter()
            .map(|p| g.state(&model.states, p.id))
            .collect();
        let grads = ops::backward(&mut g, built.loss, &params)?;
        let whole_grads = model.states.mirror("params", "grads");
        let momentum = model.states.mirror("params", "momentum");
        let halt = model.states.add("control", "halt", TensorType::u32([1]));
        for (p, d) in model.params.iter().zip(&grads) {
            if let (Some(d), Some(id)) = (d, model.states.counterpart(p.id, "grads")) {
                let acc = g.state(&model.states, id);
                g.push_updating(Accumulate, &[*d], &[acc])?;
            }
        }

        let mut u = Graph::new();
        let (len, _) = model.sizes();
        let grads_flat = u.state(&model.states, whole_grads);
        let norm2 = u.push1(SumSquares, &[grads_flat])?;
        let segment = u.input("segments", TensorType::u32([len / 64]));
        let table = u.input("segment table", TensorType::f32([model.params.len(), 4]));
        let whole = model
            .states
            .whole("params")
            .ok_or_else(|| TrainError::Config("a model without parameters".into()))?;
        let updates = [whole, momentum, halt].map(|id| u.state(&model.states, id));
        let sgd = Sgd {
            momentum: o.momentum,
            nesterov: false,
            max_norm: o.clip,
        };
        u.push_updating(sgd, &[grads_flat, norm2, segment, table], &updates)?;

        let mut f = Graph::new();
        let (images, feature) =
            method.feature_graph(&mut f, &mut model, FEATURE_BATCH, c.image_size)?;

        exec.allocate_states(&model.states)?;
        let mut fetch = vec![built.loss, built.similarity];
        fetch.extend(built.score);
        let grad = exec.compile(&g, &fetch)?;
        let update = exec.compile(&u, &[norm2])?;
        let features = exec.compile(&f, &[feature])?;
        let mut segments = vec![0u32; len / 64];
        let mut rows = Vec::new();
        for (i, p) in model.params.iter().enumerate() {
            let e = model.states.entry(p.id);
            segments[e.offset / 64..(e.offset + e.ty.elements()).div_ceil(64)].fill(i as u32);
            rows.extend([p.lr_multiplier, o.weight_decay, 0.0, 0.0]);
        }
        exec.upload(update, segment, &HostData::U32(segments))?;
        exec.upload(update, table, &HostData::F32(rows))?;
        model.initialise(exec.as_mut(), config.run.seed)?;
        let inputs = (norm2, segment, table);
        Ok(Self {
            exec,
            model,
            config: config.clone(),
            grad,
            views,
            built,
            update,
            inputs,
            features,
            images,
            feature,
        })
    }

    /// One line a program: planned memory.
    pub fn memory_report(&self) -> String {
        use crate::graph::plan::mebibytes;
        let planned: usize = [self.grad, self.update, self.features]
            .iter()
            .map(|p| self.exec.plan(*p).peak_bytes())
            .sum();
        let plan = self.exec.plan(self.grad);
        format!(
            "memory: {} planned for tensors (training step {}, of {} without reuse), {} for states\n{}",
            mebibytes(planned),
            mebibytes(plan.peak_bytes()),
            mebibytes(plan.unpooled),
            mebibytes(self.model.states.bytes()),
            plan.largest(3)
        )
    }

    /// Bytes planned: pooled tensors of all programs and states.
    pub fn planned_bytes(&self) -> u64 {
        let pooled: usize = [self.grad, self.update, self.features]
            .iter()
            .map(|p| self.exec.plan(*p).peak_bytes())
            .sum();
        (pooled + self.model.states.bytes()) as u64
    }

    /// One optimiser step on the samples `ids`: loss (mean over micro-batches) and squared gradient norm.
    ///
    /// # Errors
    /// Device loss.
    pub fn step(
        &mut self,
        data: &Dataset,
        ids: &[u32],
        scalars: StepScalars,
    ) -> Result<(f32, f32)> {
        let parts = self.config.optim.micro_batches;
        let size = self.config.model.image_size;
        let mut pending = Vec::new();
        for (micro, ids) in ids.chunks(ids.len() / parts).enumerate() {
            let views =
                self.config
                    .augment
                    .two_views(data, ids, size, self.config.run.seed, scalars.epoch);
            self.exec
                .upload(self.grad, self.views, &HostData::F32(views))?;
            let s = StepScalars {
                micro: micro as u32,
                grad_scale: 1.0 / parts as f32,
                ..scalars
            };
            self.exec.run(self.grad, &s)?;
            pending.push(self.exec.fetch_later(self.grad, &[self.built.loss])?);
        }
        self.exec.run(self.update, &scalars)?;
        let norm = self.exec.fetch_later(self.update, &[self.inputs.0])?;
        let mut loss = 0.0;
        for t in &pending {
            loss += self
                .exec
                .collect(t, true)?
                .map_or(f32::NAN, |d| d[0].to_f32()[0])
                / parts as f32;
        }
        let norm2 = self
            .exec
            .collect(&norm, true)?
            .map_or(f32::NAN, |d| d[0].to_f32()[0]);
        Ok((loss, norm2))
    }

    /// Similarities and scores of the last (micro-)batch.
    ///
    /// # Errors
    /// Device loss.
    pub fn pairs(&mut self) -> Result<(Vec<f32>, Option<Vec<f32>>, usize)> {
        let s = self.exec.fetch(self.grad, self.built.similarity)?.to_f32();
        let r = self
            .built
            .score
            .map(|t| self.exec.fetch(self.grad, t))
            .transpose()?
            .map(|d| d.to_f32());
        Ok((
            s,
            r,
            2 * self.config.optim.batch_size / self.config.optim.micro_batches,
        ))
    }

    /// The first op that makes a non-finite value on the last batch, in words.
    ///
    /// # Errors
    /// Device loss.
    pub fn explain_non_finite(&mut self, scalars: &StepScalars) -> Result<String> {
        Ok(match self.exec.find_non_finite(self.grad, scalars)? {
            None => "every op of a repeated forward and backward pass is finite; the parameters or the update are not".into(),
            Some(n) => {
                let inputs: Vec<String> = n
                    .inputs
                    .iter()
                    .map(|(name, lo, hi, bad)| format!("{name} in [{lo:.3e}, {hi:.3e}], {bad} not finite"))
                    .collect();
                format!("first made by {} ({}); its inputs: {}", n.op, n.label, inputs.join("; "))
            }
        })
    }

    /// Backbone features of a data set (test transform, running statistics): [n,d] and d.
    ///
    /// # Errors
    /// Device loss.
    pub fn features(&mut self, data: &Dataset) -> Result<(Vec<f32>, usize)> {
        let size = self.config.model.image_size;
        let d = self.config.model.width
            << (match self.config.model.encoder.as_str() {
                "tiny" => 2,
                _ => 3,
            });
        let mut out = Vec::with_capacity(data.len() * d);
        for start in (0..data.len()).step_by(FEATURE_BATCH) {
            let end = (start + FEATURE_BATCH).min(data.len());
            let mut x = self.config.augment.plain(data, start..end, size);
            x.resize(FEATURE_BATCH * size * size * 3, 0.0);
            self.exec
                .upload(self.features, self.images, &HostData::F32(x))?;
            self.exec.run(self.features, &StepScalars::default())?;
            let f = self.exec.fetch(self.features, self.feature)?.to_f32();
            out.extend_from_slice(&f[..(end - start) * d]);
        }
        Ok((out, d))
    }

    /// kNN accuracy on the test images, in percent.
    ///
    /// # Errors
    /// Device loss.
    pub fn knn(&mut self, split: &crate::data::Split) -> Result<f64> {
        let (bank, d) = self.features(&split.train)?;
        let (queries, _) = self.features(&split.test)?;
        let r = &self.config.run;
        let p = knn::predict(
            &queries,
            &bank,
            &split.train.labels,
            d,
            split.classes.len(),
            r.knn_k,
            r.knn_t,
        );
        Ok(knn::accuracy(&p, &split.test.labels))
    }
}
