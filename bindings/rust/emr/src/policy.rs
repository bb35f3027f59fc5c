//! Which tensors of a base and its tasks belong together, and what becomes of the others.

use crate::error::Result;
use crate::text::{c_string, CStrings};
use emr_sys as c;

/// What to do where a tensor has another shape in a task than in the base, or is a float in only one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum OnMismatch {
    /// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch), naming task and tensor.
    #[default]
    Error = c::EMR_ON_MISMATCH_ERROR,
    /// Every task keeps its own copy; but a vocabulary that grew is treated as by `Rows`.
    Private = c::EMR_ON_MISMATCH_PRIVATE,
    /// Where the first dimension alone differs, the rows that all have are merged, and each task keeps the rows behind
    /// them; else as `Private`.
    Rows = c::EMR_ON_MISMATCH_ROWS,
    /// Where ranks are equal, all are filled up with zeros to the largest dimensions, merged, and cut again when they
    /// come back. It is for adapters of different ranks.
    Pad = c::EMR_ON_MISMATCH_PAD,
}

/// What to do where a task lacks a tensor of the base that is a weight or a code and not private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum OnMissing {
    /// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch), naming task and tensor.
    #[default]
    Error = c::EMR_ON_MISSING_ERROR,
    /// The task has the base's, unchanged.
    Base = c::EMR_ON_MISSING_BASE,
    /// The task goes without.
    Absent = c::EMR_ON_MISSING_ABSENT,
}

/// Whether a glob, as a [`Policy`] has them, matches the whole name.
///
/// ```
/// assert!(emr::glob_matches("layers.[0-3].*", "layers.2.weight"));
/// assert!(!emr::glob_matches("weight", "layers.2.weight"));
/// ```
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let (Ok(glob), Ok(name)) = (c_string(glob), c_string(name)) else { return false };
    // SAFETY: texts that end in a zero byte.
    unsafe { c::emr_glob_matches(glob.as_ptr(), name.as_ptr()) != 0 }
}

/// Which tensors are merged. Globs match whole names: `*`, `?`, `[a-z]`, `[!a-z]`, `\`.
///
/// ```
/// let policy = emr::Policy { private: vec!["classifier.*".into()], ..Default::default() };
/// # drop(policy);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Not merged: each task keeps its own, if it has one.
    pub private: Vec<String>,
    /// Merged whatever their role, if they are floats.
    pub merge: Vec<String>,
    /// Where a task lacks these, it goes without.
    pub absent: Vec<String>,
    /// Where a task lacks these and not those, it has the base's.
    pub base: Vec<String>,
    /// Where shapes differ.
    pub on_mismatch: OnMismatch,
    /// Where a task lacks others.
    pub on_missing: OnMissing,
}

/// A policy with C's texts.
pub(crate) struct LoweredPolicy {
    globs: [CStrings; 4],
    on_mismatch: OnMismatch,
    on_missing: OnMissing,
}

impl Policy {
    pub(crate) fn lower(&self) -> Result<LoweredPolicy> {
        let globs = [
            CStrings::new(&self.private)?,
            CStrings::new(&self.merge)?,
            CStrings::new(&self.absent)?,
            CStrings::new(&self.base)?,
        ];
        Ok(LoweredPolicy { globs, on_mismatch: self.on_mismatch, on_missing: self.on_missing })
    }
}

impl LoweredPolicy {
    /// The struct, which points into `self`.
    pub(crate) fn raw(&self) -> c::emr_policy {
        let [private, merge, absent, base] = &self.globs;
        c::emr_policy {
            private_globs: private.as_ptr(),
            merge_globs: merge.as_ptr(),
            absent_globs: absent.as_ptr(),
            base_globs: base.as_ptr(),
            n_private_globs: private.len(),
            n_merge_globs: merge.len(),
            n_absent_globs: absent.len(),
            n_base_globs: base.len(),
            on_mismatch: self.on_mismatch as u32,
            on_missing: self.on_missing as u32,
            ..Default::default()
        }
    }
}
