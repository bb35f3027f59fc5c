//! One model out of many: averages, task arithmetic, TIES, DARE, SLERP and what else there is.

use crate::call::{call, filled};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::handle::{keep, raw, Concurrent, Handle, Keep};
use crate::input::slice;
use crate::method::Method;
use crate::model::Model;
use crate::numbered::numbered;
use crate::policy::Policy;
use crate::resources::{Lowered, Resources};
use crate::text::{c_string, text, CStrings};
use emr_sys as c;
use std::fmt;
use std::ptr::null;
use std::sync::Arc;

raw!(emr_combination, emr_combination_destroy);
// SAFETY: getting a tensor is its one call that takes it as const; all others take it exclusively.
unsafe impl Concurrent for c::emr_combination {}

/// In the place of a task's number: all of them, and the base where that is an input of the method.
pub const EVERY_TASK: u32 = c::EMR_EVERY_TASK;

numbered! {
    /// What a NaN or an infinity in an input does.
    #[derive(Default)]
    pub enum CombinationNonfinite {
        /// Reading the tensor fails with [`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite), naming tensor
        /// and task.
        #[default]
        Error = EMR_COMBINATION_NONFINITE_ERROR,
        /// The task's value there counts as the base's; without a base as 0.
        Zero = EMR_COMBINATION_NONFINITE_ZERO,
    }
}

/// How models are combined.
#[derive(Default)]
pub struct CombinationOptions<'a> {
    /// Each of as many readers as there are threads may take its share of half of the memory (256 MiB unless
    /// set). Progress is not used.
    pub resources: Resources<'a>,
    /// Which tensors belong together.
    pub policy: Policy,
    /// Patterns of heads, which differ in their labels: see [`Heads`](crate::Heads).
    pub head_globs: Vec<String>,
    /// Heads go through the method like any other tensor; else each row is its own task's, untouched.
    pub combine_heads: bool,
    /// Of methods that draw.
    pub seed: u64,
    /// Of combined tensors: F32, F16, BF16 or F64; none: as in the base, or without one in the first task.
    pub dtype: Option<Dtype>,
    /// What a NaN or an infinity in an input does.
    pub on_nonfinite: CombinationNonfinite,
}

/// Models and a method that makes one of them. The combined model is computed as it is read: memory does not
/// depend on its size, and the same bits come out whatever the threads, the memory and the ranges in which it
/// is read.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # let (base, [math, code]) = worlds::models()?;
/// let ties = emr::Method::find("ties").unwrap();
/// let mut combination = emr::Combination::new(&ties, Default::default())?;
/// combination.set_base(&base)?;
/// combination.add_task("math", &math)?;
/// combination.add_task("code", &code)?;
/// combination.set_parameter("density", 0.2)?;
/// combination.set_parameter("weight", 1.0)?;
/// combination.set_parameter_of("weight", 1, Some("model.layers.*"), 0.5)?;
/// let merged = combination.open_model()?;
/// # assert_eq!(merged.len(), base.len());
/// # Ok(())
/// # }
/// # mod worlds {
/// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/mod.rs"));
/// # }
/// ```
pub struct Combination<'a> {
    handle: Handle<c::emr_combination>,
    parts: Arc<Parts<'a>>,
    models: Vec<Model<'a>>,
}

/// What it needs from the beginning, and its models too.
struct Parts<'a> {
    method: Method<'a>,
    _resources: Lowered<'a>,
}

numbered! {
    /// What becomes of a tensor.
    pub enum CombinedAction {
        /// It is computed by the method.
        Combine = EMR_COMBINED_ACTION_COMBINE,
        /// It has the base's bytes; without one, the first task's.
        Copy = EMR_COMBINED_ACTION_COPY,
        /// It has the tasks' heads side by side.
        Head = EMR_COMBINED_ACTION_HEAD,
    }
}

/// One tensor of a combined model.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CombinedTensor<'c> {
    /// Its name.
    pub name: &'c str,
    /// In a few words: "float in the base and every task", "matches lm_head.*".
    pub reason: &'c str,
    /// Its dimensions.
    pub shape: &'c [u64],
    /// Its elements.
    pub count: u64,
    /// Their type.
    pub dtype: Dtype,
    /// What becomes of it.
    pub action: CombinedAction,
    /// How often its inputs are read in all, the last time included.
    pub n_reads: u32,
    /// Tasks that have it, and the base where that is an input.
    pub n_inputs: u32,
}

/// What a combined model would be, and take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CombinationPlan {
    /// Parameters that are combined.
    pub combined_params: u64,
    /// What is read to write the model once.
    pub bytes_in: u64,
    /// Bytes of its tensors.
    pub bytes_out: u64,
    /// Of as many readers as there are threads.
    pub peak_memory: u64,
    /// Tensors of the model.
    pub n_tensors: u32,
    /// Tensors that are combined.
    pub n_combined: u32,
}

impl<'a> Combination<'a> {
    /// A combination by a method, of nothing yet.
    pub fn new(method: &Method<'a>, options: CombinationOptions<'a>) -> Result<Self> {
        let resources = options.resources.lower()?;
        let policy = options.policy.lower()?;
        let head_globs = CStrings::new(&options.head_globs)?;
        let (raw_resources, raw_policy) = (resources.raw(), policy.raw());
        let raw_options = c::emr_combination_options {
            method: method.raw(),
            resources: &raw_resources,
            policy: &raw_policy,
            head_globs: head_globs.as_ptr(),
            n_head_globs: head_globs.len(),
            combine_heads: options.combine_heads.into(),
            seed: options.seed,
            dtype: Dtype::raw_or_none(options.dtype),
            on_nonfinite: options.on_nonfinite.raw(),
            ..Default::default()
        };
        // SAFETY: all of it lives during the call; method and resources, which C keeps, are kept in `Parts`.
        let handle =
            Handle::make(|out, error| unsafe { c::emr_combination_create(out, &raw_options, error) })?;
        let parts = Parts { method: method.clone(), _resources: resources };
        Ok(Self { handle, parts: Arc::new(parts), models: Vec::new() })
    }

    /// What task vectors are the difference from, where the method has a base.
    pub fn set_base(&mut self, base: &Model<'a>) -> Result<()> {
        self.models.push(base.clone());
        // SAFETY: the model is kept.
        call(|error| unsafe { c::emr_combination_set_base(self.handle.get(), base.raw(), error) })
    }

    /// One more task. Names are unique, 1 to 255 bytes.
    pub fn add_task(&mut self, name: &str, model: &Model<'a>) -> Result<()> {
        let name = c_string(name)?;
        self.models.push(model.clone());
        // SAFETY: the model is kept; the name is copied.
        call(|error| unsafe {
            c::emr_combination_add_task(self.handle.get(), name.as_ptr(), model.raw(), error)
        })
    }

    /// Sets a parameter of the method, for all tasks in all tensors.
    pub fn set_parameter(&mut self, parameter: &str, value: f64) -> Result<()> {
        self.set_parameter_of(parameter, EVERY_TASK, None, value)
    }

    /// Sets it for one task, for [`EVERY_TASK`], or for [`BASE`](crate::BASE) where that is an input; in
    /// tensors that a pattern matches, or in all. Where several fit, the last that was set holds. A flag is 0
    /// or 1.
    pub fn set_parameter_of(
        &mut self,
        parameter: &str,
        task: u32,
        glob: Option<&str>,
        value: f64,
    ) -> Result<()> {
        let (parameter, glob) = (c_string(parameter)?, glob.map(c_string).transpose()?);
        let glob = glob.as_ref().map_or(null(), |glob| glob.as_ptr());
        // SAFETY: texts are copied.
        call(|error| unsafe {
            c::emr_combination_set_parameter(self.handle.get(), parameter.as_ptr(), task, glob, value, error)
        })
    }

    /// What a model opened now would be, without reading any tensor.
    pub fn plan(&mut self) -> Result<CombinationPlan> {
        let mut plan = c::emr_combination_plan::default();
        // SAFETY: filled by the call.
        call(|error| unsafe { c::emr_combination_get_plan(self.handle.get(), &mut plan, error) })?;
        Ok(CombinationPlan {
            combined_params: plan.combined_params,
            bytes_in: plan.bytes_in,
            bytes_out: plan.bytes_out,
            peak_memory: plan.peak_memory,
            n_tensors: plan.n_tensors,
            n_combined: plan.n_combined,
        })
    }

    /// The `i`-th tensor, once there is a [`plan`](Self::plan).
    pub fn tensor(&self, i: u32) -> Result<CombinedTensor<'_>> {
        // SAFETY: filled by the call.
        let tensor: c::emr_combined_tensor =
            filled(|tensor| unsafe { c::emr_combination_get_tensor(self.handle.get(), i, tensor) })?;
        // SAFETY: the combination's, until something is set, which takes it exclusively.
        let (name, reason, shape) =
            unsafe { (text(tensor.name), text(tensor.reason), slice(tensor.shape, tensor.rank as usize)) };
        Ok(CombinedTensor {
            name,
            reason,
            shape,
            count: tensor.count,
            dtype: Dtype::known(tensor.dtype),
            action: CombinedAction::of(tensor.action),
            n_reads: tensor.n_reads,
            n_inputs: tensor.n_inputs,
        })
    }

    /// All tensors, once there is a [`plan`](Self::plan); none before.
    pub fn tensors(&self) -> impl Iterator<Item = CombinedTensor<'_>> {
        (0..).map_while(|i| self.tensor(i).ok())
    }

    /// The combined model: the tensors of the base (without one, of the first task), in its order. What was
    /// set and added is fixed from then on. It may be opened more than once.
    pub fn open_model(&mut self) -> Result<Model<'a>> {
        // SAFETY: what it needs is kept beside it.
        let handle = Handle::make(|out, error| unsafe {
            c::emr_combination_open_model(self.handle.get(), out, error)
        })?;
        let kept: Vec<Keep<'a>> = vec![keep(Arc::clone(&self.parts)), keep(self.models.clone())];
        Ok(Model::from_handle(handle, kept))
    }
}

impl fmt::Debug for Combination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combination").field("method", &self.parts.method).finish_non_exhaustive()
    }
}
