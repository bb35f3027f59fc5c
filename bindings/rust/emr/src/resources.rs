//! What a long call may use: threads, memory, and a way to follow and stop it.

use crate::call::{callback, callback_infallible, current_frame, Entered, Frame, Stop};
use crate::error::Result;
use crate::handle::{raw, Concurrent, Fixed, Handle};
use emr_sys as c;
use std::ffi::c_void;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of input; it never decreases.
    pub done: u64,
    /// In all; 0 where that is not known.
    pub total: u64,
}

/// What a long call may use. Passed by value to each; [`Resources::new`] is a good default: all processors, the
/// call's own default of memory, no progress.
///
/// ```
/// use std::ops::ControlFlow;
/// let resources = emr::Resources::new().threads(1).memory(64 << 20).progress(|progress| {
///     println!("{} of {} bytes", progress.done, progress.total);
///     ControlFlow::Continue(()) // Break(()) stops the call: ErrorKind::Canceled
/// });
/// # drop(resources);
/// ```
#[derive(Default)]
pub struct Resources<'a> {
    threads: Threads<'a>,
    memory: u64,
    progress: Option<Box<ProgressFn<'a>>>,
}

type ProgressFn<'a> = dyn FnMut(Progress) -> ControlFlow<()> + Send + 'a;

#[derive(Default)]
enum Threads<'a> {
    #[default]
    All,
    Number(u32),
    Pool(Pool),
    Host(Arc<dyn Executor + 'a>),
}

impl<'a> Resources<'a> {
    /// All processors, by a pool that is there during the call; default memory; no progress.
    pub fn new() -> Self {
        Self::default()
    }

    /// As many threads, the caller's own among them: 1 starts none; 0 is one for each processor.
    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = if threads == 0 { Threads::All } else { Threads::Number(threads) };
        self
    }

    /// The threads of a pool, which saves starting them for every call.
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.threads = Threads::Pool(pool.clone());
        self
    }

    /// The host's own threads.
    pub fn executor(mut self, executor: impl Executor + 'a) -> Self {
        self.threads = Threads::Host(Arc::new(executor));
        self
    }

    /// A cap on working memory in bytes; 0: the call's default. Too little is [`ErrorKind::Limit`](crate::ErrorKind::Limit).
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Called every few MiB on the thread that made the call; `Break` stops it with [`ErrorKind::Canceled`](crate::ErrorKind::Canceled).
    pub fn progress(mut self, f: impl FnMut(Progress) -> ControlFlow<()> + Send + 'a) -> Self {
        self.progress = Some(Box::new(f));
        self
    }

    /// As C takes it.
    pub(crate) fn lower(self) -> Result<Lowered<'a>> {
        let threads = match self.threads {
            Threads::Number(1) => None,
            Threads::All => Some(Workers::Pool(Pool::new(0)?)),
            Threads::Number(n) => Some(Workers::Pool(Pool::new(n)?)),
            Threads::Pool(pool) => Some(Workers::Pool(pool)),
            Threads::Host(executor) => Some(Workers::Host(executor)),
        };
        let workers = threads.map(Fixed::new);
        // SAFETY: it was just made, and nobody changes it.
        let concurrency = workers.as_ref().map_or(0, |workers| unsafe { &*workers.get() }.concurrency());
        let executor = c::emr_executor {
            user: workers.as_ref().map_or(null_mut(), Fixed::user),
            parallel_for: Some(parallel_for),
            concurrency,
            ..Default::default()
        };
        Ok(Lowered { executor, workers, memory: self.memory, progress: self.progress.map(Fixed::new) })
    }
}

/// Resources for C. What C borrows of it must live as long as the call or handle that was given it.
pub(crate) struct Lowered<'a> {
    executor: c::emr_executor,
    workers: Option<Fixed<Workers<'a>>>,
    memory: u64,
    progress: Option<Fixed<Box<ProgressFn<'a>>>>,
}

// SAFETY: the pointers of the executor are those of `workers`, which may be sent and shared; C calls `progress` from
// the thread that makes a call, which has exclusive access to the handle that has it.
unsafe impl Send for Lowered<'_> {}
// SAFETY: likewise.
unsafe impl Sync for Lowered<'_> {}

impl Lowered<'_> {
    /// The struct, which points into `self`: C copies it, so that `self` may move once the call is made.
    pub(crate) fn raw(&self) -> c::emr_resources {
        c::emr_resources {
            executor: if self.workers.is_some() { &self.executor } else { null() },
            progress: self.progress.as_ref().map(|_| show_progress as _),
            progress_user: self.progress.as_ref().map_or(null_mut(), Fixed::user),
            memory_bytes: self.memory,
            ..Default::default()
        }
    }
}

unsafe extern "C" fn show_progress(
    user: *mut c_void,
    progress: *const c::emr_progress,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: the user that `raw` set; one call at a time, on the thread that made the long one.
        let f = unsafe { &mut *user.cast::<Box<ProgressFn<'_>>>() };
        // SAFETY: C's struct, valid during the call.
        let now = unsafe { &*progress };
        match f(Progress { done: now.done, total: now.total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop.into()),
        }
    })
}

/// The host's threads: rayon's, say.
///
/// ```
/// use std::num::NonZeroU32;
/// struct Scoped;
/// impl emr::Executor for Scoped {
///     fn concurrency(&self) -> NonZeroU32 {
///         NonZeroU32::new(2).unwrap()
///     }
///     fn parallel_for(&self, n: usize, work: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| {
///             for i in 0..n {
///                 scope.spawn(move || work(i));
///             }
///         });
///     }
/// }
/// # drop(emr::Resources::new().executor(Scoped));
/// ```
pub trait Executor: Send + Sync {
    /// How many pieces of work run at a time at most; working memory grows with it.
    fn concurrency(&self) -> NonZeroU32;

    /// Calls `work(i)` for every `i` below `n`, in any order, on any threads, and returns when all are done. What it
    /// leaves out is done afterwards on the calling thread.
    fn parallel_for(&self, n: usize, work: &(dyn Fn(usize) + Sync));
}

enum Workers<'a> {
    Pool(Pool),
    Host(Arc<dyn Executor + 'a>),
}

impl Workers<'_> {
    fn concurrency(&self) -> u32 {
        match self {
            Self::Pool(pool) => pool.executor().concurrency,
            Self::Host(executor) => executor.concurrency().get(),
        }
    }
}

/// One piece of work after another, for the call whose frame this is.
struct Work {
    frame: *const Frame,
    f: unsafe extern "C" fn(*mut c_void, usize),
    arg: *mut c_void,
}

// SAFETY: C's work may be called from any threads, and so may a frame be used.
unsafe impl Sync for Work {}

impl Work {
    fn run(&self, i: usize) {
        let _entered = Entered::new(self.frame);
        // SAFETY: C's function with its argument; `i` is below the number that it asked for.
        unsafe { (self.f)(self.arg, i) }
    }
}

type WorkFn = unsafe extern "C" fn(arg: *mut c_void, i: usize);

unsafe extern "C" fn parallel_for(user: *mut c_void, n: usize, f: Option<WorkFn>, arg: *mut c_void) {
    let Some(f) = f else { return };
    let work = Work { frame: current_frame(), f, arg };
    // SAFETY: the user that `lower` set.
    match unsafe { &*user.cast::<Workers<'_>>() } {
        Workers::Pool(pool) => pool.parallel_for(n, &work),
        Workers::Host(executor) => run_by_host(&**executor, n, &work),
    }
}

unsafe extern "C" fn run_work(arg: *mut c_void, i: usize) {
    // SAFETY: the argument that `Pool::parallel_for` gave.
    unsafe { &*arg.cast::<Work>() }.run(i);
}

/// Whatever the host's executor does, each piece is done once.
fn run_by_host(executor: &dyn Executor, n: usize, work: &Work) {
    let begun: Vec<AtomicBool> = (0..n).map(|_| AtomicBool::new(false)).collect();
    let run_once = |i: usize| {
        if begun.get(i).is_some_and(|begun| !begun.swap(true, Ordering::Relaxed)) {
            work.run(i);
        }
    };
    callback_infallible((), || executor.parallel_for(n, &run_once));
    (0..n).for_each(run_once);
}

/// Threads that wait for work, shared by any number of calls, which take turns. Clones are the same pool; its threads
/// end with the last of them and of what was made with it. A callback that may run on its threads (a reader, a computed
/// tensor) must not wait for a call that uses the same pool.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// let pool = emr::Pool::new(4)?;
/// let resources = emr::Resources::new().pool(&pool);
/// # drop(resources);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Handle<c::emr_pool>>);

raw!(emr_pool, emr_pool_destroy);
// SAFETY: the one other call takes the pool as const; several threads may use its executor.
unsafe impl Concurrent for c::emr_pool {}

impl Pool {
    /// As many threads, the caller's own among them; 0: one for each processor.
    pub fn new(threads: u32) -> Result<Self> {
        let options = c::emr_pool_options { threads, ..Default::default() };
        // SAFETY: valid options and outputs.
        let handle = Handle::make(|pool, error| unsafe { c::emr_pool_create(pool, &options, error) })?;
        Ok(Self(Arc::new(handle)))
    }

    /// How many threads work at a time.
    pub fn concurrency(&self) -> u32 {
        self.executor().concurrency
    }

    fn executor(&self) -> &c::emr_executor {
        // SAFETY: the pool owns it.
        unsafe { &*c::emr_pool_executor(self.0.get()) }
    }

    fn parallel_for(&self, n: usize, work: &Work) {
        let executor = self.executor();
        let arg: *const Work = work;
        if let Some(f) = executor.parallel_for {
            // SAFETY: the pool's own function; the work outlives the call, and is shared only.
            unsafe { f(executor.user, n, Some(run_work), arg.cast_mut().cast()) };
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("concurrency", &self.concurrency()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::call_infallible;
    use std::sync::atomic::AtomicUsize;

    /// Threads that begin what there is, one of them twice, and forget the last.
    struct Careless;

    impl Executor for Careless {
        fn concurrency(&self) -> NonZeroU32 {
            NonZeroU32::new(2).unwrap()
        }

        fn parallel_for(&self, n: usize, work: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| {
                for i in (0..n - 1).chain([0, n + 7]) {
                    scope.spawn(move || work(i));
                }
            });
        }
    }

    /// Counts, and sees that it works for a call.
    unsafe extern "C" fn count(arg: *mut c_void, i: usize) {
        // SAFETY: the counters below.
        let counters = unsafe { &*arg.cast::<[AtomicUsize; 5]>() };
        counters[i].fetch_add(1, Ordering::Relaxed);
        assert!(!current_frame().is_null());
    }

    #[test]
    fn each_piece_of_work_is_done_once_and_for_its_call() {
        let lowered = Resources::new().executor(Careless).lower().unwrap();
        let moved = Box::new(lowered);
        let raw = moved.raw();
        let counters: [AtomicUsize; 5] = Default::default();
        let arg = std::ptr::from_ref(&counters).cast_mut().cast();
        // SAFETY: the table of an executor that lives, and work for so many.
        call_infallible(|| unsafe {
            let executor = &*raw.executor;
            assert_eq!(executor.concurrency, 2);
            executor.parallel_for.unwrap()(executor.user, 5, Some(count), arg);
        });
        assert!(counters.iter().all(|counter| counter.load(Ordering::Relaxed) == 1));
        assert!(current_frame().is_null());
    }

    #[test]
    fn progress_is_told_through_the_table() {
        let mut seen = Vec::new();
        let lowered = Resources::new()
            .threads(1)
            .progress(|progress| {
                seen.push(progress.done);
                if progress.done > 1 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .lower()
            .unwrap();
        let raw = lowered.raw();
        assert!(raw.executor.is_null());
        let tell = |done| {
            let now = c::emr_progress { done, total: 2, ..Default::default() };
            // SAFETY: the table's function with its user.
            unsafe { raw.progress.unwrap()(raw.progress_user, &now, null_mut()) }
        };
        assert_eq!([tell(1), tell(2)], [c::EMR_OK, c::EMR_ECANCELED]);
        drop(lowered);
        assert_eq!(seen, [1, 2]);
    }
}
