//! The streaming merge: base and tasks in; a bundle out, in one pass and in memory that does not depend on the models'
//! size.

use crate::bundle::Bundle;
use crate::call::{call, callback, filled};
use crate::dtype::Dtype;
use crate::error::{BoxError, Result};
use crate::file::{Buffer, NewFile};
use crate::handle::{raw, Fixed, Handle};
use crate::input::{slice, Input};
use crate::model::Model;
use crate::modulation::{Fidelity, Modulation, ModulatorKind, Rescale, RescalePer};
use crate::numbered::numbered;
use crate::output::{OpenOutput, Output};
use crate::policy::Policy;
use crate::resources::{Lowered, Resources};
use crate::tensor::Tensor;
use crate::text::{c_string, text};
use emr_sys as c;
use std::ffi::{c_void, CString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::null;

numbered! {
    /// What a sum of exactly 0 elects.
    #[derive(Default)]
    pub enum Tie {
        /// Nothing (the paper).
        #[default]
        Zero = EMR_TIE_ZERO,
        /// The negative side (the authors' program).
        Negative = EMR_TIE_NEGATIVE,
    }
}

numbered! {
    /// What to do with a NaN or an infinity in a tensor.
    #[derive(Default)]
    pub enum OnNonfinite {
        /// [`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite), naming task and tensor.
        #[default]
        Error = EMR_ON_NONFINITE_ERROR,
        /// The task vector is 0 there; counted in the report.
        Zero = EMR_ON_NONFINITE_ZERO,
    }
}

numbered! {
    /// What is done with a tensor.
    pub enum Action {
        /// Elected, masked, rescaled.
        Merge = EMR_ACTION_MERGE,
        /// From the base where a task has the same bytes, else private.
        Keep = EMR_ACTION_KEEP,
        /// Each task that has it keeps its own copy.
        Private = EMR_ACTION_PRIVATE,
    }
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Level 1.
    #[default]
    Default,
    /// Not at all: for devices without zstd.
    None,
    /// zstd's level 1 to 19.
    Level(u8),
}

impl Compression {
    fn raw(self) -> i32 {
        match self {
            Self::Default => 0,
            Self::None => c::EMR_COMPRESSION_NONE,
            Self::Level(level) => level.into(),
        }
    }
}

/// How a merge is done.
#[derive(Default)]
pub struct MergeOptions<'a> {
    /// What it may use; memory 0: 256 MiB.
    pub resources: Resources<'a>,
    /// Which tensors belong together.
    pub policy: Policy,
    /// Of all tasks that are given no other; the default is masks.
    pub modulation: Modulation,
    /// Of tasks with a unified vector, where their modulation leaves it open,
    pub rescale: Rescale,
    /// as this.
    pub rescale_per: RescalePer,
    /// What a sum of exactly 0 elects.
    pub tie: Tie,
    /// What a NaN or an infinity does.
    pub on_nonfinite: OnNonfinite,
    /// F32 (the default), F16 or BF16.
    pub unified_dtype: Option<Dtype>,
    /// The bundle holds the base too.
    pub embed_base: bool,
    /// The bundle holds what [`Merge::extend`] needs, about 8 bytes a parameter more.
    pub extendable: bool,
    /// How blocks are compressed.
    pub compression: Compression,
    /// Parameters of a mask block, a power of two from 4096 to 16 Mi; 0: the default.
    pub block_params: u32,
    /// [`Fidelity`] with the rules L1 and L1Means too; and the bundle tells it of all tasks.
    pub measure: bool,
}

/// A merge that is being set up. [`Merge::run`] or [`Merge::begin`] takes it.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # fn model(name: &str, values: [f32; 4]) -> emr::Result<emr::Model<'static>> {
/// #     let mut builder = emr::Model::builder(name)?;
/// #     builder.add_owned("w", emr::Dtype::F32, &[4], emr::as_bytes(&values).to_vec())?;
/// #     Ok(builder.build())
/// # }
/// let base = model("base", [0.0; 4])?; // or Model::open("base.safetensors")?
/// let mut merge = emr::Merge::new(Default::default())?;
/// merge.set_base(&base)?;
/// merge.add_task("french", &model("french", [1.0, 2.0, -1.0, 0.0])?)?; // in this order, which is the order of sums
/// merge.add_task("german", &model("german", [1.0, -2.0, -3.0, 0.5])?)?;
/// let mut bytes = Vec::new();
/// let report = merge.run(emr::Output::writer(&mut bytes))?; // or Output::file("all.emr")
/// assert_eq!(report.tasks[0].name, "french");
///
/// let bundle = emr::Bundle::open_input(&bytes[..], None)?;
/// let french = bundle.task("french")?.open(Some(&base))?;
/// assert_eq!(french.get("w").unwrap().to_floats()?, [1.0, 0.0, -3.0, 0.0]); // as near as a mask comes
/// # Ok(())
/// # }
/// ```
pub struct Merge<'a> {
    handle: Handle<c::emr_merge>,
    /// Behind the handle, which borrows these.
    models: Vec<Model<'a>>,
    bundles: Vec<Bundle<'a>>,
    _resources: Lowered<'a>,
    unified_dtype: Dtype,
    default_kind: ModulatorKind,
    /// Of each task.
    kinds: Vec<ModulatorKind>,
    is_part: bool,
}

raw!(emr_merge, emr_merge_destroy);

/// One tensor of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanTensor {
    /// Its name.
    pub name: String,
    /// Why, in a few words: "float in the base and every task", "matches heads.*".
    pub reason: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// How many elements.
    pub count: u64,
    /// After the run: task values that counted as 0 under [`OnNonfinite::Zero`].
    pub zeroed: u64,
    /// The base's, or that of the first task that has it.
    pub dtype: Dtype,
    /// What is done with it.
    pub action: Action,
    /// Tasks that keep their own copy; for [`Action::Keep`] known after the run.
    pub n_private: u32,
}

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Parameters that are merged.
    pub merged_params: u64,
    /// What a run reads.
    pub bytes_in: u64,
    /// What it writes at most, before compression.
    pub bytes_out: u64,
    /// Working memory of the run as set up so far.
    pub peak_memory: u64,
    /// The merged ones, which come first.
    pub n_merged: u32,
    /// All tensors.
    pub tensors: Vec<PlanTensor>,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MergeReport {
    /// Parameters that were merged.
    pub merged_params: u64,
    /// The tasks, in order; those of a bundle that was extended come first. Of a part of a merge there are none.
    pub tasks: Vec<TaskReport>,
    /// All tensors.
    pub tensors: Vec<PlanTensor>,
}

/// What a run did with one task.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its name.
    pub name: String,
    /// Merged parameters whose bit is set; density is this over `merged_params`.
    pub mask_ones: u64,
    /// Values that counted as 0 under [`OnNonfinite::Zero`].
    pub zeroed: u64,
    /// Per model; 0 otherwise.
    pub rescaler: f32,
    /// Per model, two-sided: where the mask is 0.
    pub other_rescaler: f32,
    /// The task differs from the base, yet nothing of it was elected.
    pub empty_mask: bool,
    /// How near it comes.
    pub fidelity: Fidelity,
}

impl<'a> Merge<'a> {
    /// A merge without base and tasks.
    pub fn new(options: MergeOptions<'a>) -> Result<Self> {
        let resources = options.resources.lower()?;
        let lowered = resources.raw();
        let policy = options.policy.lower()?;
        let policy = policy.raw();
        let modulation = options.modulation.raw();
        let raw = c::emr_merge_options {
            resources: &lowered,
            policy: &policy,
            modulation: &modulation,
            rescale: options.rescale.raw(),
            rescale_per: options.rescale_per.raw(),
            tie: options.tie.raw(),
            on_nonfinite: options.on_nonfinite.raw(),
            unified_dtype: Dtype::raw_or_none(options.unified_dtype),
            embed_base: options.embed_base.into(),
            extendable: options.extendable.into(),
            compression: options.compression.raw(),
            block_params: options.block_params,
            measure: options.measure.into(),
            ..Default::default()
        };
        // SAFETY: valid options, which are copied; the resources are kept. The policy's texts live during the call.
        let handle = Handle::make(|merge, error| unsafe { c::emr_merge_create(merge, &raw, error) })?;
        Ok(Self {
            handle,
            models: Vec::new(),
            bundles: Vec::new(),
            _resources: resources,
            unified_dtype: options.unified_dtype.unwrap_or(Dtype::F32),
            default_kind: options.modulation.kind,
            kinds: Vec::new(),
            is_part: false,
        })
    }

    fn raw(&self) -> *mut c::emr_merge {
        self.handle.get()
    }

    /// The base.
    pub fn set_base(&mut self, base: &Model<'a>) -> Result<()> {
        self.models.push(base.clone());
        // SAFETY: the model is kept.
        call(|error| unsafe { c::emr_merge_set_base(self.raw(), base.raw(), error) })
    }

    /// A task, whose number it returns. Names are unique, 1 to 255 bytes.
    pub fn add_task(&mut self, name: &str, model: &Model<'a>) -> Result<u32> {
        let name = c_string(name)?;
        self.models.push(model.clone());
        // SAFETY: the model is kept.
        call(|error| unsafe { c::emr_merge_add_task(self.raw(), name.as_ptr(), model.raw(), error) })?;
        self.kinds.push(self.default_kind);
        Ok(self.kinds.len() as u32 - 1)
    }

    /// What a task's modulator is to be, instead of the options'.
    pub fn set_modulation(&mut self, task: u32, modulation: impl Into<Modulation>) -> Result<()> {
        let modulation = modulation.into();
        // SAFETY: valid arguments.
        call(|error| unsafe { c::emr_merge_set_modulation(self.raw(), task, &modulation.raw(), error) })?;
        if let Some(kind) = self.kinds.get_mut(task as usize) {
            *kind = modulation.kind;
        }
        Ok(())
    }

    /// Adds to a bundle, before any task is added: its tasks come first, and those added afterwards join them. The earlier
    /// checkpoints are not needed. What the bundle was made with replaces the options.
    pub fn extend(&mut self, bundle: &Bundle<'a>) -> Result<()> {
        let kinds: Vec<ModulatorKind> =
            bundle.tasks().map(|task| Ok(task.modulation()?.0.kind)).collect::<Result<_>>()?;
        let unified_dtype = bundle.info()?.unified_dtype;
        self.bundles.push(bundle.clone());
        // SAFETY: the bundle is kept.
        call(|error| unsafe { c::emr_merge_extend(self.raw(), bundle.raw(), error) })?;
        self.kinds = kinds;
        self.unified_dtype = unified_dtype.unwrap_or(Dtype::F32);
        Ok(())
    }

    /// The run does part `part`, from 0, of `n_parts`, and writes that; [`Join`](crate::Join) makes the bundle of all of
    /// them, which may be made anywhere and in any order. [`Merge::plan`] then tells what this part reads and writes; there is
    /// no report of its tasks.
    pub fn set_part(&mut self, part: u32, n_parts: u32) -> Result<()> {
        self.is_part = true;
        // SAFETY: valid arguments.
        call(|error| unsafe { c::emr_merge_set_part(self.raw(), part, n_parts, error) })
    }

    /// Whether `part` is the part that was set, of this very merge, so that it can be kept instead of being made again:
    /// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) or [`ErrorKind::Format`](crate::ErrorKind::Format) where not.
    /// That it is whole is for the join to find. It fixes base and tasks; `name` is what messages call the part.
    pub fn check_part<'b>(&mut self, part: impl Into<Input<'b>>, name: Option<&str>) -> Result<()> {
        let (io, _kept) = part.into().lower()?;
        let name = name.map(c_string).transpose()?;
        let name = name.as_ref().map_or(null(), |name: &CString| name.as_ptr());
        // SAFETY: valid arguments; C keeps nothing of them.
        call(|error| unsafe { c::emr_merge_check_part(self.raw(), &io, name, error) })
    }

    /// What a run would do, without reading any tensor. It fixes base and tasks.
    pub fn plan(&mut self) -> Result<Plan> {
        let summary = self.summary()?;
        Ok(Plan {
            merged_params: summary.merged_params,
            bytes_in: summary.bytes_in,
            bytes_out: summary.bytes_out,
            peak_memory: summary.peak_memory,
            n_merged: summary.n_merged,
            tensors: self.plan_tensors(summary.n_tensors)?,
        })
    }

    fn summary(&self) -> Result<c::emr_plan_summary> {
        let mut summary = c::emr_plan_summary::default();
        // SAFETY: the struct's size is set.
        call(|error| unsafe { c::emr_merge_get_plan(self.raw(), &mut summary, error) })?;
        Ok(summary)
    }

    fn plan_tensors(&self, n: u32) -> Result<Vec<PlanTensor>> {
        (0..n).map(|i| self.plan_tensor(i)).collect()
    }

    fn plan_tensor(&self, i: u32) -> Result<PlanTensor> {
        // SAFETY: the struct's size is set.
        let raw: c::emr_plan_tensor =
            filled(|tensor| unsafe { c::emr_merge_get_plan_tensor(self.raw(), i, tensor) })?;
        // SAFETY: texts and numbers are the merge's.
        let (name, reason, shape) =
            unsafe { (text(raw.name), text(raw.reason), slice(raw.shape, raw.rank as usize)) };
        Ok(PlanTensor {
            name: name.to_owned(),
            reason: reason.to_owned(),
            shape: shape.to_vec(),
            count: raw.count,
            zeroed: raw.zeroed,
            dtype: Dtype::known(raw.dtype),
            action: Action::of(raw.action),
            n_private: raw.n_private,
        })
    }

    /// Reads every tensor from its model, and writes the bundle.
    pub fn run(self, output: Output<'_>) -> Result<MergeReport> {
        let output = output.open()?;
        let report = self.run_to(|merge| merge.set_output(&output.io()))?;
        output.finish()?;
        Ok(report)
    }

    /// The same into memory.
    pub fn run_in_memory(self) -> Result<(Buffer, MergeReport)> {
        let buffer = Buffer::new()?;
        let report = self.run(Output::buffer(buffer.clone()))?;
        Ok((buffer, report))
    }

    /// The same to a file, for a merge that may be interrupted: until the file is whole it is `path` with `.partial`
    /// appended, with a journal beside it, which stay when the run fails or the process is killed. A run of the same
    /// models and options goes on from the last record; records come after every `interval` bytes of input (0: 1 GiB).
    pub fn run_resumable(self, path: impl AsRef<Path>, replace: bool, interval: u64) -> Result<MergeReport> {
        let path = path.as_ref();
        let file = NewFile::resume(path, replace)?;
        let journal = NewFile::resume(&journal_of(path), true)?;
        let report = self.run_to(|merge| {
            merge.set_output(&file.io())?;
            merge.set_journal(&journal.io(), interval)
        })?;
        file.commit()?;
        journal.discard();
        Ok(report)
    }

    /// Reads every tensor from its model, and hands results to a sink instead of writing a bundle.
    pub fn run_into(self, sink: &mut dyn Sink) -> Result<MergeReport> {
        let sink = Fixed::new(SinkOf { sink, unified_dtype: self.unified_dtype, kinds: self.kinds.clone() });
        self.run_to(|merge| merge.set_sink(&sink))
    }

    /// Runs to what `set` sets, which outlives C's handle.
    fn run_to(self, set: impl FnOnce(&Self) -> Result<()>) -> Result<MergeReport> {
        set(&self)?;
        // SAFETY: all that was set is kept.
        call(|error| unsafe { c::emr_merge_run(self.raw(), error) })?;
        self.report()
    }

    /// The output outlives the handle.
    fn set_output(&self, io: &c::emr_io) -> Result<()> {
        // SAFETY: C copies the table.
        call(|error| unsafe { c::emr_merge_set_output(self.raw(), io, error) })
    }

    fn set_journal(&self, io: &c::emr_io, interval: u64) -> Result<()> {
        // SAFETY: C copies the table.
        call(|error| unsafe { c::emr_merge_set_journal(self.raw(), io, interval, error) })
    }

    fn set_sink(&self, sink: &Fixed<SinkOf<'_>>) -> Result<()> {
        let raw = c::emr_sink {
            user: sink.user(),
            unified: Some(sink_unified),
            mask: Some(sink_mask),
            rescalers: Some(sink_rescalers),
            ..Default::default()
        };
        // SAFETY: C copies the table.
        call(|error| unsafe { c::emr_merge_set_sink(self.raw(), &raw, error) })
    }

    /// Begins to take bytes that the host pushes, of the tensors that have none of their own
    /// ([`ModelBuilder::add_pushed`](crate::ModelBuilder::add_pushed)).
    pub fn begin(self, output: Output<'a>) -> Result<Push<'a>> {
        let push = Push { output: output.open()?, merge: self };
        push.merge.set_output(&push.output.io())?;
        // SAFETY: all that was set is kept.
        call(|error| unsafe { c::emr_merge_begin(push.merge.raw(), error) })?;
        Ok(push)
    }

    fn report(&self) -> Result<MergeReport> {
        let summary = self.summary()?;
        let n_tasks = if self.is_part { 0 } else { self.kinds.len() as u32 };
        Ok(MergeReport {
            merged_params: summary.merged_params,
            tasks: (0..n_tasks).map(|task| self.task_report(task)).collect::<Result<_>>()?,
            tensors: self.plan_tensors(summary.n_tensors)?,
        })
    }

    fn task_report(&self, task: u32) -> Result<TaskReport> {
        // SAFETY: the struct's size is set.
        let raw: c::emr_task_report =
            filled(|report| unsafe { c::emr_merge_get_task_report(self.raw(), task, report) })?;
        // SAFETY: likewise.
        let fidelity = filled(|fidelity| unsafe { c::emr_merge_get_fidelity(self.raw(), task, fidelity) })?;
        Ok(TaskReport {
            // SAFETY: the merge's text.
            name: unsafe { text(raw.name) }.to_owned(),
            mask_ones: raw.mask_ones,
            zeroed: raw.zeroed,
            rescaler: raw.rescaler,
            other_rescaler: raw.other_rescaler,
            empty_mask: raw.empty_mask != 0,
            fidelity: Fidelity::of(&fidelity),
        })
    }
}

impl fmt::Debug for Merge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge").field("tasks", &self.kinds.len()).finish_non_exhaustive()
    }
}

/// `all.emr.journal`, beside `all.emr`.
fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// A merge that takes bytes. Dropped before it is finished, it leaves no file behind.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # fn model(name: &str) -> emr::Result<emr::Model<'static>> {
/// #     let mut builder = emr::Model::builder(name)?;
/// #     builder.add_pushed("w", emr::Dtype::F32, &[4])?;
/// #     Ok(builder.build())
/// # }
/// let (base, french) = (model("base")?, model("french")?);
/// let mut merge = emr::Merge::new(Default::default())?;
/// merge.set_base(&base)?;
/// let task = merge.add_task("french", &french)?;
/// let mut bytes = Vec::new();
/// let mut push = merge.begin(emr::Output::writer(&mut bytes))?;
/// for (source, weights) in [(emr::BASE, [0.0f32; 4]), (task, [1.0; 4])] {
///     assert_eq!(push.push(source, emr::as_bytes(&weights))?, 16); // fewer: the others' turn
/// }
/// push.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct Push<'a> {
    merge: Merge<'a>,
    /// Behind the merge.
    output: OpenOutput<'a>,
}

/// What a merge wants next from a source.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Expected<'m> {
    /// The tensor; none: the source is done.
    pub tensor: Option<Tensor<'m>>,
    /// How many of its bytes it would take now; 0: the source has to wait.
    pub bytes: u64,
}

impl Push<'_> {
    /// Hands over the next bytes of a source, [`BASE`](crate::BASE) or a task's number, any number at a time: those of its
    /// tensors without bytes of their own, one after another. Returns how many were used; fewer than there are: this
    /// source is as far ahead of the others as memory allows.
    pub fn push(&mut self, source: u32, bytes: &[u8]) -> Result<usize> {
        let mut taken = 0;
        // SAFETY: valid arguments.
        call(|error| unsafe {
            let data = bytes.as_ptr().cast();
            c::emr_merge_push(self.merge.raw(), source, data, bytes.len(), &mut taken, error)
        })?;
        Ok(taken)
    }

    /// What it wants next from a source.
    pub fn expected(&self, source: u32) -> Result<Expected<'_>> {
        let (mut tensor, mut bytes) = (null(), 0);
        // SAFETY: valid arguments.
        call(|error| unsafe {
            c::emr_merge_get_expected(self.merge.raw(), source, &mut tensor, &mut bytes, error)
        })?;
        // SAFETY: a tensor of a model that the merge keeps.
        Ok(Expected { tensor: unsafe { Tensor::at(tensor) }, bytes })
    }

    /// Ends: [`ErrorKind::State`](crate::ErrorKind::State), naming source and tensor, where bytes are missing.
    pub fn finish(self) -> Result<MergeReport> {
        // SAFETY: all that was set is kept.
        call(|error| unsafe { c::emr_merge_finish(self.merge.raw(), error) })?;
        let report = self.merge.report()?;
        drop(self.merge);
        self.output.finish()?;
        Ok(report)
    }
}

impl fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Push").field(&self.merge).finish()
    }
}

/// Where in a tensor results belong: from parameter or row `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkPart {
    /// The tensor's number, as in the plan.
    pub tensor: u32,
    /// The first parameter or row.
    pub first: u64,
    /// How many.
    pub n: usize,
}

/// Receives a merge's results as they are computed. Tensors come in the order of the plan, each from front to back, from
/// one thread at a time. Errors stop the run, and are the source of its error.
pub trait Sink: Send {
    /// Values of the unified task vector, in the options' `unified_dtype`.
    fn unified(&mut self, part: SinkPart, values: &[u8]) -> std::result::Result<(), BoxError> {
        let _ = (part, values);
        Ok(())
    }

    /// Bits of a task's mask, the lowest of a byte first.
    fn mask(&mut self, task: u32, part: SinkPart, bits: &[u8]) -> std::result::Result<(), BoxError> {
        let _ = (task, part, bits);
        Ok(())
    }

    /// Rescalers, of a tensor or of rows; of two-sided tasks two for each, that where the mask is 1 first.
    fn rescalers(
        &mut self,
        task: u32,
        part: SinkPart,
        rescalers: &[f32],
    ) -> std::result::Result<(), BoxError> {
        let _ = (task, part, rescalers);
        Ok(())
    }
}

/// A sink, and what its parts' lengths follow from.
struct SinkOf<'s> {
    sink: &'s mut dyn Sink,
    unified_dtype: Dtype,
    kinds: Vec<ModulatorKind>,
}

/// Runs `f` with the sink, the part and its values.
///
/// # Safety
/// `user` is that of `run_into`, and `part` C's.
unsafe fn give(
    user: *mut c_void,
    part: *const c::emr_sink_part,
    error: *mut c::emr_error,
    f: impl FnOnce(&mut SinkOf<'_>, &c::emr_sink_part, SinkPart) -> std::result::Result<(), BoxError>,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: the caller's; parts come one at a time.
        let (sink, raw) = unsafe { (&mut *user.cast::<SinkOf<'_>>(), &*part) };
        f(sink, raw, SinkPart { tensor: raw.tensor, first: raw.first, n: raw.n })
    })
}

unsafe extern "C" fn sink_unified(
    user: *mut c_void,
    part: *const c::emr_sink_part,
    error: *mut c::emr_error,
) -> c::emr_status {
    // SAFETY: C's arguments.
    unsafe {
        give(user, part, error, |of, raw, part| {
            let bytes = raw.n * of.unified_dtype.bits() as usize / 8;
            // SAFETY: as many elements, valid during the call.
            of.sink.unified(part, slice(raw.values.cast(), bytes))
        })
    }
}

unsafe extern "C" fn sink_mask(
    user: *mut c_void,
    part: *const c::emr_sink_part,
    error: *mut c::emr_error,
) -> c::emr_status {
    // SAFETY: C's arguments.
    unsafe {
        give(user, part, error, |of, raw, part| {
            // SAFETY: as many bits, valid during the call.
            of.sink.mask(raw.task, part, slice(raw.values.cast(), raw.n.div_ceil(8)))
        })
    }
}

unsafe extern "C" fn sink_rescalers(
    user: *mut c_void,
    part: *const c::emr_sink_part,
    error: *mut c::emr_error,
) -> c::emr_status {
    // SAFETY: C's arguments.
    unsafe {
        give(user, part, error, |of, raw, part| {
            let scales = match of.kinds.get(raw.task as usize) {
                Some(ModulatorKind::TwoSided) => 2,
                _ => 1,
            };
            // SAFETY: as many floats, valid during the call.
            of.sink.rescalers(raw.task, part, slice(raw.values.cast(), raw.n * scales))
        })
    }
}
