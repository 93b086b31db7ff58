//! MoCo (He et al., CVPR 2020; head of v2), plain and with AMCL's Eq. (2.1): queries against keys of a momentum encoder and a queue of earlier keys per head.
//!
//! On one GPU batch norm tells queries from keys by whom they were normalised with. Against that: split batch norm (groups of the batch with statistics of their
//! own) and, with `shuffle`, other groups for keys than for queries.

use super::loss::{Amcl, Built, Plain, contrastive};
use super::{Method, follow, on_branch, with_scorer};
use crate::graph::{Graph, Result, TensorId, TensorType};
use crate::nn::heads::{self, Mlp};
use crate::nn::resnet::ResNet;
use crate::nn::{Init, Model, Norm};
use crate::ops::add::Add;
use crate::ops::enqueue::Enqueue;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::scale::Scale;
use crate::ops::stop_gradient::StopGradient;

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Moco {
    /// Encoder.
    pub encoder: ResNet,
    /// Projection heads (one when plain), in the momentum branch too.
    pub head: Mlp,
    /// The AMCL loss; `None`: InfoNCE at `temperature`.
    pub amcl: Option<Amcl>,
    /// Temperature of plain InfoNCE.
    pub temperature: Plain,
    /// K, keys in a head's queue.
    pub queue: usize,
    /// Both views serve as queries (lightly; MoCo's demo calls it symmetric), the mean of the two losses counts; else only the first.
    pub symmetric: bool,
    /// Groups of batch norm.
    pub splits: usize,
    /// Keys are grouped otherwise than queries.
    pub shuffle: bool,
    /// Micro-batches of a step, each of which enqueues its keys.
    pub micro_batches: usize,
}

impl Moco {
    /// View [B,s,s,3] -> features [B,d] and embeddings [c,B,d'].
    fn embed(&self, g: &mut Graph, m: &mut Model, view: TensorId) -> Result<[TensorId; 2]> {
        let f = self.encoder.build(g, m, view, true)?;
        Ok([f, self.head.build(g, m, "head", f)?])
    }

    /// Declares every parameter, so that the momentum branch can copy them all.
    fn declare(&self, m: &mut Model, view: &[usize]) -> Result<()> {
        let mut g = Graph::new();
        let x = g.input("view", TensorType::f32(view));
        let [_, z] = self.embed(&mut g, m, x)?;
        if let Some(a) = self.amcl.filter(|a| a.roles() != (false, false)) {
            with_scorer(&mut g, m, &a, |_, _| Ok(()))?;
            // Under the loss's name, as the loss itself declares it.
            g.scope("loss", |g| heads::phi(g, m, z, a.phi_hidden, a.phi_lr))?;
        }
        m.branch();
        Ok(())
    }
}

impl Method for Moco {
    fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    fn head(&self) -> &Mlp {
        &self.head
    }

    fn loss(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built> {
        self.declare(m, g.dims(views[0]))?;
        let norm = Norm {
            groups: self.splits,
            ..Norm::default()
        };
        let of_keys = Norm {
            interleaved: self.shuffle,
            track: false,
            ..norm
        };
        let queue = TensorType::f32([self.head.heads, self.queue, self.head.out]);
        // Directions of normal vectors are uniform; the loss takes them at unit length.
        let queue = m.extra("queue", "queue", queue, Init::Normal(1.0));
        let queue = g.state(&m.states, queue);
        let (mut parts, mut keys, mut features) = (Vec::new(), Vec::new(), Vec::new());
        let pairs: &[(usize, usize)] = if self.symmetric {
            &[(0, 1), (1, 0)]
        } else {
            &[(0, 1)]
        };
        for (query, key) in pairs {
            m.norm = norm;
            let [f, q] = self.embed(g, m, views[*query])?;
            m.norm = Norm::default();
            let [_, z] = on_branch(m, of_keys, |m| self.embed(g, m, views[*key]))?;
            let k = g.push1(L2Normalize { eps: 1e-12 }, &[z])?;
            // Keys are constants, whatever is asked for a gradient.
            let k = g.push1(StopGradient, &[k])?;
            features.push(f);
            keys.push(k);
            parts.push(match &self.amcl {
                None => contrastive::moco(g, q, k, queue, &self.temperature)?,
                Some(a) => {
                    with_scorer(g, m, a, |g, s| contrastive::amcl_moco(g, q, k, queue, a, s))?
                }
            });
        }
        if features.len() == 1 {
            features.clear();
        }
        let mut built = parts.remove(0);
        if let Some(other) = parts.pop() {
            let sum = g.push1(Add, &[built.loss, other.loss])?;
            built.loss = g.push1(Scale { factor: 0.5 }, &[sum])?;
        }
        Ok(Built {
            features,
            keys,
            ..built
        })
    }

    /// The queue is read by loss and gradient before the new keys enter.
    fn after_gradient(&self, g: &mut Graph, m: &mut Model, built: &Built) -> Result<()> {
        let Some(queue) = m.states.find("queue", "queue") else {
            return Ok(());
        };
        let queue = g.state(&m.states, queue);
        for (index, k) in built.keys.iter().enumerate() {
            let op = Enqueue {
                micro_batches: self.micro_batches,
                each: built.keys.len(),
                index,
            };
            g.push_updating(op, &[*k], &[queue])?;
        }
        Ok(())
    }

    fn after_step(&self, g: &mut Graph, m: &Model) -> Result<()> {
        follow(g, m)
    }
}
