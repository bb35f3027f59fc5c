//! ggml's plainer quantised types: 32 values as a block of small integers with a scale.

use crate::call::{call_plain, static_text};
use crate::error::{Error, ErrorKind, Result};
use emr_sys as c;
use std::fmt;

/// Values in a block, of every type.
pub const BLOCK_VALUES: usize = c::EMR_BLOCK_VALUES as usize;

/// A type of blocks. Numbers are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
#[allow(missing_docs)] // the names say it
pub enum BlockType {
    Q4_0 = c::EMR_BLOCK_TYPE_Q4_0,
    Q4_1 = c::EMR_BLOCK_TYPE_Q4_1,
    Q5_0 = c::EMR_BLOCK_TYPE_Q5_0,
    Q5_1 = c::EMR_BLOCK_TYPE_Q5_1,
    Q8_0 = c::EMR_BLOCK_TYPE_Q8_0,
}

impl BlockType {
    pub(crate) fn raw(self) -> c::emr_block_type {
        self as c::emr_block_type
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        // SAFETY: any number will do.
        unsafe { c::emr_block_bytes(self.raw()) as usize }
    }

    /// The name as GGUF spells it: `"Q8_0"`.
    pub fn name(self) -> &'static str {
        // SAFETY: any number will do.
        static_text(unsafe { c::emr_block_name(self.raw()) })
    }

    fn check(self, values: usize, bytes: usize) -> Result<()> {
        if values % BLOCK_VALUES == 0 && bytes == values / BLOCK_VALUES * self.bytes() {
            return Ok(());
        }
        let sizes = format!("{values} values are not {bytes} bytes of {self}");
        Err(Error::new(ErrorKind::InvalidArgument, sizes))
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Values into blocks, to the bit as ggml's reference rounds.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// use emr::BlockType::Q8_0;
/// let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
/// let mut blocks = vec![0; Q8_0.bytes()];
/// emr::quantise(Q8_0, &mut blocks, &values)?;
/// let mut back = vec![0.0; 32];
/// emr::dequantise(Q8_0, &mut back, &blocks)?;
/// assert!(values.iter().zip(&back).all(|(a, b)| (a - b).abs() < 0.13));
/// # Ok(())
/// # }
/// ```
pub fn quantise(blocks: BlockType, destination: &mut [u8], values: &[f32]) -> Result<()> {
    blocks.check(values.len(), destination.len())?;
    // SAFETY: the blocks have room for the values.
    call_plain(|| unsafe {
        c::emr_quantise(blocks.raw(), destination.as_mut_ptr().cast(), values.as_ptr(), values.len())
    })
}

/// And back.
pub fn dequantise(blocks: BlockType, values: &mut [f32], source: &[u8]) -> Result<()> {
    blocks.check(values.len(), source.len())?;
    // SAFETY: there is room for the blocks' values.
    call_plain(|| unsafe {
        c::emr_dequantise(blocks.raw(), values.as_mut_ptr(), source.as_ptr().cast(), values.len())
    })
}
