//! What kind of work an op does, for those who treat ops alike: counting a step's operations, choosing tiles, tests.

/// The kind of an op's work.
///
/// A caller asks a question about the class ([`Class::is_matrix_work`], [`Class::is_tiled`], [`Class::is_exact`]) and
/// names no op. Each question matches every class, so a new class does not compile until each has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A matrix product, alone or in batches.
    Product,
    /// A convolution, or its gradient by its input or by its weights.
    Convolution,
    /// Matrix products inside one kernel that reduces them before they reach memory: the streamed losses, attention.
    FusedProduct,
    /// Batch norm, layer norm, rows of unit length, standardised columns, and their gradients.
    Normalisation,
    /// The maximum or the mean over windows of an image, and the gradients.
    Pooling,
    /// Each element of the result from the same element of its inputs, or from a row's or column's factor.
    Elementwise,
    /// Sums and softmax over rows, columns or everything.
    Reduction,
    /// A loss of matrices that are given, and its gradient.
    Loss,
    /// The inputs' numbers elsewhere, under another shape, or rounded to another type; also constants.
    Layout,
    /// Views of images.
    Augmentation,
    /// Updates of states between steps: optimisers, moving averages, queues, sums over micro-batches, the loss scale.
    Optimiser,
    /// Selection of the largest, neighbours and their votes.
    Search,
    /// Numbers from one rank to another, and sums over ranks.
    Exchange,
    /// A measurement of the device.
    Probe,
}

impl Class {
    /// The op's operations count as the model's, in operations a second and in the device's utilisation: its [`Cost`]
    /// grows as a matrix product's does. All other ops are bound by memory and are left out, as is usual (Chowdhery et
    /// al., "PaLM", 2022, appendix B).
    ///
    /// [`Cost`]: super::Cost
    pub const fn is_matrix_work(self) -> bool {
        match self {
            Self::Product | Self::Convolution | Self::FusedProduct => true,
            Self::Normalisation
            | Self::Pooling
            | Self::Elementwise
            | Self::Reduction
            | Self::Loss
            | Self::Layout
            | Self::Augmentation
            | Self::Optimiser
            | Self::Search
            | Self::Exchange
            | Self::Probe => false,
        }
    }

    /// The op's kernels for GPUs have variants for every tile in [`crate::ops::tiles`], so a run chooses one by timing.
    pub const fn is_tiled(self) -> bool {
        match self {
            Self::Product | Self::Convolution => true,
            // Its tiles are of a fixed shape.
            Self::FusedProduct => false,
            Self::Normalisation
            | Self::Pooling
            | Self::Elementwise
            | Self::Reduction
            | Self::Loss
            | Self::Layout
            | Self::Augmentation
            | Self::Optimiser
            | Self::Search
            | Self::Exchange
            | Self::Probe => false,
        }
    }

    /// The op computes nothing: its results differ from the twin's by nothing, not even in the last bit.
    pub const fn is_exact(self) -> bool {
        match self {
            Self::Layout => true,
            Self::Product
            | Self::Convolution
            | Self::FusedProduct
            | Self::Normalisation
            | Self::Pooling
            | Self::Elementwise
            | Self::Reduction
            | Self::Loss
            | Self::Augmentation
            | Self::Optimiser
            | Self::Search
            | Self::Exchange
            | Self::Probe => false,
        }
    }
}
