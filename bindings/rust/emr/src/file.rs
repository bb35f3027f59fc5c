//! C's own files and buffers.

use crate::call::{call, call_infallible};
use crate::error::Result;
use crate::handle::{Concurrent, Handle, Raw};
use crate::input::{copy_of, slice, ReadAt};
use crate::text::c_path;
use emr_sys as c;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::ptr::null;
use std::sync::Arc;

crate::handle::raw!(emr_buffer, emr_buffer_destroy);
// SAFETY: reads may run at the same time, and a buffer that is shared is not written any more.
unsafe impl Concurrent for c::emr_buffer {}

// SAFETY: a file that was made and not committed vanishes, one that is read is closed.
unsafe impl Raw for c::emr_file {
    unsafe fn destroy(handle: *mut *mut Self) {
        // SAFETY: the caller's.
        unsafe { c::emr_file_close(handle) }
    }
}
// SAFETY: reads may run at the same time; what writes is not shared.
unsafe impl Concurrent for c::emr_file {}

/// A file that is read by the library. Clones are the same file, which is closed with the last one and what was opened
/// with it.
#[derive(Clone)]
pub struct File(Arc<Handle<c::emr_file>>);

impl File {
    /// Opens it for reading.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), false)
    }

    /// The same, with its bytes mapped into memory: faster, but the process is killed by SIGBUS where the file shrinks
    /// meanwhile.
    pub fn map(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), true)
    }

    fn open_with(path: &Path, map: bool) -> Result<Self> {
        let path = c_path(path)?;
        let options = c::emr_file_options { map: map.into(), ..Default::default() };
        // SAFETY: valid arguments.
        let handle =
            Handle::make(|file, error| unsafe { c::emr_file_open(file, path.as_ptr(), &options, error) })?;
        Ok(Self(Arc::new(handle)))
    }

    pub(crate) fn io(&self) -> c::emr_io {
        // SAFETY: the file owns the struct.
        unsafe { copy_of(c::emr_file_io(self.0.get())) }
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let io = self.io();
        let read = io.read.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the file's own function, and memory for as many bytes.
        call(|error| unsafe { read(io.user, offset, buffer.as_mut_ptr().cast(), buffer.len(), error) })?;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let io = self.io();
        let length = io.length.ok_or(io::ErrorKind::Unsupported)?;
        let mut bytes = 0;
        // SAFETY: the file's own function, and a valid output.
        call(|error| unsafe { length(io.user, &mut bytes, error) })?;
        Ok(bytes)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

/// A file that is written. Dropped, it vanishes where it was created, and stays as it is where it was resumed.
pub(crate) struct NewFile(Handle<c::emr_file>);

impl NewFile {
    /// A new one, which appears when it is committed.
    pub(crate) fn create(path: &Path, replace: bool) -> Result<Self> {
        Self::make(path, replace, c::emr_file_create)
    }

    /// One whose writing may be interrupted and continued.
    pub(crate) fn resume(path: &Path, replace: bool) -> Result<Self> {
        Self::make(path, replace, c::emr_file_resume)
    }

    fn make(path: &Path, replace: bool, f: MakeFile) -> Result<Self> {
        let path = c_path(path)?;
        let options = c::emr_file_options { replace: replace.into(), ..Default::default() };
        // SAFETY: valid arguments.
        Ok(Self(Handle::make(|file, error| unsafe { f(file, path.as_ptr(), &options, error) })?))
    }

    pub(crate) fn io(&self) -> c::emr_io {
        // SAFETY: the file owns the struct.
        unsafe { copy_of(c::emr_file_io(self.0.get())) }
    }

    /// Puts it in its place.
    pub(crate) fn commit(self) -> Result<()> {
        // SAFETY: nobody else has the file.
        call(|error| unsafe { c::emr_file_commit(self.0.get(), error) })
    }

    /// Makes it vanish, a resumed one too.
    pub(crate) fn discard(self) {
        let mut file = self.0.into_raw();
        // SAFETY: nobody else has it, and it is not used after.
        call_infallible(|| unsafe { c::emr_file_discard(&mut file) });
    }
}

type MakeFile = unsafe extern "C" fn(
    *mut *mut c::emr_file,
    *const std::ffi::c_char,
    *const c::emr_file_options,
    *mut c::emr_error,
) -> c::emr_status;

/// Bytes that the library wrote, in memory. Clones are the same bytes.
#[derive(Clone)]
pub struct Buffer(Arc<Handle<c::emr_buffer>>);

impl Buffer {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: valid arguments.
        let handle = Handle::make(|buffer, error| unsafe { c::emr_buffer_create(buffer, null(), error) })?;
        Ok(Self(Arc::new(handle)))
    }

    /// For reading; and for writing as long as nobody has seen it.
    pub(crate) fn io(&self) -> c::emr_io {
        // SAFETY: the buffer owns the struct.
        unsafe { copy_of(c::emr_buffer_io(self.0.get())) }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: what it holds, which is not written any more.
        unsafe {
            let bytes = c::emr_buffer_bytes(self.0.get());
            slice(c::emr_buffer_data(self.0.get()).cast(), bytes)
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("bytes", &self.len()).finish()
    }
}
