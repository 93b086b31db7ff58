//! Evaluations of a run, a function each: from the run's folder to a result that is written beside the run and handed back.

mod finetune;
mod knn;
mod pairs;
mod probes;

pub use finetune::{FinetuneResult, LabelShare, finetune_shares};
pub use knn::{KnnResult, KnnSettings, knn};
pub use pairs::{PairsResult, similarity};
pub use probes::{
    FEW_LABEL, FewLabelResult, FewLabels, LINEAR, LinearResult, ProbeSettings, few_label, linear,
};
