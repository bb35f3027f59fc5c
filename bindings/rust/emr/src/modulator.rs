//! One task's modulator: what turns the base into the task's weights, a piece at a time.

use crate::call::{call, call_plain};
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{keep, raw, Handle, Keep};
use crate::modulation::ModulatorKind;
use crate::text::{c_string, optional_text};
use emr_sys as c;
use std::fmt;
use std::ptr::null;

/// A task's modulator, out of a bundle ([`Task::modulator`](crate::Task::modulator)) or made by the host over its own
/// memory. It holds its working memory, so that applying allocates nothing: make one for each thread.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// let (unified, base) = ([1.0f32, -2.0, 3.0, -4.0], [10.0f32; 4]);
/// let mut modulator = emr::Modulator::new()?;
/// modulator.add("w", emr::Codes {
///     unified: Some((emr::Dtype::F32, emr::as_bytes(&unified))),
///     mask: &[0b0101],
///     rescalers: &[0.5],
///     count: 4,
///     ..Default::default()
/// })?;
/// let mut weights = [0.0f32; 4];
/// modulator.apply(emr::Application {
///     tensor: modulator.find("w").unwrap(),
///     first: 0,
///     base: Some((emr::Dtype::F32, emr::as_bytes(&base))),
///     out: (emr::Dtype::F32, emr::as_bytes_mut(&mut weights)),
/// })?;
/// assert_eq!(weights, [10.5, 10.0, 11.5, 10.0]);
/// # Ok(())
/// # }
/// ```
///
/// It is used by one thread at a time:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<emr::Modulator<'static>>();
/// ```
pub struct Modulator<'a> {
    handle: Handle<c::emr_modulator>,
    /// After the handle.
    keep: Vec<Keep<'a>>,
}

raw!(emr_modulator, emr_modulator_destroy);

/// One tensor of a modulator that the host makes: a matrix with a scale for each row, or one row. Codes of every kind are
/// those of a bundle (docs/bundle-format.md), packed without gaps, the lowest bit first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codes<'a> {
    /// The kind.
    pub kind: ModulatorKind,
    /// The unified task vector, of kinds that have one: F32, F16 or BF16.
    pub unified: Option<(Dtype, &'a [u8])>,
    /// Codes, to the end of the last one.
    pub mask: &'a [u8],
    /// A scale for each row; of two-sided ones two: where the mask is 1, and where it is 0.
    pub rescalers: &'a [f32],
    /// Sign: BF16, scales of columns; none: all 1.
    pub columns: Option<&'a [u8]>,
    /// Parameters.
    pub count: u64,
    /// As [`Modulation`](crate::Modulation) has it.
    pub thinning: u32,
    /// Likewise.
    pub n_levels: u32,
    /// Thin: of the positions.
    pub seed: u32,
}

/// Which weights to compute, and from what.
#[derive(Debug)]
pub struct Application<'p> {
    /// The tensor's number.
    pub tensor: u32,
    /// The parameter of the tensor with which it begins.
    pub first: u64,
    /// The base's values of the same parameters; none: the change alone, as if they were +0.
    pub base: Option<(Dtype, &'p [u8])>,
    /// The task's, written here. As many parameters are computed as it has room for.
    pub out: (Dtype, &'p mut [u8]),
}

/// Parameters, and bits of a mask that are 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModulatorStats {
    /// Parameters.
    pub count: u64,
    /// Whose bit is set.
    pub ones: u64,
}

impl Codes<'_> {
    /// How many rows there are, once everything is seen to have its length: what C cannot see.
    fn check(&self) -> std::result::Result<u64, &'static str> {
        let scales_of_row = if self.kind == ModulatorKind::TwoSided { 2 } else { 1 };
        let rows = self.rescalers.len() as u64 / scales_of_row;
        let has =
            |bytes: &[u8], needed: Option<u64>| needed.is_some_and(|needed| needed <= bytes.len() as u64);
        if !has(self.mask, self.code_bytes()) {
            return Err("the codes are too few");
        }
        if self.unified.is_some_and(|(dtype, unified)| !has(unified, dtype.bytes_of(self.count))) {
            return Err("the unified values are too few");
        }
        if self.columns.is_some_and(|columns| !has(columns, self.count.div_ceil(rows.max(1)).checked_mul(2)))
        {
            return Err("the scales of columns are too few");
        }
        Ok(rows)
    }

    /// Bytes of the codes; none where there cannot be as many.
    fn code_bytes(&self) -> Option<u64> {
        let bits = match (self.kind, self.thinning, self.n_levels) {
            (ModulatorKind::Thin, thinning, _) => {
                let kept_of_64 = if thinning == 0 { 16 } else { 64 / u64::from(thinning) };
                self.count.div_ceil(64).checked_mul(kept_of_64)
            }
            (ModulatorKind::Levels, _, 0 | 3 | 4) => self.count.checked_mul(2),
            (ModulatorKind::Levels, _, 8) => self.count.checked_mul(3),
            (ModulatorKind::Levels, _, _) => self.count.checked_mul(4),
            _ => Some(self.count),
        };
        bits.map(|bits| bits.div_ceil(8))
    }
}

impl<'a> Modulator<'a> {
    /// An empty one, for the host to fill.
    pub fn new() -> Result<Self> {
        // SAFETY: valid arguments.
        let handle =
            Handle::make(|modulator, error| unsafe { c::emr_modulator_create(modulator, null(), error) })?;
        Ok(Self::from_handle(handle, Vec::new()))
    }

    pub(crate) fn from_handle(handle: Handle<c::emr_modulator>, keep: Vec<Keep<'a>>) -> Self {
        Self { handle, keep }
    }

    /// For C.
    pub(crate) fn raw(&self) -> *mut c::emr_modulator {
        self.handle.get()
    }

    /// Adds a tensor to one that the host fills.
    pub fn add(&mut self, name: &str, codes: Codes<'a>) -> Result<()> {
        let rows = codes.check().map_err(|why| {
            Error::new(ErrorKind::InvalidArgument, format!("tensor '{name}': {why}")).about_tensor(name)
        })?;
        let name = c_string(name)?;
        let raw = c::emr_modulation {
            name: name.as_ptr(),
            unified: codes.unified.map_or(null(), |(_, values)| values.as_ptr().cast()),
            unified_dtype: Dtype::raw_or_none(codes.unified.map(|(dtype, _)| dtype)),
            mask: codes.mask.as_ptr(),
            rescalers: codes.rescalers.as_ptr(),
            columns: codes.columns.map_or(null(), |scales| scales.as_ptr().cast()),
            count: codes.count,
            n_rescalers: rows,
            kind: codes.kind.raw(),
            thinning: codes.thinning,
            n_levels: codes.n_levels,
            seed: codes.seed,
            ..Default::default()
        };
        // SAFETY: valid arguments, as long as C looks at them; the memory outlives the handle, and the name is kept.
        call(|error| unsafe { c::emr_modulator_add(self.raw(), &raw, error) })?;
        self.keep.push(keep(name));
        Ok(())
    }

    /// How many tensors it has.
    pub fn len(&self) -> usize {
        // SAFETY: a valid modulator.
        unsafe { c::emr_modulator_n_tensors(self.raw()) as usize }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the merged tensor of that name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let name = c_string(name).ok()?;
        let mut number = 0;
        // SAFETY: valid arguments.
        call_plain(|| unsafe { c::emr_modulator_find_tensor(self.raw(), name.as_ptr(), &mut number) })
            .ok()?;
        Some(number)
    }

    /// The name of a tensor.
    pub fn tensor_name(&self, tensor: u32) -> Option<&str> {
        // SAFETY: the modulator's text.
        unsafe { optional_text(c::emr_modulator_tensor_name(self.raw(), tensor)) }
    }

    /// How many parameters it has; 0 where there is none.
    pub fn tensor_count(&self, tensor: u32) -> u64 {
        // SAFETY: a valid modulator; any number will do.
        unsafe { c::emr_modulator_tensor_count(self.raw(), tensor) }
    }

    /// How many rescalers.
    pub fn n_rescalers(&self, tensor: u32) -> u64 {
        // SAFETY: a valid modulator; any number will do.
        unsafe { c::emr_modulator_n_rescalers(self.raw(), tensor) }
    }

    /// Reads rescalers of a tensor, from number `first` on.
    pub fn read_rescalers(&mut self, tensor: u32, first: u64, rescalers: &mut [f32]) -> Result<()> {
        // SAFETY: there is room for as many.
        call(|error| unsafe {
            let n = rescalers.len();
            c::emr_modulator_read_rescalers(self.raw(), tensor, first, n, rescalers.as_mut_ptr(), error)
        })
    }

    /// Computes weights.
    pub fn apply(&mut self, application: Application<'_>) -> Result<()> {
        let (out_dtype, out) = application.out;
        let count = (out.len() as u64 * 8) / u64::from(out_dtype.bits());
        if let Some((dtype, base)) = application.base {
            if dtype.bytes_of(count).map_or(true, |needed| needed > base.len() as u64) {
                let sizes = format!("{} bytes of the base are too few for {count} weights", base.len());
                return Err(Error::new(ErrorKind::InvalidArgument, sizes));
            }
        }
        let raw = c::emr_application {
            base: application.base.map_or(null(), |(_, values)| values.as_ptr().cast()),
            base_dtype: Dtype::raw_or_none(application.base.map(|(dtype, _)| dtype)),
            out: out.as_mut_ptr().cast(),
            out_dtype: out_dtype.raw(),
            first: application.first,
            count,
            tensor: application.tensor,
            without_base: application.base.is_none().into(),
            ..Default::default()
        };
        // SAFETY: valid arguments, with memory for as many parameters.
        call(|error| unsafe { c::emr_modulator_apply(self.raw(), &raw, error) })
    }

    /// Counts the bits of a tensor's mask; none of kinds without a unified vector.
    pub fn stats(&mut self, tensor: u32) -> Result<ModulatorStats> {
        let mut raw = c::emr_modulator_stats::default();
        // SAFETY: the struct's size is set.
        call(|error| unsafe { c::emr_modulator_get_stats(self.raw(), tensor, &mut raw, error) })?;
        Ok(ModulatorStats { count: raw.count, ones: raw.ones })
    }
}

impl fmt::Debug for Modulator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modulator").field("tensors", &self.len()).finish()
    }
}
