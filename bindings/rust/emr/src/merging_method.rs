//! What a merging method of the program's own is: it sees chunks of tensors, all inputs side by side, and
//! computes what becomes of them.

use crate::error::BoxError;
use crate::input::slice;
use crate::method::MethodInfo;
use crate::text::text;
use emr_sys as c;
use std::fmt;

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
    pub(crate) fn n_found(self, n_inputs: u32) -> u32 {
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
        panic!("stage {stage} of the method has sums, but it has no add_sums");
    }

    /// Of a stage of [cuts](Stage::Cuts): the chunk's keys in list number `list`, one for each element, at
    /// least 0 and finite, and the same each time.
    fn list_keys(&self, stage: usize, _chunk: &mut Chunk<'_>, _list: u32, _keys: &mut [f32]) {
        panic!("stage {stage} of the method has cuts, but it has no list_keys");
    }

    /// Of a stage of [cuts](Stage::Cuts): the list that cut number `cut` is of, and how many of its largest
    /// keys it keeps. Cuts of one list are side by side, in ascending order of lists.
    fn place_cut(&self, stage: usize, _tensor: &MethodTensor<'_>, _cut: u32) -> (u32, u64) {
        panic!("stage {stage} of the method has cuts, but it has no place_cut");
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
    pub(crate) unsafe fn new(raw: *const c::emr_method_tensor, stages: &[Stage]) -> Self {
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
    pub(crate) unsafe fn new(
        raw: *const c::emr_method_chunk,
        scratch: &'c mut [f32],
        stages: &[Stage],
    ) -> Self {
        // SAFETY: the caller's.
        let raw = unsafe { &*raw };
        // SAFETY: likewise.
        let tensor = unsafe { MethodTensor::new(raw.tensor, stages) };
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
