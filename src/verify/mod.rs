//! Numbers of other implementations beside this one's: losses, ops, the optimiser, whole networks, from files
//! ([`crate::fixture`]). Networks are those of [`crate::nn`], built and trained as any other.
//!
//! Every quantity that a file stores is computed from the file's inputs and compared, on any executor: by the twins in
//! f64, which come as near as the file's own precision, and in f32 as near as PyTorch's f32 does ([`Grade`]).

mod attention;
mod augmentation;
mod case;
mod computer;
mod gelu;
mod judge;
mod knn;
mod layer_norm;
mod losses;
mod masked;
mod masking;
mod network;
mod optimizer;
mod positions;
mod rates;
mod resnet;
mod vit;

pub use computer::Computer;
pub use judge::{Compared, Grade, Measure, Quantity, Verified};
pub use network::Parts;

use crate::fixture::{Fixture, FixtureError, bad};
use crate::graph::GraphError;
use crate::methods::loss::evaluate::LossError;
use std::path::{Path, PathBuf};

/// Why a file could not be verified; one line.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file is not what its kind needs.
    #[error(transparent)]
    File(#[from] FixtureError),
    /// A loss cannot be evaluated on the file.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The numbers could not be computed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
}

type Result<T> = std::result::Result<T, VerifyError>;

/// Computes what a file stores and compares.
type Check = fn(&Subject, &Computer) -> Result<Verified>;

/// Kinds of a single file, and what verifies them.
const KINDS: &[(&[&str], Check)] = &[
    (losses::KINDS, losses::verify),
    (&["attention"], attention::verify),
    (&["layer_norm"], layer_norm::verify),
    (&["gelu"], gelu::verify),
    (&["masking"], masking::verify),
    (&["pos_embed"], positions::verify),
    (&["augmentation"], augmentation::verify),
    (&["knn"], knn::verify),
    (&["mae"], masked::mae),
    (&["can"], masked::can),
    (&["optimizer"], optimizer::verify),
    (&["lr_table"], rates::verify),
    (
        &[
            "network_init",
            "network_io",
            "network_grads",
            "network_after",
        ],
        resnet::verify,
    ),
    (
        &[
            "vit_network_init",
            "vit_network_io",
            "vit_network_grads",
            "vit_network_after",
        ],
        vit::verify,
    ),
];

/// A file to verify.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The file.
    pub fixture: Fixture,
    /// All files of a network.
    pub parts: Option<Box<Parts>>,
}

impl Subject {
    /// Reads a file, and of a network its siblings.
    ///
    /// # Errors
    /// A file that cannot be read or is no fixture; a network whose other files are missing or of another one.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| VerifyError::Read(path.into(), e))?;
        let fixture = Fixture::parse(&bytes)?;
        let parts = match network::part_of(&fixture.kind) {
            Some(kind) => Some(Box::new(Parts::beside(path, &fixture, kind)?)),
            None => None,
        };
        Ok(Self { fixture, parts })
    }

    /// Computes and compares.
    ///
    /// # Errors
    /// An unknown kind, tensors or settings that are not what the kind needs, nothing to compare with; device loss.
    pub fn verify(&self, computer: &Computer) -> Result<Verified> {
        let kind = self.fixture.kind.as_str();
        let known = KINDS.iter().find(|(kinds, _)| kinds.contains(&kind));
        let Some((_, check)) = known else {
            let all: Vec<&str> = KINDS
                .iter()
                .flat_map(|(kinds, _)| *kinds)
                .copied()
                .collect();
            let all = all.join(", ");
            return Err(bad(format!("no kind `{kind}`; there are {all}")).into());
        };
        check(self, computer)
    }
}
