//! Tasks that have labels of their own in one model: the heads' rows side by side, and a softmax for each
//! task's group.

use crate::call::{call, call_plain, filled};
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{keep, raw, Concurrent, Handle, Keep};
use crate::model::Model;
use crate::numbered::numbered;
use crate::text::{optional_text, text, CStrings};
use emr_sys as c;
use std::{fmt, ptr::null};

raw!(emr_heads, emr_heads_destroy);
// SAFETY: all calls take it as const.
unsafe impl Concurrent for c::emr_heads {}

/// The metadata of a combined model that tell its groups, as JSON.
pub const HEAD_GROUPS: &str = match c::EMR_HEAD_GROUPS.to_str() {
    Ok(key) => key,
    Err(_) => panic!("a key of C's is ASCII"),
};

numbered! {
    /// What becomes of a task's logits.
    #[derive(Default)]
    pub enum HeadKind {
        /// Softmax over the group; of a group of one logit the sigmoid.
        #[default]
        Softmax = EMR_HEAD_KIND_SOFTMAX,
        /// Each logit for itself: several labels can be true.
        Sigmoid = EMR_HEAD_KIND_SIGMOID,
        /// As they are: regression.
        Identity = EMR_HEAD_KIND_IDENTITY,
    }
}

/// The rows of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadGroup {
    /// The task's name; [`group_softmax`] does not look at it.
    pub task: String,
    /// The first row.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What becomes of their logits.
    pub kind: HeadKind,
}

/// The heads of tasks. A task's head has a row for each of its labels; in a view of its model it has the rows
/// of all tasks, with zeros for the others, so that all models have the same shapes and go through every way
/// of merging.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # let [parity, sign] = worlds::classifiers()?;
/// let heads = emr::Heads::new(&["classifier.*"], &[("parity", &parity), ("sign", &sign)])?;
/// let views = [heads.open_task(0)?, heads.open_task(1)?];
/// # assert_eq!(views[0].len(), views[1].len());
/// // ... merge the views, run the network: one logit a label of all tasks ...
/// let groups = heads.groups();
/// let mut logits = vec![0.5; heads.n_rows() as usize];
/// emr::group_softmax_in_place(&mut logits, 0, &groups)?;
/// # Ok(())
/// # }
/// # mod worlds {
/// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/mod.rs"));
/// # }
/// ```
pub struct Heads<'a> {
    handle: Handle<c::emr_heads>,
    tasks: Vec<Model<'a>>,
}

impl<'a> Heads<'a> {
    /// Finds the heads among the float tensors that match the patterns. Their logits go through softmax.
    pub fn new(globs: &[&str], tasks: &[(&str, &Model<'a>)]) -> Result<Self> {
        Self::with_kinds(globs, tasks, &[])
    }

    /// The same; `kinds` has one for each task, or is empty.
    pub fn with_kinds(globs: &[&str], tasks: &[(&str, &Model<'a>)], kinds: &[HeadKind]) -> Result<Self> {
        if !kinds.is_empty() && kinds.len() != tasks.len() {
            let counts = format!("{} kinds were given, for {} tasks", kinds.len(), tasks.len());
            return Err(Error::new(ErrorKind::InvalidArgument, counts));
        }
        let names = CStrings::new(tasks.iter().map(|task| task.0))?;
        let globs = CStrings::new(globs.iter().copied())?;
        let models: Vec<_> = tasks.iter().map(|task| task.1.raw()).collect();
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.raw()).collect();
        let options = c::emr_heads_options {
            globs: globs.as_ptr(),
            n_globs: globs.len(),
            names: names.as_ptr(),
            tasks: models.as_ptr(),
            n_tasks: names.len(),
            kinds: if kinds.is_empty() { null() } else { kinds.as_ptr() },
            ..Default::default()
        };
        // SAFETY: all of it lives during the call; the models are kept.
        let handle = Handle::make(|out, error| unsafe { c::emr_heads_create(out, &options, error) })?;
        Ok(Self { handle, tasks: tasks.iter().map(|task| task.1.clone()).collect() })
    }

    /// The rows of all tasks.
    pub fn n_rows(&self) -> u64 {
        // SAFETY: it only looks.
        unsafe { c::emr_heads_n_rows(self.handle.get()) }
    }

    /// A task's rows.
    pub fn group(&self, task: u32) -> Result<HeadGroup> {
        // SAFETY: filled by the call.
        let group: c::emr_head_group =
            filled(|group| unsafe { c::emr_heads_get_group(self.handle.get(), task, group) })?;
        Ok(HeadGroup {
            // SAFETY: the handle's.
            task: unsafe { text(group.task) }.to_owned(),
            first: group.first,
            count: group.count,
            kind: HeadKind::of(group.kind),
        })
    }

    /// Those of all tasks.
    pub fn groups(&self) -> Vec<HeadGroup> {
        (0..).map_while(|task| self.group(task).ok()).collect()
    }

    /// The names of the heads.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        // SAFETY: the handle's, or null past the end.
        (0..).map_while(|i| unsafe { optional_text(c::emr_heads_tensor(self.handle.get(), i)) })
    }

    /// A task's model with the rows of all tasks in its heads, and everything else as it is.
    pub fn open_task(&self, task: u32) -> Result<Model<'a>> {
        // SAFETY: the tasks' models are kept beside it.
        let handle = Handle::make(|out, error| unsafe {
            c::emr_heads_open_task(self.handle.get(), task, out, error)
        })?;
        Ok(Model::from_handle(handle, self.kept()))
    }

    /// The same of the tasks' base, whose heads are all zeros: a head's task vector is then the head.
    pub fn open_base(&self, base: &Model<'a>) -> Result<Model<'a>> {
        // SAFETY: base and tasks' models are kept beside it.
        let handle = Handle::make(|out, error| unsafe {
            c::emr_heads_open_base(self.handle.get(), base.raw(), out, error)
        })?;
        let mut kept = self.kept();
        kept.push(keep(base.clone()));
        Ok(Model::from_handle(handle, kept))
    }

    /// The heads alone, each row its own task's; in `dtype`, or in that of the first task that has the head.
    pub fn open_joined(&self, dtype: Option<Dtype>) -> Result<Model<'a>> {
        let dtype = Dtype::raw_or_none(dtype);
        // SAFETY: the tasks' models are kept beside it.
        let handle = Handle::make(|out, error| unsafe {
            c::emr_heads_open_joined(self.handle.get(), dtype, out, error)
        })?;
        Ok(Model::from_handle(handle, self.kept()))
    }

    /// Sets [`HEAD_GROUPS`].
    pub fn set_metadata(&self, model: &mut Model<'_>) -> Result<()> {
        let model = model.raw_mut()?;
        // SAFETY: the model is this call's alone.
        call(|error| unsafe { c::emr_heads_set_metadata(self.handle.get(), model, error) })
    }

    fn kept(&self) -> Vec<Keep<'a>> {
        vec![keep(self.tasks.clone())]
    }
}

impl fmt::Debug for Heads<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").field("groups", &self.groups()).finish_non_exhaustive()
    }
}

/// Turns each group's logits into probabilities, in whole rows of `stride` floats (0: as many as the groups
/// reach to). In f64, with an exponential of the library's own: the same bits everywhere. Columns of no group
/// are not written.
pub fn group_softmax(logits: &[f32], stride: usize, groups: &[HeadGroup], out: &mut [f32]) -> Result<()> {
    if logits.len() != out.len() {
        let sizes = format!("{} logits, and room for {}", logits.len(), out.len());
        return Err(Error::new(ErrorKind::InvalidArgument, sizes));
    }
    // SAFETY: both have the same length.
    unsafe { softmax_rows(logits.as_ptr(), logits.len(), stride, groups, out.as_mut_ptr()) }
}

/// The same, over the logits.
pub fn group_softmax_in_place(logits: &mut [f32], stride: usize, groups: &[HeadGroup]) -> Result<()> {
    let (n, values) = (logits.len(), logits.as_mut_ptr());
    // SAFETY: it may be done in place.
    unsafe { softmax_rows(values, n, stride, groups, values) }
}

/// # Safety
/// `out` has room for as many as there are logits, `n`; it is they, or does not overlap them.
unsafe fn softmax_rows(
    logits: *const f32,
    n: usize,
    stride: usize,
    groups: &[HeadGroup],
    out: *mut f32,
) -> Result<()> {
    let reach = groups.iter().map(|group| group.first.saturating_add(group.count)).max().unwrap_or(0);
    let stride = if stride == 0 { usize::try_from(reach).unwrap_or(usize::MAX) } else { stride };
    let rows = n.checked_div(stride).unwrap_or(0);
    if rows * stride != n {
        let sizes = format!("{n} logits are no whole rows of {stride}");
        return Err(Error::new(ErrorKind::InvalidArgument, sizes));
    }
    let groups: Vec<_> = groups
        .iter()
        .map(|group| c::emr_head_group {
            first: group.first,
            count: group.count,
            kind: group.kind.raw(),
            ..Default::default()
        })
        .collect();
    // SAFETY: whole rows, which C does not go beyond.
    call_plain(|| unsafe { c::emr_group_softmax(logits, rows, stride, groups.as_ptr(), groups.len(), out) })
}
