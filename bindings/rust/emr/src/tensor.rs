//! One named tensor of a model.

use crate::blocks::BlockType;
use crate::call::{call, filled, static_text};
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::input::slice;
use crate::model::Model;
use crate::text::{optional_text, text};
use emr_sys as c;
use std::fmt;
use std::marker::PhantomData;

/// A tensor of a model, which it borrows. Elements are stored row-major, little-endian, without gaps.
#[derive(Clone, Copy)]
pub struct Tensor<'m> {
    raw: *const c::emr_tensor,
    model: PhantomData<&'m Model<'m>>,
}

// SAFETY: its calls are concurrent.
unsafe impl Send for Tensor<'_> {}
// SAFETY: likewise.
unsafe impl Sync for Tensor<'_> {}

impl<'m> Tensor<'m> {
    /// The tensor at `raw`, if there is one.
    ///
    /// # Safety
    /// It is null, or a tensor whose model lives during 'm.
    pub(crate) unsafe fn at(raw: *const c::emr_tensor) -> Option<Self> {
        (!raw.is_null()).then_some(Self { raw, model: PhantomData })
    }

    pub(crate) fn raw(&self) -> *const c::emr_tensor {
        self.raw
    }

    /// Its name.
    pub fn name(&self) -> &'m str {
        // SAFETY: the model's text.
        unsafe { text(c::emr_tensor_name(self.raw)) }
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        // SAFETY: a valid tensor.
        Dtype::known(unsafe { c::emr_tensor_dtype(self.raw) })
    }

    /// Its dimensions.
    pub fn shape(&self) -> &'m [u64] {
        // SAFETY: the model's numbers, as many as the rank says.
        unsafe { slice(c::emr_tensor_shape(self.raw), c::emr_tensor_rank(self.raw) as usize) }
    }

    /// How many elements it has.
    pub fn count(&self) -> u64 {
        // SAFETY: a valid tensor.
        unsafe { c::emr_tensor_count(self.raw) }
    }

    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        // SAFETY: a valid tensor.
        unsafe { c::emr_tensor_bytes(self.raw) }
    }

    /// Whether another one has the same dimensions.
    pub fn has_shape_of(&self, other: &Tensor<'_>) -> bool {
        // SAFETY: valid tensors.
        unsafe { c::emr_tensor_same_shape(self.raw, other.raw) != 0 }
    }

    /// Reads bytes from byte `offset` on, any range.
    pub fn read(&self, offset: u64, destination: &mut [u8]) -> Result<()> {
        // SAFETY: there is room for as many bytes.
        call(|error| unsafe {
            c::emr_tensor_read(self.raw, offset, destination.as_mut_ptr().cast(), destination.len(), error)
        })
    }

    /// Reads elements of a float tensor, from number `first` on, as f32: widened exactly, or, from F64, rounded.
    pub fn read_floats(&self, first: u64, values: &mut [f32]) -> Result<()> {
        // SAFETY: there is room for as many values.
        call(|error| unsafe {
            c::emr_tensor_read_floats(self.raw, first, values.len(), values.as_mut_ptr(), error)
        })
    }

    /// All of its bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = zeros(self.bytes())?;
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// All elements of a float tensor as f32.
    pub fn to_floats(&self) -> Result<Vec<f32>> {
        let mut values = zeros(self.count())?;
        self.read_floats(0, &mut values)?;
        Ok(values)
    }

    /// What it is to its model, as its name, dtype and shape, and the tensors beside it, tell.
    pub fn role(&self) -> Result<TensorRole<'m>> {
        // SAFETY: a valid tensor; the struct's size is set.
        let raw: c::emr_tensor_role = filled(|role| unsafe { c::emr_tensor_get_role(self.raw, role) })?;
        Ok(TensorRole {
            role: Role::of(raw.role),
            // SAFETY: a static string.
            family: unsafe { optional_text(raw.family) },
            // SAFETY: a tensor of the same model.
            code: unsafe { Tensor::at(raw.code) },
            can_dequantise: raw.can_dequantise != 0,
        })
    }

    /// The name of the GGUF blocks that a model has as bytes (`"Q4_K"`), and how many elements they are.
    pub fn gguf_blocks(&self) -> Option<(&'static str, u64)> {
        let mut elements = 0;
        // SAFETY: a valid tensor and output; a static string.
        let name = unsafe { optional_text(c::emr_gguf_blocks(self.raw, &mut elements)) };
        Some((name?, elements))
    }
}

/// As many zeros, or the error that there is no memory for them.
fn zeros<T: Clone + Default>(n: u64) -> Result<Vec<T>> {
    let mut zeros = Vec::new();
    let too_many = || Error::new(ErrorKind::OutOfMemory, format!("no memory for {n} elements"));
    let n = usize::try_from(n).map_err(|_| too_many())?;
    zeros.try_reserve_exact(n).map_err(|_| too_many())?;
    zeros.resize(n, T::default());
    Ok(zeros)
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?}, {}, {:?})", self.name(), self.dtype(), self.shape())
    }
}

/// What a tensor's bytes are: elements of a type, or blocks that stand for F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Elements.
    Dtype(Dtype),
    /// Blocks of 32 values, of which the last dimension is a whole number.
    Blocks(BlockType),
}

impl From<Dtype> for Format {
    fn from(dtype: Dtype) -> Self {
        Self::Dtype(dtype)
    }
}

impl From<BlockType> for Format {
    fn from(blocks: BlockType) -> Self {
        Self::Blocks(blocks)
    }
}

impl Format {
    /// As C has it.
    pub(crate) fn raw(self) -> (c::emr_dtype, c::emr_block_type) {
        match self {
            Self::Dtype(dtype) => (dtype.raw(), c::EMR_BLOCK_TYPE_NONE),
            Self::Blocks(blocks) => (c::EMR_DTYPE_F32, blocks.raw()),
        }
    }

    /// The bytes of a tensor of that shape; none where C refuses it.
    pub(crate) fn bytes_of(self, shape: &[u64]) -> Option<u64> {
        let count = shape.iter().try_fold(1u64, |count, &n| count.checked_mul(n))?;
        match self {
            Self::Dtype(dtype) => dtype.bytes_of(count),
            Self::Blocks(blocks) => {
                let values = crate::blocks::BLOCK_VALUES as u64;
                (count % values == 0).then(|| (count / values).checked_mul(blocks.bytes() as u64))?
            }
        }
    }
}

/// What a tensor is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// An ordinary tensor: merged if it is a float.
    Weight,
    /// Stands for weights, together with its side-cars: FP8, int8, NF4, GPTQ, ...
    Code,
    /// Belongs to a code: a scale, a zero point, the order of its columns, ...
    Sidecar,
    /// Gathered while training: running means and variances, optimiser states.
    Statistic,
    /// Given by architecture or configuration: LoRA's alpha, masks, rotary tables.
    Constant,
    /// DoRA's lengths, which only go with the directions they were trained for.
    Magnitude,
    /// A role that a newer library knows.
    Unknown(u32),
}

/// Roles and their numbers.
const ROLES: [(Role, c::emr_role); 6] = [
    (Role::Weight, c::EMR_ROLE_WEIGHT),
    (Role::Code, c::EMR_ROLE_CODE),
    (Role::Sidecar, c::EMR_ROLE_SIDECAR),
    (Role::Statistic, c::EMR_ROLE_STATISTIC),
    (Role::Constant, c::EMR_ROLE_CONSTANT),
    (Role::Magnitude, c::EMR_ROLE_MAGNITUDE),
];

impl Role {
    fn of(raw: c::emr_role) -> Self {
        ROLES.iter().find(|entry| entry.1 == raw).map_or(Self::Unknown(raw), |entry| entry.0)
    }

    /// "weight", "code", "sidecar", "statistic", "constant", "magnitude".
    pub fn name(self) -> &'static str {
        let raw = match self {
            Self::Unknown(raw) => raw,
            role => ROLES.iter().find(|entry| entry.0 == role).map_or(u32::MAX, |entry| entry.1),
        };
        // SAFETY: any number will do.
        static_text(unsafe { c::emr_role_name(raw) })
    }
}

/// A role, and what goes with it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TensorRole<'m> {
    /// The role.
    pub role: Role,
    /// "FP8 with a scale a tensor"; none for a weight.
    pub family: Option<&'static str>,
    /// The code that a side-car belongs to.
    pub code: Option<Tensor<'m>>,
    /// A code or its side-car that [`ReadOptions::dequantise`](crate::ReadOptions::dequantise) makes F32.
    pub can_dequantise: bool,
}
