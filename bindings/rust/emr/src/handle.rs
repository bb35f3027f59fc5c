//! Owners of C's handles, and of what these need while they live.

use crate::call::{call, call_infallible};
use crate::error::Result;
use emr_sys as c;
use std::ptr::{null_mut, NonNull};

/// A C handle with the function that ends it.
///
/// # Safety
/// `destroy` ends what the pointer points to, from any thread.
pub(crate) unsafe trait Raw: Sized {
    /// # Safety
    /// `handle` points to a handle that nobody uses any more.
    unsafe fn destroy(handle: *mut *mut Self);
}

/// A C handle whose calls that take it as const may run at the same time.
///
/// # Safety
/// That is so, and safe code makes other calls with exclusive access only.
pub(crate) unsafe trait Concurrent: Raw {}

macro_rules! raw {
    ($name:ident, $destroy:ident) => {
        // SAFETY: the function of that handle.
        unsafe impl crate::handle::Raw for emr_sys::$name {
            unsafe fn destroy(handle: *mut *mut Self) {
                // SAFETY: the caller's.
                unsafe { emr_sys::$destroy(handle) }
            }
        }
    };
}
pub(crate) use raw;

/// Owns a handle.
pub(crate) struct Handle<T: Raw>(NonNull<T>);

// SAFETY: no handle belongs to a thread.
unsafe impl<T: Raw> Send for Handle<T> {}
// SAFETY: what `Concurrent` says.
unsafe impl<T: Concurrent> Sync for Handle<T> {}

impl<T: Raw> Handle<T> {
    /// The handle that `f(&mut handle, error)` makes.
    pub(crate) fn make(f: impl FnOnce(*mut *mut T, *mut c::emr_error) -> c::emr_status) -> Result<Self> {
        let mut made = Made(null_mut());
        call(|error| f(&mut made.0, error))?;
        let pointer = std::mem::replace(&mut made.0, null_mut());
        Ok(Self(NonNull::new(pointer).expect("a call that succeeds makes a handle")))
    }

    pub(crate) fn get(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Leaves its end to another function than the usual one.
    pub(crate) fn into_raw(self) -> *mut T {
        let pointer = self.get();
        std::mem::forget(self);
        pointer
    }
}

/// What a call has made, until it is known that no callback panicked meanwhile.
struct Made<T: Raw>(*mut T);

impl<T: Raw> Drop for Made<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has it; null is fine.
        call_infallible(|| unsafe { T::destroy(&mut self.0) });
    }
}

impl<T: Raw> Drop for Handle<T> {
    fn drop(&mut self) {
        let mut pointer = self.get();
        // SAFETY: nobody else has it.
        call_infallible(|| unsafe { T::destroy(&mut pointer) });
    }
}

/// Anything that a handle needs; it stands behind the handle in its struct, so that it goes after it.
pub(crate) trait Kept: Send + Sync {}
impl<T: Send + Sync> Kept for T {}

pub(crate) type Keep<'a> = Box<dyn Kept + 'a>;

pub(crate) fn keep<'a>(what: impl Send + Sync + 'a) -> Keep<'a> {
    Box::new(what)
}

/// An object that C has a pointer to: it stays where it is, and is reached through the pointer alone.
pub(crate) struct Fixed<T>(NonNull<T>);

// SAFETY: it owns a T.
unsafe impl<T: Send> Send for Fixed<T> {}
// SAFETY: it lends a T as shared only.
unsafe impl<T: Sync> Sync for Fixed<T> {}

impl<T> Fixed<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    pub(crate) fn get(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// For C, as its `user`.
    pub(crate) fn user(&self) -> *mut std::ffi::c_void {
        self.0.as_ptr().cast()
    }
}

impl<T> Drop for Fixed<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and C's handle is gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::callback_infallible;
    use std::panic::{catch_unwind, panic_any};
    use std::sync::atomic::{AtomicUsize, Ordering};

    static ALIVE: AtomicUsize = AtomicUsize::new(0);

    struct Counted;

    // SAFETY: what `create` made.
    unsafe impl Raw for Counted {
        unsafe fn destroy(handle: *mut *mut Self) {
            // SAFETY: a valid pointer to null, or to a box's.
            unsafe {
                if !(*handle).is_null() {
                    drop(Box::from_raw(*handle));
                    ALIVE.fetch_sub(1, Ordering::Relaxed);
                }
                *handle = null_mut();
            }
        }
    }

    fn create(handle: *mut *mut Counted) -> c::emr_status {
        // SAFETY: an output.
        unsafe { *handle = Box::into_raw(Box::new(Counted)) };
        ALIVE.fetch_add(1, Ordering::Relaxed);
        c::EMR_OK
    }

    #[test]
    fn a_handle_ends_once_also_where_a_callback_panicked_while_it_was_made() {
        let handle = Handle::make(|handle, _| create(handle)).unwrap();
        assert_eq!(ALIVE.load(Ordering::Relaxed), 1);
        drop(handle);
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
        let panicking = || {
            Handle::make(|handle, _| {
                callback_infallible((), || panic_any(9));
                create(handle)
            })
        };
        assert_eq!(catch_unwind(panicking).err().unwrap().downcast_ref(), Some(&9));
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
    }
}
