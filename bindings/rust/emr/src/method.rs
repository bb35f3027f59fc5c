//! Merging methods: the library's, by name, and a program's own. A method sees chunks of tensors, all inputs
//! side by side, and computes what becomes of them.

use crate::call::{callback, callback_infallible};
use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::input::{slice, slice_mut};
use crate::numbered::numbered;
use crate::text::{c_string, c_text, text};
use emr_sys as c;
use std::ffi::CString;
use std::fmt;
use std::ops::RangeInclusive;
use std::ptr::null;
use std::sync::{Arc, Weak};

numbered! {
    /// What a method does with a base.
    #[derive(Default)]
    pub enum MethodBase {
        /// None is needed; one that is there is one more input, before the tasks.
        #[default]
        Input = EMR_METHOD_BASE_INPUT,
        /// Inputs are the tasks' task vectors; what is computed is added to the base.
        Required = EMR_METHOD_BASE_REQUIRED,
        /// With a base as `Required`; without one, inputs are the tasks' weights.
        Optional = EMR_METHOD_BASE_OPTIONAL,
        /// Required; but inputs are the tasks' weights, and so is what is computed.
        Beside = EMR_METHOD_BASE_BESIDE,
    }
}

/// A number that a method can be told, for a task or for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is where it is not set; none: it must be.
    pub initial: Option<f64>,
    /// What it may be.
    pub range: RangeInclusive<f64>,
    /// Whether each input may have another one.
    pub per_task: bool,
    /// Whether it is a whole number; from 0 to 1, a flag.
    pub is_whole: bool,
}

impl Parameter {
    fn of(raw: &c::emr_method_parameter) -> Self {
        Self {
            // SAFETY: a constant of the library's.
            name: unsafe { text(raw.name) }.to_owned(),
            initial: (!raw.initial.is_nan()).then_some(raw.initial),
            range: raw.least..=raw.most,
            per_task: raw.per_task != 0,
            is_whole: raw.is_whole != 0,
        }
    }

    fn lower(&self, name: &CString) -> c::emr_method_parameter {
        c::emr_method_parameter {
            name: name.as_ptr(),
            initial: self.initial.unwrap_or(f64::NAN),
            least: *self.range.start(),
            most: *self.range.end(),
            per_task: self.per_task.into(),
            is_whole: self.is_whole.into(),
        }
    }
}

/// What there is to know of a method.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodInfo {
    /// Its name; of the library's, mergekit's where that has the method.
    pub name: String,
    /// What it can be told.
    pub parameters: Vec<Parameter>,
    /// What it does with a base.
    pub base: MethodBase,
    /// The least number of tasks; 0: 1.
    pub min_tasks: u32,
    /// The largest number of tasks; 0: there is no limit.
    pub max_tasks: u32,
    /// Stages run over all combined tensors as if they were one, in the order of their names.
    pub whole_model: bool,
}

/// A merging method: one of the library's, or [a program's own](MergingMethod).
///
/// ```
/// let ties = emr::Method::find("ties").unwrap().info();
/// let names: Vec<_> = ties.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
/// assert!(names.contains(&"density"));
/// ```
#[derive(Clone)]
pub struct Method<'a>(Kind<'a>);

#[derive(Clone)]
enum Kind<'a> {
    Library(&'static LibraryMethod),
    Own(Arc<OwnMethod<'a>>),
}

#[repr(transparent)]
struct LibraryMethod(c::emr_method);

// SAFETY: the library's methods are constants.
unsafe impl Sync for LibraryMethod {}

impl<'a> Method<'a> {
    /// The library's method of that name.
    pub fn find(name: &str) -> Option<Self> {
        // SAFETY: a text that ends in a zero byte.
        Self::of_library(unsafe { c::emr_method_find(c_text(name).as_ptr()) })
    }

    /// All of the library's.
    pub fn all() -> impl Iterator<Item = Self> {
        // SAFETY: any number will do.
        (0..).map_while(|i| Self::of_library(unsafe { c::emr_method_at(i) }))
    }

    /// A method of the program's own.
    pub fn own(method: impl MergingMethod + 'a) -> Result<Self> {
        Ok(Self(Kind::Own(OwnMethod::new(Box::new(method))?)))
    }

    fn of_library(method: *const c::emr_method) -> Option<Self> {
        // SAFETY: null or a constant, of which `LibraryMethod` is another name.
        unsafe { method.cast::<LibraryMethod>().as_ref() }.map(|method| Self(Kind::Library(method)))
    }

    /// What there is to know of it.
    pub fn info(&self) -> MethodInfo {
        match &self.0 {
            Kind::Library(method) => info_of(&method.0),
            Kind::Own(method) => method.info.clone(),
        }
    }

    /// As C takes it; it lives as long as `self` and its clones.
    pub(crate) fn raw(&self) -> *const c::emr_method {
        match &self.0 {
            Kind::Library(method) => &method.0,
            Kind::Own(method) => &method.raw,
        }
    }
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.info().name).finish()
    }
}

fn info_of(method: &c::emr_method) -> MethodInfo {
    // SAFETY: the library's constants.
    let parameters = unsafe { slice(method.parameters, method.n_parameters as usize) };
    MethodInfo {
        // SAFETY: likewise.
        name: unsafe { text(method.name) }.to_owned(),
        parameters: parameters.iter().map(Parameter::of).collect(),
        base: MethodBase::of(method.base),
        min_tasks: method.min_tasks,
        max_tasks: method.max_tasks,
        whole_model: method.whole_model != 0,
    }
}

/// The most stages that a method may have.
pub const STAGES_MAX: usize = c::EMR_METHOD_STAGES_MAX as usize;

/// Something that must be known of the whole tensor before it can be combined. What it finds are numbers,
/// which stand behind those of the stages before it in [`MethodTensor::found`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As many sums ([`MergingMethod::add_sums`]), taken over chunks in parallel and added up in order.
    Sums(Number),
    /// As many cuts of lists of keys ([`MergingMethod::list_keys`], [`MergingMethod::place_cut`]): exact, and
    /// two numbers each, see [`Cut`].
    Cuts(Number),
}

/// A number that depends on how many inputs a tensor has, `n`: `fixed + per_input * n + per_pair * n * n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number {
    /// Whatever the inputs.
    pub fixed: u32,
    /// For each input.
    pub per_input: u32,
    /// For each pair of inputs, in both orders, and with themselves.
    pub per_pair: u32,
}

impl Number {
    /// So many.
    pub const fn fixed(fixed: u32) -> Self {
        Self { fixed, per_input: 0, per_pair: 0 }
    }

    /// So many for each input.
    pub const fn per_input(per_input: u32) -> Self {
        Self { fixed: 0, per_input, per_pair: 0 }
    }

    fn of(self, n_inputs: u32) -> u64 {
        let n = u64::from(n_inputs);
        let pairs = u64::from(self.per_pair).saturating_mul(n * n);
        u64::from(self.fixed).saturating_add(u64::from(self.per_input) * n).saturating_add(pairs)
    }
}

impl Stage {
    /// How many numbers it finds, for C, which counts them in 32 bits.
    fn n_found(self, n_inputs: u32) -> u32 {
        match self {
            Self::Sums(n) => n.of(n_inputs).min(u64::from(u32::MAX)) as u32,
            Self::Cuts(n) => 2 * n.of(n_inputs).min(u64::from(u32::MAX / 2)) as u32,
        }
    }
}

/// Where a list is cut: what a cut finds, two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// The key of the last that is kept.
    pub key: f64,
    /// The position behind it.
    pub position: f64,
}

impl Cut {
    /// The `i`-th cut of those that `found`, a part of [`MethodTensor::found`], begins with.
    pub fn at(found: &[f64], i: usize) -> Self {
        Self { key: found[2 * i], position: found[2 * i + 1] }
    }

    /// Whether an element is among those that it keeps.
    pub fn is_above(&self, key: f32, position: u64) -> bool {
        let key = f64::from(key);
        key > self.key || (key >= self.key && (position as f64) < self.position)
    }
}

/// A method of the program's own. Its functions are called by several threads at a time; a panic in one of
/// them ends the reading of the combined tensor, and goes on in the thread that reads it.
///
/// The mean of the tasks' changes, but nothing where their root mean square over the tensor is below 1e-6:
///
/// ```
/// use emr::{Chunk, MethodBase, MethodInfo, Number, Stage};
///
/// struct QuietMean;
/// impl emr::MergingMethod for QuietMean {
///     fn info(&self) -> MethodInfo {
///         MethodInfo { name: "quiet_mean".into(), base: MethodBase::Required, ..Default::default() }
///     }
///     fn stages(&self) -> Vec<Stage> {
///         vec![Stage::Sums(Number::fixed(1))]
///     }
///     fn add_sums(&self, _stage: usize, chunk: &mut Chunk<'_>, sums: &mut [f64]) {
///         for input in chunk.inputs() {
///             sums[0] += input.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
///         }
///     }
///     fn combine(&self, chunk: &mut Chunk<'_>, out: &mut [f32]) -> Result<(), emr::BoxError> {
///         let tensor = chunk.tensor();
///         let n = tensor.n_inputs() as f32;
///         if tensor.found()[0] >= 1e-12 * tensor.count() as f64 * f64::from(n) {
///             for input in chunk.inputs() {
///                 out.iter_mut().zip(input).for_each(|(sum, x)| *sum += x / n);
///             }
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> emr::Result<()> {
/// let method = emr::Method::own(QuietMean)?;
/// # let _ = method;
/// # Ok(())
/// # }
/// ```
pub trait MergingMethod: Send + Sync {
    /// Its name, its parameters and what else there is to know; asked for once.
    fn info(&self) -> MethodInfo;

    /// What must be known of a whole tensor first, in this order: [`STAGES_MAX`] at most; asked for once.
    fn stages(&self) -> Vec<Stage> {
        Vec::new()
    }

    /// Floats of [`Chunk::scratch`] for each element of a chunk; asked for once.
    fn scratch_floats(&self) -> u32 {
        0
    }

    /// Whether the parameters of a tensor go together. The words need not name the tensor.
    fn check(&self, _tensor: &MethodTensor<'_>) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// The length of the rows, on a multiple of which each chunk begins and ends; 0: there are none.
    fn row_length(&self, _tensor: &MethodTensor<'_>) -> u64 {
        0
    }

    /// Which stages a tensor needs, a bit for each. Numbers of the others are 0.
    fn needed_stages(&self, _tensor: &MethodTensor<'_>) -> u32 {
        u32::MAX
    }

    /// Of a stage of [sums](Stage::Sums): adds to them, which are 0 at first.
    fn add_sums(&self, stage: usize, _chunk: &mut Chunk<'_>, _sums: &mut [f64]) {
        unimplemented!("stage {stage} of the method has sums, but it has no add_sums");
    }

    /// Of a stage of [cuts](Stage::Cuts): the chunk's keys in list number `list`, one for each element, at
    /// least 0 and finite, and the same each time.
    fn list_keys(&self, stage: usize, _chunk: &mut Chunk<'_>, _list: u32, _keys: &mut [f32]) {
        unimplemented!("stage {stage} of the method has cuts, but it has no list_keys");
    }

    /// Of a stage of [cuts](Stage::Cuts): the list that cut number `cut` is of, and how many of its largest
    /// keys it keeps. Cuts of one list are side by side, in ascending order of lists.
    fn place_cut(&self, stage: usize, _tensor: &MethodTensor<'_>, _cut: u32) -> (u32, u64) {
        unimplemented!("stage {stage} of the method has cuts, but it has no place_cut");
    }

    /// Makes of the numbers that a stage found what combining needs.
    fn settle(
        &self,
        _stage: usize,
        _tensor: &MethodTensor<'_>,
        _found: &mut [f64],
    ) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    /// Computes a chunk; `out` is 0 at first.
    fn combine(&self, chunk: &mut Chunk<'_>, out: &mut [f32]) -> std::result::Result<(), BoxError>;
}

/// A tensor as a method sees it.
#[derive(Clone, Copy)]
pub struct MethodTensor<'c> {
    raw: &'c c::emr_method_tensor,
    found: &'c [f64],
}

impl<'c> MethodTensor<'c> {
    /// # Safety
    /// C's pointer, valid for `'c`, with the numbers of `stages`.
    unsafe fn new(raw: *const c::emr_method_tensor, stages: &[Stage]) -> Self {
        // SAFETY: the caller's.
        let raw = unsafe { &*raw };
        let n = stages.iter().map(|stage| stage.n_found(raw.n_inputs) as usize).sum();
        // SAFETY: what stages have found so far; null before all.
        let found = if raw.found.is_null() { &[] } else { unsafe { slice(raw.found, n) } };
        Self { raw, found }
    }

    /// Its name; `""` stands for all where the method joins tensors.
    pub fn name(&self) -> &'c str {
        // SAFETY: C's text, valid for 'c.
        unsafe { text(self.raw.name) }
    }

    /// Its dimensions.
    pub fn shape(&self) -> &'c [u64] {
        // SAFETY: `rank` of them.
        unsafe { slice(self.raw.shape, self.raw.rank as usize) }
    }

    /// Elements; never 0.
    pub fn count(&self) -> u64 {
        self.raw.count
    }

    /// The length of the method's rows; 0: it has none.
    pub fn row_length(&self) -> u64 {
        self.raw.row_length
    }

    /// The combination's.
    pub fn seed(&self) -> u64 {
        self.raw.seed
    }

    /// Whether inputs are task vectors, or the base is beside.
    pub fn has_base(&self) -> bool {
        self.raw.has_base != 0
    }

    /// At least 1.
    pub fn n_inputs(&self) -> usize {
        self.raw.n_inputs as usize
    }

    /// The inputs' names; the base's, where it is one, is `""`.
    pub fn inputs(&self) -> impl Iterator<Item = &'c str> {
        // SAFETY: `n_inputs` texts, valid for 'c.
        unsafe { slice(self.raw.inputs, self.n_inputs()) }.iter().map(|name| unsafe { text(*name) })
    }

    /// An input's parameter, by their numbers.
    pub fn parameter(&self, input: usize, parameter: usize) -> f64 {
        let n = self.raw.n_parameters as usize;
        assert!(
            input < self.n_inputs() && parameter < n,
            "there is no parameter {parameter} of input {input}"
        );
        // SAFETY: `n_parameters` for each input.
        let parameters = unsafe { slice(self.raw.parameters, n * self.n_inputs()) };
        parameters[input * n + parameter]
    }

    /// What the stages so far have found, one behind the other.
    pub fn found(&self) -> &'c [f64] {
        self.found
    }

    /// 32 random bits for each of the elements from `first` on, which depend on the seed and on the names of
    /// input and tensor alone.
    pub fn draw(&self, input: usize, first: u64, words: &mut [u32]) {
        assert!(input < self.n_inputs(), "there is no input {input}");
        // SAFETY: C's tensor, one of its inputs, and room for the words.
        unsafe { c::emr_method_draw(self.raw, input as u32, first, words.len(), words.as_mut_ptr()) }
    }
}

impl fmt::Debug for MethodTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodTensor").field("name", &self.name()).field("shape", &self.shape()).finish()
    }
}

/// Some elements of a tensor, all inputs side by side.
pub struct Chunk<'c> {
    raw: &'c c::emr_method_chunk,
    tensor: MethodTensor<'c>,
    scratch: &'c mut [f32],
}

impl<'c> Chunk<'c> {
    /// # Safety
    /// C's pointer, valid for `'c`, of a method with these stages so far.
    unsafe fn new(raw: *const c::emr_method_chunk, method: &OwnMethod<'_>, stages: &[Stage]) -> Self {
        // SAFETY: the caller's.
        let raw = unsafe { &*raw };
        // SAFETY: likewise.
        let tensor = unsafe { MethodTensor::new(raw.tensor, stages) };
        // SAFETY: this thread's alone.
        let scratch = unsafe { zeroed(raw.scratch, raw.n * method.raw.scratch_floats as usize) };
        Self { raw, tensor, scratch }
    }

    /// The tensor that they are of.
    pub fn tensor(&self) -> MethodTensor<'c> {
        self.tensor
    }

    /// How many they are.
    pub fn n(&self) -> usize {
        self.raw.n
    }

    /// The tensor's element with which they begin.
    pub fn first(&self) -> u64 {
        self.raw.first
    }

    /// The position of the first one among all that stages run over: [`first`](Self::first), but where
    /// tensors are joined.
    pub fn position(&self) -> u64 {
        self.raw.position
    }

    /// The elements of each input.
    pub fn inputs(&self) -> impl Iterator<Item = &'c [f32]> {
        let (inputs, n) = (self.raw.inputs, self.raw.n);
        // SAFETY: n values of each of `n_inputs`, not written to meanwhile.
        (0..self.tensor.n_inputs()).map(move |i| unsafe { slice(*inputs.add(i), n) })
    }

    /// Those of one.
    pub fn input(&self, i: usize) -> &'c [f32] {
        self.inputs().nth(i).expect("a number below that of inputs")
    }

    /// The base's weights; none: there is no base, or it is an input.
    pub fn base(&self) -> Option<&'c [f32]> {
        // SAFETY: n values, not written to meanwhile.
        (!self.raw.base.is_null()).then(|| unsafe { slice(self.raw.base, self.raw.n) })
    }

    /// [`MergingMethod::scratch_floats`] for each element; 0 at first.
    pub fn scratch(&mut self) -> &mut [f32] {
        self.scratch
    }
}

impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, n) = (self.first(), self.n());
        f.debug_struct("Chunk").field("tensor", &self.tensor).field("first", &first).field("n", &n).finish()
    }
}

/// Memory of C's for this thread, which may not have been written to before.
///
/// # Safety
/// There are n floats that are nobody else's for `'a`.
unsafe fn zeroed<'a>(first: *mut f32, n: usize) -> &'a mut [f32] {
    if n > 0 {
        // SAFETY: the caller's; 0.0 is all zero bits.
        unsafe { first.write_bytes(0, n) };
    }
    // SAFETY: the caller's.
    unsafe { slice_mut(first, n) }
}

/// A method of the host's with the structs that C borrows. It stays where it is: `raw` points to all of it.
struct OwnMethod<'a> {
    raw: c::emr_method,
    info: MethodInfo,
    stages: Vec<Stage>,
    method: Box<dyn MergingMethod + 'a>,
    _lowered: LoweredParts,
}

/// What `raw` points to.
struct LoweredParts {
    name: CString,
    _parameter_names: Vec<CString>,
    parameters: Vec<c::emr_method_parameter>,
    stages: Vec<c::emr_method_stage>,
}

// SAFETY: the pointers are to what it owns, which does not change; the method may be sent and shared.
unsafe impl Send for OwnMethod<'_> {}
// SAFETY: likewise.
unsafe impl Sync for OwnMethod<'_> {}

impl<'a> OwnMethod<'a> {
    fn new(method: Box<dyn MergingMethod + 'a>) -> Result<Arc<Self>> {
        let (info, stages) = (method.info(), method.stages());
        if stages.len() > STAGES_MAX {
            let why =
                format!("the method '{}' has {} stages, more than {STAGES_MAX}", info.name, stages.len());
            return Err(Error::new(ErrorKind::InvalidArgument, why));
        }
        let lowered = LoweredParts::new(&info, &stages)?;
        let scratch_floats = method.scratch_floats();
        Ok(Arc::new_cyclic(|own: &Weak<Self>| {
            let mut raw = lowered.method(&info);
            raw.user = own.as_ptr().cast_mut().cast();
            raw.scratch_floats = scratch_floats;
            Self { raw, info, stages, method, _lowered: lowered }
        }))
    }

    /// Those before a stage, whose numbers it is given.
    fn stages_before(&self, stage: usize) -> &[Stage] {
        &self.stages[..stage]
    }
}

impl LoweredParts {
    fn new(info: &MethodInfo, stages: &[Stage]) -> Result<Self> {
        let parameter_names =
            info.parameters.iter().map(|parameter| c_string(&parameter.name)).collect::<Result<Vec<_>>>()?;
        let parameters = info.parameters.iter().zip(&parameter_names);
        Ok(Self {
            name: c_string(&info.name)?,
            parameters: parameters.map(|(parameter, name)| parameter.lower(name)).collect(),
            _parameter_names: parameter_names,
            stages: stages.iter().zip(STAGES).map(|(stage, lowered)| lowered.with_kind(*stage)).collect(),
        })
    }

    fn method(&self, info: &MethodInfo) -> c::emr_method {
        let mut stages = [null(); STAGES_MAX];
        stages.iter_mut().zip(&self.stages).for_each(|(to, stage)| *to = stage);
        c::emr_method {
            name: self.name.as_ptr(),
            parameters: self.parameters.as_ptr(),
            n_parameters: self.parameters.len() as u32,
            stages,
            check: Some(check),
            row_length: Some(row_length),
            needed_stages: Some(needed_stages),
            combine: Some(combine),
            base: info.base.raw(),
            min_tasks: info.min_tasks,
            max_tasks: info.max_tasks,
            whole_model: info.whole_model.into(),
            ..Default::default()
        }
    }
}

/// The functions of a stage: C does not tell them which one it is, so each has its own.
struct StageFns {
    n_found: unsafe extern "C" fn(*const c::emr_method_tensor) -> u32,
    add_sums: unsafe extern "C" fn(*const c::emr_method_chunk, *mut f64),
    list_keys: unsafe extern "C" fn(*const c::emr_method_chunk, u32, *mut f32),
    place_cut: unsafe extern "C" fn(*const c::emr_method_tensor, u32, *mut u32) -> u64,
    settle: unsafe extern "C" fn(*const c::emr_method_tensor, *mut f64, *mut c::emr_error) -> c::emr_status,
}

impl StageFns {
    const fn of<const STAGE: usize>() -> Self {
        Self {
            n_found: n_found::<STAGE>,
            add_sums: add_sums::<STAGE>,
            list_keys: list_keys::<STAGE>,
            place_cut: place_cut::<STAGE>,
            settle: settle::<STAGE>,
        }
    }

    fn with_kind(&self, kind: Stage) -> c::emr_method_stage {
        let stage = c::emr_method_stage {
            n_found: Some(self.n_found),
            settle: Some(self.settle),
            ..Default::default()
        };
        match kind {
            Stage::Sums(_) => c::emr_method_stage { add_sums: Some(self.add_sums), ..stage },
            Stage::Cuts(_) => c::emr_method_stage {
                list_keys: Some(self.list_keys),
                place_cut: Some(self.place_cut),
                ..stage
            },
        }
    }
}

const STAGES: [StageFns; STAGES_MAX] =
    [StageFns::of::<0>(), StageFns::of::<1>(), StageFns::of::<2>(), StageFns::of::<3>()];

/// The method that a tensor is handed to.
///
/// # Safety
/// C's pointer, of a combination with an own method, valid for `'c`.
unsafe fn method_of<'c>(tensor: *const c::emr_method_tensor) -> &'c OwnMethod<'c> {
    // SAFETY: the user that `OwnMethod::new` set; combinations and their models keep it.
    unsafe { &*(*tensor).user.cast::<OwnMethod<'c>>() }
}

unsafe extern "C" fn check(tensor: *const c::emr_method_tensor, error: *mut c::emr_error) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's tensor, before any stage.
        let (own, tensor) = unsafe { (method_of(tensor), MethodTensor::new(tensor, &[])) };
        own.method.check(&tensor)
    })
}

unsafe extern "C" fn row_length(tensor: *const c::emr_method_tensor) -> u64 {
    callback_infallible(0, || {
        // SAFETY: C's tensor, before any stage.
        let (own, tensor) = unsafe { (method_of(tensor), MethodTensor::new(tensor, &[])) };
        own.method.row_length(&tensor)
    })
}

unsafe extern "C" fn needed_stages(tensor: *const c::emr_method_tensor) -> u32 {
    callback_infallible(0, || {
        // SAFETY: C's tensor, before any stage.
        let (own, tensor) = unsafe { (method_of(tensor), MethodTensor::new(tensor, &[])) };
        own.method.needed_stages(&tensor)
    })
}

unsafe extern "C" fn combine(chunk: *const c::emr_method_chunk, error: *mut c::emr_error) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's chunk, after all stages; `out` is this thread's, and none of its inputs.
        unsafe {
            let own = method_of((*chunk).tensor);
            let out = zeroed((*chunk).out, (*chunk).n);
            own.method.combine(&mut Chunk::new(chunk, own, &own.stages), out)
        }
    })
}

unsafe extern "C" fn n_found<const STAGE: usize>(tensor: *const c::emr_method_tensor) -> u32 {
    // SAFETY: C's tensor.
    unsafe { method_of(tensor).stages[STAGE].n_found((*tensor).n_inputs) }
}

unsafe extern "C" fn add_sums<const STAGE: usize>(chunk: *const c::emr_method_chunk, sums: *mut f64) {
    callback_infallible((), || {
        // SAFETY: C's chunk, and as many sums, all 0, as `n_found` told.
        unsafe {
            let own = method_of((*chunk).tensor);
            let n = own.stages[STAGE].n_found((*(*chunk).tensor).n_inputs);
            let sums = slice_mut(sums, n as usize);
            own.method.add_sums(STAGE, &mut Chunk::new(chunk, own, own.stages_before(STAGE)), sums);
        }
    });
}

unsafe extern "C" fn list_keys<const STAGE: usize>(
    chunk: *const c::emr_method_chunk,
    list: u32,
    keys: *mut f32,
) {
    // SAFETY: C's chunk, with room for its keys, which are 0 where the method panics.
    let keys = unsafe { zeroed(keys, (*chunk).n) };
    callback_infallible((), || {
        // SAFETY: likewise.
        unsafe {
            let own = method_of((*chunk).tensor);
            own.method.list_keys(STAGE, &mut Chunk::new(chunk, own, own.stages_before(STAGE)), list, keys);
        }
    });
}

unsafe extern "C" fn place_cut<const STAGE: usize>(
    tensor: *const c::emr_method_tensor,
    cut: u32,
    list: *mut u32,
) -> u64 {
    let (of, k) = callback_infallible((0, 0), || {
        // SAFETY: C's tensor.
        let own: &OwnMethod<'_> = unsafe { method_of(tensor) };
        // SAFETY: likewise, with what stages before have found.
        let tensor = unsafe { MethodTensor::new(tensor, own.stages_before(STAGE)) };
        own.method.place_cut(STAGE, &tensor, cut)
    });
    // SAFETY: an output of C's.
    unsafe { *list = of };
    k
}

unsafe extern "C" fn settle<const STAGE: usize>(
    tensor: *const c::emr_method_tensor,
    found: *mut f64,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's tensor, with what stages before have found, and behind it this one's numbers: as many
        // as `n_found` told.
        unsafe {
            let own = method_of(tensor);
            let n = own.stages[STAGE].n_found((*tensor).n_inputs);
            let tensor = MethodTensor::new(tensor, own.stages_before(STAGE));
            own.method.settle(STAGE, &tensor, slice_mut(found, n as usize))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_inputs_and_do_not_wrap() {
        assert_eq!(Number { fixed: 1, per_input: 2, per_pair: 3 }.of(4), 1 + 8 + 48);
        let most = Number { fixed: u32::MAX, per_input: u32::MAX, per_pair: u32::MAX };
        assert_eq!(Stage::Sums(most).n_found(u32::MAX), u32::MAX);
        assert_eq!(Stage::Cuts(most).n_found(u32::MAX), u32::MAX - 1);
    }

    #[test]
    fn a_cut_keeps_the_first_of_equal_keys() {
        let cut = Cut::at(&[9.0, 9.0, 0.5, 3.0], 1);
        assert!(cut.is_above(0.6, 10) && cut.is_above(0.5, 2));
        assert!(!cut.is_above(0.5, 3) && !cut.is_above(0.4, 0));
    }
}
