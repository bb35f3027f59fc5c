//! Bundles: what a merge writes, and what tasks come back from.

use crate::call::{call, call_plain, callback_infallible, filled};
use crate::dtype::Dtype;
use crate::error::{ErrorKind, Result};
use crate::handle::{keep, raw, Concurrent, Handle, Keep};
use crate::input::{slice, Input};
use crate::merge::Tie;
use crate::model::{raw_or_null, Model};
use crate::modulation::{Fidelity, Modulation, Rescale, RescalePer};
use crate::modulator::Modulator;
use crate::numbered::numbered;
use crate::output::Output;
use crate::resources::Resources;
use crate::text::{c_path, c_string, optional_text, text};
use emr_sys as c;
use std::ffi::{c_void, CString};
use std::fmt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// A bundle: unified task vector, each task's modulator and private tensors, and the base where it was embedded.
///
/// A bundle does not change, so it is used by any number of threads. Clones are the same bundle, which lives as long as
/// the last one and all that was made of it.
///
/// ```no_run
/// # fn main() -> emr::Result<()> {
/// let bundle = emr::Bundle::open("all.emr")?;
/// let base = emr::Model::open("base.safetensors")?;
/// for task in bundle.tasks() {
///     let model = task.open(Some(&base))?; // computed as it is read
///     model.write(format!("{}.safetensors", task.name()), Default::default())?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bundle<'a>(Arc<Inner<'a>>);

struct Inner<'a> {
    handle: Handle<c::emr_bundle>,
    /// After the handle.
    _keep: Vec<Keep<'a>>,
}

raw!(emr_bundle, emr_bundle_destroy);
// SAFETY: every call takes it as const.
unsafe impl Concurrent for c::emr_bundle {}

/// What a bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleInfo {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Parameters of all merged tensors.
    pub merged_params: u64,
    /// How many tasks there are.
    pub n_tasks: u32,
    /// Tensors of the base: the merged ones come first, then those kept from the base.
    pub n_tensors: u32,
    /// How many are merged.
    pub n_merged: u32,
    /// The format's version, major and minor.
    pub version: (u32, u32),
    /// Of tasks that use the unified vector.
    pub rescale: Rescale,
    /// Likewise.
    pub rescale_per: RescalePer,
    /// What a sum of exactly 0 elected.
    pub tie: Tie,
    /// In which type unified values are; none where there are none.
    pub unified_dtype: Option<Dtype>,
    /// The base is embedded.
    pub has_base: bool,
    /// Tasks with a unified vector can be added.
    pub extendable: bool,
    /// Tasks that use the unified vector; there is none if this is 0.
    pub n_elected: u32,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskInfo<'b> {
    /// Its name.
    pub name: &'b str,
    /// Density is this over the bundle's `merged_params`.
    pub mask_ones: u64,
    /// As stored.
    pub mask_bytes: u64,
    /// How many private tensors it has.
    pub n_private: u32,
    /// Per model; 0 otherwise.
    pub rescaler: f32,
    /// As stored: all of the modulator, but for the unified vector that it may share.
    pub coded_bytes: u64,
}

/// A tensor of a bundle's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo<'b> {
    /// Its name.
    pub name: &'b str,
    /// Its dimensions.
    pub shape: &'b [u64],
    /// How many elements.
    pub count: u64,
    /// As stored: the tensor's share of the unified vector's blocks; 0 if it is not merged.
    pub unified_bytes: u64,
    /// XXH3-128 of the base's bytes: low, high.
    pub base_hash: [u64; 2],
    /// The base's type.
    pub dtype: Dtype,
    /// Merged, or kept from the base.
    pub merged: bool,
}

/// A private tensor of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrivateInfo<'b> {
    /// Its name.
    pub name: &'b str,
    /// Its dimensions.
    pub shape: &'b [u64],
    /// How many bytes it has.
    pub bytes: u64,
    /// Its type.
    pub dtype: Dtype,
}

numbered! {
    /// When a base is compared with the one that the bundle was made with.
    #[derive(Default)]
    pub enum BaseCheck {
        /// Before the call returns: reads all of the base.
        #[default]
        First = EMR_BASE_CHECK_FIRST,
        /// While the model is written, so that the base is read once. No file appears where it is another; reading
        /// tensors is [`ErrorKind::State`].
        Write = EMR_BASE_CHECK_WRITE,
        /// Never: the host knows.
        Never = EMR_BASE_CHECK_NONE,
    }
}

/// How a task's model is opened.
#[derive(Default)]
pub struct ViewOptions<'r> {
    /// Of the check.
    pub resources: Resources<'r>,
    /// Of float tensors; none: as the task's checkpoint had each.
    pub dtype: Option<Dtype>,
    /// When the base is checked.
    pub check: BaseCheck,
    /// With a dtype of fewer than 32 bits, tensors of rank 0 and 1 are F32, as GGUF files have norms and biases.
    pub f32_vectors: bool,
}

/// A tensor that is not as the bundle's base had it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseDifference {
    /// Its name.
    pub tensor: String,
    /// A few words: "its shape differs".
    pub why: String,
}

/// What a merge without the dropped tasks would do otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropReport {
    /// Values of the unified task vector that are not 0.
    pub unified: u64,
    /// Of them, in the mask of a dropped task and of none that stays: of no use any more.
    pub alone: u64,
    /// Of them, in masks of a dropped task and of one that stays: perhaps too large for it.
    pub shared: u64,
    /// Tasks could be added to the bundle; to the new one they cannot.
    pub lost_growth: bool,
    /// No task that stays uses the unified vector, so it is gone too.
    pub lost_unified: bool,
}

impl<'a> Bundle<'a> {
    /// Opens a file: reads and checks its header and index, nothing else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_file(path.as_ref(), false)
    }

    /// The same, with its bytes mapped into memory: what is stored raw is used where it is, but the process is killed by
    /// SIGBUS where the file shrinks meanwhile.
    pub fn map(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_file(path.as_ref(), true)
    }

    fn open_file(path: &Path, map: bool) -> Result<Self> {
        let path = c_path(path)?;
        let options = c::emr_bundle_options { map: map.into(), ..Default::default() };
        // SAFETY: valid arguments.
        let handle = Handle::make(|bundle, error| unsafe {
            c::emr_bundle_open_file(bundle, path.as_ptr(), &options, error)
        })?;
        Ok(Self(Arc::new(Inner { handle, _keep: Vec::new() })))
    }

    /// Opens what lies in memory, or behind the host's own reader; `name` is what messages call it.
    pub fn open_input(input: impl Into<Input<'a>>, name: Option<&str>) -> Result<Self> {
        let (io, kept) = input.into().lower()?;
        let name = name.map(c_string).transpose()?;
        let name = name.as_ref().map_or(null(), |name: &CString| name.as_ptr());
        // SAFETY: valid arguments; the input is kept.
        let handle =
            Handle::make(|bundle, error| unsafe { c::emr_bundle_open(bundle, &io, name, null(), error) })?;
        Ok(Self(Arc::new(Inner { handle, _keep: vec![kept] })))
    }

    /// For C, as const.
    pub(crate) fn raw(&self) -> *const c::emr_bundle {
        self.0.handle.get()
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        // SAFETY: the bundle's text.
        unsafe { text(c::emr_bundle_name(self.raw())) }
    }

    /// What it is.
    pub fn info(&self) -> Result<BundleInfo> {
        // SAFETY: the struct's size is set.
        let raw: c::emr_bundle_info = filled(|info| unsafe { c::emr_bundle_get_info(self.raw(), info) })?;
        Ok(BundleInfo {
            bytes: raw.bytes,
            merged_params: raw.merged_params,
            n_tasks: raw.n_tasks,
            n_tensors: raw.n_tensors,
            n_merged: raw.n_merged,
            version: (raw.version_major, raw.version_minor),
            rescale: Rescale::of(raw.rescale),
            rescale_per: RescalePer::of(raw.rescale_per),
            tie: Tie::of(raw.tie),
            unified_dtype: Dtype::of(raw.unified_dtype),
            has_base: raw.has_base != 0,
            extendable: raw.extendable != 0,
            n_elected: raw.n_elected,
        })
    }

    /// The number of the task of that name.
    pub fn find_task(&self, name: &str) -> Result<u32> {
        self.find(name, c::emr_bundle_find_task)
    }

    /// The number of the tensor of that name.
    pub fn find_tensor(&self, name: &str) -> Result<u32> {
        self.find(name, c::emr_bundle_find_tensor)
    }

    fn find(&self, name: &str, f: FindByName) -> Result<u32> {
        let name = c_string(name)?;
        let mut number = 0;
        // SAFETY: valid arguments.
        call(|error| unsafe { f(self.raw(), name.as_ptr(), &mut number, error) })?;
        Ok(number)
    }

    /// The task of that name.
    pub fn task(&self, name: &str) -> Result<Task<'a>> {
        Ok(Task { bundle: self.clone(), number: self.find_task(name)? })
    }

    /// The task of that number.
    pub fn task_at(&self, number: u32) -> Result<Task<'a>> {
        let task = Task { bundle: self.clone(), number };
        task.info()?;
        Ok(task)
    }

    /// The tasks in order.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = Task<'a>> + '_ {
        let n_tasks = self.info().map_or(0, |info| info.n_tasks);
        (0..n_tasks).map(|number| Task { bundle: self.clone(), number })
    }

    /// The tensor of that number, of the base.
    pub fn tensor(&self, number: u32) -> Result<TensorInfo<'_>> {
        // SAFETY: the struct's size is set.
        let raw: c::emr_tensor_info =
            filled(|info| unsafe { c::emr_bundle_get_tensor(self.raw(), number, info) })?;
        // SAFETY: text and numbers are the bundle's.
        let (name, shape) = unsafe { (text(raw.name), slice(raw.shape, raw.rank as usize)) };
        Ok(TensorInfo {
            name,
            shape,
            count: raw.count,
            unified_bytes: raw.unified_bytes,
            base_hash: raw.base_hash,
            dtype: Dtype::known(raw.dtype),
            merged: raw.merged != 0,
        })
    }

    /// The base's metadata.
    pub fn base_metadata(&self) -> Vec<(&str, &str)> {
        self.metadata_of(c::EMR_BASE)
    }

    fn metadata_of(&self, task: u32) -> Vec<(&str, &str)> {
        // SAFETY: a valid bundle; any number will do.
        let n = unsafe { c::emr_bundle_n_metadata(self.raw(), task) };
        (0..n).filter_map(|i| self.metadata_at(task, i)).collect()
    }

    fn metadata_at(&self, task: u32, i: u32) -> Option<(&str, &str)> {
        let (mut key, mut value) = (null(), null());
        // SAFETY: valid outputs.
        call_plain(|| unsafe { c::emr_bundle_get_metadata(self.raw(), task, i, &mut key, &mut value) })
            .ok()?;
        // SAFETY: the bundle's texts.
        unsafe { Some((text(key), text(value))) }
    }

    /// The value of a key of the base's metadata.
    pub fn find_base_metadata(&self, key: &str) -> Option<&str> {
        self.find_metadata_of(c::EMR_BASE, key)
    }

    fn find_metadata_of(&self, task: u32, key: &str) -> Option<&str> {
        let key = c_string(key).ok()?;
        // SAFETY: the bundle's text.
        unsafe { optional_text(c::emr_bundle_find_metadata(self.raw(), task, key.as_ptr())) }
    }

    /// The embedded base, with all tensors that tasks take from it.
    pub fn base(&self) -> Result<Model<'a>> {
        self.open_model(|model, error| {
            // SAFETY: valid arguments; the bundle is kept.
            unsafe { c::emr_bundle_open_base(model, self.raw(), null(), error) }
        })
    }

    /// The unified task vector, in F32.
    pub fn unified(&self) -> Result<Model<'a>> {
        self.open_model(|model, error| {
            // SAFETY: valid arguments; the bundle is kept.
            unsafe { c::emr_bundle_open_unified(model, self.raw(), null(), error) }
        })
    }

    fn open_model(
        &self,
        f: impl FnOnce(*mut *mut c::emr_model, *mut c::emr_error) -> c::emr_status,
    ) -> Result<Model<'a>> {
        Ok(Model::from_handle(Handle::make(f)?, vec![keep(self.clone())]))
    }

    /// Reads every byte and checks every checksum.
    pub fn verify(&self, resources: Resources<'_>) -> Result<()> {
        let resources = resources.lower()?;
        // SAFETY: valid arguments, which live during the call.
        call(|error| unsafe { c::emr_bundle_verify(self.raw(), &resources.raw(), error) })
    }

    /// Whether `base` is the model that the bundle was made with: [`ErrorKind::Mismatch`] names the first tensor that is
    /// not the same.
    pub fn check_base(&self, base: &Model<'_>, resources: Resources<'_>) -> Result<()> {
        let resources = resources.lower()?;
        let lowered = resources.raw();
        let options = c::emr_base_check_options { resources: &lowered, ..Default::default() };
        // SAFETY: valid arguments, which live during the call.
        call(|error| unsafe { c::emr_bundle_check_base(self.raw(), base.raw(), &options, error) })
    }

    /// All tensors of `base` that are not as the bundle's base had them.
    pub fn base_differences(
        &self,
        base: &Model<'_>,
        resources: Resources<'_>,
    ) -> Result<Vec<BaseDifference>> {
        let resources = resources.lower()?;
        let lowered = resources.raw();
        let mut differences: Vec<BaseDifference> = Vec::new();
        let options = c::emr_base_check_options {
            resources: &lowered,
            differs: Some(differs),
            user: std::ptr::from_mut(&mut differences).cast(),
            ..Default::default()
        };
        // SAFETY: valid arguments, which live during the call.
        let checked =
            call(|error| unsafe { c::emr_bundle_check_base(self.raw(), base.raw(), &options, error) });
        match checked {
            Err(error) if error.kind() == ErrorKind::Mismatch && !differences.is_empty() => Ok(differences),
            checked => checked.map(|()| differences),
        }
    }

    /// Writes a bundle without some tasks: their masks, scales, private tensors, names and metadata are gone; the others'
    /// weights are the same to the last bit.
    pub fn drop_tasks(&self, names: &[&str], output: Output<'_>, resources: Resources<'_>) -> Result<()> {
        self.write_subset(names, output, resources, null_mut(), c::emr_bundle_drop)
    }

    /// Writes a bundle with some tasks alone.
    pub fn extract_tasks(&self, names: &[&str], output: Output<'_>, resources: Resources<'_>) -> Result<()> {
        self.write_subset(names, output, resources, null_mut(), c::emr_bundle_extract)
    }

    /// [`Bundle::drop_tasks`], with a report, for which every mask is read a second time.
    pub fn drop_tasks_reported(
        &self,
        names: &[&str],
        output: Output<'_>,
        resources: Resources<'_>,
    ) -> Result<DropReport> {
        self.report_subset(names, output, resources, c::emr_bundle_drop)
    }

    /// [`Bundle::extract_tasks`], with a report.
    pub fn extract_tasks_reported(
        &self,
        names: &[&str],
        output: Output<'_>,
        resources: Resources<'_>,
    ) -> Result<DropReport> {
        self.report_subset(names, output, resources, c::emr_bundle_extract)
    }

    fn report_subset(
        &self,
        names: &[&str],
        output: Output<'_>,
        resources: Resources<'_>,
        f: WriteSubset,
    ) -> Result<DropReport> {
        let mut raw = c::emr_drop_report::default();
        self.write_subset(names, output, resources, &mut raw, f)?;
        Ok(DropReport {
            unified: raw.unified,
            alone: raw.alone,
            shared: raw.shared,
            lost_growth: raw.lost_growth != 0,
            lost_unified: raw.lost_unified != 0,
        })
    }

    fn write_subset(
        &self,
        names: &[&str],
        output: Output<'_>,
        resources: Resources<'_>,
        report: *mut c::emr_drop_report,
        f: WriteSubset,
    ) -> Result<()> {
        let tasks: Vec<u32> = names.iter().map(|name| self.find_task(name)).collect::<Result<_>>()?;
        let resources = resources.lower()?;
        let lowered = resources.raw();
        let selection = c::emr_task_selection {
            resources: &lowered,
            tasks: tasks.as_ptr(),
            n_tasks: tasks.len() as u32,
            ..Default::default()
        };
        let output = output.open()?;
        // SAFETY: valid arguments, which live during the call.
        call(|error| unsafe { f(self.raw(), &selection, &output.io(), report, error) })?;
        output.finish()
    }
}

type FindByName = unsafe extern "C" fn(
    *const c::emr_bundle,
    *const std::ffi::c_char,
    *mut u32,
    *mut c::emr_error,
) -> c::emr_status;

type WriteSubset = unsafe extern "C" fn(
    *const c::emr_bundle,
    *const c::emr_task_selection,
    *const c::emr_io,
    *mut c::emr_drop_report,
    *mut c::emr_error,
) -> c::emr_status;

unsafe extern "C" fn differs(user: *mut c_void, difference: *const c::emr_base_difference) {
    callback_infallible((), || {
        // SAFETY: the user that `base_differences` set, on its thread; C's struct and texts, valid during the call.
        unsafe {
            let difference = &*difference;
            (*user.cast::<Vec<BaseDifference>>()).push(BaseDifference {
                tensor: text(difference.tensor).to_owned(),
                why: text(difference.why).to_owned(),
            });
        }
    });
}

impl fmt::Debug for Bundle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("name", &self.name()).field("tasks", &self.tasks().len()).finish()
    }
}

/// A task of a bundle, which it keeps.
#[derive(Clone)]
pub struct Task<'a> {
    bundle: Bundle<'a>,
    number: u32,
}

impl<'a> Task<'a> {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle<'a> {
        &self.bundle
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.info().map_or("", |info| info.name)
    }

    /// What it is.
    pub fn info(&self) -> Result<TaskInfo<'_>> {
        // SAFETY: the struct's size is set.
        let raw: c::emr_task_info =
            filled(|info| unsafe { c::emr_bundle_get_task(self.bundle.raw(), self.number, info) })?;
        Ok(TaskInfo {
            // SAFETY: the bundle's text.
            name: unsafe { text(raw.name) },
            mask_ones: raw.mask_ones,
            mask_bytes: raw.mask_bytes,
            n_private: raw.n_private,
            rescaler: raw.rescaler,
            coded_bytes: raw.coded_bytes,
        })
    }

    /// What its modulator is, no member a default; and how near it comes, as far as the bundle knows.
    pub fn modulation(&self) -> Result<(Modulation, Fidelity)> {
        let mut fidelity = c::emr_fidelity::default();
        // SAFETY: the structs' sizes are set.
        let spec = filled(|spec| unsafe {
            c::emr_bundle_get_modulation(self.bundle.raw(), self.number, spec, &mut fidelity)
        })?;
        Ok((Modulation::of(&spec), Fidelity::of(&fidelity)))
    }

    /// Its private tensors.
    pub fn private_tensors(&self) -> Result<Vec<PrivateInfo<'_>>> {
        (0..self.info()?.n_private).map(|i| self.private_tensor(i)).collect()
    }

    fn private_tensor(&self, i: u32) -> Result<PrivateInfo<'_>> {
        // SAFETY: the struct's size is set.
        let raw: c::emr_private_info =
            filled(|info| unsafe { c::emr_bundle_get_private(self.bundle.raw(), self.number, i, info) })?;
        // SAFETY: text and numbers are the bundle's.
        let (name, shape) = unsafe { (text(raw.name), slice(raw.shape, raw.rank as usize)) };
        Ok(PrivateInfo { name, shape, bytes: raw.bytes, dtype: Dtype::known(raw.dtype) })
    }

    /// The metadata of its checkpoint.
    pub fn metadata(&self) -> Vec<(&str, &str)> {
        self.bundle.metadata_of(self.number)
    }

    /// The value of a key of these.
    pub fn find_metadata(&self, key: &str) -> Option<&str> {
        self.bundle.find_metadata_of(self.number, key)
    }

    /// Its model, computed as it is read; `base` none means the embedded one. It keeps both.
    pub fn open(&self, base: Option<&Model<'a>>) -> Result<Model<'a>> {
        self.open_with(base, ViewOptions::default())
    }

    /// The same with options.
    pub fn open_with(&self, base: Option<&Model<'a>>, options: ViewOptions<'_>) -> Result<Model<'a>> {
        let resources = options.resources.lower()?;
        let lowered = resources.raw();
        let raw = c::emr_view_options {
            resources: &lowered,
            dtype: Dtype::raw_or_none(options.dtype),
            check: options.check.raw(),
            f32_vectors: options.f32_vectors.into(),
            ..Default::default()
        };
        // SAFETY: valid arguments; of the resources the allocator alone is used after the call. Bundle and base are kept.
        let handle = Handle::make(|model, error| unsafe {
            c::emr_bundle_open_task(model, self.bundle.raw(), self.number, raw_or_null(base), &raw, error)
        })?;
        let mut kept = vec![keep(self.bundle.clone())];
        kept.extend(base.cloned().map(keep));
        Ok(Model::from_handle(handle, kept))
    }

    /// Its mask (BOOL), with the merged tensors' names and shapes.
    pub fn mask(&self) -> Result<Model<'a>> {
        self.bundle.open_model(|model, error| {
            // SAFETY: valid arguments; the bundle is kept.
            unsafe { c::emr_bundle_open_mask(model, self.bundle.raw(), self.number, null(), error) }
        })
    }

    /// Its modulator, which applies and multiplies without a model. Make one for each thread.
    pub fn modulator(&self) -> Result<Modulator<'a>> {
        // SAFETY: valid arguments; the bundle is kept.
        let handle = Handle::make(|modulator, error| unsafe {
            c::emr_bundle_open_modulator(modulator, self.bundle.raw(), self.number, null(), error)
        })?;
        Ok(Modulator::from_handle(handle, vec![keep(self.bundle.clone())]))
    }
}

impl fmt::Debug for Task<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({:?}, {})", self.name(), self.number)
    }
}
