//! Where bytes are read from: files, memory, and the host's own readers.

use crate::call::{callback, callback_infallible};
use crate::error::Result;
use crate::file::{Buffer, File};
use crate::handle::{keep, Fixed, Handle, Keep};
use emr_sys as c;
use std::ffi::c_void;
use std::io;
use std::ptr::null;
use std::sync::Arc;

/// An object that can be read at any place: a remote file, a part of an archive. Reads may come from several threads
/// at a time.
///
/// ```
/// use std::{fs::File, io, os::unix::fs::FileExt};
/// struct Local(File);
/// impl emr::ReadAt for Local {
///     fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
///         self.0.read_exact_at(buffer, offset)
///     }
///     fn len(&self) -> io::Result<u64> {
///         Ok(self.0.metadata()?.len())
///     }
/// }
/// # fn open() -> Result<emr::Bundle<'static>, Box<dyn std::error::Error>> {
/// let bundle = emr::Bundle::open_input(emr::Input::reader(Local(File::open("all.emr")?)), Some("all.emr"))?;
/// # Ok(bundle)
/// # }
/// ```
#[allow(clippy::len_without_is_empty)] // how long it is, is a question that can fail
pub trait ReadAt: Send + Sync {
    /// Fills all of `buffer` from `offset` on. The buffer's old content means nothing.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// How many bytes there are.
    fn len(&self) -> io::Result<u64>;

    /// All bytes, where they lie in memory anyway (a mapped file, say): then nothing is copied.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// A hint, which returns at once: these bytes will be read soon. They may lie past the end.
    fn will_need(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn as_slice(&self) -> Option<&[u8]> {
        (**self).as_slice()
    }

    fn will_need(&self, offset: u64, bytes: u64) {
        (**self).will_need(offset, bytes);
    }
}

/// What a bundle or model is read from. Memory is used where it lies.
///
/// ```
/// let bytes: Vec<u8> = vec![0; 100];
/// let borrowed = emr::Input::from(&bytes[..]);
/// let error = emr::Bundle::open_input(borrowed, Some("zeros")).unwrap_err();
/// assert_eq!(error.kind(), emr::ErrorKind::Format);
/// ```
pub struct Input<'a>(Source<'a>);

enum Source<'a> {
    Reader(Box<dyn ReadAt + 'a>),
    Slice(&'a [u8]),
    Buffer(Buffer),
    File(File),
}

impl<'a> Input<'a> {
    /// The host's own reader.
    pub fn reader(reader: impl ReadAt + 'a) -> Self {
        Self(Source::Reader(Box::new(reader)))
    }

    /// For C, which copies the struct; what it points to goes with the second part, which must outlive its use.
    pub(crate) fn lower(self) -> Result<(c::emr_io, Keep<'a>)> {
        match self.0 {
            Source::Reader(reader) => Ok(lower_reader(reader)),
            Source::Slice(bytes) => {
                let opened = OpenSlice::new(bytes)?;
                // SAFETY: the buffer owns the struct.
                let io = unsafe { copy_of(c::emr_buffer_io(opened.handle.get())) };
                Ok((io, keep(opened)))
            }
            Source::Buffer(buffer) => Ok((buffer.io(), keep(buffer))),
            Source::File(file) => Ok((file.io(), keep(file))),
        }
    }
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Source::Slice(bytes))
    }
}

impl From<Vec<u8>> for Input<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::reader(Owned(bytes))
    }
}

impl From<Buffer> for Input<'_> {
    fn from(buffer: Buffer) -> Self {
        Self(Source::Buffer(buffer))
    }
}

impl From<File> for Input<'_> {
    fn from(file: File) -> Self {
        Self(Source::File(file))
    }
}

/// The table of a stock backend, as a host that copies it has it.
///
/// # Safety
/// `io` is null or valid.
pub(crate) unsafe fn copy_of(io: *const c::emr_io) -> c::emr_io {
    // SAFETY: the caller's.
    let io = unsafe { io.as_ref() }.expect("a backend has its table");
    c::emr_io { size: std::mem::size_of::<c::emr_io>(), ..*io }
}

/// C's buffer over the host's memory.
struct OpenSlice<'a> {
    handle: Handle<c::emr_buffer>,
    _bytes: &'a [u8],
}

impl<'a> OpenSlice<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        // SAFETY: the bytes outlive the handle, which stands beside them.
        let handle = Handle::make(|buffer, error| unsafe {
            c::emr_buffer_open(buffer, bytes.as_ptr().cast(), bytes.len(), null(), error)
        })?;
        Ok(Self { handle, _bytes: bytes })
    }
}

/// Bytes that are given away.
struct Owned(Vec<u8>);

impl ReadAt for Owned {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = part_of(&self.0, offset, buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}

fn part_of(bytes: &[u8], offset: u64, n: usize) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)?.get(..n)
}

type DynReader<'a> = Box<dyn ReadAt + 'a>;

fn lower_reader<'a>(reader: DynReader<'a>) -> (c::emr_io, Keep<'a>) {
    let is_mapped = reader.as_slice().is_some();
    let reader = Fixed::new(reader);
    let io = c::emr_io {
        user: reader.user(),
        read: Some(read),
        length: Some(length),
        map: if is_mapped { Some(map) } else { None },
        will_need: Some(will_need),
        ..Default::default()
    };
    (io, keep(reader))
}

/// The reader that C has a pointer to.
///
/// # Safety
/// `user` is that of `lower_reader`, and what was kept with it is still there.
unsafe fn reader_of<'x>(user: *mut c_void) -> &'x DynReader<'x> {
    // SAFETY: the caller's; readers are shared only.
    unsafe { &*user.cast() }
}

unsafe extern "C" fn read(
    user: *mut c_void,
    offset: u64,
    destination: *mut c_void,
    n: usize,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: C gives `n` bytes to write to, of memory that came from outside of Rust.
        let buffer = unsafe { slice_mut(destination.cast(), n) };
        // SAFETY: C's `user`.
        Ok(unsafe { reader_of(user) }.read_exact_at(offset, buffer)?)
    })
}

unsafe extern "C" fn length(user: *mut c_void, bytes: *mut u64, error: *mut c::emr_error) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's `user`.
        let length = unsafe { reader_of(user) }.len()?;
        // SAFETY: C's output.
        unsafe { bytes.write(length) };
        Ok(())
    })
}

unsafe extern "C" fn map(
    user: *mut c_void,
    offset: u64,
    n: usize,
    window: *mut *const c_void,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's `user`. The slice is borrowed from what is kept until C is done with it.
        let bytes = unsafe { reader_of(user) }.as_slice();
        let part = bytes
            .and_then(|bytes| part_of(bytes, offset, n))
            .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        // SAFETY: C's output.
        unsafe { window.write(part.as_ptr().cast()) };
        Ok(())
    })
}

unsafe extern "C" fn will_need(user: *mut c_void, offset: u64, n: u64) {
    // SAFETY: C's `user`.
    callback_infallible((), || unsafe { reader_of(user) }.will_need(offset, n));
}

/// A slice of C's memory; an empty one may be null.
///
/// # Safety
/// `n` elements are at `pointer`, nobody else uses them during 'x, and their memory counts as initialised.
pub(crate) unsafe fn slice_mut<'x, T>(pointer: *mut T, n: usize) -> &'x mut [T] {
    if n == 0 {
        return &mut [];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts_mut(pointer, n) }
}

/// The same to read from.
///
/// # Safety
/// `n` elements are at `pointer`, and nobody changes them during 'x.
pub(crate) unsafe fn slice<'x, T>(pointer: *const T, n: usize) -> &'x [T] {
    if n == 0 {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts(pointer, n) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    #[test]
    fn a_readers_table_reads_measures_and_maps() {
        let (io, kept) = Input::from(vec![1u8, 2, 3, 4]).lower().unwrap();
        let kept = Box::new(kept); // it may move
        let (mut bytes, mut n, mut window) = ([0u8; 2], 0, null());
        // SAFETY: the table with its user, and outputs of these sizes.
        unsafe {
            assert_eq!(io.read.unwrap()(io.user, 1, bytes.as_mut_ptr().cast(), 2, null_mut()), c::EMR_OK);
            assert_eq!(io.read.unwrap()(io.user, 4, null_mut(), 0, null_mut()), c::EMR_OK);
            assert_eq!(io.length.unwrap()(io.user, &mut n, null_mut()), c::EMR_OK);
            assert_eq!(io.map.unwrap()(io.user, 2, 2, &mut window, null_mut()), c::EMR_OK);
            io.will_need.unwrap()(io.user, 2, u64::MAX);
            assert_eq!(slice(window.cast::<u8>(), 2), [3, 4]);
        }
        assert_eq!((bytes, n), ([2, 3], 4));
        drop(kept);
    }

    #[test]
    fn a_part_lies_inside() {
        assert_eq!(part_of(b"abc", 1, 2), Some(&b"bc"[..]));
        assert_eq!(part_of(b"abc", 3, 0), Some(&b""[..]));
        assert_eq!((part_of(b"abc", 2, 2), part_of(b"abc", u64::MAX, 1)), (None, None));
    }
}
