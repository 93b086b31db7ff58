//! The case table: one file an op.

use super::{Case, Mutation};

macro_rules! tables {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// Cases of all ops.
        pub(super) fn all() -> Vec<Case> {
            let mut v = Vec::new();
            $(v.extend($name::cases());)*
            v
        }
        /// Negative controls of all kernels.
        pub(super) fn all_mutations() -> Vec<Mutation> {
            let mut v = Vec::new();
            $(v.extend($name::mutations());)*
            v
        }
    };
}

// Alphabetical, one line an op.
tables! {
}
