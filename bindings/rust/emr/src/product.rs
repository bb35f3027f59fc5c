//! Multiplying by a task's weights without materialising them: the operands.

use crate::call::call;
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::modulator::Modulator;
use crate::text::c_string;
use emr_sys as c;
use std::ffi::CString;
use std::fmt;
use std::ops::Range;
use std::ptr::null;

/// A tensor of a bundle: by its name or, which saves looking for it, by its number there
/// ([`Bundle::find_tensor`](crate::Bundle::find_tensor)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'t> {
    /// The tensor of that name.
    Name(&'t str),
    /// The tensor of that number.
    Number(u32),
}

impl<'t> From<&'t str> for Which<'t> {
    fn from(name: &'t str) -> Self {
        Self::Name(name)
    }
}

impl<'t> From<&'t String> for Which<'t> {
    fn from(name: &'t String) -> Self {
        Self::Name(name)
    }
}

impl From<u32> for Which<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "tensor '{name}'"),
            Self::Number(number) => write!(f, "tensor {number}"),
        }
    }
}

impl Which<'_> {
    pub(crate) fn lower(&self) -> Result<LoweredWhich> {
        Ok(match self {
            Self::Name(name) => LoweredWhich { name: Some(c_string(name)?), number: 0 },
            Self::Number(number) => LoweredWhich { name: None, number: *number },
        })
    }
}

/// As C's structs have it: a name that lives here, or null and a number.
pub(crate) struct LoweredWhich {
    name: Option<CString>,
    pub(crate) number: u32,
}

impl LoweredWhich {
    pub(crate) fn name(&self) -> *const std::ffi::c_char {
        self.name.as_ref().map_or(null(), |name| name.as_ptr())
    }
}

/// How a tensor is seen as a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) rows: u64,
    pub(crate) columns: u64,
}

impl Matrix {
    /// The first dimension, and all others together; of rank below 2, one row.
    pub(crate) fn of(shape: &[u64]) -> Self {
        match shape {
            _ if shape.contains(&0) => Self { rows: 0, columns: 0 },
            [rows, columns @ ..] if !columns.is_empty() => {
                Self { rows: *rows, columns: columns.iter().product() }
            }
            _ => Self { rows: 1, columns: shape.iter().product() },
        }
    }

    /// Its rows cut into shorter ones, of `columns` each where that is not 0.
    pub(crate) fn cut(self, columns: u64) -> Self {
        match columns {
            0 => self,
            _ => Self { rows: self.rows.saturating_mul(self.columns / columns), columns },
        }
    }
}

/// What `n` rows of `each` take that begin `stride` apart (0: nothing lies between them).
pub(crate) fn span_of(n: usize, stride: usize, each: u64) -> u128 {
    let stride = if stride == 0 { u128::from(each) } else { stride as u128 };
    match n {
        0 => 0,
        _ => (n as u128 - 1) * stride + u128::from(each),
    }
}

/// Rows of a merged tensor, seen as a matrix `W` of `[rows, columns]`, times a batch of vectors, each by the
/// weights of its own task: `y[b][r] = sum over c of W_task(b)[first_row + r][c] * x[b][c]`. A tensor's rows
/// are its first dimension, its columns all others together. The order of sums, and so every bit, does not
/// depend on the batch.
#[derive(Debug)]
pub struct Product<'p> {
    tensor: Which<'p>,
    x: &'p [f32],
    y: &'p mut [f32],
    rows: Option<Range<u64>>,
    n_columns: u64,
    x_stride: usize,
    y_stride: usize,
    without_base: bool,
    add: bool,
}

impl<'p> Product<'p> {
    /// All rows of a tensor; `x` and `y` have the batch's vectors one behind the other.
    pub fn new(tensor: impl Into<Which<'p>>, x: &'p [f32], y: &'p mut [f32]) -> Self {
        let tensor = tensor.into();
        Self {
            tensor,
            x,
            y,
            rows: None,
            n_columns: 0,
            x_stride: 0,
            y_stride: 0,
            without_base: false,
            add: false,
        }
    }

    /// These rows alone; `y` has as many values for each vector.
    pub fn rows(mut self, rows: Range<u64>) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Cuts the tensor's rows into shorter ones of so many columns: of fused experts `[experts, rows,
    /// columns]`, say.
    pub fn columns(mut self, n_columns: u64) -> Self {
        self.n_columns = n_columns;
        self
    }

    /// Floats from one vector of `x`, and of `y`, to the next; 0: they lie one behind the other.
    pub fn strides(mut self, x: usize, y: usize) -> Self {
        self.x_stride = x;
        self.y_stride = y;
        self
    }

    /// The change alone, as if all of the base's weights were 0.
    pub fn without_base(mut self) -> Self {
        self.without_base = true;
        self
    }

    /// Adds the product to what `y` has.
    pub fn add(mut self) -> Self {
        self.add = true;
        self
    }

    pub(crate) fn tensor(&self) -> Which<'p> {
        self.tensor
    }

    /// C's struct, for `batch` vectors and a tensor that is such a matrix, of which `which` is what the
    /// tensor is called. Where it is none, no rows are asked for, and C says what is wrong. The struct points
    /// into `self` and `which`.
    pub(crate) fn lower(
        &mut self,
        which: &LoweredWhich,
        batch: usize,
        matrix: Option<Matrix>,
    ) -> Result<c::emr_product> {
        let (rows, matrix) = match matrix.map(|matrix| matrix.cut(self.n_columns)) {
            Some(matrix) => (self.rows.clone().unwrap_or(0..matrix.rows), matrix),
            None => (0..0, Matrix { rows: 0, columns: 0 }),
        };
        let Some(n_rows) = rows.end.checked_sub(rows.start) else {
            return Err(self.refused(format!("rows {} to {} are none", rows.start, rows.end)));
        };
        if n_rows > 0 {
            self.check_room("x", self.x.len(), batch, span_of(batch, self.x_stride, matrix.columns))?;
            self.check_room("y", self.y.len(), batch, span_of(batch, self.y_stride, n_rows))?;
        }
        Ok(c::emr_product {
            name: which.name(),
            tensor: which.number,
            x: self.x.as_ptr(),
            y: self.y.as_mut_ptr(),
            x_stride: self.x_stride,
            y_stride: self.y_stride,
            batch,
            first_row: rows.start,
            n_rows,
            n_columns: self.n_columns,
            without_base: self.without_base.into(),
            add: self.add.into(),
            ..Default::default()
        })
    }

    /// Whether a base has the values of the product's rows.
    fn check_base(&self, lowered: &c::emr_product, base: Option<(Dtype, &[u8])>) -> Result<()> {
        let Some((dtype, base)) = base else { return Ok(()) };
        let values = lowered.n_rows.checked_mul(self.n_columns);
        match values.and_then(|values| dtype.bytes_of(values)) {
            Some(needed) if needed <= base.len() as u64 => Ok(()),
            _ => Err(self.refused(format!(
                "{} bytes of the base are too few for {} rows of {}",
                base.len(),
                lowered.n_rows,
                self.n_columns
            ))),
        }
    }

    fn check_room(&self, what: &str, room: usize, batch: usize, needed: u128) -> Result<()> {
        if needed <= room as u128 {
            return Ok(());
        }
        Err(self.refused(format!("{what} has {room} values, and {batch} vectors take {needed}")))
    }

    fn refused(&self, why: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("{}: {why}", self.tensor))
    }
}

impl Modulator<'_> {
    /// Multiplies rows of a tensor by a batch of vectors without materialising weights; `of[b]` is the place
    /// in `modulators` of vector `b`'s task. Those that have a unified task vector must share it. Modulators
    /// do not know shapes: [`Product::columns`] is required. `base` has the base's values of the product's
    /// rows; none: the change alone.
    ///
    /// ```
    /// # fn main() -> emr::Result<()> {
    /// let unified = [1.0f32, -2.0, 3.0, -4.0];
    /// let mut modulator = emr::Modulator::new()?;
    /// modulator.add("w", emr::Codes {
    ///     unified: Some((emr::Dtype::F32, emr::as_bytes(&unified))),
    ///     mask: &[0b0101],
    ///     rescalers: &[0.5],
    ///     count: 4,
    ///     ..Default::default()
    /// })?;
    /// let mut y = [0.0; 2];
    /// let product = emr::Product::new("w", &[2.0, 8.0], &mut y).columns(2);
    /// emr::Modulator::multiply(&mut [&mut modulator], &[0], product, None)?;
    /// assert_eq!(y, [0.5 * 2.0, 1.5 * 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn multiply(
        modulators: &mut [&mut Self],
        of: &[usize],
        mut product: Product<'_>,
        base: Option<(Dtype, &[u8])>,
    ) -> Result<()> {
        let which = product.tensor.lower()?;
        let pointers = of.iter().map(|&i| modulators.get(i).map(|modulator| modulator.raw()));
        let Some(pointers) = pointers.collect::<Option<Vec<_>>>() else {
            return Err(product.refused(format!(
                "there are {} modulators, fewer than the batch asks for",
                modulators.len()
            )));
        };
        let matrix = match modulators {
            [first, ..] if product.n_columns > 0 => first.find_row(product.tensor),
            _ => None,
        };
        let mut lowered = product.lower(&which, of.len(), matrix)?;
        if lowered.without_base == 0 {
            product.check_base(&lowered, base)?;
            lowered.without_base = base.is_none().into();
        }
        let (base_dtype, base) =
            base.map_or((c::EMR_DTYPE_NONE, null()), |(dtype, base)| (dtype.raw(), base.as_ptr()));
        // SAFETY: x, y and the base have room for what is asked for; the modulators are this call's alone.
        call(|error| unsafe {
            c::emr_modulator_multiply(pointers.as_ptr(), &lowered, base_dtype, base.cast(), error)
        })
    }

    /// A tensor as one row; none: it is not there.
    fn find_row(&self, tensor: Which<'_>) -> Option<Matrix> {
        let number = match tensor {
            Which::Name(name) => self.find(name)?,
            Which::Number(number) => number,
        };
        Some(Matrix { rows: 1, columns: self.tensor_count(number) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_a_matrix() {
        for (shape, rows, columns) in
            [(&[][..], 1, 1), (&[5], 1, 5), (&[2, 3, 4], 2, 12), (&[0, 3], 0, 0), (&[3, 0], 0, 0)]
        {
            let matrix = Matrix::of(shape);
            assert_eq!((matrix.rows, matrix.columns), (rows, columns), "{shape:?}");
        }
        let cut = Matrix::of(&[2, 3, 4]).cut(4);
        assert_eq!((cut.rows, cut.columns), (6, 4));
    }

    #[test]
    fn spans_do_not_wrap() {
        assert_eq!(span_of(0, 7, 3), 0);
        assert_eq!(span_of(2, 0, 3), 6);
        assert_eq!(span_of(2, 5, 3), 8);
        assert!(span_of(usize::MAX, usize::MAX, u64::MAX) > usize::MAX as u128);
    }
}
