//! What the task vectors of several tasks have in common, from one reading of the models; and how kin they
//! are.

use crate::call::{call, filled};
use crate::error::Result;
use crate::handle::{raw, Concurrent, Handle};
use crate::input::slice;
use crate::merge::OnNonfinite;
use crate::model::Model;
use crate::numbered::numbered;
use crate::policy::Policy;
use crate::resources::{Lowered, Resources};
use crate::tensor::Tensor;
use crate::text::{c_string, c_text, text};
use emr_sys as c;
use std::fmt;
use std::marker::PhantomData;

raw!(emr_statistics, emr_statistics_destroy);
// SAFETY: calls that take it as const only look; all others take it exclusively.
unsafe impl Concurrent for c::emr_statistics {}

numbered! {
    /// Over what sums are taken.
    #[derive(Default)]
    pub enum StatisticsScope {
        /// All: one group.
        #[default]
        Model = EMR_STATISTICS_SCOPE_MODEL,
        /// Each tensor, in the base's order.
        Tensor = EMR_STATISTICS_SCOPE_TENSOR,
        /// Each layer, by number; what is in none comes last.
        Layer = EMR_STATISTICS_SCOPE_LAYER,
        /// Each kind of tensor, see [`kind_of`].
        Kind = EMR_STATISTICS_SCOPE_KIND,
    }
}

numbered! {
    /// What the published program's `--low-precision` does to task vectors before it compares them: times 127
    /// / their largest magnitude, and rounded to whole numbers.
    #[derive(Default)]
    pub enum StatisticsRounding {
        /// Nothing.
        #[default]
        None = EMR_STATISTICS_ROUNDING_NONE,
        /// The largest magnitude of the whole task vector.
        PerModel = EMR_STATISTICS_ROUNDING_PER_MODEL,
        /// That of each tensor.
        PerTensor = EMR_STATISTICS_ROUNDING_PER_TENSOR,
    }
}

/// What statistics are taken, and how.
#[derive(Default)]
pub struct StatisticsOptions<'a> {
    /// Threads, memory (256 MiB unless set, and the results beside), progress of the run.
    pub resources: Resources<'a>,
    /// Which tensors count: those that a merge with this policy would merge.
    pub policy: Policy,
    /// Fractions from 0 to 1: which quantiles of magnitudes to find.
    pub quantiles: Vec<f64>,
    /// Not 0: of every tensor its first rows alone count.
    pub max_rows: u64,
    /// A tensor that some task lacks does not count at all.
    pub skip_missing: bool,
    /// No groups are kept for tensors, which saves memory where tasks are many.
    pub without_tensors: bool,
    /// Not together with quantiles.
    pub rounding: StatisticsRounding,
    /// What a NaN or an infinity does.
    pub on_nonfinite: OnNonfinite,
}

/// What statistics will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatisticsPlan {
    /// Elements that count.
    pub params: u64,
    /// What one reading reads.
    pub bytes_in: u64,
    /// With the results, at most what resources allow.
    pub peak_memory: u64,
    /// Of it: results, which are kept.
    pub result_bytes: u64,
    /// Tensors that count.
    pub n_tensors: u32,
    /// Tensors of the base that do not.
    pub n_left_out: u32,
    /// Groups, with that of tensors in no layer.
    pub n_layers: u32,
    /// Groups.
    pub n_kinds: u32,
}

/// Statistics of task vectors: products, distances and agreeing signs of every two, norms, zeros, kurtosis,
/// quantiles; per tensor, layer, kind of tensor and for the whole model. The same models give the same bits,
/// whatever the threads, the memory and the processor.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # let (base, [math, code]) = worlds::models()?;
/// let mut statistics = emr::Statistics::new(Default::default())?;
/// statistics.set_base(&base)?;
/// statistics.add_task("math", &math)?;
/// statistics.add_task("code", &code)?;
/// statistics.run()?;
/// for layer in statistics.groups(emr::StatisticsScope::Layer) {
///     println!("{}: |math| = {}", layer.name(), layer.moments(0)?.norm);
/// }
/// let kinship = statistics.model()?.kinship(&Default::default())?; // Pearson's correlations
/// assert_eq!(kinship.get(0, 1), kinship.get(1, 0));
/// # Ok(())
/// # }
/// # mod worlds {
/// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/mod.rs"));
/// # }
/// ```
pub struct Statistics<'a> {
    handle: Handle<c::emr_statistics>,
    _resources: Lowered<'a>,
    models: Vec<Model<'a>>,
    n_tasks: usize,
}

impl<'a> Statistics<'a> {
    /// Statistics of nothing yet.
    pub fn new(options: StatisticsOptions<'a>) -> Result<Self> {
        let resources = options.resources.lower()?;
        let policy = options.policy.lower()?;
        let (raw_resources, raw_policy) = (resources.raw(), policy.raw());
        let raw_options = c::emr_statistics_options {
            resources: &raw_resources,
            policy: &raw_policy,
            quantiles: options.quantiles.as_ptr(),
            n_quantiles: options.quantiles.len() as u32,
            max_rows: options.max_rows,
            skip_missing: options.skip_missing.into(),
            without_tensors: options.without_tensors.into(),
            rounding: options.rounding.raw(),
            on_nonfinite: options.on_nonfinite.raw(),
            ..Default::default()
        };
        // SAFETY: all of it lives during the call; resources, which C keeps, are kept.
        let handle =
            Handle::make(|out, error| unsafe { c::emr_statistics_create(out, &raw_options, error) })?;
        Ok(Self { handle, _resources: resources, models: Vec::new(), n_tasks: 0 })
    }

    /// What task vectors are the difference from.
    pub fn set_base(&mut self, base: &Model<'a>) -> Result<()> {
        self.models.push(base.clone());
        // SAFETY: the model is kept.
        call(|error| unsafe { c::emr_statistics_set_base(self.handle.get(), base.raw(), error) })
    }

    /// One more task. Names are unique, 1 to 255 bytes.
    pub fn add_task(&mut self, name: &str, model: &Model<'a>) -> Result<()> {
        let name = c_string(name)?;
        self.models.push(model.clone());
        // SAFETY: the model is kept; the name is copied.
        call(|error| unsafe {
            c::emr_statistics_add_task(self.handle.get(), name.as_ptr(), model.raw(), error)
        })?;
        self.n_tasks += 1;
        Ok(())
    }

    /// What the run will take.
    pub fn plan(&mut self) -> Result<StatisticsPlan> {
        let mut plan = c::emr_statistics_plan::default();
        // SAFETY: filled by the call.
        call(|error| unsafe { c::emr_statistics_get_plan(self.handle.get(), &mut plan, error) })?;
        Ok(StatisticsPlan {
            params: plan.params,
            bytes_in: plan.bytes_in,
            peak_memory: plan.peak_memory,
            result_bytes: plan.result_bytes,
            n_tensors: plan.n_tensors,
            n_left_out: plan.n_left_out,
            n_layers: plan.n_layers,
            n_kinds: plan.n_kinds,
        })
    }

    /// Reads the models. After a failure it may be called again.
    pub fn run(&mut self) -> Result<()> {
        // SAFETY: the handle is this call's alone.
        call(|error| unsafe { c::emr_statistics_run(self.handle.get(), error) })
    }

    /// How many groups a scope has, after the run (0 before it).
    pub fn n_groups(&self, scope: StatisticsScope) -> u32 {
        // SAFETY: it only looks.
        unsafe { c::emr_statistics_n_groups(self.handle.get(), scope.raw()) }
    }

    /// A scope's `i`-th group, after the run.
    pub fn group(&self, scope: StatisticsScope, i: u32) -> Result<StatisticsGroup<'_>> {
        let scope = scope.raw();
        // SAFETY: filled by the call; what it points to is the handle's, until it runs again.
        let raw = filled(|group| unsafe { c::emr_statistics_get_group(self.handle.get(), scope, i, group) })?;
        Ok(StatisticsGroup { raw, of: PhantomData })
    }

    /// All groups of a scope, after the run; none before it.
    pub fn groups(&self, scope: StatisticsScope) -> impl Iterator<Item = StatisticsGroup<'_>> {
        (0..self.n_groups(scope)).map_while(move |i| self.group(scope, i).ok())
    }

    /// The group that is the whole model, after the run.
    pub fn model(&self) -> Result<StatisticsGroup<'_>> {
        self.group(StatisticsScope::Model, 0)
    }

    /// The mean of the tensors' kinships, each weighted by its elements: the published program's
    /// `--split-calculation`. It is not the kinship of the model.
    pub fn split_kinship(&self, options: &KinshipOptions) -> Result<Kinship> {
        let raw = options.raw();
        Kinship::fill(self.n_tasks, |matrix, error| {
            // SAFETY: there is room for every two tasks.
            unsafe { c::emr_statistics_split_kinship(self.handle.get(), &raw, matrix, error) }
        })
    }
}

impl fmt::Debug for Statistics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics").field("n_tasks", &self.n_tasks).finish_non_exhaustive()
    }
}

/// The statistics of a group, for n tasks in the order in which they were added. Matrices are n times n, row
/// by row: that of `i` and `j` is `matrix[i * n + j]`.
#[derive(Clone, Copy)]
pub struct StatisticsGroup<'s> {
    raw: c::emr_statistics_group,
    of: PhantomData<&'s ()>,
}

// SAFETY: its pointers are to memory that is not written to during 's.
unsafe impl Send for StatisticsGroup<'_> {}
// SAFETY: likewise.
unsafe impl Sync for StatisticsGroup<'_> {}

/// What follows from a group's sums for one task.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskMoments {
    /// Square root of the sum of x^2.
    pub norm: f64,
    /// Of x.
    pub mean: f64,
    /// Of |x|.
    pub mean_magnitude: f64,
    /// Standard deviation of the elements.
    pub deviation: f64,
    /// 3 for normal ones; NaN where all x are 0.
    pub kurtosis: f64,
    /// Zeros / count.
    pub zero_share: f64,
}

impl<'s> StatisticsGroup<'s> {
    fn each<T>(&self, first: *const T, n: usize) -> &'s [T] {
        if first.is_null() {
            return &[];
        }
        // SAFETY: the handle's array of that many, which is not written to during 's.
        unsafe { slice(first, n) }
    }

    fn each_pair<T>(&self, first: *const T) -> &'s [T] {
        self.each(first, self.n_tasks() * self.n_tasks())
    }

    fn each_task<T>(&self, first: *const T) -> &'s [T] {
        self.each(first, self.n_tasks())
    }

    /// A tensor's, a layer's number, a kind; `""` for the model, and for tensors in no layer.
    pub fn name(&self) -> &'s str {
        // SAFETY: the handle's.
        unsafe { text(self.raw.name) }
    }

    /// The base's tensor, of a tensor's group.
    pub fn tensor(&self) -> Option<Tensor<'s>> {
        // SAFETY: the base, which the statistics keep.
        unsafe { Tensor::at(self.raw.tensor) }
    }

    /// Tasks, n.
    pub fn n_tasks(&self) -> usize {
        self.raw.n_tasks as usize
    }

    /// Matrix: sums of `x_i x_j`; on the diagonal, squares of norms.
    pub fn products(&self) -> &'s [f64] {
        self.each_pair(self.raw.products)
    }

    /// Matrix: sums of `(x_i - x_j)^2`, taken as such, without cancellation.
    pub fn distances(&self) -> &'s [f64] {
        self.each_pair(self.raw.distances)
    }

    /// Of each task: the sum of x.
    pub fn sums(&self) -> &'s [f64] {
        self.each_task(self.raw.sums)
    }

    /// Of each task: the sum of |x|.
    pub fn magnitudes(&self) -> &'s [f64] {
        self.each_task(self.raw.magnitudes)
    }

    /// Of each task: the sum of x^4.
    pub fn fourths(&self) -> &'s [f64] {
        self.each_task(self.raw.fourths)
    }

    /// Of each task: the largest |x|.
    pub fn largest(&self) -> &'s [f64] {
        self.each_task(self.raw.largest)
    }

    /// As many as [`StatisticsOptions::quantiles`] for each task, task by task; none for layers and kinds.
    pub fn quantiles(&self) -> &'s [f64] {
        self.each(self.raw.quantiles, self.n_tasks() * self.raw.n_quantiles as usize)
    }

    /// Of each task: elements with x = 0.
    pub fn zeros(&self) -> &'s [u64] {
        self.each_task(self.raw.zeros)
    }

    /// Of each task: those among them that [`StatisticsOptions::on_nonfinite`] set to 0.
    pub fn nonfinite(&self) -> &'s [u64] {
        self.each_task(self.raw.nonfinite)
    }

    /// Matrix: elements where both are above 0, or both below.
    pub fn same_signs(&self) -> &'s [u64] {
        self.each_pair(self.raw.same_signs)
    }

    /// Matrix: elements where neither is 0.
    pub fn both(&self) -> &'s [u64] {
        self.each_pair(self.raw.both)
    }

    /// Elements.
    pub fn count(&self) -> u64 {
        self.raw.count
    }

    /// Elements where one task's is above 0 and another's below.
    pub fn conflicts(&self) -> u64 {
        self.raw.conflicts
    }

    /// Elements where all are 0.
    pub fn unchanged(&self) -> u64 {
        self.raw.unchanged
    }

    /// The layer's number; none: it has none, or it is another scope.
    pub fn layer(&self) -> Option<u64> {
        u64::try_from(self.raw.layer).ok()
    }

    /// Tensors in it.
    pub fn n_tensors(&self) -> u32 {
        self.raw.n_tensors
    }

    /// Whether [`StatisticsOptions::rounding`] was asked for.
    pub fn is_rounded(&self) -> bool {
        self.raw.is_rounded != 0
    }

    /// What follows for one task.
    pub fn moments(&self, task: u32) -> Result<TaskMoments> {
        // SAFETY: the group as C filled it; moments are filled by the call.
        let moments: c::emr_task_moments =
            filled(|moments| unsafe { c::emr_statistics_get_moments(&self.raw, task, moments) })?;
        Ok(TaskMoments {
            norm: moments.norm,
            mean: moments.mean,
            mean_magnitude: moments.mean_magnitude,
            deviation: moments.deviation,
            kurtosis: moments.kurtosis,
            zero_share: moments.zero_share,
        })
    }

    /// How kin every two tasks are.
    pub fn kinship(&self, options: &KinshipOptions) -> Result<Kinship> {
        let raw = options.raw();
        Kinship::fill(self.n_tasks(), |matrix, error| {
            // SAFETY: there is room for every two tasks.
            unsafe { c::emr_kinship(&self.raw, &raw, matrix, error) }
        })
    }
}

impl fmt::Debug for StatisticsGroup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatisticsGroup")
            .field("name", &self.name())
            .field("count", &self.count())
            .field("products", &self.products())
            .finish_non_exhaustive()
    }
}

numbered! {
    /// How kin two tasks are.
    #[derive(Default)]
    pub enum KinshipMetric {
        /// The correlation of their task vectors.
        #[default]
        Pearson = EMR_KINSHIP_METRIC_PEARSON,
        /// The cosine of the angle between them.
        Cosine = EMR_KINSHIP_METRIC_COSINE,
        /// The length of their difference: kin is what is small.
        Euclid = EMR_KINSHIP_METRIC_EUCLID,
    }
}

/// How kinship is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KinshipOptions {
    /// What it is.
    pub metric: KinshipMetric,
    /// Cosines lose their sign, as in the published program.
    pub absolute: bool,
}

impl KinshipOptions {
    fn raw(&self) -> c::emr_kinship_options {
        c::emr_kinship_options {
            metric: self.metric.raw(),
            absolute: self.absolute.into(),
            ..Default::default()
        }
    }
}

/// How kin every two of n tasks are. NaN: that is not known, as of a task vector that is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Kinship {
    n: usize,
    values: Vec<f64>,
}

impl Kinship {
    fn fill(n: usize, f: impl FnOnce(*mut f64, *mut c::emr_error) -> c::emr_status) -> Result<Self> {
        let mut values = vec![0.0; n * n];
        call(|error| f(values.as_mut_ptr(), error))?;
        Ok(Self { n, values })
    }

    /// That of two tasks.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.n && j < self.n, "there are {} tasks, not {i} and {j}", self.n);
        self.values[i * self.n + j]
    }

    /// All, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many tasks.
    pub fn n_tasks(&self) -> usize {
        self.n
    }

    /// How kin all are together: the mean over all pairs. NaN where one of them is, and for fewer than two
    /// tasks.
    pub fn mean(&self) -> f64 {
        // SAFETY: n times n values.
        unsafe { c::emr_kinship_mean(self.values.as_ptr(), self.n as u32) }
    }
}

/// How kin tasks are, by the correlations of their task vectors, with all processors and nothing else to say;
/// [`Statistics`] have more.
pub fn kinship(base: &Model<'_>, tasks: &[(&str, &Model<'_>)]) -> Result<Kinship> {
    let mut statistics =
        Statistics::new(StatisticsOptions { without_tensors: true, ..StatisticsOptions::default() })?;
    statistics.set_base(base)?;
    for (name, model) in tasks {
        statistics.add_task(name, model)?;
    }
    statistics.run()?;
    statistics.model()?.kinship(&KinshipOptions::default())
}

/// The number of the layer that a tensor of that name is in.
///
/// ```
/// assert_eq!(emr::layer_of("model.layers.7.mlp.up_proj.weight"), Some(7));
/// assert_eq!(emr::kind_of("model.layers.7.mlp.up_proj.weight"), "up");
/// ```
pub fn layer_of(name: &str) -> Option<u64> {
    // SAFETY: a text that ends in a zero byte.
    u64::try_from(unsafe { c::emr_statistics_layer_of(c_text(name).as_ptr()) }).ok()
}

/// What such a tensor is to its model: `"q"`, `"k"`, `"v"`, `"qkv"`, `"o"`, `"up"`, `"gate"`, `"down"`,
/// `"norm"`, `"embed"`, `"head"` or `"other"`.
pub fn kind_of(name: &str) -> &'static str {
    // SAFETY: a text that ends in a zero byte; a static one comes back.
    unsafe { text(c::emr_statistics_kind_of(c_text(name).as_ptr())) }
}
