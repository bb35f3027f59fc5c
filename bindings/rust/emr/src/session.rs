//! A bundle inside a running engine, ready to act as any task.

use crate::blocks::BLOCK_VALUES;
use crate::bundle::{BaseCheck, Bundle};
use crate::call::{call, callback, callback_infallible, filled};
use crate::dtype::{as_bytes_mut, Dtype, Element};
use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::handle::{raw, Fixed, Handle};
use crate::input::{slice, slice_mut};
use crate::model::{raw_or_null, Model};
use crate::product::{span_of, LoweredWhich, Matrix, Product, Which};
use crate::resources::{Lowered, Resources};
use crate::tensor::Format;
use emr_sys as c;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::{fmt, mem::size_of};

raw!(emr_session, emr_session_destroy);

/// What a thread does while it waits for another one of a session's.
pub type WaitFn<'a> = Box<dyn Fn() + Send + Sync + 'a>;

/// How a [`Session`] is made.
#[derive(Default)]
pub struct SessionOptions<'a> {
    /// Threads, a cap on all memory of the session, progress of checking the base.
    pub resources: Resources<'a>,
    /// Called again and again while a thread waits for another one of the session's, by several at a time.
    /// None: the thread yields.
    pub wait: Option<WaitFn<'a>>,
    /// Cap on decoded codes, in bytes; 0: room for those of all tasks.
    pub mask_bytes: u64,
    /// When the base is compared with the bundle's.
    pub check: BaseCheck,
    /// The session has no base, and only changes can be asked for ([`Target::without_base`]): for engines
    /// whose base is quantised, repacked or elsewhere.
    pub without_base: bool,
}

/// A bundle in memory, and a base: one call writes a task's weights over an engine's; another multiplies by
/// them without writing them anywhere, for a batch whose vectors belong to different tasks.
///
/// Weights are always computed from the base, so nothing drifts, however often an engine switches. A session
/// is used by one thread at a time, and shares work out over the threads of its resources; or it has a handle
/// for each thread of the host's, see [`Session::open_thread`].
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # let (base, bundle) = worlds::bundle()?;
/// let mut session = emr::Session::new(&bundle, Some(&base), Default::default())?;
/// let french = bundle.find_task("french")?;
/// let mut weight = vec![0f32; 6];
/// session.apply(french, [emr::Target::new("layer.weight", &mut weight)])?; // acts as `french`
/// session.apply(emr::BASE, [emr::Target::new("layer.weight", &mut weight)])?; // and as the base again
/// # Ok(())
/// # }
/// # mod worlds {
/// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/mod.rs"));
/// # }
/// ```
///
/// Handles go to other threads, one each:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<emr::Session<'static>>();
/// ```
pub struct Session<'a> {
    handle: Handle<c::emr_session>,
    shared: Arc<Shared<'a>>,
}

/// What all handles of a session need; it goes with the last.
struct Shared<'a> {
    bundle: Bundle<'a>,
    _base: Option<Model<'a>>,
    _resources: Lowered<'a>,
    _wait: Option<Fixed<WaitFn<'a>>>,
}

/// What a session takes, and has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The least cap on memory, with the threads that there are now; no more is ever allocated.
    pub memory_bytes: u64,
    /// Of it: base tensors that could not be used in place.
    pub base_bytes: u64,
    /// Of it: unified values that could not.
    pub unified_bytes: u64,
    /// Of it: room for decoded codes.
    pub mask_bytes: u64,
    /// How often a piece of work needed a block of codes that was in memory.
    pub masks_found: u64,
    /// Blocks that had to be read first.
    pub masks_read: u64,
    /// What each [`Session::open_thread`] adds.
    pub thread_bytes: u64,
}

impl<'a> Session<'a> {
    /// A session over a bundle and its base; none: the one that the bundle has in it, or, with
    /// [`without_base`](SessionOptions::without_base), none at all.
    pub fn new(bundle: &Bundle<'a>, base: Option<&Model<'a>>, options: SessionOptions<'a>) -> Result<Self> {
        let resources = options.resources.lower()?;
        let wait = options.wait.map(Fixed::new);
        let raw_resources = resources.raw();
        let raw_options = c::emr_session_options {
            resources: &raw_resources,
            wait: Some(if wait.is_some() { wait_by_host } else { wait_by_yielding }),
            wait_user: wait.as_ref().map_or(null_mut(), Fixed::user),
            mask_bytes: options.mask_bytes,
            check: options.check.raw(),
            without_base: options.without_base.into(),
            ..Default::default()
        };
        // SAFETY: all of it lives during the call, and what C keeps is kept in `Shared`.
        let handle = Handle::make(|out, error| unsafe {
            c::emr_session_create(out, bundle.raw(), raw_or_null(base), &raw_options, error)
        })?;
        let shared =
            Shared { bundle: bundle.clone(), _base: base.cloned(), _resources: resources, _wait: wait };
        Ok(Self { handle, shared: Arc::new(shared) })
    }

    /// One more handle of the session, for one more thread: it shares everything but scratch, and does its
    /// work on the calling thread. All handles may be used at the same time, and be dropped in any order.
    ///
    /// They wait for each other where one reads codes that another needs too. So nothing that reads the
    /// bundle or the base (a [`ReadAt`](crate::ReadAt), a computed tensor) may wait for a call of another
    /// handle.
    pub fn open_thread(&mut self) -> Result<Self> {
        // SAFETY: the handle is this thread's; what it shares is kept.
        let handle =
            Handle::make(|out, error| unsafe { c::emr_session_open_thread(out, self.handle.get(), error) })?;
        Ok(Self { handle, shared: Arc::clone(&self.shared) })
    }

    /// The bundle that it is made of.
    pub fn bundle(&self) -> &Bundle<'a> {
        &self.shared.bundle
    }

    /// Writes a task's weights, or the base's ([`BASE`](crate::BASE)), to where the engine has them. Where a
    /// target cannot be right nothing is written; after another failure what targets hold is undefined.
    pub fn apply<'t>(&mut self, task: u32, mut targets: impl AsMut<[Target<'t>]>) -> Result<()> {
        let targets = targets.as_mut();
        let names = targets.iter().map(|target| target.tensor.lower()).collect::<Result<Vec<_>>>()?;
        let lowered = targets.iter_mut().zip(&names).map(|(target, name)| target.lower(name));
        let weights = lowered.collect::<Result<Vec<_>>>()?;
        // SAFETY: targets are borrowed, do not overlap, and have room for what is asked for; writers are
        // called during the call alone.
        call(|error| unsafe {
            c::emr_session_apply(self.handle.get(), task, weights.as_ptr(), weights.len(), error)
        })
    }

    /// Multiplies rows of a merged tensor by a batch of vectors; `tasks[b]` is the task of vector `b`, or
    /// [`BASE`](crate::BASE). Tasks of different kinds may be in one batch.
    ///
    /// ```
    /// # fn main() -> emr::Result<()> {
    /// # let (base, bundle) = worlds::bundle()?;
    /// # let mut session = emr::Session::new(&bundle, Some(&base), Default::default())?;
    /// # let (french, german) = (bundle.find_task("french")?, bundle.find_task("german")?);
    /// let x = [1.0, 0.5, 0.25, 1.0, 0.5, 0.25]; // two vectors, of a task each
    /// let mut y = [0.0; 4];
    /// session.multiply(&[french, german], emr::Product::new("layer.weight", &x, &mut y))?;
    /// # Ok(())
    /// # }
    /// # mod worlds {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/mod.rs"));
    /// # }
    /// ```
    pub fn multiply(&mut self, tasks: &[u32], mut product: Product<'_>) -> Result<()> {
        let which = product.tensor().lower()?;
        let lowered = product.lower(&which, tasks.len(), self.find_matrix(&which))?;
        // SAFETY: x and y have room for what is asked for.
        call(|error| unsafe { c::emr_session_multiply(self.handle.get(), tasks.as_ptr(), &lowered, error) })
    }

    /// Gathers rows: row `i` of the output is row `rows[i]` of what `tasks[i]` has of the tensor, which is
    /// merged, or kept from the base: of an embedding, for a batch of tokens, say.
    pub fn gather(&mut self, tasks: &[u32], mut rows: Gather<'_>) -> Result<()> {
        let which = rows.tensor.lower()?;
        let lowered = rows.lower(&which, tasks, self.find_matrix(&which))?;
        // SAFETY: `out` has room for what is asked for; tasks and rows are as many.
        call(|error| unsafe { c::emr_session_gather(self.handle.get(), &lowered, error) })
    }

    /// What it takes, and has done so far.
    pub fn info(&self) -> Result<SessionInfo> {
        // SAFETY: filled by the call.
        let info: c::emr_session_info =
            filled(|info| unsafe { c::emr_session_get_info(self.handle.get(), info) })?;
        Ok(SessionInfo {
            memory_bytes: info.memory_bytes,
            base_bytes: info.base_bytes,
            unified_bytes: info.unified_bytes,
            mask_bytes: info.mask_bytes,
            masks_found: info.masks_found,
            masks_read: info.masks_read,
            thread_bytes: info.thread_bytes,
        })
    }

    /// How a tensor of the bundle is a matrix; none: it is not there.
    fn find_matrix(&self, which: &LoweredWhich) -> Option<Matrix> {
        let bundle = self.shared.bundle.raw();
        let mut number = which.number;
        let mut info = c::emr_tensor_info::default();
        // SAFETY: the bundle lives; outputs are filled by the calls. The shape is the bundle's.
        unsafe {
            if !which.name().is_null()
                && c::emr_bundle_find_tensor(bundle, which.name(), &mut number, null_mut()) != c::EMR_OK
            {
                return None;
            }
            let status = c::emr_bundle_get_tensor(bundle, number, &mut info);
            (status == c::EMR_OK).then(|| Matrix::of(slice(info.shape, info.rank as usize)))
        }
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("bundle", &self.shared.bundle).finish_non_exhaustive()
    }
}

unsafe extern "C" fn wait_by_host(user: *mut c_void) {
    // SAFETY: what `Shared` keeps.
    let wait = unsafe { &*user.cast::<WaitFn<'_>>() };
    callback_infallible((), wait);
}

unsafe extern "C" fn wait_by_yielding(_: *mut c_void) {
    std::thread::yield_now();
}

/// Weights that are ready, on their way to where the host wants them.
#[derive(Debug)]
pub struct WeightsPart<'p, T> {
    /// The element of the tensor with which they begin.
    pub first: u64,
    /// They; they may be written over.
    pub data: &'p mut [T],
}

type WriteFn<'t> = Box<dyn FnMut(&c::emr_weights_part) -> std::result::Result<(), BoxError> + 't>;

/// Where an engine keeps the weights of one tensor, or of a part of it: any that the task's checkpoint had.
pub struct Target<'t> {
    tensor: Which<'t>,
    data: &'t mut [u8],
    format: Format,
    first: u64,
    count: Option<u64>,
    without_base: bool,
    write: Option<WriteFn<'t>>,
}

/// The elements that so many bytes are in a format.
fn elements_of(format: Format, tensor: Which<'_>, bytes: usize) -> Result<u64> {
    let (bits, elements, name) = match format {
        Format::Dtype(dtype) => (dtype.bits() as usize, 1, dtype.name()),
        Format::Blocks(blocks) => (blocks.bytes() * 8, BLOCK_VALUES, blocks.name()),
    };
    if bytes * 8 % bits != 0 {
        return Err(refused(tensor, format!("{bytes} bytes are no whole number of elements in {name}")));
    }
    Ok((bytes * 8 / bits * elements) as u64)
}

fn refused(tensor: Which<'_>, why: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{tensor}: {why}"))
}

impl<'t> Target<'t> {
    /// A tensor's weights in the dtype of the slice's elements; it has room for all of them, or, with
    /// [`Target::first`], for a part.
    pub fn new<T: Element>(tensor: impl Into<Which<'t>>, out: &'t mut [T]) -> Self {
        Self::with_format(tensor, T::DTYPE, out)
    }

    /// The same in any dtype, of which the slice holds bits (BF16 in `u16`, say, or in bytes), or rounded
    /// into blocks.
    pub fn with_format<T: Element>(
        tensor: impl Into<Which<'t>>,
        format: impl Into<Format>,
        out: &'t mut [T],
    ) -> Self {
        Self::of(tensor.into(), format.into(), as_bytes_mut(out), None)
    }

    /// Weights go through `staging` to a function, part by part in order, each as large as there is room for:
    /// to a device, say, or to be converted further. It is called by the thread that calls
    /// [`Session::apply`], which returns what it fails with as the [`source`](std::error::Error::source) of
    /// its error.
    ///
    /// ```
    /// # fn main() -> emr::Result<()> {
    /// # let (base, bundle) = worlds::bundle()?;
    /// # let mut session = emr::Session::new(&bundle, Some(&base), Default::default())?;
    /// let mut staging = [0f32; 4];
    /// let mut largest = 0f32;
    /// let target = emr::Target::staged("layer.weight", &mut staging, |part| {
    ///     largest = part.data.iter().fold(largest, |a, b| a.max(b.abs()));
    ///     Ok(())
    /// });
    /// session.apply(0, [target])?;
    /// assert!(largest > 0.0);
    /// # Ok(())
    /// # }
    /// # mod worlds {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/mod.rs"));
    /// # }
    /// ```
    pub fn staged<T: Element>(
        tensor: impl Into<Which<'t>>,
        staging: &'t mut [T],
        write: impl FnMut(WeightsPart<'_, T>) -> std::result::Result<(), BoxError> + 't,
    ) -> Self {
        Self::staged_with_format(tensor, T::DTYPE, staging, write)
    }

    /// The same in any dtype, or in blocks.
    pub fn staged_with_format<T: Element>(
        tensor: impl Into<Which<'t>>,
        format: impl Into<Format>,
        staging: &'t mut [T],
        write: impl FnMut(WeightsPart<'_, T>) -> std::result::Result<(), BoxError> + 't,
    ) -> Self {
        let format = format.into();
        Self::of(tensor.into(), format, as_bytes_mut(staging), Some(write_parts(format, write)))
    }

    fn of(tensor: Which<'t>, format: Format, data: &'t mut [u8], write: Option<WriteFn<'t>>) -> Self {
        Self { tensor, data, format, first: 0, count: None, without_base: false, write }
    }

    /// The element of the tensor with which the weights begin.
    pub fn first(mut self, first: u64) -> Self {
        self.first = first;
        self
    }

    /// How many elements; else as many as the slice has, or, of staged ones, all from the first on.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The change alone: weights as if the base's were 0. Of merged tensors.
    pub fn without_base(mut self) -> Self {
        self.without_base = true;
        self
    }

    fn lower(&mut self, which: &LoweredWhich) -> Result<c::emr_weights> {
        let room = elements_of(self.format, self.tensor, self.data.len())?;
        let (dtype, blocks) = self.format.raw();
        let mut lowered = c::emr_weights {
            name: which.name(),
            tensor: which.number,
            data: self.data.as_mut_ptr().cast(),
            first: self.first,
            dtype,
            blocks,
            without_base: self.without_base.into(),
            ..Default::default()
        };
        if let Some(write) = &mut self.write {
            lowered.count = self.count.unwrap_or(0);
            lowered.staging = room;
            lowered.write = Some(write_part);
            lowered.user = (write as *mut WriteFn<'t>).cast();
            return Ok(lowered);
        }
        lowered.count = self.count.unwrap_or(room);
        if lowered.count > room {
            return Err(refused(
                self.tensor,
                format!("{} elements were asked for, with room for {room}", lowered.count),
            ));
        }
        if lowered.count == 0 {
            lowered.data = null_mut(); // 0 are all to C, which refuses that without memory
        }
        Ok(lowered)
    }
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("tensor", &self.tensor).finish_non_exhaustive()
    }
}

/// A host's function for parts, of whatever elements.
fn write_parts<'t, T: Element>(
    format: Format,
    mut write: impl FnMut(WeightsPart<'_, T>) -> std::result::Result<(), BoxError> + 't,
) -> WriteFn<'t> {
    Box::new(move |part| {
        let bytes = match format {
            Format::Dtype(dtype) => part.count as usize * dtype.bits() as usize / 8,
            Format::Blocks(blocks) => part.count as usize / BLOCK_VALUES * blocks.bytes(),
        };
        if bytes % size_of::<T>() != 0 {
            return Err(
                format!("a part of {bytes} bytes is no whole number of the staging's elements").into()
            );
        }
        // SAFETY: the beginning of `staging`, whose elements are Ts; C does not look at it during the call.
        let data = unsafe { slice_mut(part.data.cast_mut().cast::<T>(), bytes / size_of::<T>()) };
        write(WeightsPart { first: part.first, data })
    })
}

unsafe extern "C" fn write_part(part: *const c::emr_weights_part, error: *mut c::emr_error) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's struct, with the user that `lower` set; one call at a time, on the thread that has the
        // targets.
        let (part, write) = unsafe { (&*part, &mut *(*part).user.cast::<WriteFn<'_>>()) };
        write(part)
    })
}

/// Rows of one tensor, each of a task of its own.
#[derive(Debug)]
pub struct Gather<'g> {
    tensor: Which<'g>,
    out: &'g mut [u8],
    dtype: Dtype,
    rows: Option<&'g [u64]>,
    stride: usize,
    n_columns: u64,
    without_base: bool,
}

impl<'g> Gather<'g> {
    /// Row 0 of each task, in the dtype of the slice's elements: of a norm's weights, or a bias (a tensor of
    /// rank below 2 is one row).
    pub fn new<T: Element>(tensor: impl Into<Which<'g>>, out: &'g mut [T]) -> Self {
        Self::with_dtype(tensor, T::DTYPE, out)
    }

    /// The same in any dtype, of which the slice holds bits.
    pub fn with_dtype<T: Element>(tensor: impl Into<Which<'g>>, dtype: Dtype, out: &'g mut [T]) -> Self {
        let (tensor, out) = (tensor.into(), as_bytes_mut(out));
        Self { tensor, out, dtype, rows: None, stride: 0, n_columns: 0, without_base: false }
    }

    /// Which row of each, as many as there are tasks.
    pub fn rows(mut self, rows: &'g [u64]) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Elements from one row of the output to the next; 0: nothing lies between them.
    pub fn stride(mut self, elements: usize) -> Self {
        self.stride = elements;
        self
    }

    /// Cuts the tensor's rows into shorter ones of so many columns.
    pub fn columns(mut self, n_columns: u64) -> Self {
        self.n_columns = n_columns;
        self
    }

    /// The changes alone.
    pub fn without_base(mut self) -> Self {
        self.without_base = true;
        self
    }

    /// Without a tensor no row is asked for, and C says what is wrong.
    fn lower(
        &mut self,
        which: &LoweredWhich,
        tasks: &[u32],
        tensor: Option<Matrix>,
    ) -> Result<c::emr_gather> {
        let n = if tensor.is_some() { tasks.len() } else { 0 };
        let columns = tensor.map_or(0, |matrix| matrix.cut(self.n_columns).columns);
        let needed = span_of(n, self.stride, columns);
        let room = elements_of(self.dtype.into(), self.tensor, self.out.len())?;
        if needed > u128::from(room) {
            return Err(refused(
                self.tensor,
                format!("{n} rows take {needed} elements, with room for {room}"),
            ));
        }
        if let Some(rows) = self.rows.filter(|rows| rows.len() != tasks.len()) {
            return Err(refused(
                self.tensor,
                format!("{} rows were asked for, of {} tasks", rows.len(), tasks.len()),
            ));
        }
        Ok(c::emr_gather {
            name: which.name(),
            tensor: which.number,
            tasks: tasks.as_ptr(),
            rows: self.rows.map_or(null(), <[u64]>::as_ptr),
            out: self.out.as_mut_ptr().cast(),
            n,
            out_stride: self.stride,
            n_columns: self.n_columns,
            dtype: self.dtype.raw(),
            without_base: self.without_base.into(),
            ..Default::default()
        })
    }
}
