//! What a configuration says of a method, and what a method says of itself. Configurations stand above methods: they
//! carry a method's settings without knowing them.

use super::Method;
use super::loss::macl::Macl;
use super::loss::{Amcl, Parametrisation, Path, Plain, TEMPERATURE};
use crate::graph::MAX_ELEMENTS;
use crate::nn::apart::Start;
use crate::nn::backbones::{Backbone, vit};
use crate::nn::heads::{Last, Mlp, WIDTH};
use crate::section;
use crate::settings::{self, Field, Section, between};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use toml::Table;

section! {
    /// `[heads]`
    Heads {
        /// Projection heads (C).
        count: usize = 1 => between(1.0, 1024.0),
        /// Hidden width.
        hidden: usize = 64 => WIDTH,
        /// Output width (d').
        out: usize = 128 => WIDTH,
        /// Linear layers.
        layers: usize = 2 => between(1.0, 64.0),
        /// Batch norm behind the hidden layers (simsiam, barlow_twins, byol, vicreg, mocov3 and lgp
        /// always have it).
        norm: bool = false,
        /// Behind the last layer: `plain`, `norm` (batch norm; simsiam where nothing is set), `bare_norm` (without
        /// scale and shift; mocov3 and lgp where nothing is set) or `bare` (nothing, not even a bias).
        last: Last = Last::Plain,
        /// What the initial values of several heads have to do with each other: `drawn` (each its own), `copies` (the
        /// same for all: a control, for such heads stay alike) or `subspaces` (first layers begin on orthogonal
        /// subspaces of the features).
        start: Start = Start::Drawn,
        /// Share of the features' channels to which each of several heads is blind; drawn for each head, kept for the
        /// run.
        unseen: f32 = 0.0 => between(0.0, 0.95),
    }
}

/// How a constant temperature changes over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// Along a cosine between two values (TS; Kukleva et al., ICLR 2023).
    Cosine,
    /// With the alignment of positives (MACL; Huang et al., ICML 2023).
    Macl,
}

section! {
    /// `[loss]`
    LossSettings {
        /// Temperature of plain NT-Xent and InfoNCE.
        temperature: f64 = 0.2 => TEMPERATURE,
        /// How a loss over all pairs is computed, of images (simclr) or of channels (barlow_twins): with a `matrix`
        /// of them, as a `stream` of tiles in memory that grows with the batch (the channels) and not with its
        /// square, or `auto`: streamed where a matrix would exceed 128 MiB.
        path: Path = Path::Auto,
        /// From so many rows on (two views of all ranks' images), each rank computes the streamed loss of its own
        /// images alone, against all others; below, every rank computes the whole of it.
        share_rows: usize = 8192 => between(4.0, 1e9),
        /// Constant temperatures of simclr, moco, mocov3, lgp and can (this one, or `amcl.tau_const` of roles that do
        /// not adapt) are `constant`, or follow a `cosine` between low and high. `macl` (plain): temperature (1 + alpha
        /// (A - alignment)), A the mean similarity of the batch's positives, and each anchor's loss times 1 / (1 - P),
        /// P the share of its positive.
        schedule: Schedule = Schedule::Constant,
        /// Highest temperature of the cosine, at its start.
        high: f64 = 1.0 => TEMPERATURE,
        /// Lowest, after half a period.
        low: f64 = 0.1 => TEMPERATURE,
        /// Epochs of a period; 0: all of them, at most 200.
        period: usize = 0 => between(0.0, 1e6),
        /// How much macl's temperature follows the alignment, 0 to 1.
        alpha: f64 = 0.5 => between(0.0, 1.0),
        /// Alignment at which macl's temperature is `temperature`.
        alignment: f64 = 0.0 => between(0.0, 1.0),
    }
}

/// `[amcl]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmclSettings {
    /// Use the AMCL loss.
    pub enabled: bool,
    /// Its switches.
    #[serde(flatten)]
    pub switches: Amcl,
}

impl Section for AmclSettings {
    fn fields() -> Vec<Field> {
        let enabled = Field::plain("enabled", "Use the AMCL loss.");
        std::iter::once(enabled).chain(Amcl::fields()).collect()
    }

    fn check_ranges(&self, section: &str) -> Result<(), String> {
        self.switches.check_ranges(section)
    }
}

/// How a step's batch is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Images of a step.
    pub images: usize,
    /// Ranks, which share it.
    pub ranks: usize,
    /// Parts that have batch statistics of their own: the micro-batches of all ranks.
    pub parts: usize,
    /// Micro-batches of each part that a rank has.
    pub micro: usize,
    /// A loss that couples the batch is taken of all parts together.
    pub cached: bool,
    /// Batch norm takes the whole batch together (`model.sync_bn`).
    pub one_norm: bool,
}

impl Batches {
    /// Images of a part.
    pub fn part(self) -> usize {
        self.images.checked_div(self.parts).unwrap_or(0)
    }
}

/// Tells whether a configuration sets a key (section, key) itself.
pub type Given<'a> = &'a dyn Fn(&str, &str) -> bool;

/// All that a method reads of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The method's own settings, `[method]` without its name.
    pub settings: Table,
    /// The encoder's own settings, `[model]` without its name and the side of its images.
    pub model: Table,
    /// `[heads]`
    pub heads: Heads,
    /// `[amcl]`
    pub amcl: AmclSettings,
    /// `[loss]`
    pub loss: LossSettings,
    /// The batch.
    pub batch: Batches,
    /// Factors on the learning rate by depth, `optim.layer_rates`; none: all layers have one rate.
    pub layer_rates: Vec<f32>,
}

impl Recipe {
    /// The method's own settings.
    ///
    /// # Errors
    /// A wrong type, an unknown key.
    pub fn own<S: DeserializeOwned>(&self) -> Result<S, String> {
        crate::settings::typed(&self.settings).map_err(|e| format!("[method]: {e}"))
    }

    /// Does the encoder cut images into patches?
    pub fn cuts_patches(&self) -> bool {
        self.model.contains_key("frozen_patches")
    }

    /// The projection of patches stays as it was drawn where nothing is given: the gradients of a contrastive loss
    /// have spikes there, which cost accuracy without making the loss diverge (MoCo v3, section 4).
    pub(super) fn freeze_patches(&mut self, given: Given<'_>) {
        if self.cuts_patches() && !given("model", "frozen_patches") {
            self.model.insert("frozen_patches".into(), true.into());
        }
    }

    /// AMCL with which the form of Eq. (2.4) trains where nothing is given, beside the defaults (softmax, the positive
    /// among the candidates): beta 1e-2, temperatures of 0.1 at least. Measured by this project, the paper names none.
    pub(super) fn steady_temperatures(&mut self, given: Given<'_>) {
        if !self.adapts() {
            return;
        }
        let a = &mut self.amcl.switches;
        if !given("amcl", "beta") {
            a.beta = 1e-2;
        }
        // The centred parametrisation has its temperatures about tau0.
        if a.parametrisation == Parametrisation::Dot && !given("amcl", "tau_min") {
            a.tau_min = 0.1;
        }
    }

    /// AMCL's centred form with temperatures from 0.02 on, where nothing is given and all candidates count. Measured by
    /// this project (docs/results, "The default form"): as accurate as the paper's form or more, its temperatures stay
    /// apart, and where they start matters little. Not for the max and top-k forms, with which it was not measured.
    pub(super) fn centred_temperatures(&mut self, given: Given<'_>) {
        let adapts = self.adapts();
        let a = &mut self.amcl.switches;
        if !adapts || a.selected().is_some() || given("amcl", "parametrisation") {
            return;
        }
        a.parametrisation = Parametrisation::Centred;
        if !given("amcl", "tau_min") {
            a.tau_min = 0.02;
        }
    }

    /// The AMCL loss, where it is used.
    pub fn amcl(&self) -> Option<Amcl> {
        self.amcl.enabled.then_some(self.amcl.switches)
    }

    /// Does any temperature adapt?
    pub fn adapts(&self) -> bool {
        self.amcl().is_some_and(|a| a.roles() != (false, false))
    }

    /// The projection heads; `norm`: the method's always have batch norm.
    pub fn projector(&self, norm: bool) -> Mlp {
        let h = &self.heads;
        Mlp {
            heads: h.count,
            layers: h.layers,
            hidden: h.hidden,
            out: h.out,
            norm: norm || h.norm,
            last: h.last,
            start: h.start,
            unseen: h.unseen,
        }
    }

    /// Predictors, one for each head: Linear-batch norm-ReLU-Linear.
    pub fn predictor(&self, hidden: usize) -> Mlp {
        Mlp {
            norm: true,
            ..Mlp::plain(self.heads.count, hidden, self.heads.out)
        }
    }

    /// Does each rank compute the loss of its own images alone? Not where ranks have unequal shares.
    pub fn shares_rows(&self) -> bool {
        let (b, p) = (self.batch, PairMatrix::of_views(self));
        let streams = self
            .loss
            .path
            .streams(p.streamable, &[self.heads.count, p.side]);
        let even = b.ranks > 1 && b.parts == b.ranks * b.micro;
        even && b.cached && p.side >= self.loss.share_rows && streams.unwrap_or(false)
    }

    /// The temperature of a plain loss with negatives.
    pub fn temperature(&self) -> Plain {
        Plain {
            tau: self.loss.temperature,
            macl: (self.loss.schedule == Schedule::Macl).then_some(Macl {
                alpha: self.loss.alpha,
                a0: self.loss.alignment,
            }),
        }
    }
}

/// A loss over all pairs: how many there are, and whether it can do without a matrix of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairMatrix {
    /// Rows and columns of a head's matrix.
    pub side: usize,
    /// The loss needs no matrix as a whole.
    pub streamable: bool,
}

impl PairMatrix {
    /// Of the two views of all images that the loss sees at once: with cached gradients the whole batch.
    pub fn of_views(r: &Recipe) -> Self {
        let parts = if r.batch.cached { 1 } else { r.batch.parts };
        Self {
            side: 2 * r.batch.images / parts.max(1),
            streamable: r.amcl().is_some() || r.temperature().streamable(),
        }
    }
}

/// The encoder that a method is checked with: what a configuration names, made.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// Its name in configurations.
    pub name: &'a str,
    /// Side of the views.
    pub image_size: usize,
    /// The network: length of its features, depth.
    pub backbone: &'a dyn Backbone,
}

/// Makes a method of a recipe and an encoder; or says why it cannot be.
pub type Build = fn(&Recipe, Arc<dyn Backbone>) -> Result<Box<dyn Method>, String>;

/// What a method says of itself. A file ends with one, `SPEC`.
pub struct Spec {
    /// Name in configurations.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// One line for help and lists.
    pub help: &'static str,
    /// Settings of its published recipe for 32-pixel images, where they are not the defaults: what turns another
    /// method's preset into its own.
    pub recipe: &'static [&'static str],
    /// AMCL is defined for it.
    pub amcl: bool,
    /// Its loss couples the images of a batch ([`Method::split`]).
    pub couples_batch: bool,
    /// Batch norm over few images hurts it: runs with small shares of ranks are told of `model.sync_bn`.
    pub needs_large_norm: bool,
    /// It has projection heads, which `[heads]` shapes.
    pub has_heads: bool,
    /// Its encoder must be a Vision Transformer: it hides patches, or starts from one that did.
    pub needs_vit: bool,
    /// What its encoder starts from, which `--init` must name; none: it can start from drawn weights.
    pub starts_from: Option<&'static str>,
    /// It has a constant temperature, which `loss.temperature` sets and `loss.schedule` moves.
    pub has_temperature: bool,
    /// What is given of its settings, checked, with defaults for the rest.
    pub complete: fn(&Table) -> Result<Table, String>,
    /// Keys of its settings.
    pub keys: fn() -> Vec<String>,
    /// Its settings, with their ranges.
    pub fields: fn() -> Vec<Field>,
    /// Sets what its recipe needs, and without which it would leak, collapse or start wrongly, where nothing is
    /// given. What is given stays.
    pub safeguards: fn(&mut Recipe, Given<'_>),
    /// What the recipe asks must be possible, with this encoder. It is asked before data and device are opened.
    pub check: fn(&Recipe, &Chosen<'_>) -> Result<(), String>,
    /// The matrix of all pairs that its loss would keep.
    pub pairs: fn(&Recipe) -> Option<PairMatrix>,
    /// The method.
    pub build: Build,
}

impl Spec {
    /// A plain method with these settings: with projection heads, without AMCL, with a loss that is a mean over images
    /// and has no temperature to set, without safeguards or checks of its own. A method states what differs.
    pub const fn new<S: Section>(
        name: &'static str,
        title: &'static str,
        help: &'static str,
        build: Build,
    ) -> Self {
        Self {
            name,
            title,
            help,
            recipe: &[],
            amcl: false,
            couples_batch: false,
            needs_large_norm: false,
            has_heads: true,
            needs_vit: false,
            starts_from: None,
            has_temperature: false,
            complete: |given| settings::complete::<S>("method", given),
            keys: settings::keys::<S>,
            fields: S::fields,
            safeguards: |_, _| (),
            check: |_, _| Ok(()),
            pairs: |_| None,
            build,
        }
    }

    /// Checks a recipe and an encoder: what holds for every method, then the method's own.
    ///
    /// # Errors
    /// Says which setting cannot be, and what would do.
    pub fn check(&self, r: &Recipe, encoder: &Chosen<'_>) -> Result<(), String> {
        if self.needs_vit && encoder.backbone.vit().is_none() {
            return Err(format!("{}, not {}", self.without_vit(), encoder.name));
        }
        if r.amcl.enabled && !self.amcl {
            return Err(format!(
                "AMCL is not defined for {}; it is for {} (without it: amcl.enabled = false and heads.count = 1)",
                self.name,
                listed(|m| m.amcl)
            ));
        }
        if !self.has_heads && r.heads != Heads::default() {
            return Err(format!(
                "{} has no projection heads: leave [heads] out of its configuration",
                self.name
            ));
        }
        if !r.amcl.enabled && r.heads.count != 1 {
            return Err(format!(
                "plain {} has one head; for constant heads use amcl.enabled = true with amcl.adaptive = \"none\"",
                self.name
            ));
        }
        r.amcl.switches.validate()?;
        (self.check)(r, encoder)?;
        self.fits(r, encoder)?;
        self.streams(r)?;
        self.check_schedule(r)
    }

    /// What is said where the encoder is no Vision Transformer.
    pub(super) fn without_vit(&self) -> String {
        format!(
            "{} is for encoders of patches: model.encoder must be a Vision Transformer ({})",
            self.name,
            vit::FAMILY.names.join(", ")
        )
    }

    /// Refuses products of settings that no tensor could hold, before anything is made of them. What is smaller and
    /// still too much for the device, its plan says.
    fn fits(&self, r: &Recipe, encoder: &Chosen<'_>) -> Result<(), String> {
        let (b, h, side) = (r.batch, &r.heads, encoder.image_size);
        let widest = h.hidden.max(h.out);
        let of_heads = [h.count, widest, widest.max(encoder.backbone.width())];
        let embeddings = [h.count, 2, b.images, widest];
        let views = [2, b.part(), side, side, 3];
        holds("optim.batch_size x model.image_size squared", &views)?;
        match self.has_heads {
            true => holds(
                "heads.count x heads.hidden (heads.out) x the width before it",
                &of_heads,
            )
            .and_then(|()| holds("heads.count x optim.batch_size x heads.out", &embeddings)),
            false => Ok(()),
        }
    }

    /// Is the loss of a (micro-)batch streamed?
    ///
    /// # Errors
    /// In words, when it should be and cannot be.
    pub fn streams(&self, r: &Recipe) -> Result<bool, String> {
        match (self.pairs)(r) {
            Some(p) => r.loss.path.streams(p.streamable, &[r.heads.count, p.side]),
            None if r.loss.path == Path::Stream => Err(format!(
                "loss.path = \"stream\" is for losses over all pairs of images or of channels; {} takes auto or matrix",
                self.name
            )),
            None => Ok(false),
        }
    }

    /// A schedule of the temperature must have a temperature to move: the losses with negatives take theirs from the
    /// step (`StepScalars::tau_scale`), unless phi gives it.
    fn check_schedule(&self, r: &Recipe) -> Result<(), String> {
        let constant = listed(|m| m.has_temperature);
        match r.loss.schedule {
            Schedule::Constant => Ok(()),
            Schedule::Macl if r.amcl.enabled || !self.has_temperature => Err(format!(
                "loss.schedule = \"macl\" sets the one temperature of plain {constant}; {} has none such",
                self.name
            )),
            Schedule::Macl => Ok(()),
            Schedule::Cosine if r.loss.high < r.loss.low => Err(format!(
                "loss.low {} and loss.high {} must be in order",
                r.loss.low, r.loss.high
            )),
            Schedule::Cosine if !self.has_temperature => Err(format!(
                "loss.schedule = \"cosine\" moves the constant temperature of {constant}; {} has none such: \
                 set loss.schedule to constant",
                self.title
            )),
            Schedule::Cosine if r.amcl().is_some_and(|a| a.roles() == (true, true)) => {
                Err(format!(
                    "loss.schedule = \"cosine\" moves the constant temperature of {constant}; here phi gives \
                     every temperature: set amcl.adaptive to none, positive_only or negative_only, or \
                     loss.schedule to constant"
                ))
            }
            Schedule::Cosine => Ok(()),
        }
    }
}

/// Refuses a tensor of these dimensions that is larger than any can be ([`graph::MAX_ELEMENTS`]).
///
/// [`graph::MAX_ELEMENTS`]: crate::graph::MAX_ELEMENTS
pub(super) fn holds(what: &str, dims: &[usize]) -> Result<(), String> {
    let elements = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    match elements {
        Some(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(format!(
            "{what} comes to {:.1e} numbers in one tensor, and {:.1e} are the most: make one of them smaller",
            dims.iter().map(|d| *d as f64).product::<f64>(),
            MAX_ELEMENTS as f64
        )),
    }
}

/// Names of the methods that have something, in words.
fn listed(has: impl Fn(&Spec) -> bool) -> String {
    let names: Vec<&str> = super::METHODS
        .iter()
        .filter(|m| has(m))
        .map(|m| m.name)
        .collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_string(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
