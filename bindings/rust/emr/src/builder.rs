//! Models of the host's own: of its memory, its readers, its closures.

use crate::call::{call, callback};
use crate::dtype::{as_bytes, Dtype, Element};
use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::handle::{keep, Fixed, Handle, Keep};
use crate::input::{slice_mut, Input};
use crate::model::Model;
use crate::tensor::{Format, Tensor};
use crate::text::{c_string, text};
use emr_sys as c;
use std::ffi::c_void;
use std::ptr::null_mut;

/// Builds a [`Model`], tensor by tensor. What tensors borrow lives as long as `'a`.
///
/// A tensor's bytes lie in memory, or in an [`Input`]; or they are computed as they are read:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (a, b) = (emr_examples::model("a", 1.0)?, emr_examples::model("b", 3.0)?);
/// let mut builder = emr::Model::builder("mean")?;
/// let shape = a.get("w").unwrap().shape().to_vec();
/// builder.add_computed("w", emr::Dtype::F32, &shape, move |computation| {
///     let mut sum = vec![0.0; computation.count];
///     let mut other = sum.clone();
///     a.get("w").unwrap().read_floats(computation.first, &mut sum)?;
///     b.get("w").unwrap().read_floats(computation.first, &mut other)?;
///     sum.iter_mut().zip(other).for_each(|(a, b)| *a = (*a + b) / 2.0);
///     computation.out.copy_from_slice(emr::as_bytes(&sum));
///     Ok(())
/// })?;
/// assert_eq!(builder.build().get("w").unwrap().to_floats()?, [2.0; 4]);
/// # Ok(())
/// # }
/// # mod emr_examples {
/// #     pub fn model(name: &str, value: f32) -> emr::Result<emr::Model<'static>> {
/// #         let mut builder = emr::Model::builder(name)?;
/// #         builder.add_owned("w", emr::Dtype::F32, &[4], emr::as_bytes(&[value; 4]).to_vec())?;
/// #         Ok(builder.build())
/// #     }
/// # }
/// ```
pub struct ModelBuilder<'a> {
    handle: Handle<c::emr_model>,
    keep: Vec<Keep<'a>>,
    inputs: Vec<c::emr_io>,
    scratch_bytes: usize,
}

// SAFETY: the inputs' tables point to what is kept, which may be sent.
unsafe impl Send for ModelBuilder<'_> {}

/// An input that a builder has taken, of which tensors can be parts.
#[derive(Clone, Copy, Debug)]
pub struct InputId(usize);

/// What is asked of a computed tensor: its elements from number `first` on, `count` of them, written to `out`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Computation<'c> {
    /// Number of the first element.
    pub first: u64,
    /// How many.
    pub count: usize,
    /// Their bytes, of whatever content before.
    pub out: &'c mut [u8],
    /// Memory of the reading thread, [`ModelOptions::scratch_bytes`] of it, aligned to 64 bytes: zeros at first, then
    /// as the thread's computation before left it.
    pub scratch: &'c mut [u8],
}

/// How elements of a computed tensor are asked for. 0 is the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks {
    /// `first` is a multiple of it, and so is `count` but at the tensor's end.
    pub granule: u32,
    /// The largest `count`; 0: 8192.
    pub max_count: u32,
}

/// What a model of computed tensors may ask for.
#[derive(Default)]
pub struct ModelOptions<'a> {
    /// See [`Computation::scratch`].
    pub scratch_bytes: usize,
    /// Finds out what computing a tensor needs; see [`Model::prepare`]. It may be called more than once, and by several
    /// threads; computing must do without it.
    pub prepare: Option<Box<PrepareFn<'a>>>,
}

/// See [`ModelOptions::prepare`].
pub type PrepareFn<'a> = dyn Fn(Tensor<'_>) -> std::result::Result<(), BoxError> + Send + Sync + 'a;

type ComputeFn<'a> = dyn Fn(Computation<'_>) -> std::result::Result<(), BoxError> + Send + Sync + 'a;

struct Computed<'a> {
    f: Box<ComputeFn<'a>>,
    dtype: Dtype,
    scratch_bytes: usize,
}

impl<'a> ModelBuilder<'a> {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::with_options(name, ModelOptions::default())
    }

    /// The same with scratch memory, or a function that prepares tensors.
    pub fn with_options(name: &str, options: ModelOptions<'a>) -> Result<Self> {
        let name = c_string(name)?;
        let prepared = options.prepare.map(Fixed::new);
        let raw = c::emr_model_options {
            name: name.as_ptr(),
            user: prepared.as_ref().map_or(null_mut(), Fixed::user),
            scratch_bytes: options.scratch_bytes,
            prepare: if prepared.is_some() { Some(prepare) } else { None },
            ..Default::default()
        };
        // SAFETY: valid options; the function goes with the model.
        let handle = Handle::make(|model, error| unsafe { c::emr_model_create(model, &raw, error) })?;
        let keep = prepared.map(keep).into_iter().collect();
        Ok(Self { handle, keep, inputs: Vec::new(), scratch_bytes: options.scratch_bytes })
    }

    /// A tensor of numbers that lie in memory.
    pub fn add<T: Element>(&mut self, name: &str, shape: &[u64], elements: &'a [T]) -> Result<()> {
        self.add_bytes(name, T::DTYPE, shape, as_bytes(elements))
    }

    /// The same of any type, or of blocks. Bytes may have any alignment.
    pub fn add_bytes(
        &mut self,
        name: &str,
        format: impl Into<Format>,
        shape: &[u64],
        bytes: &'a [u8],
    ) -> Result<()> {
        self.add_memory(name, format.into(), shape, bytes)
    }

    /// The same, of bytes that the model owns.
    pub fn add_owned(
        &mut self,
        name: &str,
        format: impl Into<Format>,
        shape: &[u64],
        bytes: Vec<u8>,
    ) -> Result<()> {
        self.add_memory(name, format.into(), shape, &bytes)?;
        self.keep.push(keep(bytes));
        Ok(())
    }

    /// The bytes outlive the model.
    fn add_memory(&mut self, name: &str, format: Format, shape: &[u64], bytes: &[u8]) -> Result<()> {
        // C sees the shape, but not how much memory there is.
        if format.bytes_of(shape).is_some_and(|needed| needed != bytes.len() as u64) {
            return Err(self.refused(name, format!("{} bytes are not what its shape takes", bytes.len())));
        }
        // What has no bytes needs a place all the same: null would say that they are pushed.
        let data = if bytes.is_empty() {
            std::ptr::NonNull::<u8>::dangling().as_ptr()
        } else {
            bytes.as_ptr().cast_mut()
        };
        self.add_tensor_desc(name, format, shape, |desc| desc.data = data.cast())
    }

    fn refused(&self, tensor: &str, why: String) -> Error {
        // SAFETY: the model's text.
        let model = unsafe { text(c::emr_model_name(self.handle.get())) };
        Error::new(ErrorKind::InvalidArgument, format!("{model}: tensor '{tensor}': {why}"))
            .about_file(model)
            .about_tensor(tensor)
    }

    /// Takes an input, for [`ModelBuilder::add_extent`].
    pub fn input(&mut self, input: impl Into<Input<'a>>) -> Result<InputId> {
        let (io, kept) = input.into().lower()?;
        self.keep.push(kept);
        self.inputs.push(io);
        Ok(InputId(self.inputs.len() - 1))
    }

    /// A tensor whose bytes begin at byte `offset` of an input.
    pub fn add_extent(
        &mut self,
        name: &str,
        format: impl Into<Format>,
        shape: &[u64],
        input: InputId,
        offset: u64,
    ) -> Result<()> {
        let io = self.inputs.get(input.0).copied();
        let io = io.ok_or_else(|| self.refused(name, "the input is another builder's".into()))?;
        self.add_tensor_desc(name, format.into(), shape, |desc| {
            desc.io = &io;
            desc.offset = offset;
        })
    }

    /// A tensor whose elements a closure computes as they are read, from several threads at a time. Its error is the
    /// source of the reading call's; its panic goes on there.
    pub fn add_computed(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[u64],
        f: impl Fn(Computation<'_>) -> std::result::Result<(), BoxError> + Send + Sync + 'a,
    ) -> Result<()> {
        self.add_computed_in(name, dtype, shape, Chunks::default(), f)
    }

    /// The same, in chunks of certain sizes.
    pub fn add_computed_in(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[u64],
        chunks: Chunks,
        f: impl Fn(Computation<'_>) -> std::result::Result<(), BoxError> + Send + Sync + 'a,
    ) -> Result<()> {
        let computed = Fixed::new(Computed { f: Box::new(f), dtype, scratch_bytes: self.scratch_bytes });
        self.add_tensor_desc(name, dtype.into(), shape, |desc| {
            desc.compute = Some(compute);
            desc.user = computed.user();
            desc.granule = chunks.granule;
            desc.max_count = chunks.max_count;
        })?;
        self.keep.push(keep(computed));
        Ok(())
    }

    /// A tensor without bytes: they are pushed during a merge ([`crate::Push`]).
    pub fn add_pushed(&mut self, name: &str, dtype: Dtype, shape: &[u64]) -> Result<()> {
        self.add_tensor_desc(name, dtype.into(), shape, |_| ())
    }

    /// What `source` sets outlives the model.
    fn add_tensor_desc(
        &mut self,
        name: &str,
        format: Format,
        shape: &[u64],
        source: impl FnOnce(&mut c::emr_tensor_desc),
    ) -> Result<()> {
        let name = c_string(name)?;
        let (dtype, blocks) = format.raw();
        let mut desc = c::emr_tensor_desc {
            name: name.as_ptr(),
            shape: shape.as_ptr(),
            rank: u32::try_from(shape.len()).unwrap_or(u32::MAX),
            dtype,
            blocks,
            ..Default::default()
        };
        source(&mut desc);
        // SAFETY: valid arguments.
        call(|error| unsafe { c::emr_model_add(self.handle.get(), &desc, error) })
    }

    /// A tensor of another model, under its name.
    pub fn add_tensor(&mut self, model: &Model<'a>, name: &str) -> Result<()> {
        let tensor = model.expect(name)?.raw();
        // SAFETY: the tensor's model is kept.
        call(|error| unsafe { c::emr_model_add_tensor(self.handle.get(), tensor, error) })?;
        self.keep.push(keep(model.clone()));
        Ok(())
    }

    /// The same under another name.
    pub fn add_tensor_as(&mut self, model: &Model<'a>, name: &str, new_name: &str) -> Result<()> {
        let tensor = model.expect(name)?.raw();
        let new_name = c_string(new_name)?;
        // SAFETY: the tensor's model is kept.
        call(|error| unsafe {
            c::emr_model_add_tensor_as(self.handle.get(), tensor, new_name.as_ptr(), error)
        })?;
        self.keep.push(keep(model.clone()));
        Ok(())
    }

    /// Sets a key of the metadata.
    pub fn set_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: valid arguments.
        call(|error| unsafe {
            c::emr_model_set_metadata(self.handle.get(), key.as_ptr(), value.as_ptr(), error)
        })
    }

    /// The model.
    pub fn build(self) -> Model<'a> {
        Model::from_handle(self.handle, self.keep)
    }
}

unsafe extern "C" fn compute(
    computation: *const c::emr_computation,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's struct, valid during the call.
        let asked = unsafe { &*computation };
        // SAFETY: the user that `add_computed_in` set, shared only.
        let computed = unsafe { &*asked.user.cast::<Computed<'_>>() };
        let bytes = asked.count * computed.dtype.bits() as usize / 8;
        // SAFETY: C's memory for as many elements, which came from outside of Rust.
        let out = unsafe { slice_mut(asked.out.cast(), bytes) };
        // SAFETY: memory of this thread's, zeroed by C.
        let scratch = unsafe { slice_mut(asked.scratch.cast(), computed.scratch_bytes) };
        (computed.f)(Computation { first: asked.first, count: asked.count, out, scratch })
    })
}

unsafe extern "C" fn prepare(
    user: *mut c_void,
    tensor: *const c::emr_tensor,
    _: *const c::emr_resources,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: the user that `with_options` set, shared only.
        let f = unsafe { &*user.cast::<Box<PrepareFn<'_>>>() };
        // SAFETY: a tensor of the model, which lives during the call.
        unsafe { Tensor::at(tensor) }.map_or(Ok(()), f)
    })
}
