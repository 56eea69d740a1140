//! Counts that carry their unit, so that tokens cannot be passed where samples are wanted.

/// Declares a count of one unit.
macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub u32);

        impl $name {
            /// The count, for sums over a run.
            pub fn as_u64(self) -> u64 {
                self.0.into()
            }

            /// The count, for lengths and indexes.
            pub fn as_usize(self) -> usize {
                self.0 as usize
            }

            /// The count, for tensor sizes.
            pub fn as_i64(self) -> i64 {
                self.0.into()
            }
        }
    };
}

unit! {
    /// A number of tokens.
    Tokens
}
unit! {
    /// A number of samples, the rows of a batch.
    Samples
}
unit! {
    /// A number of optimizer steps.
    Steps
}
