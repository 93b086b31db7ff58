//! What is looked at of a session between its steps: pairs of the last batch, values that are not finite, the time of
//! every dispatch.

use super::Session;
use crate::data::Dataset;
use crate::data::packed::Images;
use crate::device::replay::Timed;
use crate::eval::{cka, knn};
use crate::graph::{Graph, StepScalars};
use crate::methods::loss::Pairs;
use crate::nn::model::PARAMS;
use crate::train::Result;
use crate::train::optimizer::SCALING;

/// Images a view whose pairs are compared on the host at the end of an epoch, at most.
const MAX_PAIRED: usize = 2048;

/// What a (micro-)batch's loss was made of.
#[derive(Clone, Debug)]
pub struct PairValues {
    /// Similarities, head by head.
    pub similarity: Vec<f32>,
    /// Scores, where temperatures adapt.
    pub score: Option<Vec<f32>>,
    /// Rows and columns of a head.
    pub head: [usize; 2],
    /// Which are positive.
    pub which: Pairs,
}

impl Session {
    /// The name of a parameter with a value that is not finite, if there is one. Reads all parameters from the device.
    ///
    /// # Errors
    /// Device loss.
    pub fn broken_parameter(&mut self) -> Result<Option<String>> {
        let states = &self.model.states;
        let Some(whole) = states.whole(PARAMS) else {
            return Ok(None);
        };
        let values = self.exec.read_state(states, whole)?.to_f32();
        let entries = self.model.params.iter().map(|p| states.entry(p.id));
        let broken = entries.into_iter().find(|e| {
            let own = &values[e.offset..e.offset + e.ty.elements()];
            own.iter().any(|v| !v.is_finite())
        });
        Ok(broken.map(|e| e.name))
    }

    /// Steps of the whole run that mixed precision skipped; 0 in f32.
    ///
    /// # Errors
    /// Device loss.
    pub fn skipped_steps(&mut self) -> Result<usize> {
        let states = &self.model.states;
        let Some(id) = states.find(SCALING, "skipped") else {
            return Ok(0);
        };
        Ok(self.exec.read_state(states, id)?.to_f32()[0] as usize)
    }

    /// Similarities and scores of the last (micro-)batch, where the loss compares pairs.
    ///
    /// # Errors
    /// Device loss.
    pub fn pairs(&mut self) -> Result<Option<PairValues>> {
        let Some(pairs) = self.gradient.out.pairs else {
            return Ok(None);
        };
        let program = self.gradient.loss_program();
        let s = self.exec.fetch(program, pairs.similarity)?.to_f32();
        let r = pairs
            .score
            .map(|t| self.exec.fetch(program, t))
            .transpose()?
            .map(|d| d.to_f32());
        Ok(Some(PairValues {
            similarity: s,
            score: r,
            head: self.gradient.head,
            which: pairs.which,
        }))
    }

    /// Similarities of negative pairs: cosines of the embeddings of different images, head by head, where the loss
    /// itself sees none.
    ///
    /// # Errors
    /// Device loss.
    pub fn negatives(&mut self) -> Result<Option<Vec<Vec<f32>>>> {
        let Some(t) = self.gradient.out.embedding else {
            return Ok(None);
        };
        let program = self.gradient.loss_program();
        let z = self.exec.fetch(program, t)?.to_f32();
        let [n, d] = self.gradient.embedding;
        let of_head = |z: &[f32]| {
            let s = knn::cosines(z, z, d);
            let other = |i: &usize| i / n != i % n;
            (0..n * n).filter(other).map(|i| s[i]).collect()
        };
        Ok(Some(z.chunks(n * d).map(of_head).collect()))
    }

    /// How alike every two of several heads are on the last (micro-)batch ([`cka::between`]): by their outputs'
    /// cosines, and by the loss's gradient to these. Nothing where there is one head.
    ///
    /// # Errors
    /// Device loss.
    pub fn heads_alike(&mut self) -> Result<[Vec<f64>; 2]> {
        let (program, dims) = (self.gradient.loss_program(), self.gradient.heads);
        let mut out = [Vec::new(), Vec::new()];
        for (at, (t, cka)) in self.gradient.out.heads.iter().zip(&mut out).enumerate() {
            let x = self.exec.fetch(program, *t)?.to_f32();
            *cka = cka::between(&x, dims, at == 0);
        }
        Ok(out)
    }

    /// Cosine similarities [n,n] of the backbone features of the last (micro-)batch's n views, of the first images'
    /// alone where there are very many.
    ///
    /// # Errors
    /// Device loss.
    pub fn backbone_pairs(&mut self) -> Result<Option<(Vec<f32>, usize)>> {
        let most = MAX_PAIRED * self.features.dim;
        let f = self.gradient.backbone(self.exec.as_mut(), most)?;
        if f.is_empty() {
            return Ok(None);
        }
        let n = f.len() / self.features.dim;
        Ok(Some((knn::cosines(&f, &f, self.features.dim), n)))
    }

    /// The first op that makes a non-finite value on the (micro-)batch `ids`, in words.
    ///
    /// # Errors
    /// Device loss.
    pub fn explain_non_finite(
        &mut self,
        data: &Dataset,
        ids: &[u32],
        scalars: &StepScalars,
    ) -> Result<String> {
        let (exec, batch) = (self.exec.as_mut(), (data as &dyn Images, ids));
        // Ranks may find it at different nodes, so that they would wait for each other: each looks at its own numbers.
        let found = self.world.apart(|| {
            self.gradient
                .find_non_finite(exec, &self.config, batch, scalars)
        })?;
        if let Some(n) = found {
            let inputs: Vec<String> = n
                .inputs
                .iter()
                .map(|(name, lo, hi, bad)| {
                    format!("{name} in [{lo:.3e}, {hi:.3e}], {bad} not finite")
                })
                .collect();
            return Ok(format!(
                "first made by {} ({}); its inputs: {}",
                n.op,
                n.label,
                inputs.join("; ")
            ));
        }
        Ok("every op of a repeated forward and backward pass is finite; the sum of squared gradients is not".into())
    }

    /// The graphs of a step's programs, as [`Session::profile_step`] runs them.
    pub fn step_graphs(&self) -> impl Iterator<Item = &Graph> {
        let programs = self.gradient.programs().into_iter();
        let all = programs.chain([self.optimizer.program]);
        all.filter_map(|p| self.exec.graph(p))
    }

    /// Times every dispatch (or node) of one step on the samples `ids`, after one to warm up, and puts all states back.
    ///
    /// # Errors
    /// A device without timestamps; device loss.
    pub fn profile_step(
        &mut self,
        data: &Dataset,
        ids: &[u32],
        scalars: &StepScalars,
    ) -> Result<Vec<Timed>> {
        let groups = super::ranks::saved(&self.model.states);
        let mut kept = Vec::new();
        for id in &groups {
            kept.push(self.exec.read_state(&self.model.states, *id)?);
        }
        let warm = self.start(data, ids, scalars)?;
        self.finish(&warm)?;
        let mut all = self.gradient.profile(self.exec.as_mut(), scalars)?;
        let end = all.last().map_or(0.0, |t| t.start + t.seconds);
        for mut t in self.exec.profile(self.optimizer.program, scalars)? {
            t.start += end;
            all.push(t);
        }
        for (id, data) in groups.iter().zip(&kept) {
            self.exec.write_state(&self.model.states, *id, data)?;
        }
        Ok(all)
    }
}
