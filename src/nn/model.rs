//! The variables of a model: parameters and running statistics, what they start from, and what they are called in
//! files.

use super::{apart, positions};
use crate::graph::state::Group;
use crate::graph::{Executor, HostData, Result, StateId, States, TensorType};
use crate::reference::philox::{Purpose, Stream};
use sha2::{Digest, Sha256};

/// Group of the parameters.
pub const PARAMS: Group = Group::saved("params");
/// Group of batch norm's running statistics.
pub const STATISTICS: Group = Group::saved("bn_stats");
/// Group of values that parameters had when the run began ([`Model::start_of`]).
pub const START: Group = Group::saved("start_params");
/// Group of a momentum encoder's parameters: a copy of [`PARAMS`] that follows it.
pub const MOMENTUM_COPY: Group = Group::saved("key_params");

/// How a variable starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this deviation (Kaiming fan-out: sqrt(2 / (k*r*s)), torchvision's ResNet).
    Normal(f32),
    /// Uniform in [-bound, bound] (`torch.nn.Linear`: 1/sqrt(fan in), weights and biases).
    Uniform(f32),
    /// As [`Init::Uniform`], the same numbers for every head.
    SameUniform(f32),
    /// As [`Init::Uniform`], each head's in a subspace of its own ([`super::apart::Start::Subspaces`]).
    Subspaces(f32),
    /// 1 for what a head sees of its input, 0 for a drawn share (this one) of the channels; see [`super::apart`].
    Seen(f32),
    /// One value.
    Constant(f32),
    /// The table of sines and cosines ([`super::positions::sin_cos`]) of dimensions [1,tokens,d]. Tokens beyond the
    /// largest square, a class token's, stand first.
    SinCos,
}

/// Which part of a model a variable belongs to. A part has a prefix of names within the model, and files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What stays after training.
    Encoder,
    /// Projection heads.
    Projector,
    /// Predictors.
    Predictor,
    /// The temperature network phi, and its gain.
    Temperature,
    /// A decoder of masked autoencoders.
    Decoder,
    /// A classifier.
    Classifier,
    /// State of a method or of the optimiser, which no file of weights holds.
    State,
}

impl Part {
    /// What stands before the part's names within a model. The encoder's names stand alone, as in its files.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Encoder | Self::State => "",
            Self::Projector => "head",
            Self::Predictor => "predictor",
            Self::Temperature => "phi",
            Self::Decoder => "decoder",
            Self::Classifier => "fc",
        }
    }
}

/// How a variable's values lie in files (PyTorch's order) compared with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Alike.
    Plain,
    /// A convolution's weights: [k,r,s,c] in memory, [k,c,r,s] in files.
    Conv,
    /// [c,..], one block for each of C heads; files leave the first dimension out where there is one head. Each head
    /// has initial values of its own.
    Heads,
}

impl Layout {
    /// The shape in files of a variable of these dimensions.
    pub fn file_shape(self, dims: &[usize]) -> Vec<usize> {
        match (self, dims) {
            (Self::Conv, &[k, r, s, c]) => vec![k, c, r, s],
            (Self::Heads, [1, rest @ ..]) => rest.to_vec(),
            _ => dims.to_vec(),
        }
    }

    /// Values from memory's order to the files'.
    pub fn to_file<T: Copy>(self, dims: &[usize], values: Vec<T>) -> Vec<T> {
        match (self, dims) {
            (Self::Conv, &[_, r, s, c]) => transposed(&values, r * s, c),
            _ => values,
        }
    }

    /// Values from the files' order to memory's.
    pub fn from_file<T: Copy>(self, dims: &[usize], values: Vec<T>) -> Vec<T> {
        match (self, dims) {
            (Self::Conv, &[_, r, s, c]) => transposed(&values, c, r * s),
            _ => values,
        }
    }
}

/// Every block [a,b] of `values` as [b,a].
fn transposed<T: Copy>(values: &[T], a: usize, b: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for block in values.chunks(a * b) {
        for j in 0..b {
            out.extend((0..a).map(|i| block[i * b + j]));
        }
    }
    out
}

/// A declared variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its state: in [`PARAMS`] for a parameter, in [`STATISTICS`] for a running statistic.
    pub id: StateId,
    /// Name within the model.
    pub name: String,
    /// The part that it belongs to.
    pub part: Part,
    /// Name in files of that part: torchvision's or timm's for an encoder.
    pub file_name: String,
    /// How its values lie in files.
    pub layout: Layout,
    /// How it starts.
    pub init: Init,
    /// Factor on the learning rate.
    pub lr_multiplier: f32,
    /// Number of the layer of its part, for rates that differ from layer to layer.
    pub layer: usize,
    /// Training changes it. What does not train has no gradient and no decay.
    pub trained: bool,
}

impl Variable {
    /// Initial values for a shape of dimensions `dims`. They depend on the seed, the part, the name in files and,
    /// where there are several heads, on the head's number: not on the place of the declaration, nor on other
    /// variables.
    pub fn initial(&self, dims: &[usize], seed: u64) -> Vec<f32> {
        let n: usize = dims.iter().product();
        if let (Init::SinCos, &[.., tokens, d]) = (self.init, dims) {
            let side = tokens.isqrt();
            return positions::sin_cos(side, d, tokens - side * side);
        }
        let heads = match self.layout {
            Layout::Heads => dims.first().copied().unwrap_or(1).max(1),
            _ => 1,
        };
        let (mut out, d) = (Vec::with_capacity(n), dims.last().copied().unwrap_or(1));
        for head in 0..heads {
            let own = match self.init {
                Init::SameUniform(_) => 0,
                _ => head,
            };
            let mut stream = self.stream(seed, &own.to_string());
            if let Init::Seen(unseen) = self.init {
                out.extend(apart::seen(n / heads / d, d, unseen, &mut stream));
                continue;
            }
            let mut draw = || match self.init {
                Init::Normal(s) => s * stream.normal(),
                Init::Uniform(b) | Init::SameUniform(b) | Init::Subspaces(b) => stream.range(-b, b),
                Init::Constant(v) => v,
                Init::Seen(_) | Init::SinCos => 0.0,
            };
            out.extend((0..n / heads).map(|_| draw()));
        }
        if let Init::Subspaces(_) = self.init {
            let mut stream = self.stream(seed, "rotation");
            apart::into_subspaces(&mut out, heads, d, &mut stream);
        }
        out
    }

    /// The stream of what is drawn for the variable; `which`: a head's number.
    fn stream(&self, seed: u64, which: &str) -> Stream {
        let role = format!("{:?}/{}/{which}", self.part, self.file_name);
        let key = Sha256::digest(role.as_bytes());
        let word = |at: usize| u32::from_le_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
        Stream::new(seed, word(0), word(4), Purpose::Init)
    }
}

/// The states of a model and what they are. Graphs for training and for evaluation share them.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// All states.
    pub states: States,
    /// Parameters, in order of declaration.
    pub params: Vec<Variable>,
    /// Running statistics and states of methods, in order of declaration.
    pub buffers: Vec<Variable>,
    /// It has batch norm: what becomes of an image depends on the others of its batch.
    pub has_batch_norm: bool,
}

impl Model {
    /// A state that is neither parameter nor statistic, under its full name: declared at first sight, shared
    /// afterwards.
    pub fn state(&mut self, group: Group, name: &str, ty: TensorType, init: Init) -> StateId {
        self.states.find(group, name).unwrap_or_else(|| {
            let id = self.states.add(group, name, ty);
            self.buffers.push(Variable {
                id,
                name: name.into(),
                part: Part::State,
                file_name: name.into(),
                layout: Layout::Plain,
                init,
                lr_multiplier: 1.0,
                layer: 0,
                trained: true,
            });
            id
        })
    }

    /// Parameters and running statistics: what files of weights hold.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let statistics = self.buffers.iter().filter(|b| b.part != Part::State);
        self.params.iter().chain(statistics)
    }

    /// Dimensions of a variable in memory.
    pub fn dims(&self, v: &Variable) -> Vec<usize> {
        self.states.entry(v.id).ty.dims().to_vec()
    }

    /// Makes the momentum copy of all parameters declared so far. They must be all that there will be.
    pub fn make_momentum_copy(&mut self) {
        if self.states.whole(MOMENTUM_COPY).is_none() {
            self.states.mirror(PARAMS, MOMENTUM_COPY);
        }
    }

    /// The value that a parameter has when a run begins, imported weights among them: a state that checkpoints hold,
    /// declared at first sight.
    pub fn start_of(&mut self, parameter: StateId) -> StateId {
        let entry = self.states.entry(parameter);
        let name = format!("{}.{}", START.name(), entry.name);
        let found = self.states.find(START, &name);
        found.unwrap_or_else(|| self.states.add(START, &name, entry.ty))
    }

    /// Sets the momentum copy and the starting values to what the parameters are, as at the start of a run.
    ///
    /// # Errors
    /// States that are not allocated.
    pub fn level_copies(&self, exec: &mut dyn Executor) -> Result<()> {
        let ids = [PARAMS, MOMENTUM_COPY].map(|g| self.states.whole(g));
        let mut pairs: Vec<(StateId, StateId)> = match ids {
            [Some(from), Some(to)] => vec![(from, to)],
            _ => Vec::new(),
        };
        let prefix = format!("{}.", START.name());
        for (to, entry) in self.states.entries(START) {
            let name = entry.name.strip_prefix(&prefix).unwrap_or(&entry.name);
            pairs.extend(self.states.find(PARAMS, name).map(|from| (from, to)));
        }
        for (from, to) in pairs {
            let values = exec.read_state(&self.states, from)?;
            exec.write_state(&self.states, to, &values)?;
        }
        Ok(())
    }

    /// Writes the initial values of all variables ([`Variable::initial`]).
    ///
    /// # Errors
    /// States that are not allocated.
    pub fn initialise(&self, exec: &mut dyn Executor, seed: u64) -> Result<()> {
        for v in self.params.iter().chain(&self.buffers) {
            let values = v.initial(&self.dims(v), seed);
            exec.write_state(&self.states, v.id, &HostData::F32(values))?;
        }
        self.level_copies(exec)
    }

    /// Elements of the group of parameters, padding included, and number of the parameters' values.
    pub fn sizes(&self) -> (usize, usize) {
        let padded = self
            .states
            .whole(PARAMS)
            .map_or(0, |id| self.states.entry(id).ty.elements());
        let trained = self
            .params
            .iter()
            .map(|p| self.states.entry(p.id).ty.elements());
        (padded, trained.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::nn::{Mode, Net};

    /// Initial values of a parameter, by its name.
    fn values(build: impl Fn(&mut Net<'_>), name: &str) -> Vec<f32> {
        let (mut g, mut m) = (Graph::new(), Model::default());
        build(&mut Net::new(&mut g, &mut m, Mode::Train));
        let v = m.params.iter().find(|p| p.name == name).unwrap();
        v.initial(&m.dims(v), 7)
    }

    fn linear(net: &mut Net<'_>, name: &str) {
        net.param(name, &[4, 6], Init::Uniform(0.5), Layout::Plain);
    }

    #[test]
    fn initial_values_depend_on_name_and_role_alone() {
        let alone = values(|net| linear(net, "w"), "w");
        let second = values(
            |net| {
                linear(net, "another");
                linear(net, "w");
            },
            "w",
        );
        assert_eq!(alone, second, "another parameter before it changes nothing");
        assert_ne!(alone, values(|net| linear(net, "v"), "v"), "another name");
        // The name in files counts, not what stands before it within the model.
        let scoped = values(
            |net| {
                net.scope("student", |net| {
                    net.part(Part::Encoder, |net| linear(net, "w"));
                });
            },
            "student.w",
        );
        assert_eq!(alone, scoped);
        let predictor = values(
            |net| net.part(Part::Predictor, |net| linear(net, "w")),
            "predictor.w",
        );
        assert_ne!(alone, predictor, "another role");
    }

    #[test]
    fn heads_start_apart_and_a_further_head_changes_no_other() {
        let heads = |c: usize| {
            values(
                |net| {
                    net.param("w", &[c, 2, 3], Init::Normal(1.0), Layout::Heads);
                },
                "w",
            )
        };
        let (two, three) = (heads(2), heads(3));
        assert_eq!(two, three[..12]);
        assert_ne!(three[..6], three[6..12]);
        assert_ne!(three[6..12], three[12..]);
        // The control: without heads, all values come from one stream.
        let plain = values(
            |net| {
                net.param("w", &[2, 2, 3], Init::Normal(1.0), Layout::Plain);
            },
            "w",
        );
        assert_ne!(two, plain);
    }

    #[test]
    fn layouts_go_to_files_and_back() {
        let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let dims = [2, 1, 3, 4];
        let file = Layout::Conv.to_file(&dims, values.clone());
        // [k,c,r,s]: the second value is that of the next column, the same channel.
        assert_eq!(
            (Layout::Conv.file_shape(&dims), file[1]),
            (vec![2, 4, 1, 3], 4.0)
        );
        assert_eq!(Layout::Conv.from_file(&dims, file), values);
        assert_eq!(Layout::Heads.file_shape(&[1, 5, 6]), [5, 6]);
        assert_eq!(Layout::Heads.file_shape(&[2, 5, 6]), [2, 5, 6]);
        // A matrix of one row is no single head.
        assert_eq!(Layout::Plain.file_shape(&[1, 6]), [1, 6]);
    }
}
