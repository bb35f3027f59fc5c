//! Which libemr this is, and what it was built with.

use crate::call::{filled, static_text};
use crate::error::Result;
use emr_sys as c;

/// The version of the library that runs: `"0.2.0"`.
pub fn version() -> &'static str {
    // SAFETY: no arguments; a static string.
    static_text(unsafe { c::emr_version() })
}

/// The same as a number that can be compared: 1.2.3 is 1002003.
pub fn version_number() -> u32 {
    // SAFETY: no arguments.
    unsafe { c::emr_version_number() }
}

/// What the library can do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The kernels that this processor gets: "c", "avx2", "avx512", "neon".
    pub kernels: &'static str,
    /// 10504 is 1.5.4; 0: built without zstd, so compressed bundles cannot be read.
    pub zstd_version: u32,
    /// Whether it has files, threads and an allocator.
    pub hosted: bool,
    /// The newest bundle format that is read and written: major and minor.
    pub format: (u32, u32),
}

/// What the library can do here.
pub fn features() -> Result<Features> {
    // SAFETY: the struct's size is set.
    let raw: c::emr_features = filled(|features| unsafe { c::emr_get_features(features) })?;
    Ok(Features {
        kernels: static_text(raw.kernels),
        zstd_version: raw.zstd_version,
        hosted: raw.hosted != 0,
        format: (raw.format_major, raw.format_minor),
    })
}
