//! Texts on their way into C and out of it.

use crate::error::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::ffi::{c_char, CStr, CString};
use std::path::{Path, PathBuf};

/// A text that C copies, or borrows as long as this lives. It may hold no zero byte.
pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("{text:?} has a zero byte in it")))
}

/// A path as the system has it.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    #[cfg(not(unix))]
    let bytes = path
        .to_str()
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{} is not Unicode", path.display())))?
        .as_bytes();
    CString::new(bytes).map_err(|_| {
        Error::new(ErrorKind::InvalidArgument, format!("{} has a zero byte in it", path.display()))
    })
}

/// A path that C gives.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn path_of(path: *const c_char) -> PathBuf {
    #[cfg(unix)]
    {
        // SAFETY: the caller's.
        let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
        PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's.
        PathBuf::from(unsafe { text(path) })
    }
}

/// Words for a sentence, up to a zero byte.
pub(crate) fn c_text(words: &str) -> CString {
    let end = words.find('\0').unwrap_or(words.len());
    CString::new(&words[..end]).unwrap_or_default()
}

/// The text at `pointer`, "" where that is null.
///
/// # Safety
/// It ends in a zero byte, and lives as long as `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char) -> &'a str {
    // SAFETY: the caller's.
    unsafe { optional_text(pointer) }.unwrap_or("")
}

/// The text at `pointer`, or none where that is null. Names in files are checked to be UTF-8 when they are opened, and
/// what comes from here is a `str`.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_text<'a>(pointer: *const c_char) -> Option<&'a str> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
    Some(valid_part(bytes))
}

/// All of it, or what comes before the first byte that is not UTF-8.
fn valid_part(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}

/// An array of texts.
#[derive(Default)]
pub(crate) struct CStrings {
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers point to heap memory of the texts beside them, which nobody changes.
unsafe impl Send for CStrings {}
// SAFETY: likewise.
unsafe impl Sync for CStrings {}

impl CStrings {
    pub(crate) fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self> {
        let texts: Vec<CString> =
            texts.into_iter().map(|text| c_string(text.as_ref())).collect::<Result<_>>()?;
        let pointers = texts.iter().map(|text| text.as_ptr()).collect();
        Ok(Self { _texts: texts, pointers })
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// Their number, as C counts.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.pointers.len()).unwrap_or(u32::MAX)
    }
}

/// A name out of a sentence, whose bytes may have been cut.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_zero_byte_is_refused() {
        assert_eq!(c_string("a\0b").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(c_path(Path::new("a\0b")).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(c_text("a\0b").as_bytes(), b"a");
    }

    #[test]
    fn an_array_of_texts_lasts_where_it_moves() {
        let texts = CStrings::new(["one", "two"]).unwrap();
        let moved = Box::new(texts);
        // SAFETY: two texts, which live as long as `moved`.
        let read = unsafe { [text(*moved.as_ptr()), text(*moved.as_ptr().add(1))] };
        assert_eq!((read, moved.len()), (["one", "two"], 2));
        assert!(CStrings::new(["a\0"]).is_err());
    }

    #[test]
    fn what_is_no_text_is_cut() {
        // SAFETY: texts that end in a zero byte.
        unsafe {
            assert_eq!(text(c"caf\xc3".as_ptr()), "caf");
            assert_eq!((text(std::ptr::null()), optional_text(std::ptr::null())), ("", None));
        }
    }
}
