//! The C interface of libemr as it is declared in `include/emr/*.h`, which say what everything does: functions,
//! structs and constants under their own names. The crate `emr` is the safe interface over it.
//!
//! Building the crate builds the C sources, for which a C compiler and the headers of xxHash are needed, and
//! libzstd for the feature `zstd`. With the feature `system`, or `EMR_SYSTEM=1` in the environment, the installed
//! libemr is linked instead.
//!
//! Structs implement [`Default`]: their size set, everything else zero, as `EMR_INIT` has it.
//!
//! ```
//! let mut features = emr_sys::emr_features::default();
//! // SAFETY: the struct is valid and its size is set.
//! assert_eq!(unsafe { emr_sys::emr_get_features(&mut features) }, emr_sys::EMR_OK);
//! assert_eq!(features.hosted, 1);
//! ```
#![no_std]
#![allow(non_camel_case_types)]

/// A struct that begins with its size.
macro_rules! grows {
    ($($name:ident),* $(,)?) => { $(
        impl Default for $name {
            fn default() -> Self {
                // SAFETY: integers, floats, raw pointers and functions that may be absent: zeros are valid.
                let mut value: Self = unsafe { core::mem::zeroed() };
                value.size = core::mem::size_of::<Self>();
                value
            }
        }
    )* };
}

/// A struct without.
macro_rules! zeroed {
    ($($name:ident),* $(,)?) => { $(
        impl Default for $name {
            fn default() -> Self {
                // SAFETY: integers, floats, raw pointers and functions that may be absent: zeros are valid.
                unsafe { core::mem::zeroed() }
            }
        }
    )* };
}

mod declarations;

pub use declarations::*;
