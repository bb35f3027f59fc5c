//! How C calls a method of the program's own.

use crate::call::{callback, callback_infallible};
use crate::error::{Error, ErrorKind, Result};
use crate::input::slice_mut;
use crate::merging_method::{Chunk, MergingMethod, MethodTensor, Stage, STAGES_MAX};
use crate::method::MethodInfo;
use crate::text::c_string;
use emr_sys as c;
use std::ffi::CString;
use std::ptr::null;
use std::sync::{Arc, Weak};

/// A method of the host's with the structs that C borrows. It stays where it is: `raw` points to all of it.
pub(crate) struct OwnMethod<'a> {
    pub(crate) raw: c::emr_method,
    pub(crate) info: MethodInfo,
    stages: Vec<Stage>,
    method: Box<dyn MergingMethod + 'a>,
    _lowered: LoweredParts,
}

/// What `raw` points to.
struct LoweredParts {
    name: CString,
    _parameter_names: Vec<CString>,
    parameters: Vec<c::emr_method_parameter>,
    stages: Vec<c::emr_method_stage>,
}

// SAFETY: the pointers are to what it owns, which does not change; the method may be sent and shared.
unsafe impl Send for OwnMethod<'_> {}
// SAFETY: likewise.
unsafe impl Sync for OwnMethod<'_> {}

impl<'a> OwnMethod<'a> {
    pub(crate) fn new(method: Box<dyn MergingMethod + 'a>) -> Result<Arc<Self>> {
        let (info, stages) = (method.info(), method.stages());
        if stages.len() > STAGES_MAX {
            let why =
                format!("the method '{}' has {} stages, more than {STAGES_MAX}", info.name, stages.len());
            return Err(Error::new(ErrorKind::InvalidArgument, why));
        }
        let lowered = LoweredParts::new(&info, &stages)?;
        let scratch_floats = method.scratch_floats();
        Ok(Arc::new_cyclic(|own: &Weak<Self>| {
            let mut raw = lowered.method(&info);
            raw.user = own.as_ptr().cast_mut().cast();
            raw.scratch_floats = scratch_floats;
            Self { raw, info, stages, method, _lowered: lowered }
        }))
    }

    /// A chunk with this thread's scratch, for a stage or, after all stages, to combine.
    ///
    /// # Safety
    /// C's chunk, valid for `'c`, with what stages before have found.
    unsafe fn chunk<'c>(&self, chunk: *const c::emr_method_chunk, stages: &[Stage]) -> Chunk<'c> {
        // SAFETY: the caller's; the scratch is as large as the method says.
        unsafe {
            let scratch = zeroed((*chunk).scratch, (*chunk).n * self.raw.scratch_floats as usize);
            Chunk::new(chunk, scratch, stages)
        }
    }

    /// Those before a stage, whose numbers it is given.
    fn stages_before(&self, stage: usize) -> &[Stage] {
        &self.stages[..stage]
    }
}

impl LoweredParts {
    fn new(info: &MethodInfo, stages: &[Stage]) -> Result<Self> {
        let parameter_names =
            info.parameters.iter().map(|parameter| c_string(&parameter.name)).collect::<Result<Vec<_>>>()?;
        let parameters = info.parameters.iter().zip(&parameter_names);
        Ok(Self {
            name: c_string(&info.name)?,
            parameters: parameters.map(|(parameter, name)| parameter.lower(name)).collect(),
            _parameter_names: parameter_names,
            stages: stages.iter().zip(STAGES).map(|(stage, lowered)| lowered.with_kind(*stage)).collect(),
        })
    }

    fn method(&self, info: &MethodInfo) -> c::emr_method {
        let mut stages = [null(); STAGES_MAX];
        stages.iter_mut().zip(&self.stages).for_each(|(to, stage)| *to = stage);
        c::emr_method {
            name: self.name.as_ptr(),
            parameters: self.parameters.as_ptr(),
            n_parameters: self.parameters.len() as u32,
            stages,
            check: Some(check),
            row_length: Some(row_length),
            needed_stages: Some(needed_stages),
            combine: Some(combine),
            base: info.base.raw(),
            min_tasks: info.min_tasks,
            max_tasks: info.max_tasks,
            whole_model: info.whole_model.into(),
            ..Default::default()
        }
    }
}

/// The functions of a stage: C does not tell them which one it is, so each has its own.
struct StageFns {
    n_found: unsafe extern "C" fn(*const c::emr_method_tensor) -> u32,
    add_sums: unsafe extern "C" fn(*const c::emr_method_chunk, *mut f64),
    list_keys: unsafe extern "C" fn(*const c::emr_method_chunk, u32, *mut f32),
    place_cut: unsafe extern "C" fn(*const c::emr_method_tensor, u32, *mut u32) -> u64,
    settle: unsafe extern "C" fn(*const c::emr_method_tensor, *mut f64, *mut c::emr_error) -> c::emr_status,
}

impl StageFns {
    const fn of<const STAGE: usize>() -> Self {
        Self {
            n_found: n_found::<STAGE>,
            add_sums: add_sums::<STAGE>,
            list_keys: list_keys::<STAGE>,
            place_cut: place_cut::<STAGE>,
            settle: settle::<STAGE>,
        }
    }

    fn with_kind(&self, kind: Stage) -> c::emr_method_stage {
        let stage = c::emr_method_stage {
            n_found: Some(self.n_found),
            settle: Some(self.settle),
            ..Default::default()
        };
        match kind {
            Stage::Sums(_) => c::emr_method_stage { add_sums: Some(self.add_sums), ..stage },
            Stage::Cuts(_) => c::emr_method_stage {
                list_keys: Some(self.list_keys),
                place_cut: Some(self.place_cut),
                ..stage
            },
        }
    }
}

const STAGES: [StageFns; STAGES_MAX] =
    [StageFns::of::<0>(), StageFns::of::<1>(), StageFns::of::<2>(), StageFns::of::<3>()];

/// The method that a tensor is handed to.
///
/// # Safety
/// C's pointer, of a combination with an own method, valid for `'c`.
unsafe fn method_of<'c>(tensor: *const c::emr_method_tensor) -> &'c OwnMethod<'c> {
    // SAFETY: the user that `OwnMethod::new` set; combinations and their models keep it.
    unsafe { &*(*tensor).user.cast::<OwnMethod<'c>>() }
}

unsafe extern "C" fn check(tensor: *const c::emr_method_tensor, error: *mut c::emr_error) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's tensor, before any stage.
        let (own, tensor) = unsafe { (method_of(tensor), MethodTensor::new(tensor, &[])) };
        own.method.check(&tensor)
    })
}

unsafe extern "C" fn row_length(tensor: *const c::emr_method_tensor) -> u64 {
    callback_infallible(0, || {
        // SAFETY: C's tensor, before any stage.
        let (own, tensor) = unsafe { (method_of(tensor), MethodTensor::new(tensor, &[])) };
        own.method.row_length(&tensor)
    })
}

unsafe extern "C" fn needed_stages(tensor: *const c::emr_method_tensor) -> u32 {
    callback_infallible(0, || {
        // SAFETY: C's tensor, before any stage.
        let (own, tensor) = unsafe { (method_of(tensor), MethodTensor::new(tensor, &[])) };
        own.method.needed_stages(&tensor)
    })
}

unsafe extern "C" fn combine(chunk: *const c::emr_method_chunk, error: *mut c::emr_error) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's chunk, after all stages; `out` is this thread's, and none of its inputs.
        unsafe {
            let own = method_of((*chunk).tensor);
            let out = zeroed((*chunk).out, (*chunk).n);
            own.method.combine(&mut own.chunk(chunk, &own.stages), out)
        }
    })
}

unsafe extern "C" fn n_found<const STAGE: usize>(tensor: *const c::emr_method_tensor) -> u32 {
    // SAFETY: C's tensor.
    unsafe { method_of(tensor).stages[STAGE].n_found((*tensor).n_inputs) }
}

unsafe extern "C" fn add_sums<const STAGE: usize>(chunk: *const c::emr_method_chunk, sums: *mut f64) {
    callback_infallible((), || {
        // SAFETY: C's chunk, and as many sums, all 0, as `n_found` told.
        unsafe {
            let own = method_of((*chunk).tensor);
            let n = own.stages[STAGE].n_found((*(*chunk).tensor).n_inputs);
            let sums = slice_mut(sums, n as usize);
            own.method.add_sums(STAGE, &mut own.chunk(chunk, own.stages_before(STAGE)), sums);
        }
    });
}

unsafe extern "C" fn list_keys<const STAGE: usize>(
    chunk: *const c::emr_method_chunk,
    list: u32,
    keys: *mut f32,
) {
    // SAFETY: C's chunk, with room for its keys, which are 0 where the method panics.
    let keys = unsafe { zeroed(keys, (*chunk).n) };
    callback_infallible((), || {
        // SAFETY: likewise.
        unsafe {
            let own = method_of((*chunk).tensor);
            own.method.list_keys(STAGE, &mut own.chunk(chunk, own.stages_before(STAGE)), list, keys);
        }
    });
}

unsafe extern "C" fn place_cut<const STAGE: usize>(
    tensor: *const c::emr_method_tensor,
    cut: u32,
    list: *mut u32,
) -> u64 {
    let (of, k) = callback_infallible((0, 0), || {
        // SAFETY: C's tensor.
        let own: &OwnMethod<'_> = unsafe { method_of(tensor) };
        // SAFETY: likewise, with what stages before have found.
        let tensor = unsafe { MethodTensor::new(tensor, own.stages_before(STAGE)) };
        own.method.place_cut(STAGE, &tensor, cut)
    });
    // SAFETY: an output of C's.
    unsafe { *list = of };
    k
}

unsafe extern "C" fn settle<const STAGE: usize>(
    tensor: *const c::emr_method_tensor,
    found: *mut f64,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: C's tensor, with what stages before have found, and behind it this one's numbers: as many
        // as `n_found` told.
        unsafe {
            let own = method_of(tensor);
            let n = own.stages[STAGE].n_found((*tensor).n_inputs);
            let tensor = MethodTensor::new(tensor, own.stages_before(STAGE));
            own.method.settle(STAGE, &tensor, slice_mut(found, n as usize))
        }
    })
}

/// Memory of C's for this thread, which may not have been written to before.
///
/// # Safety
/// There are n floats that are nobody else's for `'a`.
unsafe fn zeroed<'a>(first: *mut f32, n: usize) -> &'a mut [f32] {
    if n > 0 {
        // SAFETY: the caller's; 0.0 is all zero bits.
        unsafe { first.write_bytes(0, n) };
    }
    // SAFETY: the caller's.
    unsafe { slice_mut(first, n) }
}
