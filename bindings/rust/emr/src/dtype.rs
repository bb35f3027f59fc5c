//! Element types, and exact conversions between them.

use crate::call::{call_plain, static_text};
use crate::error::{Error, ErrorKind, Result};
use crate::text::c_text;
use emr_sys as c;
use std::fmt;

/// An element type. The first six are floats, which can be merged; all others are carried as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
#[allow(missing_docs)] // the names say it
pub enum Dtype {
    F32 = c::EMR_DTYPE_F32,
    F16 = c::EMR_DTYPE_F16,
    BF16 = c::EMR_DTYPE_BF16,
    F64 = c::EMR_DTYPE_F64,
    /// e4m3fn: no infinities, largest value 448.
    F8E4M3 = c::EMR_DTYPE_F8_E4M3,
    F8E5M2 = c::EMR_DTYPE_F8_E5M2,
    Bool = c::EMR_DTYPE_BOOL,
    U8 = c::EMR_DTYPE_U8,
    I8 = c::EMR_DTYPE_I8,
    U16 = c::EMR_DTYPE_U16,
    I16 = c::EMR_DTYPE_I16,
    U32 = c::EMR_DTYPE_U32,
    I32 = c::EMR_DTYPE_I32,
    U64 = c::EMR_DTYPE_U64,
    I64 = c::EMR_DTYPE_I64,
    /// From here on opaque: block scales and sub-byte types.
    F8E8M0 = c::EMR_DTYPE_F8_E8M0,
    F8E4M3Fnuz = c::EMR_DTYPE_F8_E4M3FNUZ,
    F8E5M2Fnuz = c::EMR_DTYPE_F8_E5M2FNUZ,
    F4 = c::EMR_DTYPE_F4,
    F6E2M3 = c::EMR_DTYPE_F6_E2M3,
    F6E3M2 = c::EMR_DTYPE_F6_E3M2,
    C64 = c::EMR_DTYPE_C64,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::F64,
        Self::F8E4M3,
        Self::F8E5M2,
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F8E8M0,
        Self::F8E4M3Fnuz,
        Self::F8E5M2Fnuz,
        Self::F4,
        Self::F6E2M3,
        Self::F6E3M2,
        Self::C64,
    ];

    pub(crate) fn of(raw: c::emr_dtype) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.raw() == raw)
    }

    /// Of what the library gives, which knows no others.
    pub(crate) fn known(raw: c::emr_dtype) -> Self {
        Self::of(raw).expect("a library no newer than this crate knows its dtypes")
    }

    pub(crate) fn raw(self) -> c::emr_dtype {
        self as c::emr_dtype
    }

    /// As C has one that may be left open.
    pub(crate) fn raw_or_none(dtype: Option<Self>) -> c::emr_dtype {
        dtype.map_or(c::EMR_DTYPE_NONE, Self::raw)
    }

    /// Bits of an element.
    pub fn bits(self) -> u32 {
        // SAFETY: any number will do.
        unsafe { c::emr_dtype_bits(self.raw()) }
    }

    /// The name as safetensors spells it: `"BF16"`.
    pub fn name(self) -> &'static str {
        // SAFETY: any number will do.
        static_text(unsafe { c::emr_dtype_name(self.raw()) })
    }

    /// The dtype of that name. Case matters.
    pub fn from_name(name: &str) -> Option<Self> {
        // SAFETY: a text that ends in a zero byte.
        Self::of(unsafe { c::emr_dtype_from_name(c_text(name).as_ptr()) })
    }

    /// Whether it can be merged and converted.
    pub fn is_float(self) -> bool {
        // SAFETY: any number will do.
        unsafe { c::emr_dtype_is_float(self.raw()) != 0 }
    }

    /// Bytes of `count` elements, or none where that is no whole number, or too large.
    pub(crate) fn bytes_of(self, count: u64) -> Option<u64> {
        let bits = u128::from(count) * u128::from(self.bits());
        (bits % 8 == 0).then(|| u64::try_from(bits / 8).ok())?
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    /// # Safety
    /// Its bytes may be read, and any bytes written to it.
    pub unsafe trait Plain {}
}

/// The types of Rust's that are element types. BF16, F16 and others, for which Rust has none, go as bytes.
pub trait Element: sealed::Plain + Copy + Send + Sync + 'static {
    /// Which one it is.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => { $(
        // SAFETY: a number without padding or invalid values.
        unsafe impl sealed::Plain for $rust {}
        impl Element for $rust {
            const DTYPE: Dtype = Dtype::$dtype;
        }
    )* };
}
elements!(f32 => F32, f64 => F64, u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64);

/// The bytes of some elements.
pub fn as_bytes<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: plain numbers without padding, as many bytes as they are.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), std::mem::size_of_val(elements)) }
}

/// The same to write to.
pub fn as_bytes_mut<T: Element>(elements: &mut [T]) -> &mut [u8] {
    // SAFETY: as above; any bytes are valid elements.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), std::mem::size_of_val(elements)) }
}

/// Converts elements between two float dtypes, rounding once, to nearest, ties to even. Buffers may have any alignment,
/// and hold the same number of elements.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// let mut halves = [0; 4];
/// emr::convert(emr::Dtype::BF16, &mut halves, emr::Dtype::F32, emr::as_bytes(&[1.0f32, -2.0]))?;
/// assert_eq!(halves, [0x80, 0x3f, 0x00, 0xc0]);
/// # Ok(())
/// # }
/// ```
pub fn convert(to: Dtype, destination: &mut [u8], from: Dtype, source: &[u8]) -> Result<()> {
    let n = source.len() * 8 / from.bits() as usize;
    let fits = from.bytes_of(n as u64) == Some(source.len() as u64)
        && to.bytes_of(n as u64) == Some(destination.len() as u64);
    if !fits {
        let sizes = format!(
            "{} bytes of {from} are not as many elements as {} bytes of {to}",
            source.len(),
            destination.len()
        );
        return Err(Error::new(ErrorKind::InvalidArgument, sizes));
    }
    // SAFETY: both hold n elements, and do not overlap.
    call_plain(|| unsafe {
        c::emr_convert(to.raw(), destination.as_mut_ptr().cast(), from.raw(), source.as_ptr().cast(), n)
    })
}
