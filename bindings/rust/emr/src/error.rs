//! What goes wrong: one type, with the library's sentence and what it names.

use crate::call::static_text;
use crate::text::lossy;
use emr_sys as c;
use std::error::Error as StdError;
use std::{fmt, io};

/// What calls return.
pub type Result<T> = std::result::Result<T, Error>;

/// What callbacks fail with: any error; it is the [`source`](StdError::source) of the call's.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or an option cannot be.
    InvalidArgument,
    /// There is no memory.
    OutOfMemory,
    /// Input or output failed, the host's own included.
    Io,
    /// A file is malformed.
    Format,
    /// A checksum differs.
    Corrupt,
    /// The file was made by a newer version of libemr.
    Version,
    /// Inputs do not fit together.
    Mismatch,
    /// NaN or infinity in a tensor that is to be merged.
    NonFinite,
    /// No such tensor, task or entry.
    NotFound,
    /// A progress callback stopped the call.
    Canceled,
    /// The call came at the wrong time, or the object is in use.
    State,
    /// Not in this build, or not for this input.
    Unsupported,
    /// A limit is too small for this work.
    Limit,
    /// It is there already.
    Exists,
    /// A status of a newer library.
    Unknown(i32),
}

/// Kinds and their statuses.
const KINDS: [(ErrorKind, c::emr_status); 14] = [
    (ErrorKind::InvalidArgument, c::EMR_EINVAL),
    (ErrorKind::OutOfMemory, c::EMR_ENOMEM),
    (ErrorKind::Io, c::EMR_EIO),
    (ErrorKind::Format, c::EMR_EFORMAT),
    (ErrorKind::Corrupt, c::EMR_ECORRUPT),
    (ErrorKind::Version, c::EMR_EVERSION),
    (ErrorKind::Mismatch, c::EMR_EMISMATCH),
    (ErrorKind::NonFinite, c::EMR_ENONFINITE),
    (ErrorKind::NotFound, c::EMR_ENOTFOUND),
    (ErrorKind::Canceled, c::EMR_ECANCELED),
    (ErrorKind::State, c::EMR_ESTATE),
    (ErrorKind::Unsupported, c::EMR_EUNSUPPORTED),
    (ErrorKind::Limit, c::EMR_ELIMIT),
    (ErrorKind::Exists, c::EMR_EEXIST),
];

impl ErrorKind {
    fn of(status: c::emr_status) -> Self {
        KINDS.iter().find(|entry| entry.1 == status).map_or(Self::Unknown(status), |entry| entry.0)
    }

    /// The number that C has for it.
    pub fn status(self) -> i32 {
        match self {
            Self::Unknown(status) => status,
            kind => KINDS.iter().find(|entry| entry.0 == kind).map_or(c::EMR_EINVAL, |entry| entry.1),
        }
    }

    /// C's name of it: `EMR_ENOMEM`.
    pub fn name(self) -> &'static str {
        // SAFETY: any number will do.
        static_text(unsafe { c::emr_status_name(self.status()) })
    }

    /// A few words: "out of memory".
    pub fn description(self) -> &'static str {
        // SAFETY: any number will do.
        static_text(unsafe { c::emr_status_text(self.status()) })
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// Why a call failed. Displayed, it is the library's sentence. Where a callback of the host's failed (I/O, a computed
/// tensor, a method), [`source`](StdError::source) is the very error that it returned.
///
/// ```
/// let error = emr::Model::open("no/such.safetensors").unwrap_err();
/// assert_eq!(error.kind(), emr::ErrorKind::Io);
/// assert_eq!(error.file(), Some("no/such.safetensors"));
/// assert_eq!(error.system(), Some(2)); // errno
/// ```
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    message: String,
    system: i32,
    file: Option<String>,
    task: Option<String>,
    tensor: Option<String>,
    source: Option<BoxError>,
}

impl Error {
    /// An error of the host's own, for callbacks that mean a certain kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Parts { kind, message, system: 0, file: None, task: None, tensor: None, source: None }))
    }

    /// What a call that returned `status` left in `error`.
    pub(crate) fn from_c(status: c::emr_status, error: &c::emr_error) -> Self {
        let kind = ErrorKind::of(status);
        if error.status != status {
            return Self::new(kind, kind.description()); // a call without a sentence
        }
        // SAFETY: chars are bytes of either sign.
        let bytes: &[u8] =
            unsafe { std::slice::from_raw_parts(error.text.as_ptr().cast(), error.text.len()) };
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let name = |span: c::emr_error_span| {
            let first = usize::from(span.offset);
            let name = bytes.get(first..first + usize::from(span.length))?;
            (!name.is_empty()).then(|| lossy(name).into_owned())
        };
        Self(Box::new(Parts {
            kind,
            message: lossy(&bytes[..end]).into_owned(),
            system: error.system,
            file: name(error.file),
            task: name(error.task),
            tensor: name(error.tensor),
            source: None,
        }))
    }

    pub(crate) fn caused_by(mut self, source: BoxError) -> Self {
        self.0.source = Some(source);
        self
    }

    pub(crate) fn about_file(mut self, file: &str) -> Self {
        self.0.file = Some(file.to_owned());
        self
    }

    pub(crate) fn about_tensor(mut self, tensor: &str) -> Self {
        self.0.tensor = Some(tensor.to_owned());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The number that C returned.
    pub fn status(&self) -> i32 {
        self.0.kind.status()
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The system's number (`errno`), where it was the system's fault.
    pub fn system(&self) -> Option<i32> {
        (self.0.system != 0).then_some(self.0.system)
    }

    /// The file or model that the sentence names. Of a name of more than 200 bytes, its beginning and end.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The task that it names.
    pub fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    /// The tensor that it names.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            ErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Exists => io::ErrorKind::AlreadyExists,
            ErrorKind::Format | ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            _ => error.system().map_or(io::ErrorKind::Other, |number| Self::from_raw_os_error(number).kind()),
        };
        Self::new(kind, error)
    }
}
