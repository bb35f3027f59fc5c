//! Where bytes are written to: files that appear whole or not at all, and the host's own writers.

use crate::call::callback;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{Buffer, NewFile};
use crate::handle::Fixed;
use crate::input::slice;
use emr_sys as c;
use std::ffi::c_void;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a bundle or checkpoint goes.
///
/// ```
/// let file = emr::Output::file("all.emr"); // must not be there yet
/// let other = emr::Output::file("all.emr").replace(true);
/// let mut bytes = Vec::new();
/// let memory = emr::Output::writer(&mut bytes);
/// # drop((file, other, memory));
/// ```
pub struct Output<'a>(Target<'a>);

enum Target<'a> {
    File { path: PathBuf, replace: bool },
    Writer(Box<dyn Write + Send + 'a>),
    Buffer(Buffer),
}

impl<'a> Output<'a> {
    /// A file, which appears when it is whole and durable: until then, and after a failure, what was there stays.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self(Target::File { path: path.as_ref().to_owned(), replace: false })
    }

    /// Whether a file that exists is replaced; else it is [`ErrorKind::Exists`]. Of no meaning to writers.
    pub fn replace(mut self, yes: bool) -> Self {
        if let Target::File { replace, .. } = &mut self.0 {
            *replace = yes;
        }
        self
    }

    /// Anything that takes bytes from front to back, and is flushed in the end: a pipe, a socket, `&mut Vec<u8>`.
    /// What it was given is worthless unless the call succeeds.
    pub fn writer(writer: impl Write + Send + 'a) -> Self {
        Self(Target::Writer(Box::new(writer)))
    }

    /// Memory of the library's.
    pub(crate) fn buffer(buffer: Buffer) -> Self {
        Self(Target::Buffer(buffer))
    }

    pub(crate) fn open(self) -> Result<OpenOutput<'a>> {
        Ok(OpenOutput(match self.0 {
            Target::File { path, replace } => Opened::File(NewFile::create(&path, replace)?),
            Target::Writer(writer) => Opened::Writer(Fixed::new(Sequential { writer, position: 0 })),
            Target::Buffer(buffer) => Opened::Buffer(buffer),
        }))
    }
}

/// An output that is being written.
pub(crate) struct OpenOutput<'a>(Opened<'a>);

enum Opened<'a> {
    File(NewFile),
    Writer(Fixed<Sequential<'a>>),
    Buffer(Buffer),
}

/// A writer, and how far it has come.
struct Sequential<'a> {
    writer: Box<dyn Write + Send + 'a>,
    position: u64,
}

impl OpenOutput<'_> {
    /// For C, which copies it; `self` must outlive its use.
    pub(crate) fn io(&self) -> c::emr_io {
        match &self.0 {
            Opened::File(file) => file.io(),
            Opened::Buffer(buffer) => buffer.io(),
            Opened::Writer(writer) => {
                c::emr_io { user: writer.user(), write: Some(write), sync: Some(sync), ..Default::default() }
            }
        }
    }

    /// After success, and the end of C's handle that wrote it: puts a file in its place.
    pub(crate) fn finish(self) -> Result<()> {
        match self.0 {
            Opened::File(file) => file.commit(),
            Opened::Buffer(_) => Ok(()),
            Opened::Writer(writer) => {
                // SAFETY: C has no pointer to it any more.
                let flushed = unsafe { &mut *writer.get() }.writer.flush();
                flushed.map_err(|error| {
                    Error::new(ErrorKind::Io, format!("flushing the output: {error}")).caused_by(error.into())
                })
            }
        }
    }
}

unsafe extern "C" fn write(
    user: *mut c_void,
    offset: u64,
    source: *const c_void,
    n: usize,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: the user that `io` set; one write runs at a time.
        let output = unsafe { &mut *user.cast::<Sequential<'_>>() };
        // SAFETY: C's bytes, valid during the call.
        let bytes = unsafe { slice(source.cast::<u8>(), n) };
        if offset != output.position {
            return Err(Error::new(ErrorKind::State, "a writer takes bytes from front to back").into());
        }
        output.writer.write_all(bytes)?;
        output.position += n as u64;
        Ok(())
    })
}

unsafe extern "C" fn sync(user: *mut c_void, error: *mut c::emr_error) -> c::emr_status {
    // SAFETY: the user that `io` set; nothing is written meanwhile.
    callback(error, || Ok(unsafe { &mut *user.cast::<Sequential<'_>>() }.writer.flush()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    #[test]
    fn a_writers_table_writes_from_front_to_back() {
        let mut bytes = Vec::new();
        let output = Output::writer(&mut bytes).open().unwrap();
        let io = output.io();
        let moved = vec![output];
        // SAFETY: the table with its user, and as many bytes.
        unsafe {
            assert_eq!(io.write.unwrap()(io.user, 0, b"ab".as_ptr().cast(), 2, null_mut()), c::EMR_OK);
            assert_eq!(io.write.unwrap()(io.user, 2, b"c".as_ptr().cast(), 1, null_mut()), c::EMR_OK);
            assert_eq!(io.sync.unwrap()(io.user, null_mut()), c::EMR_OK);
        }
        moved.into_iter().for_each(|output| output.finish().unwrap());
        assert_eq!(bytes, b"abc");
    }
}
