// Written by generate.py from include/emr/*.h: change those, then run it.

use core::ffi::{c_char, c_int, c_void, CStr};
use core::marker::{PhantomData, PhantomPinned};

pub type emr_status = i32;
pub type emr_block_type = u32;
pub type emr_dtype = u32;
pub type emr_source_kind = u32;
pub type emr_modulator_kind = u32;
pub type emr_rescale = u32;
pub type emr_rescale_per = u32;
pub type emr_mask_rule = u32;
pub type emr_base_check = u32;
pub type emr_method_base = u32;
pub type emr_on_mismatch = u32;
pub type emr_on_missing = u32;
pub type emr_combination_nonfinite = u32;
pub type emr_combined_action = u32;
pub type emr_head_kind = u32;
pub type emr_tie = u32;
pub type emr_on_nonfinite = u32;
pub type emr_action = u32;
pub type emr_role = u32;
pub type emr_search_partner = u32;
pub type emr_search_pool = u32;
pub type emr_search_end = u32;
pub type emr_statistics_scope = u32;
pub type emr_statistics_rounding = u32;
pub type emr_kinship_metric = u32;
pub const EMR_OK: emr_status = 0;
pub const EMR_EINVAL: emr_status = -1;
pub const EMR_ENOMEM: emr_status = -2;
pub const EMR_EIO: emr_status = -3;
pub const EMR_EFORMAT: emr_status = -4;
pub const EMR_ECORRUPT: emr_status = -5;
pub const EMR_EVERSION: emr_status = -6;
pub const EMR_EMISMATCH: emr_status = -7;
pub const EMR_ENONFINITE: emr_status = -8;
pub const EMR_ENOTFOUND: emr_status = -9;
pub const EMR_ECANCELED: emr_status = -10;
pub const EMR_ESTATE: emr_status = -11;
pub const EMR_EUNSUPPORTED: emr_status = -12;
pub const EMR_ELIMIT: emr_status = -13;
pub const EMR_EEXIST: emr_status = -14;
pub const EMR_BLOCK_TYPE_NONE: emr_block_type = 0;
pub const EMR_BLOCK_TYPE_Q4_0: emr_block_type = 2;
pub const EMR_BLOCK_TYPE_Q4_1: emr_block_type = 3;
pub const EMR_BLOCK_TYPE_Q5_0: emr_block_type = 6;
pub const EMR_BLOCK_TYPE_Q5_1: emr_block_type = 7;
pub const EMR_BLOCK_TYPE_Q8_0: emr_block_type = 8;
pub const EMR_DTYPE_NONE: emr_dtype = 0;
pub const EMR_DTYPE_F32: emr_dtype = 1;
pub const EMR_DTYPE_F16: emr_dtype = 2;
pub const EMR_DTYPE_BF16: emr_dtype = 3;
pub const EMR_DTYPE_F64: emr_dtype = 4;
pub const EMR_DTYPE_F8_E4M3: emr_dtype = 5;
pub const EMR_DTYPE_F8_E5M2: emr_dtype = 6;
pub const EMR_DTYPE_BOOL: emr_dtype = 16;
pub const EMR_DTYPE_U8: emr_dtype = 17;
pub const EMR_DTYPE_I8: emr_dtype = 18;
pub const EMR_DTYPE_U16: emr_dtype = 19;
pub const EMR_DTYPE_I16: emr_dtype = 20;
pub const EMR_DTYPE_U32: emr_dtype = 21;
pub const EMR_DTYPE_I32: emr_dtype = 22;
pub const EMR_DTYPE_U64: emr_dtype = 23;
pub const EMR_DTYPE_I64: emr_dtype = 24;
pub const EMR_DTYPE_F8_E8M0: emr_dtype = 32;
pub const EMR_DTYPE_F8_E4M3FNUZ: emr_dtype = 33;
pub const EMR_DTYPE_F8_E5M2FNUZ: emr_dtype = 34;
pub const EMR_DTYPE_F4: emr_dtype = 35;
pub const EMR_DTYPE_F6_E2M3: emr_dtype = 36;
pub const EMR_DTYPE_F6_E3M2: emr_dtype = 37;
pub const EMR_DTYPE_C64: emr_dtype = 38;
pub const EMR_SOURCE_KIND_UNKNOWN: emr_source_kind = 0;
pub const EMR_SOURCE_KIND_ABSENT: emr_source_kind = 1;
pub const EMR_SOURCE_KIND_FILE: emr_source_kind = 2;
pub const EMR_SOURCE_KIND_FOLDER: emr_source_kind = 3;
pub const EMR_MODULATOR_KIND_DEFAULT: emr_modulator_kind = 0;
pub const EMR_MODULATOR_KIND_MASK: emr_modulator_kind = 1;
pub const EMR_MODULATOR_KIND_TWO_SIDED: emr_modulator_kind = 2;
pub const EMR_MODULATOR_KIND_SIGN: emr_modulator_kind = 3;
pub const EMR_MODULATOR_KIND_THIN: emr_modulator_kind = 4;
pub const EMR_MODULATOR_KIND_LEVELS: emr_modulator_kind = 5;
pub const EMR_RESCALE_DEFAULT: emr_rescale = 0;
pub const EMR_RESCALE_L1: emr_rescale = 1;
pub const EMR_RESCALE_L1_MEANS: emr_rescale = 2;
pub const EMR_RESCALE_L2: emr_rescale = 3;
pub const EMR_RESCALE_NORM: emr_rescale = 4;
pub const EMR_RESCALE_UNBIASED: emr_rescale = 5;
pub const EMR_RESCALE_MIXED: emr_rescale = 6;
pub const EMR_RESCALE_PER_DEFAULT: emr_rescale_per = 0;
pub const EMR_RESCALE_PER_MODEL: emr_rescale_per = 1;
pub const EMR_RESCALE_PER_TENSOR: emr_rescale_per = 2;
pub const EMR_RESCALE_PER_ROW: emr_rescale_per = 3;
pub const EMR_MASK_RULE_AGREE: emr_mask_rule = 0;
pub const EMR_MASK_RULE_NEAREST: emr_mask_rule = 1;
pub const EMR_BASE_CHECK_FIRST: emr_base_check = 0;
pub const EMR_BASE_CHECK_WRITE: emr_base_check = 1;
pub const EMR_BASE_CHECK_NONE: emr_base_check = 2;
pub const EMR_METHOD_BASE_INPUT: emr_method_base = 0;
pub const EMR_METHOD_BASE_REQUIRED: emr_method_base = 1;
pub const EMR_METHOD_BASE_OPTIONAL: emr_method_base = 2;
pub const EMR_METHOD_BASE_BESIDE: emr_method_base = 3;
pub const EMR_ON_MISMATCH_ERROR: emr_on_mismatch = 0;
pub const EMR_ON_MISMATCH_PRIVATE: emr_on_mismatch = 1;
pub const EMR_ON_MISMATCH_ROWS: emr_on_mismatch = 2;
pub const EMR_ON_MISMATCH_PAD: emr_on_mismatch = 3;
pub const EMR_ON_MISSING_ERROR: emr_on_missing = 0;
pub const EMR_ON_MISSING_BASE: emr_on_missing = 1;
pub const EMR_ON_MISSING_ABSENT: emr_on_missing = 2;
pub const EMR_COMBINATION_NONFINITE_ERROR: emr_combination_nonfinite = 0;
pub const EMR_COMBINATION_NONFINITE_ZERO: emr_combination_nonfinite = 1;
pub const EMR_COMBINED_ACTION_COMBINE: emr_combined_action = 1;
pub const EMR_COMBINED_ACTION_COPY: emr_combined_action = 2;
pub const EMR_COMBINED_ACTION_HEAD: emr_combined_action = 3;
pub const EMR_HEAD_KIND_SOFTMAX: emr_head_kind = 0;
pub const EMR_HEAD_KIND_SIGMOID: emr_head_kind = 1;
pub const EMR_HEAD_KIND_IDENTITY: emr_head_kind = 2;
pub const EMR_TIE_ZERO: emr_tie = 0;
pub const EMR_TIE_NEGATIVE: emr_tie = 1;
pub const EMR_ON_NONFINITE_ERROR: emr_on_nonfinite = 0;
pub const EMR_ON_NONFINITE_ZERO: emr_on_nonfinite = 1;
pub const EMR_ACTION_MERGE: emr_action = 1;
pub const EMR_ACTION_KEEP: emr_action = 2;
pub const EMR_ACTION_PRIVATE: emr_action = 3;
pub const EMR_ROLE_WEIGHT: emr_role = 0;
pub const EMR_ROLE_CODE: emr_role = 1;
pub const EMR_ROLE_SIDECAR: emr_role = 2;
pub const EMR_ROLE_STATISTIC: emr_role = 3;
pub const EMR_ROLE_CONSTANT: emr_role = 4;
pub const EMR_ROLE_MAGNITUDE: emr_role = 5;
pub const EMR_SEARCH_PARTNER_LOWEST: emr_search_partner = 0;
pub const EMR_SEARCH_PARTNER_HIGHEST: emr_search_partner = 1;
pub const EMR_SEARCH_PARTNER_NONE: emr_search_partner = 2;
pub const EMR_SEARCH_POOL_ALL: emr_search_pool = 0;
pub const EMR_SEARCH_POOL_TOP: emr_search_pool = 1;
pub const EMR_SEARCH_POOL_LAST: emr_search_pool = 2;
pub const EMR_SEARCH_END_STEADY: emr_search_end = 1;
pub const EMR_SEARCH_END_KINSHIP: emr_search_end = 2;
pub const EMR_SEARCH_END_GENERATIONS: emr_search_end = 3;
pub const EMR_STATISTICS_SCOPE_MODEL: emr_statistics_scope = 0;
pub const EMR_STATISTICS_SCOPE_TENSOR: emr_statistics_scope = 1;
pub const EMR_STATISTICS_SCOPE_LAYER: emr_statistics_scope = 2;
pub const EMR_STATISTICS_SCOPE_KIND: emr_statistics_scope = 3;
pub const EMR_STATISTICS_ROUNDING_NONE: emr_statistics_rounding = 0;
pub const EMR_STATISTICS_ROUNDING_PER_MODEL: emr_statistics_rounding = 1;
pub const EMR_STATISTICS_ROUNDING_PER_TENSOR: emr_statistics_rounding = 2;
pub const EMR_KINSHIP_METRIC_PEARSON: emr_kinship_metric = 0;
pub const EMR_KINSHIP_METRIC_COSINE: emr_kinship_metric = 1;
pub const EMR_KINSHIP_METRIC_EUCLID: emr_kinship_metric = 2;
pub const EMR_ADAPTER_CONFIG: &CStr = c"adapter_config.json";
pub const EMR_ADAPTER_CONFIG_MAX: u32 = 1048576;
pub const EMR_BLOCK_VALUES: u32 = 32;
pub const EMR_GGUF_HEADER: &CStr = c"gguf.header";
pub const EMR_FILE_PREFIX: &CStr = c"file:";
pub const EMR_FILE_COUNT_MAX: u32 = 256;
pub const EMR_FILE_BYTES_MAX: u32 = 67108864;
pub const EMR_FILES_BYTES_MAX: u32 = 536870912;
pub const EMR_EVERY_TASK: u32 = 0xfffffffe;
pub const EMR_BASE: u32 = u32::MAX;
pub const EMR_HEAD_GROUPS: &CStr = c"emr.head_groups";
pub const EMR_COMPRESSION_NONE: i32 = -1;
pub const EMR_METHOD_STAGES_MAX: u32 = 4;
pub const EMR_SEARCH_NO_MODEL: u32 = u32::MAX;
pub const EMR_ERROR_TEXT_SIZE: u32 = 480;
pub const EMR_RANK_MAX: u32 = 64;
pub const EMR_VERSION_MAJOR: u32 = 0;
pub const EMR_VERSION_MINOR: u32 = 2;
pub const EMR_VERSION_PATCH: u32 = 0;
pub const EMR_VERSION_STRING: &CStr = c"0.2.0";
#[repr(C)]
pub struct emr_buffer {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_bundle {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_combination {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_file {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_heads {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_merge {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_model {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_modulator {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_pool {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_search {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_session {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_statistics {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
#[repr(C)]
pub struct emr_tensor {
    _data: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}
pub type emr_progress_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        progress: *const emr_progress,
        error: *mut emr_error,
    ) -> emr_status,
>;
pub type emr_found_fn = Option<unsafe extern "C" fn(user: *mut c_void, name: *const c_char)>;
pub type emr_compute_fn =
    Option<unsafe extern "C" fn(computation: *const emr_computation, error: *mut emr_error) -> emr_status>;
pub type emr_weights_fn =
    Option<unsafe extern "C" fn(part: *const emr_weights_part, error: *mut emr_error) -> emr_status>;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_allocator {
    pub size: usize,
    pub user: *mut c_void,
    pub alloc: Option<unsafe extern "C" fn(user: *mut c_void, bytes: usize, alignment: usize) -> *mut c_void>,
    pub free: Option<unsafe extern "C" fn(user: *mut c_void, pointer: *mut c_void)>,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_error_span {
    pub offset: u16,
    pub length: u16,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_error {
    pub text: [c_char; 480],
    pub status: emr_status,
    pub system: i32,
    pub file: emr_error_span,
    pub task: emr_error_span,
    pub tensor: emr_error_span,
    pub reserved: [u8; 12],
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_executor {
    pub size: usize,
    pub user: *mut c_void,
    pub parallel_for: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            n: usize,
            r#fn: Option<unsafe extern "C" fn(arg: *mut c_void, i: usize)>,
            arg: *mut c_void,
        ),
    >,
    pub concurrency: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_pool_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub threads: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_progress {
    pub size: usize,
    pub done: u64,
    pub total: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_resources {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub executor: *const emr_executor,
    pub progress: emr_progress_fn,
    pub progress_user: *mut c_void,
    pub memory_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_io {
    pub size: usize,
    pub user: *mut c_void,
    pub read: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            offset: u64,
            destination: *mut c_void,
            n: usize,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub write: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            offset: u64,
            source: *const c_void,
            n: usize,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub length:
        Option<unsafe extern "C" fn(user: *mut c_void, bytes: *mut u64, error: *mut emr_error) -> emr_status>,
    pub map: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            offset: u64,
            n: usize,
            window: *mut *const c_void,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub unmap: Option<unsafe extern "C" fn(user: *mut c_void, window: *const c_void, n: usize)>,
    pub sync: Option<unsafe extern "C" fn(user: *mut c_void, error: *mut emr_error) -> emr_status>,
    pub will_need: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, n: u64)>,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_source {
    pub size: usize,
    pub user: *mut c_void,
    pub open: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            name: *const c_char,
            io: *mut emr_io,
            stamp: *mut u64,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub close: Option<unsafe extern "C" fn(user: *mut c_void, io: *mut emr_io)>,
    pub kind: Option<unsafe extern "C" fn(user: *mut c_void, name: *const c_char) -> emr_source_kind>,
    pub list: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            folder: *const c_char,
            found: emr_found_fn,
            found_user: *mut c_void,
            error: *mut emr_error,
        ) -> emr_status,
    >,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_file_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub map: u32,
    pub replace: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_computation {
    pub size: usize,
    pub user: *mut c_void,
    pub scratch: *mut c_void,
    pub out: *mut c_void,
    pub count: usize,
    pub first: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_tensor_desc {
    pub size: usize,
    pub name: *const c_char,
    pub shape: *const u64,
    pub data: *const c_void,
    pub io: *const emr_io,
    pub compute: emr_compute_fn,
    pub user: *mut c_void,
    pub offset: u64,
    pub dtype: emr_dtype,
    pub rank: u32,
    pub granule: u32,
    pub max_count: u32,
    pub blocks: emr_block_type,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_model_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub name: *const c_char,
    pub user: *mut c_void,
    pub destroy: Option<unsafe extern "C" fn(user: *mut c_void)>,
    pub scratch_bytes: usize,
    pub open_scratch: Option<
        unsafe extern "C" fn(user: *mut c_void, scratch: *mut c_void, error: *mut emr_error) -> emr_status,
    >,
    pub close_scratch: Option<unsafe extern "C" fn(user: *mut c_void, scratch: *mut c_void)>,
    pub prepare: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            tensor: *const emr_tensor,
            resources: *const emr_resources,
            error: *mut emr_error,
        ) -> emr_status,
    >,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_rename {
    pub from: *const c_char,
    pub to: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_agree_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub differ: *const *const c_char,
    pub n_differ: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_product {
    pub size: usize,
    pub name: *const c_char,
    pub x: *const f32,
    pub y: *mut f32,
    pub x_stride: usize,
    pub y_stride: usize,
    pub batch: usize,
    pub first_row: u64,
    pub n_rows: u64,
    pub n_columns: u64,
    pub tensor: u32,
    pub without_base: u32,
    pub add: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_modulation_spec {
    pub size: usize,
    pub kind: emr_modulator_kind,
    pub thinning: u32,
    pub n_levels: u32,
    pub rescale: emr_rescale,
    pub rescale_per: emr_rescale_per,
    pub mask_rule: emr_mask_rule,
    pub vectors_dtype: emr_dtype,
    pub without_columns: u32,
    pub seed: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_fidelity {
    pub size: usize,
    pub error: f32,
    pub cosine: f32,
    pub coefficient: f32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_modulation {
    pub size: usize,
    pub name: *const c_char,
    pub unified: *const c_void,
    pub mask: *const u8,
    pub rescalers: *const f32,
    pub columns: *const c_void,
    pub count: u64,
    pub n_rescalers: u64,
    pub unified_dtype: emr_dtype,
    pub kind: emr_modulator_kind,
    pub thinning: u32,
    pub n_levels: u32,
    pub seed: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_application {
    pub size: usize,
    pub base: *const c_void,
    pub out: *mut c_void,
    pub first: u64,
    pub count: u64,
    pub tensor: u32,
    pub base_dtype: emr_dtype,
    pub out_dtype: emr_dtype,
    pub without_base: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_modulator_stats {
    pub size: usize,
    pub count: u64,
    pub ones: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_bundle_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub map: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_bundle_info {
    pub size: usize,
    pub bytes: u64,
    pub merged_params: u64,
    pub n_tasks: u32,
    pub n_tensors: u32,
    pub n_merged: u32,
    pub version_major: u32,
    pub version_minor: u32,
    pub rescale: u32,
    pub rescale_per: u32,
    pub tie: u32,
    pub unified_dtype: emr_dtype,
    pub has_base: u32,
    pub extendable: u32,
    pub n_elected: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_task_info {
    pub size: usize,
    pub name: *const c_char,
    pub mask_ones: u64,
    pub mask_bytes: u64,
    pub n_private: u32,
    pub rescaler: f32,
    pub coded_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_tensor_info {
    pub size: usize,
    pub name: *const c_char,
    pub shape: *const u64,
    pub count: u64,
    pub unified_bytes: u64,
    pub base_hash: [u64; 2],
    pub dtype: emr_dtype,
    pub rank: u32,
    pub merged: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_private_info {
    pub size: usize,
    pub name: *const c_char,
    pub shape: *const u64,
    pub bytes: u64,
    pub dtype: emr_dtype,
    pub rank: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_view_options {
    pub size: usize,
    pub resources: *const emr_resources,
    pub dtype: emr_dtype,
    pub check: emr_base_check,
    pub f32_vectors: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_base_difference {
    pub size: usize,
    pub tensor: *const c_char,
    pub why: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_base_check_options {
    pub size: usize,
    pub resources: *const emr_resources,
    pub differs: Option<unsafe extern "C" fn(user: *mut c_void, difference: *const emr_base_difference)>,
    pub user: *mut c_void,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_task_selection {
    pub size: usize,
    pub resources: *const emr_resources,
    pub tasks: *const u32,
    pub n_tasks: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_drop_report {
    pub size: usize,
    pub unified: u64,
    pub alone: u64,
    pub shared: u64,
    pub lost_growth: u32,
    pub lost_unified: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_checkpoint_read_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub map: u32,
    pub dequantise: u32,
    pub side_files: u32,
    pub reserved: u32,
    pub source: *const emr_source,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_checkpoint_write_options {
    pub size: usize,
    pub resources: *const emr_resources,
    pub shard_bytes: u64,
    pub replace: u32,
    pub dtype: emr_dtype,
    pub written: Option<unsafe extern "C" fn(user: *mut c_void, path: *const c_char)>,
    pub user: *mut c_void,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_method_parameter {
    pub name: *const c_char,
    pub initial: f64,
    pub least: f64,
    pub most: f64,
    pub per_task: u32,
    pub is_whole: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_method_tensor {
    pub size: usize,
    pub user: *mut c_void,
    pub name: *const c_char,
    pub shape: *const u64,
    pub inputs: *const *const c_char,
    pub parameters: *const f64,
    pub found: *const f64,
    pub library: *const c_void,
    pub count: u64,
    pub row_length: u64,
    pub seed: u64,
    pub rank: u32,
    pub n_inputs: u32,
    pub n_parameters: u32,
    pub has_base: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_method_chunk {
    pub size: usize,
    pub tensor: *const emr_method_tensor,
    pub inputs: *const *const f32,
    pub base: *const f32,
    pub out: *mut f32,
    pub scratch: *mut f32,
    pub n: usize,
    pub first: u64,
    pub position: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_method_stage {
    pub size: usize,
    pub n_found: Option<unsafe extern "C" fn(tensor: *const emr_method_tensor) -> u32>,
    pub add_sums: Option<unsafe extern "C" fn(chunk: *const emr_method_chunk, sums: *mut f64)>,
    pub list_keys: Option<unsafe extern "C" fn(chunk: *const emr_method_chunk, list: u32, keys: *mut f32)>,
    pub place_cut:
        Option<unsafe extern "C" fn(tensor: *const emr_method_tensor, cut: u32, list: *mut u32) -> u64>,
    pub settle: Option<
        unsafe extern "C" fn(
            tensor: *const emr_method_tensor,
            found: *mut f64,
            error: *mut emr_error,
        ) -> emr_status,
    >,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_method {
    pub size: usize,
    pub name: *const c_char,
    pub user: *mut c_void,
    pub parameters: *const emr_method_parameter,
    pub stages: [*const emr_method_stage; 4],
    pub check:
        Option<unsafe extern "C" fn(tensor: *const emr_method_tensor, error: *mut emr_error) -> emr_status>,
    pub row_length: Option<unsafe extern "C" fn(tensor: *const emr_method_tensor) -> u64>,
    pub needed_stages: Option<unsafe extern "C" fn(tensor: *const emr_method_tensor) -> u32>,
    pub combine:
        Option<unsafe extern "C" fn(chunk: *const emr_method_chunk, error: *mut emr_error) -> emr_status>,
    pub n_parameters: u32,
    pub scratch_floats: u32,
    pub base: emr_method_base,
    pub min_tasks: u32,
    pub max_tasks: u32,
    pub whole_model: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_policy {
    pub size: usize,
    pub private_globs: *const *const c_char,
    pub merge_globs: *const *const c_char,
    pub absent_globs: *const *const c_char,
    pub base_globs: *const *const c_char,
    pub n_private_globs: u32,
    pub n_merge_globs: u32,
    pub n_absent_globs: u32,
    pub n_base_globs: u32,
    pub on_mismatch: emr_on_mismatch,
    pub on_missing: emr_on_missing,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_combination_options {
    pub size: usize,
    pub method: *const emr_method,
    pub resources: *const emr_resources,
    pub policy: *const emr_policy,
    pub head_globs: *const *const c_char,
    pub seed: u64,
    pub n_head_globs: u32,
    pub combine_heads: u32,
    pub dtype: emr_dtype,
    pub on_nonfinite: emr_combination_nonfinite,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_combined_tensor {
    pub size: usize,
    pub name: *const c_char,
    pub reason: *const c_char,
    pub shape: *const u64,
    pub count: u64,
    pub dtype: emr_dtype,
    pub rank: u32,
    pub action: emr_combined_action,
    pub n_reads: u32,
    pub n_inputs: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_combination_plan {
    pub size: usize,
    pub combined_params: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub peak_memory: u64,
    pub n_tensors: u32,
    pub n_combined: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_head_group {
    pub size: usize,
    pub task: *const c_char,
    pub first: u64,
    pub count: u64,
    pub kind: emr_head_kind,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_heads_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub globs: *const *const c_char,
    pub names: *const *const c_char,
    pub tasks: *const *const emr_model,
    pub kinds: *const emr_head_kind,
    pub n_globs: u32,
    pub n_tasks: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_merge_options {
    pub size: usize,
    pub resources: *const emr_resources,
    pub policy: *const emr_policy,
    pub modulation: *const emr_modulation_spec,
    pub rescale: emr_rescale,
    pub rescale_per: emr_rescale_per,
    pub tie: emr_tie,
    pub on_nonfinite: emr_on_nonfinite,
    pub unified_dtype: emr_dtype,
    pub embed_base: u32,
    pub extendable: u32,
    pub compression: i32,
    pub block_params: u32,
    pub measure: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_plan_tensor {
    pub size: usize,
    pub name: *const c_char,
    pub reason: *const c_char,
    pub shape: *const u64,
    pub count: u64,
    pub zeroed: u64,
    pub dtype: emr_dtype,
    pub rank: u32,
    pub action: emr_action,
    pub n_private: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_plan_summary {
    pub size: usize,
    pub merged_params: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub peak_memory: u64,
    pub n_tensors: u32,
    pub n_merged: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_task_report {
    pub size: usize,
    pub name: *const c_char,
    pub mask_ones: u64,
    pub zeroed: u64,
    pub rescaler: f32,
    pub empty_mask: u32,
    pub other_rescaler: f32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_sink_part {
    pub size: usize,
    pub values: *const c_void,
    pub n: usize,
    pub first: u64,
    pub tensor: u32,
    pub task: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_sink {
    pub size: usize,
    pub user: *mut c_void,
    pub unified: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            part: *const emr_sink_part,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub mask: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            part: *const emr_sink_part,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub rescalers: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            part: *const emr_sink_part,
            error: *mut emr_error,
        ) -> emr_status,
    >,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_tensor_role {
    pub size: usize,
    pub family: *const c_char,
    pub code: *const emr_tensor,
    pub role: emr_role,
    pub can_dequantise: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_search_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub stop_kinship: f64,
    pub use_stop_kinship: u32,
    pub k: u32,
    pub partner: emr_search_partner,
    pub pool: emr_search_pool,
    pub max_generations: u32,
    pub minimise: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_search_candidate {
    pub size: usize,
    pub name: *const c_char,
    pub score: f64,
    pub kinship: f64,
    pub number: u32,
    pub generation: u32,
    pub first: u32,
    pub second: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_search_result {
    pub size: usize,
    pub score: f64,
    pub kinship: f64,
    pub best: u32,
    pub n_models: u32,
    pub n_scored: u32,
    pub generation: u32,
    pub end: emr_search_end,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_search_host {
    pub size: usize,
    pub user: *mut c_void,
    pub merge: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            candidate: *const emr_search_candidate,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub evaluate: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            candidate: *const emr_search_candidate,
            score: *mut f64,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub similarity: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            a: u32,
            b: u32,
            similarity: *mut f64,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub release: Option<unsafe extern "C" fn(user: *mut c_void, number: u32)>,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_trial {
    pub size: usize,
    pub values: *const f64,
    pub score: f64,
    pub number: u32,
    pub n_values: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_trials_options {
    pub size: usize,
    pub allocator: *const emr_allocator,
    pub user: *mut c_void,
    pub evaluate: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            trial: *const emr_trial,
            score: *mut f64,
            error: *mut emr_error,
        ) -> emr_status,
    >,
    pub seed: u64,
    pub n_trials: u32,
    pub n_values: u32,
    pub minimise: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_session_options {
    pub size: usize,
    pub resources: *const emr_resources,
    pub wait: Option<unsafe extern "C" fn(user: *mut c_void)>,
    pub wait_user: *mut c_void,
    pub mask_bytes: u64,
    pub check: emr_base_check,
    pub without_base: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_weights_part {
    pub size: usize,
    pub user: *mut c_void,
    pub data: *const c_void,
    pub first: u64,
    pub count: u64,
    pub dtype: emr_dtype,
    pub blocks: emr_block_type,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_weights {
    pub size: usize,
    pub name: *const c_char,
    pub data: *mut c_void,
    pub first: u64,
    pub count: u64,
    pub write: emr_weights_fn,
    pub user: *mut c_void,
    pub staging: u64,
    pub dtype: emr_dtype,
    pub blocks: emr_block_type,
    pub tensor: u32,
    pub without_base: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_gather {
    pub size: usize,
    pub name: *const c_char,
    pub tasks: *const u32,
    pub rows: *const u64,
    pub out: *mut c_void,
    pub n: usize,
    pub out_stride: usize,
    pub n_columns: u64,
    pub tensor: u32,
    pub dtype: emr_dtype,
    pub without_base: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_session_info {
    pub size: usize,
    pub memory_bytes: u64,
    pub base_bytes: u64,
    pub unified_bytes: u64,
    pub mask_bytes: u64,
    pub masks_found: u64,
    pub masks_read: u64,
    pub thread_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_statistics_options {
    pub size: usize,
    pub resources: *const emr_resources,
    pub policy: *const emr_policy,
    pub quantiles: *const f64,
    pub max_rows: u64,
    pub n_quantiles: u32,
    pub skip_missing: u32,
    pub without_tensors: u32,
    pub rounding: emr_statistics_rounding,
    pub on_nonfinite: emr_on_nonfinite,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_statistics_plan {
    pub size: usize,
    pub params: u64,
    pub bytes_in: u64,
    pub peak_memory: u64,
    pub result_bytes: u64,
    pub n_tensors: u32,
    pub n_left_out: u32,
    pub n_layers: u32,
    pub n_kinds: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_statistics_group {
    pub size: usize,
    pub name: *const c_char,
    pub tensor: *const emr_tensor,
    pub products: *const f64,
    pub distances: *const f64,
    pub sums: *const f64,
    pub magnitudes: *const f64,
    pub fourths: *const f64,
    pub largest: *const f64,
    pub quantiles: *const f64,
    pub zeros: *const u64,
    pub nonfinite: *const u64,
    pub same_signs: *const u64,
    pub both: *const u64,
    pub count: u64,
    pub conflicts: u64,
    pub unchanged: u64,
    pub layer: i64,
    pub n_tensors: u32,
    pub n_tasks: u32,
    pub n_quantiles: u32,
    pub is_rounded: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_task_moments {
    pub size: usize,
    pub norm: f64,
    pub mean: f64,
    pub mean_magnitude: f64,
    pub deviation: f64,
    pub kurtosis: f64,
    pub zero_share: f64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_kinship_options {
    pub size: usize,
    pub metric: emr_kinship_metric,
    pub absolute: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct emr_features {
    pub size: usize,
    pub kernels: *const c_char,
    pub zstd_version: u32,
    pub hosted: u32,
    pub format_major: u32,
    pub format_minor: u32,
}
grows! {
    emr_allocator,
    emr_executor,
    emr_pool_options,
    emr_progress,
    emr_resources,
    emr_io,
    emr_source,
    emr_file_options,
    emr_computation,
    emr_tensor_desc,
    emr_model_options,
    emr_agree_options,
    emr_product,
    emr_modulation_spec,
    emr_fidelity,
    emr_modulation,
    emr_application,
    emr_modulator_stats,
    emr_bundle_options,
    emr_bundle_info,
    emr_task_info,
    emr_tensor_info,
    emr_private_info,
    emr_view_options,
    emr_base_difference,
    emr_base_check_options,
    emr_task_selection,
    emr_drop_report,
    emr_checkpoint_read_options,
    emr_checkpoint_write_options,
    emr_method_tensor,
    emr_method_chunk,
    emr_method_stage,
    emr_method,
    emr_policy,
    emr_combination_options,
    emr_combined_tensor,
    emr_combination_plan,
    emr_head_group,
    emr_heads_options,
    emr_merge_options,
    emr_plan_tensor,
    emr_plan_summary,
    emr_task_report,
    emr_sink_part,
    emr_sink,
    emr_tensor_role,
    emr_search_options,
    emr_search_candidate,
    emr_search_result,
    emr_search_host,
    emr_trial,
    emr_trials_options,
    emr_session_options,
    emr_weights_part,
    emr_weights,
    emr_gather,
    emr_session_info,
    emr_statistics_options,
    emr_statistics_plan,
    emr_statistics_group,
    emr_task_moments,
    emr_kinship_options,
    emr_features,
}
zeroed! {
    emr_error_span,
    emr_error,
    emr_rename,
    emr_method_parameter,
}
extern "C" {
    pub fn emr_status_text(status: emr_status) -> *const c_char;
    pub fn emr_status_name(status: emr_status) -> *const c_char;
    pub fn emr_error_set(
        error: *mut emr_error,
        status: emr_status,
        system: i32,
        file: *const c_char,
        reason: *const c_char,
    ) -> emr_status;
    pub fn emr_error_format(
        error: *mut emr_error,
        status: emr_status,
        format: *const c_char,
        ...
    ) -> emr_status;
    pub fn emr_pool_create(
        pool: *mut *mut emr_pool,
        options: *const emr_pool_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_pool_destroy(pool: *mut *mut emr_pool);
    pub fn emr_pool_executor(pool: *const emr_pool) -> *const emr_executor;
    pub fn emr_block_bytes(r#type: emr_block_type) -> u32;
    pub fn emr_block_name(r#type: emr_block_type) -> *const c_char;
    pub fn emr_quantise(
        r#type: emr_block_type,
        blocks: *mut c_void,
        values: *const f32,
        n: usize,
    ) -> emr_status;
    pub fn emr_dequantise(
        r#type: emr_block_type,
        values: *mut f32,
        blocks: *const c_void,
        n: usize,
    ) -> emr_status;
    pub fn emr_dtype_bits(dtype: emr_dtype) -> u32;
    pub fn emr_dtype_name(dtype: emr_dtype) -> *const c_char;
    pub fn emr_dtype_from_name(name: *const c_char) -> emr_dtype;
    pub fn emr_dtype_is_float(dtype: emr_dtype) -> c_int;
    pub fn emr_convert(
        to: emr_dtype,
        destination: *mut c_void,
        from: emr_dtype,
        source: *const c_void,
        n: usize,
    ) -> emr_status;
    pub fn emr_file_open(
        file: *mut *mut emr_file,
        path: *const c_char,
        options: *const emr_file_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_file_create(
        file: *mut *mut emr_file,
        path: *const c_char,
        options: *const emr_file_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_file_resume(
        file: *mut *mut emr_file,
        path: *const c_char,
        options: *const emr_file_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_file_commit(file: *mut emr_file, error: *mut emr_error) -> emr_status;
    pub fn emr_file_close(file: *mut *mut emr_file);
    pub fn emr_file_discard(file: *mut *mut emr_file);
    pub fn emr_file_io(file: *const emr_file) -> *const emr_io;
    pub fn emr_buffer_create(
        buffer: *mut *mut emr_buffer,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_buffer_open(
        buffer: *mut *mut emr_buffer,
        data: *const c_void,
        bytes: usize,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_buffer_destroy(buffer: *mut *mut emr_buffer);
    pub fn emr_buffer_data(buffer: *const emr_buffer) -> *const c_void;
    pub fn emr_buffer_bytes(buffer: *const emr_buffer) -> usize;
    pub fn emr_buffer_io(buffer: *const emr_buffer) -> *const emr_io;
    pub fn emr_tensor_name(tensor: *const emr_tensor) -> *const c_char;
    pub fn emr_tensor_dtype(tensor: *const emr_tensor) -> emr_dtype;
    pub fn emr_tensor_rank(tensor: *const emr_tensor) -> u32;
    pub fn emr_tensor_shape(tensor: *const emr_tensor) -> *const u64;
    pub fn emr_tensor_count(tensor: *const emr_tensor) -> u64;
    pub fn emr_tensor_bytes(tensor: *const emr_tensor) -> u64;
    pub fn emr_tensor_same_shape(a: *const emr_tensor, b: *const emr_tensor) -> c_int;
    pub fn emr_tensor_read(
        tensor: *const emr_tensor,
        offset: u64,
        destination: *mut c_void,
        n: usize,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_tensor_read_floats(
        tensor: *const emr_tensor,
        first: u64,
        n: usize,
        values: *mut f32,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_create(
        model: *mut *mut emr_model,
        options: *const emr_model_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_destroy(model: *mut *mut emr_model);
    pub fn emr_model_create_zeros(
        model: *mut *mut emr_model,
        like: *const emr_model,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_add(
        model: *mut emr_model,
        desc: *const emr_tensor_desc,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_add_tensor(
        model: *mut emr_model,
        tensor: *const emr_tensor,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_add_tensor_as(
        model: *mut emr_model,
        tensor: *const emr_tensor,
        name: *const c_char,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_prepare(
        model: *const emr_model,
        resources: *const emr_resources,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_create_renamed(
        renamed: *mut *mut emr_model,
        model: *const emr_model,
        rules: *const emr_rename,
        n_rules: u32,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_name(model: *const emr_model) -> *const c_char;
    pub fn emr_model_n_tensors(model: *const emr_model) -> u32;
    pub fn emr_model_tensor(model: *const emr_model, i: u32) -> *const emr_tensor;
    pub fn emr_model_find_tensor(model: *const emr_model, name: *const c_char) -> *const emr_tensor;
    pub fn emr_model_set_metadata(
        model: *mut emr_model,
        key: *const c_char,
        value: *const c_char,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_remove_metadata(model: *mut emr_model, key: *const c_char) -> emr_status;
    pub fn emr_model_copy_metadata(
        model: *mut emr_model,
        from: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_model_find_metadata(model: *const emr_model, key: *const c_char) -> *const c_char;
    pub fn emr_model_n_metadata(model: *const emr_model) -> u32;
    pub fn emr_model_get_metadata(
        model: *const emr_model,
        i: u32,
        key: *mut *const c_char,
        value: *mut *const c_char,
    ) -> emr_status;
    pub fn emr_adapters_agree(
        models: *const *const emr_model,
        names: *const *const c_char,
        n: usize,
        options: *const emr_agree_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_adapter_rank_dimension(name: *const c_char) -> i32;
    pub fn emr_adapter_create_ones(
        model: *mut *mut emr_model,
        like: *const emr_model,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_adapter_apply(
        model: *mut *mut emr_model,
        base: *const emr_model,
        adapter: *const emr_model,
        resources: *const emr_resources,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_modulator_create(
        modulator: *mut *mut emr_modulator,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_modulator_add(
        modulator: *mut emr_modulator,
        modulation: *const emr_modulation,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_modulator_destroy(modulator: *mut *mut emr_modulator);
    pub fn emr_modulator_n_tensors(modulator: *const emr_modulator) -> u32;
    pub fn emr_modulator_find_tensor(
        modulator: *const emr_modulator,
        name: *const c_char,
        tensor: *mut u32,
    ) -> emr_status;
    pub fn emr_modulator_tensor_name(modulator: *const emr_modulator, tensor: u32) -> *const c_char;
    pub fn emr_modulator_tensor_count(modulator: *const emr_modulator, tensor: u32) -> u64;
    pub fn emr_modulator_n_rescalers(modulator: *const emr_modulator, tensor: u32) -> u64;
    pub fn emr_modulator_read_rescalers(
        modulator: *mut emr_modulator,
        tensor: u32,
        first: u64,
        n: usize,
        rescalers: *mut f32,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_modulator_apply(
        modulator: *mut emr_modulator,
        application: *const emr_application,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_modulator_multiply(
        modulators: *const *mut emr_modulator,
        product: *const emr_product,
        base_dtype: emr_dtype,
        base: *const c_void,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_modulator_get_stats(
        modulator: *mut emr_modulator,
        tensor: u32,
        stats: *mut emr_modulator_stats,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_open(
        bundle: *mut *mut emr_bundle,
        io: *const emr_io,
        name: *const c_char,
        options: *const emr_bundle_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_open_file(
        bundle: *mut *mut emr_bundle,
        path: *const c_char,
        options: *const emr_bundle_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_destroy(bundle: *mut *mut emr_bundle);
    pub fn emr_bundle_name(bundle: *const emr_bundle) -> *const c_char;
    pub fn emr_bundle_get_info(bundle: *const emr_bundle, info: *mut emr_bundle_info) -> emr_status;
    pub fn emr_bundle_get_task(bundle: *const emr_bundle, task: u32, info: *mut emr_task_info) -> emr_status;
    pub fn emr_bundle_get_tensor(
        bundle: *const emr_bundle,
        tensor: u32,
        info: *mut emr_tensor_info,
    ) -> emr_status;
    pub fn emr_bundle_get_modulation(
        bundle: *const emr_bundle,
        task: u32,
        spec: *mut emr_modulation_spec,
        fidelity: *mut emr_fidelity,
    ) -> emr_status;
    pub fn emr_bundle_get_private(
        bundle: *const emr_bundle,
        task: u32,
        i: u32,
        info: *mut emr_private_info,
    ) -> emr_status;
    pub fn emr_bundle_find_task(
        bundle: *const emr_bundle,
        name: *const c_char,
        task: *mut u32,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_find_tensor(
        bundle: *const emr_bundle,
        name: *const c_char,
        tensor: *mut u32,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_n_metadata(bundle: *const emr_bundle, task: u32) -> u32;
    pub fn emr_bundle_get_metadata(
        bundle: *const emr_bundle,
        task: u32,
        i: u32,
        key: *mut *const c_char,
        value: *mut *const c_char,
    ) -> emr_status;
    pub fn emr_bundle_find_metadata(
        bundle: *const emr_bundle,
        task: u32,
        key: *const c_char,
    ) -> *const c_char;
    pub fn emr_bundle_open_modulator(
        modulator: *mut *mut emr_modulator,
        bundle: *const emr_bundle,
        task: u32,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_open_task(
        model: *mut *mut emr_model,
        bundle: *const emr_bundle,
        task: u32,
        base: *const emr_model,
        options: *const emr_view_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_open_base(
        model: *mut *mut emr_model,
        bundle: *const emr_bundle,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_open_unified(
        model: *mut *mut emr_model,
        bundle: *const emr_bundle,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_open_mask(
        model: *mut *mut emr_model,
        bundle: *const emr_bundle,
        task: u32,
        allocator: *const emr_allocator,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_verify(
        bundle: *const emr_bundle,
        resources: *const emr_resources,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_check_base(
        bundle: *const emr_bundle,
        base: *const emr_model,
        options: *const emr_base_check_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_drop(
        bundle: *const emr_bundle,
        dropped: *const emr_task_selection,
        io: *const emr_io,
        report: *mut emr_drop_report,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_bundle_extract(
        bundle: *const emr_bundle,
        kept: *const emr_task_selection,
        io: *const emr_io,
        report: *mut emr_drop_report,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_checkpoint_open(
        model: *mut *mut emr_model,
        path: *const c_char,
        options: *const emr_checkpoint_read_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_safetensors_open(
        model: *mut *mut emr_model,
        io: *const emr_io,
        name: *const c_char,
        options: *const emr_checkpoint_read_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_gguf_open(
        model: *mut *mut emr_model,
        io: *const emr_io,
        name: *const c_char,
        options: *const emr_checkpoint_read_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_gguf_blocks(tensor: *const emr_tensor, elements: *mut u64) -> *const c_char;
    pub fn emr_checkpoint_write(
        model: *const emr_model,
        path: *const c_char,
        options: *const emr_checkpoint_write_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_safetensors_write(
        model: *const emr_model,
        io: *const emr_io,
        options: *const emr_checkpoint_write_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_gguf_write(
        model: *const emr_model,
        io: *const emr_io,
        options: *const emr_checkpoint_write_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_method_find(name: *const c_char) -> *const emr_method;
    pub fn emr_method_at(i: u32) -> *const emr_method;
    pub fn emr_method_draw(
        tensor: *const emr_method_tensor,
        input: u32,
        first: u64,
        n: usize,
        words: *mut u32,
    );
    pub fn emr_glob_matches(glob: *const c_char, name: *const c_char) -> c_int;
    pub fn emr_combination_create(
        combination: *mut *mut emr_combination,
        options: *const emr_combination_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_combination_destroy(combination: *mut *mut emr_combination);
    pub fn emr_combination_set_base(
        combination: *mut emr_combination,
        base: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_combination_add_task(
        combination: *mut emr_combination,
        name: *const c_char,
        model: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_combination_set_parameter(
        combination: *mut emr_combination,
        parameter: *const c_char,
        task: u32,
        glob: *const c_char,
        value: f64,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_combination_get_plan(
        combination: *mut emr_combination,
        plan: *mut emr_combination_plan,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_combination_get_tensor(
        combination: *const emr_combination,
        i: u32,
        tensor: *mut emr_combined_tensor,
    ) -> emr_status;
    pub fn emr_combination_open_model(
        combination: *mut emr_combination,
        model: *mut *mut emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_exp(x: f64) -> f64;
    pub fn emr_log(x: f64) -> f64;
    pub fn emr_heads_create(
        heads: *mut *mut emr_heads,
        options: *const emr_heads_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_heads_destroy(heads: *mut *mut emr_heads);
    pub fn emr_heads_n_rows(heads: *const emr_heads) -> u64;
    pub fn emr_heads_get_group(heads: *const emr_heads, task: u32, group: *mut emr_head_group) -> emr_status;
    pub fn emr_heads_tensor(heads: *const emr_heads, i: u32) -> *const c_char;
    pub fn emr_heads_open_task(
        heads: *const emr_heads,
        task: u32,
        view: *mut *mut emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_heads_open_base(
        heads: *const emr_heads,
        base: *const emr_model,
        view: *mut *mut emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_heads_open_joined(
        heads: *const emr_heads,
        dtype: emr_dtype,
        joined: *mut *mut emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_heads_set_metadata(
        heads: *const emr_heads,
        model: *mut emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_group_softmax(
        logits: *const f32,
        rows: usize,
        stride: usize,
        groups: *const emr_head_group,
        n_groups: usize,
        out: *mut f32,
    ) -> emr_status;
    pub fn emr_merge_create(
        merge: *mut *mut emr_merge,
        options: *const emr_merge_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_destroy(merge: *mut *mut emr_merge);
    pub fn emr_merge_set_base(
        merge: *mut emr_merge,
        base: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_add_task(
        merge: *mut emr_merge,
        name: *const c_char,
        model: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_set_modulation(
        merge: *mut emr_merge,
        task: u32,
        spec: *const emr_modulation_spec,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_extend(
        merge: *mut emr_merge,
        bundle: *const emr_bundle,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_get_plan(
        merge: *mut emr_merge,
        summary: *mut emr_plan_summary,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_get_plan_tensor(
        merge: *const emr_merge,
        i: u32,
        tensor: *mut emr_plan_tensor,
    ) -> emr_status;
    pub fn emr_merge_set_output(
        merge: *mut emr_merge,
        io: *const emr_io,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_set_sink(
        merge: *mut emr_merge,
        sink: *const emr_sink,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_set_journal(
        merge: *mut emr_merge,
        journal: *const emr_io,
        interval: u64,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_run(merge: *mut emr_merge, error: *mut emr_error) -> emr_status;
    pub fn emr_merge_begin(merge: *mut emr_merge, error: *mut emr_error) -> emr_status;
    pub fn emr_merge_push(
        merge: *mut emr_merge,
        source: u32,
        data: *const c_void,
        n: usize,
        taken: *mut usize,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_get_expected(
        merge: *const emr_merge,
        source: u32,
        tensor: *mut *const emr_tensor,
        bytes: *mut u64,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_merge_finish(merge: *mut emr_merge, error: *mut emr_error) -> emr_status;
    pub fn emr_merge_get_fidelity(
        merge: *const emr_merge,
        task: u32,
        fidelity: *mut emr_fidelity,
    ) -> emr_status;
    pub fn emr_merge_get_task_report(
        merge: *const emr_merge,
        task: u32,
        report: *mut emr_task_report,
    ) -> emr_status;
    pub fn emr_tensor_get_role(tensor: *const emr_tensor, role: *mut emr_tensor_role) -> emr_status;
    pub fn emr_role_name(role: emr_role) -> *const c_char;
    pub fn emr_search_create(
        search: *mut *mut emr_search,
        options: *const emr_search_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_search_destroy(search: *mut *mut emr_search);
    pub fn emr_search_add_model(
        search: *mut emr_search,
        name: *const c_char,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_search_run(
        search: *mut emr_search,
        host: *const emr_search_host,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_search_get_candidate(
        search: *const emr_search,
        i: u32,
        candidate: *mut emr_search_candidate,
    ) -> emr_status;
    pub fn emr_search_get_result(search: *const emr_search, result: *mut emr_search_result) -> emr_status;
    pub fn emr_trial_draw(seed: u64, number: u32, n: usize, values: *mut f64);
    pub fn emr_trials_run(
        options: *const emr_trials_options,
        best: *mut emr_trial,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_session_create(
        session: *mut *mut emr_session,
        bundle: *const emr_bundle,
        base: *const emr_model,
        options: *const emr_session_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_session_destroy(session: *mut *mut emr_session);
    pub fn emr_session_open_thread(
        thread: *mut *mut emr_session,
        session: *mut emr_session,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_session_apply(
        session: *mut emr_session,
        task: u32,
        weights: *const emr_weights,
        n_weights: usize,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_session_multiply(
        session: *mut emr_session,
        tasks: *const u32,
        product: *const emr_product,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_session_gather(
        session: *mut emr_session,
        gather: *const emr_gather,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_session_get_info(session: *const emr_session, info: *mut emr_session_info) -> emr_status;
    pub fn emr_statistics_create(
        statistics: *mut *mut emr_statistics,
        options: *const emr_statistics_options,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_statistics_destroy(statistics: *mut *mut emr_statistics);
    pub fn emr_statistics_set_base(
        statistics: *mut emr_statistics,
        base: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_statistics_add_task(
        statistics: *mut emr_statistics,
        name: *const c_char,
        model: *const emr_model,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_statistics_get_plan(
        statistics: *mut emr_statistics,
        plan: *mut emr_statistics_plan,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_statistics_run(statistics: *mut emr_statistics, error: *mut emr_error) -> emr_status;
    pub fn emr_statistics_n_groups(statistics: *const emr_statistics, scope: emr_statistics_scope) -> u32;
    pub fn emr_statistics_get_group(
        statistics: *const emr_statistics,
        scope: emr_statistics_scope,
        i: u32,
        group: *mut emr_statistics_group,
    ) -> emr_status;
    pub fn emr_statistics_get_moments(
        group: *const emr_statistics_group,
        task: u32,
        moments: *mut emr_task_moments,
    ) -> emr_status;
    pub fn emr_kinship(
        group: *const emr_statistics_group,
        options: *const emr_kinship_options,
        matrix: *mut f64,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_statistics_split_kinship(
        statistics: *const emr_statistics,
        options: *const emr_kinship_options,
        matrix: *mut f64,
        error: *mut emr_error,
    ) -> emr_status;
    pub fn emr_kinship_mean(matrix: *const f64, n_tasks: u32) -> f64;
    pub fn emr_statistics_layer_of(name: *const c_char) -> i64;
    pub fn emr_statistics_kind_of(name: *const c_char) -> *const c_char;
    pub fn emr_version() -> *const c_char;
    pub fn emr_version_number() -> u32;
    pub fn emr_get_features(features: *mut emr_features) -> emr_status;
}
