//! Evaluations of a run, one function each. It reads the run's folder, writes its result beside the run and
//! returns it.

mod finetune;
mod knn;
mod pairs;
mod probes;

pub use finetune::{FinetuneChoice, FinetuneResult, LabelShare, finetune_shares};
pub use knn::{KnnResult, KnnSettings, knn};
pub use pairs::{PairsResult, similarity};
pub use probes::{
    DRAWS, FEW_LABEL, FewLabelResult, FewLabels, LABELS, LINEAR, LinearResult, ProbeSettings,
    few_label, linear,
};
