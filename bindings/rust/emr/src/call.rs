//! How calls go into C and callbacks come out of it: no panic crosses, and what a callback failed with is there again
//! when the call returns.
//!
//! Every call opens a frame, which the thread points to while it lasts; executors (resources.rs) carry it to their
//! threads. A callback, however deep, leaves its panic or its error in the frame of the call that runs it. After a panic
//! no other callback of that call runs: what they work on may be half done.

use crate::error::{BoxError, Error, Result};
use crate::text::{c_text, text};
use emr_sys as c;
use std::any::Any;
use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
struct Caught {
    panic: Option<Box<dyn Any + Send>>,
    /// What callbacks failed with, with the words that C was told.
    causes: Vec<(String, BoxError)>,
}

/// Enough for the threads that may fail at a time; of reads that are tried again many may.
const CAUSES_MAX: usize = 64;

/// What the callbacks of one call left.
#[derive(Default)]
pub(crate) struct Frame {
    caught: Mutex<Caught>,
    panicked: AtomicBool,
}

impl Frame {
    fn update(&self, f: impl FnOnce(&mut Caught)) {
        f(&mut self.caught.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn into_caught(self) -> Caught {
        self.caught.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    static CURRENT: Cell<*const Frame> = const { Cell::new(null()) };
}

/// The frame of the call that this thread works for, or null.
pub(crate) fn current_frame() -> *const Frame {
    CURRENT.get()
}

/// While it lives, this thread works for a call.
pub(crate) struct Entered(*const Frame);

impl Entered {
    pub(crate) fn new(frame: *const Frame) -> Self {
        Self(CURRENT.replace(frame))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `f`, which calls C, in a frame of its own.
fn in_frame<T>(f: impl FnOnce() -> T) -> (T, Caught) {
    let frame = Frame::default();
    let entered = Entered::new(&frame);
    let returned = f();
    drop(entered);
    (returned, frame.into_caught())
}

/// A call that can fail: `f` makes it and returns its status. Resumes a callback's panic.
pub(crate) fn call(f: impl FnOnce(*mut c::emr_error) -> c::emr_status) -> Result<()> {
    let mut error = c::emr_error::default();
    let (status, caught) = in_frame(|| f(&mut error));
    if let Some(panic) = caught.panic {
        resume_unwind(panic);
    }
    if status == c::EMR_OK {
        return Ok(());
    }
    let error = Error::from_c(status, &error);
    Err(match cause_of(&error, caught.causes) {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// A call that can fail without a sentence of its own.
pub(crate) fn call_plain(f: impl FnOnce() -> c::emr_status) -> Result<()> {
    call(|_| f())
}

/// A call that cannot fail, but may run callbacks: the end of a handle, say.
pub(crate) fn call_infallible<T>(f: impl FnOnce() -> T) -> T {
    let (returned, caught) = in_frame(f);
    if let Some(panic) = caught.panic {
        if !std::thread::panicking() {
            resume_unwind(panic);
        }
    }
    returned
}

/// The cause that C's sentence ends with, else the first one.
fn cause_of(error: &Error, mut causes: Vec<(String, BoxError)>) -> Option<BoxError> {
    let named = causes.iter().position(|(words, _)| !words.is_empty() && error.message().ends_with(words));
    (!causes.is_empty()).then(|| causes.swap_remove(named.unwrap_or(0)).1)
}

/// What a callback fails with that only wants the call to stop: C has the words for it.
#[derive(Debug)]
pub(crate) struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl StdError for Stop {}

/// What C gets of a callback's failure: a status, and words in `error`.
fn settle(error: *mut c::emr_error, cause: BoxError) -> c::emr_status {
    if cause.is::<Stop>() {
        return c::EMR_ECANCELED;
    }
    let (status, system) = classify(&*cause);
    let words = cause.to_string();
    // SAFETY: `error` is C's, or null; the text ends in a zero byte.
    unsafe { c::emr_error_set(error, status, system, null(), c_text(&words).as_ptr()) };
    keep_cause(words, cause);
    status
}

fn keep_cause(words: String, cause: BoxError) {
    with_frame(|frame| {
        frame.update(|caught| {
            if caught.causes.len() < CAUSES_MAX {
                caught.causes.push((words, cause));
            }
        });
    });
}

/// The frame of the call that this thread works for.
fn with_frame<T>(f: impl FnOnce(&Frame) -> T) -> Option<T> {
    // SAFETY: the frame of a call lives until it returned, and threads point to it no longer than that.
    unsafe { current_frame().as_ref() }.map(f)
}

fn has_panicked() -> bool {
    with_frame(|frame| frame.panicked.load(Ordering::Relaxed)).unwrap_or(false)
}

/// The status that a callback's error stands for, and the system's number.
fn classify(cause: &(dyn StdError + 'static)) -> (c::emr_status, i32) {
    if let Some(error) = cause.downcast_ref::<Error>() {
        let status = match error.status() {
            status if status < 0 => status,
            _ => c::EMR_EIO, // others are no failures to C
        };
        return (status, error.system().unwrap_or(0));
    }
    let Some(error) = cause.downcast_ref::<std::io::Error>() else {
        return (c::EMR_EIO, 0);
    };
    let status = match error.kind() {
        std::io::ErrorKind::OutOfMemory => c::EMR_ENOMEM,
        _ => c::EMR_EIO,
    };
    (status, error.raw_os_error().unwrap_or(0))
}

/// Runs a callback for C: no panic passes.
pub(crate) fn callback(
    error: *mut c::emr_error,
    f: impl FnOnce() -> std::result::Result<(), BoxError>,
) -> c::emr_status {
    let panicked = |error| {
        // SAFETY: `error` is C's, or null.
        unsafe { c::emr_error_set(error, c::EMR_ECANCELED, 0, null(), c"a callback panicked".as_ptr()) }
    };
    if has_panicked() {
        return panicked(error);
    }
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(())) => c::EMR_OK,
        Ok(Err(cause)) => settle(error, cause),
        Err(panic) => {
            keep_panic(panic);
            panicked(error)
        }
    }
}

/// Runs a callback that C gives no way to fail: where it panics, `instead` is what C gets.
pub(crate) fn callback_infallible<T>(instead: T, f: impl FnOnce() -> T) -> T {
    if has_panicked() {
        return instead;
    }
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        keep_panic(panic);
        instead
    })
}

fn keep_panic(panic: Box<dyn Any + Send>) {
    with_frame(|frame| {
        frame.panicked.store(true, Ordering::Relaxed);
        frame.update(|caught| {
            caught.panic.get_or_insert(panic);
        });
    });
}

/// The text of a C string that the library returned.
pub(crate) fn static_text(returned: *const std::ffi::c_char) -> &'static str {
    // SAFETY: the library's static strings, or null.
    unsafe { text(returned) }
}

/// An output argument that `f` fills.
pub(crate) fn filled<T: Default>(f: impl FnOnce(*mut T) -> c::emr_status) -> Result<T> {
    let mut value = T::default();
    call_plain(|| f(&mut value))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn a_panic_goes_on_when_the_call_returned() {
        let mut is_after = false;
        let call = AssertUnwindSafe(|| {
            call_infallible(|| {
                assert_eq!(callback_infallible(3, || std::panic::panic_any(7)), 3);
                is_after = true;
            })
        });
        assert_eq!(catch_unwind(call).unwrap_err().downcast_ref(), Some(&7));
        assert!(is_after && current_frame().is_null());
    }

    #[test]
    fn a_call_in_a_callback_has_a_frame_of_its_own() {
        call_infallible(|| {
            let outer = current_frame();
            let inner = call_infallible(current_frame);
            assert!(outer != inner && current_frame() == outer);
        });
    }

    #[test]
    fn only_the_first_panic_goes_on() {
        let call = || {
            call_infallible(|| {
                callback_infallible((), || std::panic::panic_any(1));
                callback_infallible((), || std::panic::panic_any(2));
            })
        };
        assert_eq!(catch_unwind(call).unwrap_err().downcast_ref(), Some(&1));
    }
}
