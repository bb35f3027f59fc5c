// Written by generate.py from include/emr/*.h: change those, then run it.

use core::mem::{align_of, offset_of, size_of};
use emr_sys::*;

fn size_of_member<S, M>(_: fn(&S) -> M) -> usize {
    size_of::<M>()
}

/// A struct, its size, its alignment; a member, its offset, its size; a type, its size, 1 where it is signed.
pub fn layouts() -> Vec<(&'static str, usize, usize)> {
    vec![
        ("emr_allocator", size_of::<emr_allocator>(), align_of::<emr_allocator>()),
        ("emr_allocator.size", offset_of!(emr_allocator, size), size_of_member(|x: &emr_allocator| x.size)),
        ("emr_allocator.user", offset_of!(emr_allocator, user), size_of_member(|x: &emr_allocator| x.user)),
        (
            "emr_allocator.alloc",
            offset_of!(emr_allocator, alloc),
            size_of_member(|x: &emr_allocator| x.alloc),
        ),
        ("emr_allocator.free", offset_of!(emr_allocator, free), size_of_member(|x: &emr_allocator| x.free)),
        ("emr_error_span", size_of::<emr_error_span>(), align_of::<emr_error_span>()),
        (
            "emr_error_span.offset",
            offset_of!(emr_error_span, offset),
            size_of_member(|x: &emr_error_span| x.offset),
        ),
        (
            "emr_error_span.length",
            offset_of!(emr_error_span, length),
            size_of_member(|x: &emr_error_span| x.length),
        ),
        ("emr_error", size_of::<emr_error>(), align_of::<emr_error>()),
        ("emr_error.text", offset_of!(emr_error, text), size_of_member(|x: &emr_error| x.text)),
        ("emr_error.status", offset_of!(emr_error, status), size_of_member(|x: &emr_error| x.status)),
        ("emr_error.system", offset_of!(emr_error, system), size_of_member(|x: &emr_error| x.system)),
        ("emr_error.file", offset_of!(emr_error, file), size_of_member(|x: &emr_error| x.file)),
        ("emr_error.task", offset_of!(emr_error, task), size_of_member(|x: &emr_error| x.task)),
        ("emr_error.tensor", offset_of!(emr_error, tensor), size_of_member(|x: &emr_error| x.tensor)),
        ("emr_error.reserved", offset_of!(emr_error, reserved), size_of_member(|x: &emr_error| x.reserved)),
        ("emr_executor", size_of::<emr_executor>(), align_of::<emr_executor>()),
        ("emr_executor.size", offset_of!(emr_executor, size), size_of_member(|x: &emr_executor| x.size)),
        ("emr_executor.user", offset_of!(emr_executor, user), size_of_member(|x: &emr_executor| x.user)),
        (
            "emr_executor.parallel_for",
            offset_of!(emr_executor, parallel_for),
            size_of_member(|x: &emr_executor| x.parallel_for),
        ),
        (
            "emr_executor.concurrency",
            offset_of!(emr_executor, concurrency),
            size_of_member(|x: &emr_executor| x.concurrency),
        ),
        (
            "emr_executor.reserved",
            offset_of!(emr_executor, reserved),
            size_of_member(|x: &emr_executor| x.reserved),
        ),
        ("emr_pool_options", size_of::<emr_pool_options>(), align_of::<emr_pool_options>()),
        (
            "emr_pool_options.size",
            offset_of!(emr_pool_options, size),
            size_of_member(|x: &emr_pool_options| x.size),
        ),
        (
            "emr_pool_options.allocator",
            offset_of!(emr_pool_options, allocator),
            size_of_member(|x: &emr_pool_options| x.allocator),
        ),
        (
            "emr_pool_options.threads",
            offset_of!(emr_pool_options, threads),
            size_of_member(|x: &emr_pool_options| x.threads),
        ),
        (
            "emr_pool_options.reserved",
            offset_of!(emr_pool_options, reserved),
            size_of_member(|x: &emr_pool_options| x.reserved),
        ),
        ("emr_progress", size_of::<emr_progress>(), align_of::<emr_progress>()),
        ("emr_progress.size", offset_of!(emr_progress, size), size_of_member(|x: &emr_progress| x.size)),
        ("emr_progress.done", offset_of!(emr_progress, done), size_of_member(|x: &emr_progress| x.done)),
        ("emr_progress.total", offset_of!(emr_progress, total), size_of_member(|x: &emr_progress| x.total)),
        ("emr_resources", size_of::<emr_resources>(), align_of::<emr_resources>()),
        ("emr_resources.size", offset_of!(emr_resources, size), size_of_member(|x: &emr_resources| x.size)),
        (
            "emr_resources.allocator",
            offset_of!(emr_resources, allocator),
            size_of_member(|x: &emr_resources| x.allocator),
        ),
        (
            "emr_resources.executor",
            offset_of!(emr_resources, executor),
            size_of_member(|x: &emr_resources| x.executor),
        ),
        (
            "emr_resources.progress",
            offset_of!(emr_resources, progress),
            size_of_member(|x: &emr_resources| x.progress),
        ),
        (
            "emr_resources.progress_user",
            offset_of!(emr_resources, progress_user),
            size_of_member(|x: &emr_resources| x.progress_user),
        ),
        (
            "emr_resources.memory_bytes",
            offset_of!(emr_resources, memory_bytes),
            size_of_member(|x: &emr_resources| x.memory_bytes),
        ),
        ("emr_io", size_of::<emr_io>(), align_of::<emr_io>()),
        ("emr_io.size", offset_of!(emr_io, size), size_of_member(|x: &emr_io| x.size)),
        ("emr_io.user", offset_of!(emr_io, user), size_of_member(|x: &emr_io| x.user)),
        ("emr_io.read", offset_of!(emr_io, read), size_of_member(|x: &emr_io| x.read)),
        ("emr_io.write", offset_of!(emr_io, write), size_of_member(|x: &emr_io| x.write)),
        ("emr_io.length", offset_of!(emr_io, length), size_of_member(|x: &emr_io| x.length)),
        ("emr_io.map", offset_of!(emr_io, map), size_of_member(|x: &emr_io| x.map)),
        ("emr_io.unmap", offset_of!(emr_io, unmap), size_of_member(|x: &emr_io| x.unmap)),
        ("emr_io.sync", offset_of!(emr_io, sync), size_of_member(|x: &emr_io| x.sync)),
        ("emr_io.will_need", offset_of!(emr_io, will_need), size_of_member(|x: &emr_io| x.will_need)),
        ("emr_source", size_of::<emr_source>(), align_of::<emr_source>()),
        ("emr_source.size", offset_of!(emr_source, size), size_of_member(|x: &emr_source| x.size)),
        ("emr_source.user", offset_of!(emr_source, user), size_of_member(|x: &emr_source| x.user)),
        ("emr_source.open", offset_of!(emr_source, open), size_of_member(|x: &emr_source| x.open)),
        ("emr_source.close", offset_of!(emr_source, close), size_of_member(|x: &emr_source| x.close)),
        ("emr_source.kind", offset_of!(emr_source, kind), size_of_member(|x: &emr_source| x.kind)),
        ("emr_source.list", offset_of!(emr_source, list), size_of_member(|x: &emr_source| x.list)),
        ("emr_file_options", size_of::<emr_file_options>(), align_of::<emr_file_options>()),
        (
            "emr_file_options.size",
            offset_of!(emr_file_options, size),
            size_of_member(|x: &emr_file_options| x.size),
        ),
        (
            "emr_file_options.allocator",
            offset_of!(emr_file_options, allocator),
            size_of_member(|x: &emr_file_options| x.allocator),
        ),
        (
            "emr_file_options.map",
            offset_of!(emr_file_options, map),
            size_of_member(|x: &emr_file_options| x.map),
        ),
        (
            "emr_file_options.replace",
            offset_of!(emr_file_options, replace),
            size_of_member(|x: &emr_file_options| x.replace),
        ),
        ("emr_computation", size_of::<emr_computation>(), align_of::<emr_computation>()),
        (
            "emr_computation.size",
            offset_of!(emr_computation, size),
            size_of_member(|x: &emr_computation| x.size),
        ),
        (
            "emr_computation.user",
            offset_of!(emr_computation, user),
            size_of_member(|x: &emr_computation| x.user),
        ),
        (
            "emr_computation.scratch",
            offset_of!(emr_computation, scratch),
            size_of_member(|x: &emr_computation| x.scratch),
        ),
        (
            "emr_computation.out",
            offset_of!(emr_computation, out),
            size_of_member(|x: &emr_computation| x.out),
        ),
        (
            "emr_computation.count",
            offset_of!(emr_computation, count),
            size_of_member(|x: &emr_computation| x.count),
        ),
        (
            "emr_computation.first",
            offset_of!(emr_computation, first),
            size_of_member(|x: &emr_computation| x.first),
        ),
        ("emr_tensor_desc", size_of::<emr_tensor_desc>(), align_of::<emr_tensor_desc>()),
        (
            "emr_tensor_desc.size",
            offset_of!(emr_tensor_desc, size),
            size_of_member(|x: &emr_tensor_desc| x.size),
        ),
        (
            "emr_tensor_desc.name",
            offset_of!(emr_tensor_desc, name),
            size_of_member(|x: &emr_tensor_desc| x.name),
        ),
        (
            "emr_tensor_desc.shape",
            offset_of!(emr_tensor_desc, shape),
            size_of_member(|x: &emr_tensor_desc| x.shape),
        ),
        (
            "emr_tensor_desc.data",
            offset_of!(emr_tensor_desc, data),
            size_of_member(|x: &emr_tensor_desc| x.data),
        ),
        ("emr_tensor_desc.io", offset_of!(emr_tensor_desc, io), size_of_member(|x: &emr_tensor_desc| x.io)),
        (
            "emr_tensor_desc.compute",
            offset_of!(emr_tensor_desc, compute),
            size_of_member(|x: &emr_tensor_desc| x.compute),
        ),
        (
            "emr_tensor_desc.user",
            offset_of!(emr_tensor_desc, user),
            size_of_member(|x: &emr_tensor_desc| x.user),
        ),
        (
            "emr_tensor_desc.offset",
            offset_of!(emr_tensor_desc, offset),
            size_of_member(|x: &emr_tensor_desc| x.offset),
        ),
        (
            "emr_tensor_desc.dtype",
            offset_of!(emr_tensor_desc, dtype),
            size_of_member(|x: &emr_tensor_desc| x.dtype),
        ),
        (
            "emr_tensor_desc.rank",
            offset_of!(emr_tensor_desc, rank),
            size_of_member(|x: &emr_tensor_desc| x.rank),
        ),
        (
            "emr_tensor_desc.granule",
            offset_of!(emr_tensor_desc, granule),
            size_of_member(|x: &emr_tensor_desc| x.granule),
        ),
        (
            "emr_tensor_desc.max_count",
            offset_of!(emr_tensor_desc, max_count),
            size_of_member(|x: &emr_tensor_desc| x.max_count),
        ),
        (
            "emr_tensor_desc.blocks",
            offset_of!(emr_tensor_desc, blocks),
            size_of_member(|x: &emr_tensor_desc| x.blocks),
        ),
        (
            "emr_tensor_desc.reserved",
            offset_of!(emr_tensor_desc, reserved),
            size_of_member(|x: &emr_tensor_desc| x.reserved),
        ),
        ("emr_model_options", size_of::<emr_model_options>(), align_of::<emr_model_options>()),
        (
            "emr_model_options.size",
            offset_of!(emr_model_options, size),
            size_of_member(|x: &emr_model_options| x.size),
        ),
        (
            "emr_model_options.allocator",
            offset_of!(emr_model_options, allocator),
            size_of_member(|x: &emr_model_options| x.allocator),
        ),
        (
            "emr_model_options.name",
            offset_of!(emr_model_options, name),
            size_of_member(|x: &emr_model_options| x.name),
        ),
        (
            "emr_model_options.user",
            offset_of!(emr_model_options, user),
            size_of_member(|x: &emr_model_options| x.user),
        ),
        (
            "emr_model_options.destroy",
            offset_of!(emr_model_options, destroy),
            size_of_member(|x: &emr_model_options| x.destroy),
        ),
        (
            "emr_model_options.scratch_bytes",
            offset_of!(emr_model_options, scratch_bytes),
            size_of_member(|x: &emr_model_options| x.scratch_bytes),
        ),
        (
            "emr_model_options.open_scratch",
            offset_of!(emr_model_options, open_scratch),
            size_of_member(|x: &emr_model_options| x.open_scratch),
        ),
        (
            "emr_model_options.close_scratch",
            offset_of!(emr_model_options, close_scratch),
            size_of_member(|x: &emr_model_options| x.close_scratch),
        ),
        (
            "emr_model_options.prepare",
            offset_of!(emr_model_options, prepare),
            size_of_member(|x: &emr_model_options| x.prepare),
        ),
        ("emr_rename", size_of::<emr_rename>(), align_of::<emr_rename>()),
        ("emr_rename.from", offset_of!(emr_rename, from), size_of_member(|x: &emr_rename| x.from)),
        ("emr_rename.to", offset_of!(emr_rename, to), size_of_member(|x: &emr_rename| x.to)),
        ("emr_agree_options", size_of::<emr_agree_options>(), align_of::<emr_agree_options>()),
        (
            "emr_agree_options.size",
            offset_of!(emr_agree_options, size),
            size_of_member(|x: &emr_agree_options| x.size),
        ),
        (
            "emr_agree_options.allocator",
            offset_of!(emr_agree_options, allocator),
            size_of_member(|x: &emr_agree_options| x.allocator),
        ),
        (
            "emr_agree_options.differ",
            offset_of!(emr_agree_options, differ),
            size_of_member(|x: &emr_agree_options| x.differ),
        ),
        (
            "emr_agree_options.n_differ",
            offset_of!(emr_agree_options, n_differ),
            size_of_member(|x: &emr_agree_options| x.n_differ),
        ),
        ("emr_product", size_of::<emr_product>(), align_of::<emr_product>()),
        ("emr_product.size", offset_of!(emr_product, size), size_of_member(|x: &emr_product| x.size)),
        ("emr_product.name", offset_of!(emr_product, name), size_of_member(|x: &emr_product| x.name)),
        ("emr_product.x", offset_of!(emr_product, x), size_of_member(|x: &emr_product| x.x)),
        ("emr_product.y", offset_of!(emr_product, y), size_of_member(|x: &emr_product| x.y)),
        (
            "emr_product.x_stride",
            offset_of!(emr_product, x_stride),
            size_of_member(|x: &emr_product| x.x_stride),
        ),
        (
            "emr_product.y_stride",
            offset_of!(emr_product, y_stride),
            size_of_member(|x: &emr_product| x.y_stride),
        ),
        ("emr_product.batch", offset_of!(emr_product, batch), size_of_member(|x: &emr_product| x.batch)),
        (
            "emr_product.first_row",
            offset_of!(emr_product, first_row),
            size_of_member(|x: &emr_product| x.first_row),
        ),
        ("emr_product.n_rows", offset_of!(emr_product, n_rows), size_of_member(|x: &emr_product| x.n_rows)),
        (
            "emr_product.n_columns",
            offset_of!(emr_product, n_columns),
            size_of_member(|x: &emr_product| x.n_columns),
        ),
        ("emr_product.tensor", offset_of!(emr_product, tensor), size_of_member(|x: &emr_product| x.tensor)),
        (
            "emr_product.without_base",
            offset_of!(emr_product, without_base),
            size_of_member(|x: &emr_product| x.without_base),
        ),
        ("emr_product.add", offset_of!(emr_product, add), size_of_member(|x: &emr_product| x.add)),
        (
            "emr_product.reserved",
            offset_of!(emr_product, reserved),
            size_of_member(|x: &emr_product| x.reserved),
        ),
        ("emr_modulation_spec", size_of::<emr_modulation_spec>(), align_of::<emr_modulation_spec>()),
        (
            "emr_modulation_spec.size",
            offset_of!(emr_modulation_spec, size),
            size_of_member(|x: &emr_modulation_spec| x.size),
        ),
        (
            "emr_modulation_spec.kind",
            offset_of!(emr_modulation_spec, kind),
            size_of_member(|x: &emr_modulation_spec| x.kind),
        ),
        (
            "emr_modulation_spec.thinning",
            offset_of!(emr_modulation_spec, thinning),
            size_of_member(|x: &emr_modulation_spec| x.thinning),
        ),
        (
            "emr_modulation_spec.n_levels",
            offset_of!(emr_modulation_spec, n_levels),
            size_of_member(|x: &emr_modulation_spec| x.n_levels),
        ),
        (
            "emr_modulation_spec.rescale",
            offset_of!(emr_modulation_spec, rescale),
            size_of_member(|x: &emr_modulation_spec| x.rescale),
        ),
        (
            "emr_modulation_spec.rescale_per",
            offset_of!(emr_modulation_spec, rescale_per),
            size_of_member(|x: &emr_modulation_spec| x.rescale_per),
        ),
        (
            "emr_modulation_spec.mask_rule",
            offset_of!(emr_modulation_spec, mask_rule),
            size_of_member(|x: &emr_modulation_spec| x.mask_rule),
        ),
        (
            "emr_modulation_spec.vectors_dtype",
            offset_of!(emr_modulation_spec, vectors_dtype),
            size_of_member(|x: &emr_modulation_spec| x.vectors_dtype),
        ),
        (
            "emr_modulation_spec.without_columns",
            offset_of!(emr_modulation_spec, without_columns),
            size_of_member(|x: &emr_modulation_spec| x.without_columns),
        ),
        (
            "emr_modulation_spec.seed",
            offset_of!(emr_modulation_spec, seed),
            size_of_member(|x: &emr_modulation_spec| x.seed),
        ),
        (
            "emr_modulation_spec.reserved",
            offset_of!(emr_modulation_spec, reserved),
            size_of_member(|x: &emr_modulation_spec| x.reserved),
        ),
        ("emr_fidelity", size_of::<emr_fidelity>(), align_of::<emr_fidelity>()),
        ("emr_fidelity.size", offset_of!(emr_fidelity, size), size_of_member(|x: &emr_fidelity| x.size)),
        ("emr_fidelity.error", offset_of!(emr_fidelity, error), size_of_member(|x: &emr_fidelity| x.error)),
        (
            "emr_fidelity.cosine",
            offset_of!(emr_fidelity, cosine),
            size_of_member(|x: &emr_fidelity| x.cosine),
        ),
        (
            "emr_fidelity.coefficient",
            offset_of!(emr_fidelity, coefficient),
            size_of_member(|x: &emr_fidelity| x.coefficient),
        ),
        (
            "emr_fidelity.reserved",
            offset_of!(emr_fidelity, reserved),
            size_of_member(|x: &emr_fidelity| x.reserved),
        ),
        ("emr_modulation", size_of::<emr_modulation>(), align_of::<emr_modulation>()),
        (
            "emr_modulation.size",
            offset_of!(emr_modulation, size),
            size_of_member(|x: &emr_modulation| x.size),
        ),
        (
            "emr_modulation.name",
            offset_of!(emr_modulation, name),
            size_of_member(|x: &emr_modulation| x.name),
        ),
        (
            "emr_modulation.unified",
            offset_of!(emr_modulation, unified),
            size_of_member(|x: &emr_modulation| x.unified),
        ),
        (
            "emr_modulation.mask",
            offset_of!(emr_modulation, mask),
            size_of_member(|x: &emr_modulation| x.mask),
        ),
        (
            "emr_modulation.rescalers",
            offset_of!(emr_modulation, rescalers),
            size_of_member(|x: &emr_modulation| x.rescalers),
        ),
        (
            "emr_modulation.columns",
            offset_of!(emr_modulation, columns),
            size_of_member(|x: &emr_modulation| x.columns),
        ),
        (
            "emr_modulation.count",
            offset_of!(emr_modulation, count),
            size_of_member(|x: &emr_modulation| x.count),
        ),
        (
            "emr_modulation.n_rescalers",
            offset_of!(emr_modulation, n_rescalers),
            size_of_member(|x: &emr_modulation| x.n_rescalers),
        ),
        (
            "emr_modulation.unified_dtype",
            offset_of!(emr_modulation, unified_dtype),
            size_of_member(|x: &emr_modulation| x.unified_dtype),
        ),
        (
            "emr_modulation.kind",
            offset_of!(emr_modulation, kind),
            size_of_member(|x: &emr_modulation| x.kind),
        ),
        (
            "emr_modulation.thinning",
            offset_of!(emr_modulation, thinning),
            size_of_member(|x: &emr_modulation| x.thinning),
        ),
        (
            "emr_modulation.n_levels",
            offset_of!(emr_modulation, n_levels),
            size_of_member(|x: &emr_modulation| x.n_levels),
        ),
        (
            "emr_modulation.seed",
            offset_of!(emr_modulation, seed),
            size_of_member(|x: &emr_modulation| x.seed),
        ),
        (
            "emr_modulation.reserved",
            offset_of!(emr_modulation, reserved),
            size_of_member(|x: &emr_modulation| x.reserved),
        ),
        ("emr_application", size_of::<emr_application>(), align_of::<emr_application>()),
        (
            "emr_application.size",
            offset_of!(emr_application, size),
            size_of_member(|x: &emr_application| x.size),
        ),
        (
            "emr_application.base",
            offset_of!(emr_application, base),
            size_of_member(|x: &emr_application| x.base),
        ),
        (
            "emr_application.out",
            offset_of!(emr_application, out),
            size_of_member(|x: &emr_application| x.out),
        ),
        (
            "emr_application.first",
            offset_of!(emr_application, first),
            size_of_member(|x: &emr_application| x.first),
        ),
        (
            "emr_application.count",
            offset_of!(emr_application, count),
            size_of_member(|x: &emr_application| x.count),
        ),
        (
            "emr_application.tensor",
            offset_of!(emr_application, tensor),
            size_of_member(|x: &emr_application| x.tensor),
        ),
        (
            "emr_application.base_dtype",
            offset_of!(emr_application, base_dtype),
            size_of_member(|x: &emr_application| x.base_dtype),
        ),
        (
            "emr_application.out_dtype",
            offset_of!(emr_application, out_dtype),
            size_of_member(|x: &emr_application| x.out_dtype),
        ),
        (
            "emr_application.without_base",
            offset_of!(emr_application, without_base),
            size_of_member(|x: &emr_application| x.without_base),
        ),
        ("emr_modulator_stats", size_of::<emr_modulator_stats>(), align_of::<emr_modulator_stats>()),
        (
            "emr_modulator_stats.size",
            offset_of!(emr_modulator_stats, size),
            size_of_member(|x: &emr_modulator_stats| x.size),
        ),
        (
            "emr_modulator_stats.count",
            offset_of!(emr_modulator_stats, count),
            size_of_member(|x: &emr_modulator_stats| x.count),
        ),
        (
            "emr_modulator_stats.ones",
            offset_of!(emr_modulator_stats, ones),
            size_of_member(|x: &emr_modulator_stats| x.ones),
        ),
        ("emr_bundle_options", size_of::<emr_bundle_options>(), align_of::<emr_bundle_options>()),
        (
            "emr_bundle_options.size",
            offset_of!(emr_bundle_options, size),
            size_of_member(|x: &emr_bundle_options| x.size),
        ),
        (
            "emr_bundle_options.allocator",
            offset_of!(emr_bundle_options, allocator),
            size_of_member(|x: &emr_bundle_options| x.allocator),
        ),
        (
            "emr_bundle_options.map",
            offset_of!(emr_bundle_options, map),
            size_of_member(|x: &emr_bundle_options| x.map),
        ),
        (
            "emr_bundle_options.reserved",
            offset_of!(emr_bundle_options, reserved),
            size_of_member(|x: &emr_bundle_options| x.reserved),
        ),
        ("emr_bundle_info", size_of::<emr_bundle_info>(), align_of::<emr_bundle_info>()),
        (
            "emr_bundle_info.size",
            offset_of!(emr_bundle_info, size),
            size_of_member(|x: &emr_bundle_info| x.size),
        ),
        (
            "emr_bundle_info.bytes",
            offset_of!(emr_bundle_info, bytes),
            size_of_member(|x: &emr_bundle_info| x.bytes),
        ),
        (
            "emr_bundle_info.merged_params",
            offset_of!(emr_bundle_info, merged_params),
            size_of_member(|x: &emr_bundle_info| x.merged_params),
        ),
        (
            "emr_bundle_info.n_tasks",
            offset_of!(emr_bundle_info, n_tasks),
            size_of_member(|x: &emr_bundle_info| x.n_tasks),
        ),
        (
            "emr_bundle_info.n_tensors",
            offset_of!(emr_bundle_info, n_tensors),
            size_of_member(|x: &emr_bundle_info| x.n_tensors),
        ),
        (
            "emr_bundle_info.n_merged",
            offset_of!(emr_bundle_info, n_merged),
            size_of_member(|x: &emr_bundle_info| x.n_merged),
        ),
        (
            "emr_bundle_info.version_major",
            offset_of!(emr_bundle_info, version_major),
            size_of_member(|x: &emr_bundle_info| x.version_major),
        ),
        (
            "emr_bundle_info.version_minor",
            offset_of!(emr_bundle_info, version_minor),
            size_of_member(|x: &emr_bundle_info| x.version_minor),
        ),
        (
            "emr_bundle_info.rescale",
            offset_of!(emr_bundle_info, rescale),
            size_of_member(|x: &emr_bundle_info| x.rescale),
        ),
        (
            "emr_bundle_info.rescale_per",
            offset_of!(emr_bundle_info, rescale_per),
            size_of_member(|x: &emr_bundle_info| x.rescale_per),
        ),
        (
            "emr_bundle_info.tie",
            offset_of!(emr_bundle_info, tie),
            size_of_member(|x: &emr_bundle_info| x.tie),
        ),
        (
            "emr_bundle_info.unified_dtype",
            offset_of!(emr_bundle_info, unified_dtype),
            size_of_member(|x: &emr_bundle_info| x.unified_dtype),
        ),
        (
            "emr_bundle_info.has_base",
            offset_of!(emr_bundle_info, has_base),
            size_of_member(|x: &emr_bundle_info| x.has_base),
        ),
        (
            "emr_bundle_info.extendable",
            offset_of!(emr_bundle_info, extendable),
            size_of_member(|x: &emr_bundle_info| x.extendable),
        ),
        (
            "emr_bundle_info.n_elected",
            offset_of!(emr_bundle_info, n_elected),
            size_of_member(|x: &emr_bundle_info| x.n_elected),
        ),
        ("emr_task_info", size_of::<emr_task_info>(), align_of::<emr_task_info>()),
        ("emr_task_info.size", offset_of!(emr_task_info, size), size_of_member(|x: &emr_task_info| x.size)),
        ("emr_task_info.name", offset_of!(emr_task_info, name), size_of_member(|x: &emr_task_info| x.name)),
        (
            "emr_task_info.mask_ones",
            offset_of!(emr_task_info, mask_ones),
            size_of_member(|x: &emr_task_info| x.mask_ones),
        ),
        (
            "emr_task_info.mask_bytes",
            offset_of!(emr_task_info, mask_bytes),
            size_of_member(|x: &emr_task_info| x.mask_bytes),
        ),
        (
            "emr_task_info.n_private",
            offset_of!(emr_task_info, n_private),
            size_of_member(|x: &emr_task_info| x.n_private),
        ),
        (
            "emr_task_info.rescaler",
            offset_of!(emr_task_info, rescaler),
            size_of_member(|x: &emr_task_info| x.rescaler),
        ),
        (
            "emr_task_info.coded_bytes",
            offset_of!(emr_task_info, coded_bytes),
            size_of_member(|x: &emr_task_info| x.coded_bytes),
        ),
        ("emr_tensor_info", size_of::<emr_tensor_info>(), align_of::<emr_tensor_info>()),
        (
            "emr_tensor_info.size",
            offset_of!(emr_tensor_info, size),
            size_of_member(|x: &emr_tensor_info| x.size),
        ),
        (
            "emr_tensor_info.name",
            offset_of!(emr_tensor_info, name),
            size_of_member(|x: &emr_tensor_info| x.name),
        ),
        (
            "emr_tensor_info.shape",
            offset_of!(emr_tensor_info, shape),
            size_of_member(|x: &emr_tensor_info| x.shape),
        ),
        (
            "emr_tensor_info.count",
            offset_of!(emr_tensor_info, count),
            size_of_member(|x: &emr_tensor_info| x.count),
        ),
        (
            "emr_tensor_info.unified_bytes",
            offset_of!(emr_tensor_info, unified_bytes),
            size_of_member(|x: &emr_tensor_info| x.unified_bytes),
        ),
        (
            "emr_tensor_info.base_hash",
            offset_of!(emr_tensor_info, base_hash),
            size_of_member(|x: &emr_tensor_info| x.base_hash),
        ),
        (
            "emr_tensor_info.dtype",
            offset_of!(emr_tensor_info, dtype),
            size_of_member(|x: &emr_tensor_info| x.dtype),
        ),
        (
            "emr_tensor_info.rank",
            offset_of!(emr_tensor_info, rank),
            size_of_member(|x: &emr_tensor_info| x.rank),
        ),
        (
            "emr_tensor_info.merged",
            offset_of!(emr_tensor_info, merged),
            size_of_member(|x: &emr_tensor_info| x.merged),
        ),
        (
            "emr_tensor_info.reserved",
            offset_of!(emr_tensor_info, reserved),
            size_of_member(|x: &emr_tensor_info| x.reserved),
        ),
        ("emr_private_info", size_of::<emr_private_info>(), align_of::<emr_private_info>()),
        (
            "emr_private_info.size",
            offset_of!(emr_private_info, size),
            size_of_member(|x: &emr_private_info| x.size),
        ),
        (
            "emr_private_info.name",
            offset_of!(emr_private_info, name),
            size_of_member(|x: &emr_private_info| x.name),
        ),
        (
            "emr_private_info.shape",
            offset_of!(emr_private_info, shape),
            size_of_member(|x: &emr_private_info| x.shape),
        ),
        (
            "emr_private_info.bytes",
            offset_of!(emr_private_info, bytes),
            size_of_member(|x: &emr_private_info| x.bytes),
        ),
        (
            "emr_private_info.dtype",
            offset_of!(emr_private_info, dtype),
            size_of_member(|x: &emr_private_info| x.dtype),
        ),
        (
            "emr_private_info.rank",
            offset_of!(emr_private_info, rank),
            size_of_member(|x: &emr_private_info| x.rank),
        ),
        ("emr_view_options", size_of::<emr_view_options>(), align_of::<emr_view_options>()),
        (
            "emr_view_options.size",
            offset_of!(emr_view_options, size),
            size_of_member(|x: &emr_view_options| x.size),
        ),
        (
            "emr_view_options.resources",
            offset_of!(emr_view_options, resources),
            size_of_member(|x: &emr_view_options| x.resources),
        ),
        (
            "emr_view_options.dtype",
            offset_of!(emr_view_options, dtype),
            size_of_member(|x: &emr_view_options| x.dtype),
        ),
        (
            "emr_view_options.check",
            offset_of!(emr_view_options, check),
            size_of_member(|x: &emr_view_options| x.check),
        ),
        (
            "emr_view_options.f32_vectors",
            offset_of!(emr_view_options, f32_vectors),
            size_of_member(|x: &emr_view_options| x.f32_vectors),
        ),
        (
            "emr_view_options.reserved",
            offset_of!(emr_view_options, reserved),
            size_of_member(|x: &emr_view_options| x.reserved),
        ),
        ("emr_base_difference", size_of::<emr_base_difference>(), align_of::<emr_base_difference>()),
        (
            "emr_base_difference.size",
            offset_of!(emr_base_difference, size),
            size_of_member(|x: &emr_base_difference| x.size),
        ),
        (
            "emr_base_difference.tensor",
            offset_of!(emr_base_difference, tensor),
            size_of_member(|x: &emr_base_difference| x.tensor),
        ),
        (
            "emr_base_difference.why",
            offset_of!(emr_base_difference, why),
            size_of_member(|x: &emr_base_difference| x.why),
        ),
        ("emr_base_check_options", size_of::<emr_base_check_options>(), align_of::<emr_base_check_options>()),
        (
            "emr_base_check_options.size",
            offset_of!(emr_base_check_options, size),
            size_of_member(|x: &emr_base_check_options| x.size),
        ),
        (
            "emr_base_check_options.resources",
            offset_of!(emr_base_check_options, resources),
            size_of_member(|x: &emr_base_check_options| x.resources),
        ),
        (
            "emr_base_check_options.differs",
            offset_of!(emr_base_check_options, differs),
            size_of_member(|x: &emr_base_check_options| x.differs),
        ),
        (
            "emr_base_check_options.user",
            offset_of!(emr_base_check_options, user),
            size_of_member(|x: &emr_base_check_options| x.user),
        ),
        ("emr_task_selection", size_of::<emr_task_selection>(), align_of::<emr_task_selection>()),
        (
            "emr_task_selection.size",
            offset_of!(emr_task_selection, size),
            size_of_member(|x: &emr_task_selection| x.size),
        ),
        (
            "emr_task_selection.resources",
            offset_of!(emr_task_selection, resources),
            size_of_member(|x: &emr_task_selection| x.resources),
        ),
        (
            "emr_task_selection.tasks",
            offset_of!(emr_task_selection, tasks),
            size_of_member(|x: &emr_task_selection| x.tasks),
        ),
        (
            "emr_task_selection.n_tasks",
            offset_of!(emr_task_selection, n_tasks),
            size_of_member(|x: &emr_task_selection| x.n_tasks),
        ),
        (
            "emr_task_selection.reserved",
            offset_of!(emr_task_selection, reserved),
            size_of_member(|x: &emr_task_selection| x.reserved),
        ),
        ("emr_drop_report", size_of::<emr_drop_report>(), align_of::<emr_drop_report>()),
        (
            "emr_drop_report.size",
            offset_of!(emr_drop_report, size),
            size_of_member(|x: &emr_drop_report| x.size),
        ),
        (
            "emr_drop_report.unified",
            offset_of!(emr_drop_report, unified),
            size_of_member(|x: &emr_drop_report| x.unified),
        ),
        (
            "emr_drop_report.alone",
            offset_of!(emr_drop_report, alone),
            size_of_member(|x: &emr_drop_report| x.alone),
        ),
        (
            "emr_drop_report.shared",
            offset_of!(emr_drop_report, shared),
            size_of_member(|x: &emr_drop_report| x.shared),
        ),
        (
            "emr_drop_report.lost_growth",
            offset_of!(emr_drop_report, lost_growth),
            size_of_member(|x: &emr_drop_report| x.lost_growth),
        ),
        (
            "emr_drop_report.lost_unified",
            offset_of!(emr_drop_report, lost_unified),
            size_of_member(|x: &emr_drop_report| x.lost_unified),
        ),
        (
            "emr_checkpoint_read_options",
            size_of::<emr_checkpoint_read_options>(),
            align_of::<emr_checkpoint_read_options>(),
        ),
        (
            "emr_checkpoint_read_options.size",
            offset_of!(emr_checkpoint_read_options, size),
            size_of_member(|x: &emr_checkpoint_read_options| x.size),
        ),
        (
            "emr_checkpoint_read_options.allocator",
            offset_of!(emr_checkpoint_read_options, allocator),
            size_of_member(|x: &emr_checkpoint_read_options| x.allocator),
        ),
        (
            "emr_checkpoint_read_options.map",
            offset_of!(emr_checkpoint_read_options, map),
            size_of_member(|x: &emr_checkpoint_read_options| x.map),
        ),
        (
            "emr_checkpoint_read_options.dequantise",
            offset_of!(emr_checkpoint_read_options, dequantise),
            size_of_member(|x: &emr_checkpoint_read_options| x.dequantise),
        ),
        (
            "emr_checkpoint_read_options.side_files",
            offset_of!(emr_checkpoint_read_options, side_files),
            size_of_member(|x: &emr_checkpoint_read_options| x.side_files),
        ),
        (
            "emr_checkpoint_read_options.reserved",
            offset_of!(emr_checkpoint_read_options, reserved),
            size_of_member(|x: &emr_checkpoint_read_options| x.reserved),
        ),
        (
            "emr_checkpoint_read_options.source",
            offset_of!(emr_checkpoint_read_options, source),
            size_of_member(|x: &emr_checkpoint_read_options| x.source),
        ),
        (
            "emr_checkpoint_write_options",
            size_of::<emr_checkpoint_write_options>(),
            align_of::<emr_checkpoint_write_options>(),
        ),
        (
            "emr_checkpoint_write_options.size",
            offset_of!(emr_checkpoint_write_options, size),
            size_of_member(|x: &emr_checkpoint_write_options| x.size),
        ),
        (
            "emr_checkpoint_write_options.resources",
            offset_of!(emr_checkpoint_write_options, resources),
            size_of_member(|x: &emr_checkpoint_write_options| x.resources),
        ),
        (
            "emr_checkpoint_write_options.shard_bytes",
            offset_of!(emr_checkpoint_write_options, shard_bytes),
            size_of_member(|x: &emr_checkpoint_write_options| x.shard_bytes),
        ),
        (
            "emr_checkpoint_write_options.replace",
            offset_of!(emr_checkpoint_write_options, replace),
            size_of_member(|x: &emr_checkpoint_write_options| x.replace),
        ),
        (
            "emr_checkpoint_write_options.dtype",
            offset_of!(emr_checkpoint_write_options, dtype),
            size_of_member(|x: &emr_checkpoint_write_options| x.dtype),
        ),
        (
            "emr_checkpoint_write_options.written",
            offset_of!(emr_checkpoint_write_options, written),
            size_of_member(|x: &emr_checkpoint_write_options| x.written),
        ),
        (
            "emr_checkpoint_write_options.user",
            offset_of!(emr_checkpoint_write_options, user),
            size_of_member(|x: &emr_checkpoint_write_options| x.user),
        ),
        ("emr_method_parameter", size_of::<emr_method_parameter>(), align_of::<emr_method_parameter>()),
        (
            "emr_method_parameter.name",
            offset_of!(emr_method_parameter, name),
            size_of_member(|x: &emr_method_parameter| x.name),
        ),
        (
            "emr_method_parameter.initial",
            offset_of!(emr_method_parameter, initial),
            size_of_member(|x: &emr_method_parameter| x.initial),
        ),
        (
            "emr_method_parameter.least",
            offset_of!(emr_method_parameter, least),
            size_of_member(|x: &emr_method_parameter| x.least),
        ),
        (
            "emr_method_parameter.most",
            offset_of!(emr_method_parameter, most),
            size_of_member(|x: &emr_method_parameter| x.most),
        ),
        (
            "emr_method_parameter.per_task",
            offset_of!(emr_method_parameter, per_task),
            size_of_member(|x: &emr_method_parameter| x.per_task),
        ),
        (
            "emr_method_parameter.is_whole",
            offset_of!(emr_method_parameter, is_whole),
            size_of_member(|x: &emr_method_parameter| x.is_whole),
        ),
        ("emr_method_tensor", size_of::<emr_method_tensor>(), align_of::<emr_method_tensor>()),
        (
            "emr_method_tensor.size",
            offset_of!(emr_method_tensor, size),
            size_of_member(|x: &emr_method_tensor| x.size),
        ),
        (
            "emr_method_tensor.user",
            offset_of!(emr_method_tensor, user),
            size_of_member(|x: &emr_method_tensor| x.user),
        ),
        (
            "emr_method_tensor.name",
            offset_of!(emr_method_tensor, name),
            size_of_member(|x: &emr_method_tensor| x.name),
        ),
        (
            "emr_method_tensor.shape",
            offset_of!(emr_method_tensor, shape),
            size_of_member(|x: &emr_method_tensor| x.shape),
        ),
        (
            "emr_method_tensor.inputs",
            offset_of!(emr_method_tensor, inputs),
            size_of_member(|x: &emr_method_tensor| x.inputs),
        ),
        (
            "emr_method_tensor.parameters",
            offset_of!(emr_method_tensor, parameters),
            size_of_member(|x: &emr_method_tensor| x.parameters),
        ),
        (
            "emr_method_tensor.found",
            offset_of!(emr_method_tensor, found),
            size_of_member(|x: &emr_method_tensor| x.found),
        ),
        (
            "emr_method_tensor.library",
            offset_of!(emr_method_tensor, library),
            size_of_member(|x: &emr_method_tensor| x.library),
        ),
        (
            "emr_method_tensor.count",
            offset_of!(emr_method_tensor, count),
            size_of_member(|x: &emr_method_tensor| x.count),
        ),
        (
            "emr_method_tensor.row_length",
            offset_of!(emr_method_tensor, row_length),
            size_of_member(|x: &emr_method_tensor| x.row_length),
        ),
        (
            "emr_method_tensor.seed",
            offset_of!(emr_method_tensor, seed),
            size_of_member(|x: &emr_method_tensor| x.seed),
        ),
        (
            "emr_method_tensor.rank",
            offset_of!(emr_method_tensor, rank),
            size_of_member(|x: &emr_method_tensor| x.rank),
        ),
        (
            "emr_method_tensor.n_inputs",
            offset_of!(emr_method_tensor, n_inputs),
            size_of_member(|x: &emr_method_tensor| x.n_inputs),
        ),
        (
            "emr_method_tensor.n_parameters",
            offset_of!(emr_method_tensor, n_parameters),
            size_of_member(|x: &emr_method_tensor| x.n_parameters),
        ),
        (
            "emr_method_tensor.has_base",
            offset_of!(emr_method_tensor, has_base),
            size_of_member(|x: &emr_method_tensor| x.has_base),
        ),
        ("emr_method_chunk", size_of::<emr_method_chunk>(), align_of::<emr_method_chunk>()),
        (
            "emr_method_chunk.size",
            offset_of!(emr_method_chunk, size),
            size_of_member(|x: &emr_method_chunk| x.size),
        ),
        (
            "emr_method_chunk.tensor",
            offset_of!(emr_method_chunk, tensor),
            size_of_member(|x: &emr_method_chunk| x.tensor),
        ),
        (
            "emr_method_chunk.inputs",
            offset_of!(emr_method_chunk, inputs),
            size_of_member(|x: &emr_method_chunk| x.inputs),
        ),
        (
            "emr_method_chunk.base",
            offset_of!(emr_method_chunk, base),
            size_of_member(|x: &emr_method_chunk| x.base),
        ),
        (
            "emr_method_chunk.out",
            offset_of!(emr_method_chunk, out),
            size_of_member(|x: &emr_method_chunk| x.out),
        ),
        (
            "emr_method_chunk.scratch",
            offset_of!(emr_method_chunk, scratch),
            size_of_member(|x: &emr_method_chunk| x.scratch),
        ),
        ("emr_method_chunk.n", offset_of!(emr_method_chunk, n), size_of_member(|x: &emr_method_chunk| x.n)),
        (
            "emr_method_chunk.first",
            offset_of!(emr_method_chunk, first),
            size_of_member(|x: &emr_method_chunk| x.first),
        ),
        (
            "emr_method_chunk.position",
            offset_of!(emr_method_chunk, position),
            size_of_member(|x: &emr_method_chunk| x.position),
        ),
        ("emr_method_stage", size_of::<emr_method_stage>(), align_of::<emr_method_stage>()),
        (
            "emr_method_stage.size",
            offset_of!(emr_method_stage, size),
            size_of_member(|x: &emr_method_stage| x.size),
        ),
        (
            "emr_method_stage.n_found",
            offset_of!(emr_method_stage, n_found),
            size_of_member(|x: &emr_method_stage| x.n_found),
        ),
        (
            "emr_method_stage.add_sums",
            offset_of!(emr_method_stage, add_sums),
            size_of_member(|x: &emr_method_stage| x.add_sums),
        ),
        (
            "emr_method_stage.list_keys",
            offset_of!(emr_method_stage, list_keys),
            size_of_member(|x: &emr_method_stage| x.list_keys),
        ),
        (
            "emr_method_stage.place_cut",
            offset_of!(emr_method_stage, place_cut),
            size_of_member(|x: &emr_method_stage| x.place_cut),
        ),
        (
            "emr_method_stage.settle",
            offset_of!(emr_method_stage, settle),
            size_of_member(|x: &emr_method_stage| x.settle),
        ),
        ("emr_method", size_of::<emr_method>(), align_of::<emr_method>()),
        ("emr_method.size", offset_of!(emr_method, size), size_of_member(|x: &emr_method| x.size)),
        ("emr_method.name", offset_of!(emr_method, name), size_of_member(|x: &emr_method| x.name)),
        ("emr_method.user", offset_of!(emr_method, user), size_of_member(|x: &emr_method| x.user)),
        (
            "emr_method.parameters",
            offset_of!(emr_method, parameters),
            size_of_member(|x: &emr_method| x.parameters),
        ),
        ("emr_method.stages", offset_of!(emr_method, stages), size_of_member(|x: &emr_method| x.stages)),
        ("emr_method.check", offset_of!(emr_method, check), size_of_member(|x: &emr_method| x.check)),
        (
            "emr_method.row_length",
            offset_of!(emr_method, row_length),
            size_of_member(|x: &emr_method| x.row_length),
        ),
        (
            "emr_method.needed_stages",
            offset_of!(emr_method, needed_stages),
            size_of_member(|x: &emr_method| x.needed_stages),
        ),
        ("emr_method.combine", offset_of!(emr_method, combine), size_of_member(|x: &emr_method| x.combine)),
        (
            "emr_method.n_parameters",
            offset_of!(emr_method, n_parameters),
            size_of_member(|x: &emr_method| x.n_parameters),
        ),
        (
            "emr_method.scratch_floats",
            offset_of!(emr_method, scratch_floats),
            size_of_member(|x: &emr_method| x.scratch_floats),
        ),
        ("emr_method.base", offset_of!(emr_method, base), size_of_member(|x: &emr_method| x.base)),
        (
            "emr_method.min_tasks",
            offset_of!(emr_method, min_tasks),
            size_of_member(|x: &emr_method| x.min_tasks),
        ),
        (
            "emr_method.max_tasks",
            offset_of!(emr_method, max_tasks),
            size_of_member(|x: &emr_method| x.max_tasks),
        ),
        (
            "emr_method.whole_model",
            offset_of!(emr_method, whole_model),
            size_of_member(|x: &emr_method| x.whole_model),
        ),
        ("emr_policy", size_of::<emr_policy>(), align_of::<emr_policy>()),
        ("emr_policy.size", offset_of!(emr_policy, size), size_of_member(|x: &emr_policy| x.size)),
        (
            "emr_policy.private_globs",
            offset_of!(emr_policy, private_globs),
            size_of_member(|x: &emr_policy| x.private_globs),
        ),
        (
            "emr_policy.merge_globs",
            offset_of!(emr_policy, merge_globs),
            size_of_member(|x: &emr_policy| x.merge_globs),
        ),
        (
            "emr_policy.absent_globs",
            offset_of!(emr_policy, absent_globs),
            size_of_member(|x: &emr_policy| x.absent_globs),
        ),
        (
            "emr_policy.base_globs",
            offset_of!(emr_policy, base_globs),
            size_of_member(|x: &emr_policy| x.base_globs),
        ),
        (
            "emr_policy.n_private_globs",
            offset_of!(emr_policy, n_private_globs),
            size_of_member(|x: &emr_policy| x.n_private_globs),
        ),
        (
            "emr_policy.n_merge_globs",
            offset_of!(emr_policy, n_merge_globs),
            size_of_member(|x: &emr_policy| x.n_merge_globs),
        ),
        (
            "emr_policy.n_absent_globs",
            offset_of!(emr_policy, n_absent_globs),
            size_of_member(|x: &emr_policy| x.n_absent_globs),
        ),
        (
            "emr_policy.n_base_globs",
            offset_of!(emr_policy, n_base_globs),
            size_of_member(|x: &emr_policy| x.n_base_globs),
        ),
        (
            "emr_policy.on_mismatch",
            offset_of!(emr_policy, on_mismatch),
            size_of_member(|x: &emr_policy| x.on_mismatch),
        ),
        (
            "emr_policy.on_missing",
            offset_of!(emr_policy, on_missing),
            size_of_member(|x: &emr_policy| x.on_missing),
        ),
        (
            "emr_combination_options",
            size_of::<emr_combination_options>(),
            align_of::<emr_combination_options>(),
        ),
        (
            "emr_combination_options.size",
            offset_of!(emr_combination_options, size),
            size_of_member(|x: &emr_combination_options| x.size),
        ),
        (
            "emr_combination_options.method",
            offset_of!(emr_combination_options, method),
            size_of_member(|x: &emr_combination_options| x.method),
        ),
        (
            "emr_combination_options.resources",
            offset_of!(emr_combination_options, resources),
            size_of_member(|x: &emr_combination_options| x.resources),
        ),
        (
            "emr_combination_options.policy",
            offset_of!(emr_combination_options, policy),
            size_of_member(|x: &emr_combination_options| x.policy),
        ),
        (
            "emr_combination_options.head_globs",
            offset_of!(emr_combination_options, head_globs),
            size_of_member(|x: &emr_combination_options| x.head_globs),
        ),
        (
            "emr_combination_options.seed",
            offset_of!(emr_combination_options, seed),
            size_of_member(|x: &emr_combination_options| x.seed),
        ),
        (
            "emr_combination_options.n_head_globs",
            offset_of!(emr_combination_options, n_head_globs),
            size_of_member(|x: &emr_combination_options| x.n_head_globs),
        ),
        (
            "emr_combination_options.combine_heads",
            offset_of!(emr_combination_options, combine_heads),
            size_of_member(|x: &emr_combination_options| x.combine_heads),
        ),
        (
            "emr_combination_options.dtype",
            offset_of!(emr_combination_options, dtype),
            size_of_member(|x: &emr_combination_options| x.dtype),
        ),
        (
            "emr_combination_options.on_nonfinite",
            offset_of!(emr_combination_options, on_nonfinite),
            size_of_member(|x: &emr_combination_options| x.on_nonfinite),
        ),
        ("emr_combined_tensor", size_of::<emr_combined_tensor>(), align_of::<emr_combined_tensor>()),
        (
            "emr_combined_tensor.size",
            offset_of!(emr_combined_tensor, size),
            size_of_member(|x: &emr_combined_tensor| x.size),
        ),
        (
            "emr_combined_tensor.name",
            offset_of!(emr_combined_tensor, name),
            size_of_member(|x: &emr_combined_tensor| x.name),
        ),
        (
            "emr_combined_tensor.reason",
            offset_of!(emr_combined_tensor, reason),
            size_of_member(|x: &emr_combined_tensor| x.reason),
        ),
        (
            "emr_combined_tensor.shape",
            offset_of!(emr_combined_tensor, shape),
            size_of_member(|x: &emr_combined_tensor| x.shape),
        ),
        (
            "emr_combined_tensor.count",
            offset_of!(emr_combined_tensor, count),
            size_of_member(|x: &emr_combined_tensor| x.count),
        ),
        (
            "emr_combined_tensor.dtype",
            offset_of!(emr_combined_tensor, dtype),
            size_of_member(|x: &emr_combined_tensor| x.dtype),
        ),
        (
            "emr_combined_tensor.rank",
            offset_of!(emr_combined_tensor, rank),
            size_of_member(|x: &emr_combined_tensor| x.rank),
        ),
        (
            "emr_combined_tensor.action",
            offset_of!(emr_combined_tensor, action),
            size_of_member(|x: &emr_combined_tensor| x.action),
        ),
        (
            "emr_combined_tensor.n_reads",
            offset_of!(emr_combined_tensor, n_reads),
            size_of_member(|x: &emr_combined_tensor| x.n_reads),
        ),
        (
            "emr_combined_tensor.n_inputs",
            offset_of!(emr_combined_tensor, n_inputs),
            size_of_member(|x: &emr_combined_tensor| x.n_inputs),
        ),
        (
            "emr_combined_tensor.reserved",
            offset_of!(emr_combined_tensor, reserved),
            size_of_member(|x: &emr_combined_tensor| x.reserved),
        ),
        ("emr_combination_plan", size_of::<emr_combination_plan>(), align_of::<emr_combination_plan>()),
        (
            "emr_combination_plan.size",
            offset_of!(emr_combination_plan, size),
            size_of_member(|x: &emr_combination_plan| x.size),
        ),
        (
            "emr_combination_plan.combined_params",
            offset_of!(emr_combination_plan, combined_params),
            size_of_member(|x: &emr_combination_plan| x.combined_params),
        ),
        (
            "emr_combination_plan.bytes_in",
            offset_of!(emr_combination_plan, bytes_in),
            size_of_member(|x: &emr_combination_plan| x.bytes_in),
        ),
        (
            "emr_combination_plan.bytes_out",
            offset_of!(emr_combination_plan, bytes_out),
            size_of_member(|x: &emr_combination_plan| x.bytes_out),
        ),
        (
            "emr_combination_plan.peak_memory",
            offset_of!(emr_combination_plan, peak_memory),
            size_of_member(|x: &emr_combination_plan| x.peak_memory),
        ),
        (
            "emr_combination_plan.n_tensors",
            offset_of!(emr_combination_plan, n_tensors),
            size_of_member(|x: &emr_combination_plan| x.n_tensors),
        ),
        (
            "emr_combination_plan.n_combined",
            offset_of!(emr_combination_plan, n_combined),
            size_of_member(|x: &emr_combination_plan| x.n_combined),
        ),
        ("emr_head_group", size_of::<emr_head_group>(), align_of::<emr_head_group>()),
        (
            "emr_head_group.size",
            offset_of!(emr_head_group, size),
            size_of_member(|x: &emr_head_group| x.size),
        ),
        (
            "emr_head_group.task",
            offset_of!(emr_head_group, task),
            size_of_member(|x: &emr_head_group| x.task),
        ),
        (
            "emr_head_group.first",
            offset_of!(emr_head_group, first),
            size_of_member(|x: &emr_head_group| x.first),
        ),
        (
            "emr_head_group.count",
            offset_of!(emr_head_group, count),
            size_of_member(|x: &emr_head_group| x.count),
        ),
        (
            "emr_head_group.kind",
            offset_of!(emr_head_group, kind),
            size_of_member(|x: &emr_head_group| x.kind),
        ),
        (
            "emr_head_group.reserved",
            offset_of!(emr_head_group, reserved),
            size_of_member(|x: &emr_head_group| x.reserved),
        ),
        ("emr_heads_options", size_of::<emr_heads_options>(), align_of::<emr_heads_options>()),
        (
            "emr_heads_options.size",
            offset_of!(emr_heads_options, size),
            size_of_member(|x: &emr_heads_options| x.size),
        ),
        (
            "emr_heads_options.allocator",
            offset_of!(emr_heads_options, allocator),
            size_of_member(|x: &emr_heads_options| x.allocator),
        ),
        (
            "emr_heads_options.globs",
            offset_of!(emr_heads_options, globs),
            size_of_member(|x: &emr_heads_options| x.globs),
        ),
        (
            "emr_heads_options.names",
            offset_of!(emr_heads_options, names),
            size_of_member(|x: &emr_heads_options| x.names),
        ),
        (
            "emr_heads_options.tasks",
            offset_of!(emr_heads_options, tasks),
            size_of_member(|x: &emr_heads_options| x.tasks),
        ),
        (
            "emr_heads_options.kinds",
            offset_of!(emr_heads_options, kinds),
            size_of_member(|x: &emr_heads_options| x.kinds),
        ),
        (
            "emr_heads_options.n_globs",
            offset_of!(emr_heads_options, n_globs),
            size_of_member(|x: &emr_heads_options| x.n_globs),
        ),
        (
            "emr_heads_options.n_tasks",
            offset_of!(emr_heads_options, n_tasks),
            size_of_member(|x: &emr_heads_options| x.n_tasks),
        ),
        ("emr_merge_options", size_of::<emr_merge_options>(), align_of::<emr_merge_options>()),
        (
            "emr_merge_options.size",
            offset_of!(emr_merge_options, size),
            size_of_member(|x: &emr_merge_options| x.size),
        ),
        (
            "emr_merge_options.resources",
            offset_of!(emr_merge_options, resources),
            size_of_member(|x: &emr_merge_options| x.resources),
        ),
        (
            "emr_merge_options.policy",
            offset_of!(emr_merge_options, policy),
            size_of_member(|x: &emr_merge_options| x.policy),
        ),
        (
            "emr_merge_options.modulation",
            offset_of!(emr_merge_options, modulation),
            size_of_member(|x: &emr_merge_options| x.modulation),
        ),
        (
            "emr_merge_options.rescale",
            offset_of!(emr_merge_options, rescale),
            size_of_member(|x: &emr_merge_options| x.rescale),
        ),
        (
            "emr_merge_options.rescale_per",
            offset_of!(emr_merge_options, rescale_per),
            size_of_member(|x: &emr_merge_options| x.rescale_per),
        ),
        (
            "emr_merge_options.tie",
            offset_of!(emr_merge_options, tie),
            size_of_member(|x: &emr_merge_options| x.tie),
        ),
        (
            "emr_merge_options.on_nonfinite",
            offset_of!(emr_merge_options, on_nonfinite),
            size_of_member(|x: &emr_merge_options| x.on_nonfinite),
        ),
        (
            "emr_merge_options.unified_dtype",
            offset_of!(emr_merge_options, unified_dtype),
            size_of_member(|x: &emr_merge_options| x.unified_dtype),
        ),
        (
            "emr_merge_options.embed_base",
            offset_of!(emr_merge_options, embed_base),
            size_of_member(|x: &emr_merge_options| x.embed_base),
        ),
        (
            "emr_merge_options.extendable",
            offset_of!(emr_merge_options, extendable),
            size_of_member(|x: &emr_merge_options| x.extendable),
        ),
        (
            "emr_merge_options.compression",
            offset_of!(emr_merge_options, compression),
            size_of_member(|x: &emr_merge_options| x.compression),
        ),
        (
            "emr_merge_options.block_params",
            offset_of!(emr_merge_options, block_params),
            size_of_member(|x: &emr_merge_options| x.block_params),
        ),
        (
            "emr_merge_options.measure",
            offset_of!(emr_merge_options, measure),
            size_of_member(|x: &emr_merge_options| x.measure),
        ),
        ("emr_plan_tensor", size_of::<emr_plan_tensor>(), align_of::<emr_plan_tensor>()),
        (
            "emr_plan_tensor.size",
            offset_of!(emr_plan_tensor, size),
            size_of_member(|x: &emr_plan_tensor| x.size),
        ),
        (
            "emr_plan_tensor.name",
            offset_of!(emr_plan_tensor, name),
            size_of_member(|x: &emr_plan_tensor| x.name),
        ),
        (
            "emr_plan_tensor.reason",
            offset_of!(emr_plan_tensor, reason),
            size_of_member(|x: &emr_plan_tensor| x.reason),
        ),
        (
            "emr_plan_tensor.shape",
            offset_of!(emr_plan_tensor, shape),
            size_of_member(|x: &emr_plan_tensor| x.shape),
        ),
        (
            "emr_plan_tensor.count",
            offset_of!(emr_plan_tensor, count),
            size_of_member(|x: &emr_plan_tensor| x.count),
        ),
        (
            "emr_plan_tensor.zeroed",
            offset_of!(emr_plan_tensor, zeroed),
            size_of_member(|x: &emr_plan_tensor| x.zeroed),
        ),
        (
            "emr_plan_tensor.dtype",
            offset_of!(emr_plan_tensor, dtype),
            size_of_member(|x: &emr_plan_tensor| x.dtype),
        ),
        (
            "emr_plan_tensor.rank",
            offset_of!(emr_plan_tensor, rank),
            size_of_member(|x: &emr_plan_tensor| x.rank),
        ),
        (
            "emr_plan_tensor.action",
            offset_of!(emr_plan_tensor, action),
            size_of_member(|x: &emr_plan_tensor| x.action),
        ),
        (
            "emr_plan_tensor.n_private",
            offset_of!(emr_plan_tensor, n_private),
            size_of_member(|x: &emr_plan_tensor| x.n_private),
        ),
        ("emr_plan_summary", size_of::<emr_plan_summary>(), align_of::<emr_plan_summary>()),
        (
            "emr_plan_summary.size",
            offset_of!(emr_plan_summary, size),
            size_of_member(|x: &emr_plan_summary| x.size),
        ),
        (
            "emr_plan_summary.merged_params",
            offset_of!(emr_plan_summary, merged_params),
            size_of_member(|x: &emr_plan_summary| x.merged_params),
        ),
        (
            "emr_plan_summary.bytes_in",
            offset_of!(emr_plan_summary, bytes_in),
            size_of_member(|x: &emr_plan_summary| x.bytes_in),
        ),
        (
            "emr_plan_summary.bytes_out",
            offset_of!(emr_plan_summary, bytes_out),
            size_of_member(|x: &emr_plan_summary| x.bytes_out),
        ),
        (
            "emr_plan_summary.peak_memory",
            offset_of!(emr_plan_summary, peak_memory),
            size_of_member(|x: &emr_plan_summary| x.peak_memory),
        ),
        (
            "emr_plan_summary.n_tensors",
            offset_of!(emr_plan_summary, n_tensors),
            size_of_member(|x: &emr_plan_summary| x.n_tensors),
        ),
        (
            "emr_plan_summary.n_merged",
            offset_of!(emr_plan_summary, n_merged),
            size_of_member(|x: &emr_plan_summary| x.n_merged),
        ),
        ("emr_task_report", size_of::<emr_task_report>(), align_of::<emr_task_report>()),
        (
            "emr_task_report.size",
            offset_of!(emr_task_report, size),
            size_of_member(|x: &emr_task_report| x.size),
        ),
        (
            "emr_task_report.name",
            offset_of!(emr_task_report, name),
            size_of_member(|x: &emr_task_report| x.name),
        ),
        (
            "emr_task_report.mask_ones",
            offset_of!(emr_task_report, mask_ones),
            size_of_member(|x: &emr_task_report| x.mask_ones),
        ),
        (
            "emr_task_report.zeroed",
            offset_of!(emr_task_report, zeroed),
            size_of_member(|x: &emr_task_report| x.zeroed),
        ),
        (
            "emr_task_report.rescaler",
            offset_of!(emr_task_report, rescaler),
            size_of_member(|x: &emr_task_report| x.rescaler),
        ),
        (
            "emr_task_report.empty_mask",
            offset_of!(emr_task_report, empty_mask),
            size_of_member(|x: &emr_task_report| x.empty_mask),
        ),
        (
            "emr_task_report.other_rescaler",
            offset_of!(emr_task_report, other_rescaler),
            size_of_member(|x: &emr_task_report| x.other_rescaler),
        ),
        (
            "emr_task_report.reserved",
            offset_of!(emr_task_report, reserved),
            size_of_member(|x: &emr_task_report| x.reserved),
        ),
        ("emr_sink_part", size_of::<emr_sink_part>(), align_of::<emr_sink_part>()),
        ("emr_sink_part.size", offset_of!(emr_sink_part, size), size_of_member(|x: &emr_sink_part| x.size)),
        (
            "emr_sink_part.values",
            offset_of!(emr_sink_part, values),
            size_of_member(|x: &emr_sink_part| x.values),
        ),
        ("emr_sink_part.n", offset_of!(emr_sink_part, n), size_of_member(|x: &emr_sink_part| x.n)),
        (
            "emr_sink_part.first",
            offset_of!(emr_sink_part, first),
            size_of_member(|x: &emr_sink_part| x.first),
        ),
        (
            "emr_sink_part.tensor",
            offset_of!(emr_sink_part, tensor),
            size_of_member(|x: &emr_sink_part| x.tensor),
        ),
        ("emr_sink_part.task", offset_of!(emr_sink_part, task), size_of_member(|x: &emr_sink_part| x.task)),
        ("emr_sink", size_of::<emr_sink>(), align_of::<emr_sink>()),
        ("emr_sink.size", offset_of!(emr_sink, size), size_of_member(|x: &emr_sink| x.size)),
        ("emr_sink.user", offset_of!(emr_sink, user), size_of_member(|x: &emr_sink| x.user)),
        ("emr_sink.unified", offset_of!(emr_sink, unified), size_of_member(|x: &emr_sink| x.unified)),
        ("emr_sink.mask", offset_of!(emr_sink, mask), size_of_member(|x: &emr_sink| x.mask)),
        ("emr_sink.rescalers", offset_of!(emr_sink, rescalers), size_of_member(|x: &emr_sink| x.rescalers)),
        ("emr_tensor_role", size_of::<emr_tensor_role>(), align_of::<emr_tensor_role>()),
        (
            "emr_tensor_role.size",
            offset_of!(emr_tensor_role, size),
            size_of_member(|x: &emr_tensor_role| x.size),
        ),
        (
            "emr_tensor_role.family",
            offset_of!(emr_tensor_role, family),
            size_of_member(|x: &emr_tensor_role| x.family),
        ),
        (
            "emr_tensor_role.code",
            offset_of!(emr_tensor_role, code),
            size_of_member(|x: &emr_tensor_role| x.code),
        ),
        (
            "emr_tensor_role.role",
            offset_of!(emr_tensor_role, role),
            size_of_member(|x: &emr_tensor_role| x.role),
        ),
        (
            "emr_tensor_role.can_dequantise",
            offset_of!(emr_tensor_role, can_dequantise),
            size_of_member(|x: &emr_tensor_role| x.can_dequantise),
        ),
        ("emr_search_options", size_of::<emr_search_options>(), align_of::<emr_search_options>()),
        (
            "emr_search_options.size",
            offset_of!(emr_search_options, size),
            size_of_member(|x: &emr_search_options| x.size),
        ),
        (
            "emr_search_options.allocator",
            offset_of!(emr_search_options, allocator),
            size_of_member(|x: &emr_search_options| x.allocator),
        ),
        (
            "emr_search_options.stop_kinship",
            offset_of!(emr_search_options, stop_kinship),
            size_of_member(|x: &emr_search_options| x.stop_kinship),
        ),
        (
            "emr_search_options.use_stop_kinship",
            offset_of!(emr_search_options, use_stop_kinship),
            size_of_member(|x: &emr_search_options| x.use_stop_kinship),
        ),
        (
            "emr_search_options.k",
            offset_of!(emr_search_options, k),
            size_of_member(|x: &emr_search_options| x.k),
        ),
        (
            "emr_search_options.partner",
            offset_of!(emr_search_options, partner),
            size_of_member(|x: &emr_search_options| x.partner),
        ),
        (
            "emr_search_options.pool",
            offset_of!(emr_search_options, pool),
            size_of_member(|x: &emr_search_options| x.pool),
        ),
        (
            "emr_search_options.max_generations",
            offset_of!(emr_search_options, max_generations),
            size_of_member(|x: &emr_search_options| x.max_generations),
        ),
        (
            "emr_search_options.minimise",
            offset_of!(emr_search_options, minimise),
            size_of_member(|x: &emr_search_options| x.minimise),
        ),
        ("emr_search_candidate", size_of::<emr_search_candidate>(), align_of::<emr_search_candidate>()),
        (
            "emr_search_candidate.size",
            offset_of!(emr_search_candidate, size),
            size_of_member(|x: &emr_search_candidate| x.size),
        ),
        (
            "emr_search_candidate.name",
            offset_of!(emr_search_candidate, name),
            size_of_member(|x: &emr_search_candidate| x.name),
        ),
        (
            "emr_search_candidate.score",
            offset_of!(emr_search_candidate, score),
            size_of_member(|x: &emr_search_candidate| x.score),
        ),
        (
            "emr_search_candidate.kinship",
            offset_of!(emr_search_candidate, kinship),
            size_of_member(|x: &emr_search_candidate| x.kinship),
        ),
        (
            "emr_search_candidate.number",
            offset_of!(emr_search_candidate, number),
            size_of_member(|x: &emr_search_candidate| x.number),
        ),
        (
            "emr_search_candidate.generation",
            offset_of!(emr_search_candidate, generation),
            size_of_member(|x: &emr_search_candidate| x.generation),
        ),
        (
            "emr_search_candidate.first",
            offset_of!(emr_search_candidate, first),
            size_of_member(|x: &emr_search_candidate| x.first),
        ),
        (
            "emr_search_candidate.second",
            offset_of!(emr_search_candidate, second),
            size_of_member(|x: &emr_search_candidate| x.second),
        ),
        ("emr_search_result", size_of::<emr_search_result>(), align_of::<emr_search_result>()),
        (
            "emr_search_result.size",
            offset_of!(emr_search_result, size),
            size_of_member(|x: &emr_search_result| x.size),
        ),
        (
            "emr_search_result.score",
            offset_of!(emr_search_result, score),
            size_of_member(|x: &emr_search_result| x.score),
        ),
        (
            "emr_search_result.kinship",
            offset_of!(emr_search_result, kinship),
            size_of_member(|x: &emr_search_result| x.kinship),
        ),
        (
            "emr_search_result.best",
            offset_of!(emr_search_result, best),
            size_of_member(|x: &emr_search_result| x.best),
        ),
        (
            "emr_search_result.n_models",
            offset_of!(emr_search_result, n_models),
            size_of_member(|x: &emr_search_result| x.n_models),
        ),
        (
            "emr_search_result.n_scored",
            offset_of!(emr_search_result, n_scored),
            size_of_member(|x: &emr_search_result| x.n_scored),
        ),
        (
            "emr_search_result.generation",
            offset_of!(emr_search_result, generation),
            size_of_member(|x: &emr_search_result| x.generation),
        ),
        (
            "emr_search_result.end",
            offset_of!(emr_search_result, end),
            size_of_member(|x: &emr_search_result| x.end),
        ),
        (
            "emr_search_result.reserved",
            offset_of!(emr_search_result, reserved),
            size_of_member(|x: &emr_search_result| x.reserved),
        ),
        ("emr_search_host", size_of::<emr_search_host>(), align_of::<emr_search_host>()),
        (
            "emr_search_host.size",
            offset_of!(emr_search_host, size),
            size_of_member(|x: &emr_search_host| x.size),
        ),
        (
            "emr_search_host.user",
            offset_of!(emr_search_host, user),
            size_of_member(|x: &emr_search_host| x.user),
        ),
        (
            "emr_search_host.merge",
            offset_of!(emr_search_host, merge),
            size_of_member(|x: &emr_search_host| x.merge),
        ),
        (
            "emr_search_host.evaluate",
            offset_of!(emr_search_host, evaluate),
            size_of_member(|x: &emr_search_host| x.evaluate),
        ),
        (
            "emr_search_host.similarity",
            offset_of!(emr_search_host, similarity),
            size_of_member(|x: &emr_search_host| x.similarity),
        ),
        (
            "emr_search_host.release",
            offset_of!(emr_search_host, release),
            size_of_member(|x: &emr_search_host| x.release),
        ),
        ("emr_trial", size_of::<emr_trial>(), align_of::<emr_trial>()),
        ("emr_trial.size", offset_of!(emr_trial, size), size_of_member(|x: &emr_trial| x.size)),
        ("emr_trial.values", offset_of!(emr_trial, values), size_of_member(|x: &emr_trial| x.values)),
        ("emr_trial.score", offset_of!(emr_trial, score), size_of_member(|x: &emr_trial| x.score)),
        ("emr_trial.number", offset_of!(emr_trial, number), size_of_member(|x: &emr_trial| x.number)),
        ("emr_trial.n_values", offset_of!(emr_trial, n_values), size_of_member(|x: &emr_trial| x.n_values)),
        ("emr_trials_options", size_of::<emr_trials_options>(), align_of::<emr_trials_options>()),
        (
            "emr_trials_options.size",
            offset_of!(emr_trials_options, size),
            size_of_member(|x: &emr_trials_options| x.size),
        ),
        (
            "emr_trials_options.allocator",
            offset_of!(emr_trials_options, allocator),
            size_of_member(|x: &emr_trials_options| x.allocator),
        ),
        (
            "emr_trials_options.user",
            offset_of!(emr_trials_options, user),
            size_of_member(|x: &emr_trials_options| x.user),
        ),
        (
            "emr_trials_options.evaluate",
            offset_of!(emr_trials_options, evaluate),
            size_of_member(|x: &emr_trials_options| x.evaluate),
        ),
        (
            "emr_trials_options.seed",
            offset_of!(emr_trials_options, seed),
            size_of_member(|x: &emr_trials_options| x.seed),
        ),
        (
            "emr_trials_options.n_trials",
            offset_of!(emr_trials_options, n_trials),
            size_of_member(|x: &emr_trials_options| x.n_trials),
        ),
        (
            "emr_trials_options.n_values",
            offset_of!(emr_trials_options, n_values),
            size_of_member(|x: &emr_trials_options| x.n_values),
        ),
        (
            "emr_trials_options.minimise",
            offset_of!(emr_trials_options, minimise),
            size_of_member(|x: &emr_trials_options| x.minimise),
        ),
        (
            "emr_trials_options.reserved",
            offset_of!(emr_trials_options, reserved),
            size_of_member(|x: &emr_trials_options| x.reserved),
        ),
        ("emr_session_options", size_of::<emr_session_options>(), align_of::<emr_session_options>()),
        (
            "emr_session_options.size",
            offset_of!(emr_session_options, size),
            size_of_member(|x: &emr_session_options| x.size),
        ),
        (
            "emr_session_options.resources",
            offset_of!(emr_session_options, resources),
            size_of_member(|x: &emr_session_options| x.resources),
        ),
        (
            "emr_session_options.wait",
            offset_of!(emr_session_options, wait),
            size_of_member(|x: &emr_session_options| x.wait),
        ),
        (
            "emr_session_options.wait_user",
            offset_of!(emr_session_options, wait_user),
            size_of_member(|x: &emr_session_options| x.wait_user),
        ),
        (
            "emr_session_options.mask_bytes",
            offset_of!(emr_session_options, mask_bytes),
            size_of_member(|x: &emr_session_options| x.mask_bytes),
        ),
        (
            "emr_session_options.check",
            offset_of!(emr_session_options, check),
            size_of_member(|x: &emr_session_options| x.check),
        ),
        (
            "emr_session_options.without_base",
            offset_of!(emr_session_options, without_base),
            size_of_member(|x: &emr_session_options| x.without_base),
        ),
        ("emr_weights_part", size_of::<emr_weights_part>(), align_of::<emr_weights_part>()),
        (
            "emr_weights_part.size",
            offset_of!(emr_weights_part, size),
            size_of_member(|x: &emr_weights_part| x.size),
        ),
        (
            "emr_weights_part.user",
            offset_of!(emr_weights_part, user),
            size_of_member(|x: &emr_weights_part| x.user),
        ),
        (
            "emr_weights_part.data",
            offset_of!(emr_weights_part, data),
            size_of_member(|x: &emr_weights_part| x.data),
        ),
        (
            "emr_weights_part.first",
            offset_of!(emr_weights_part, first),
            size_of_member(|x: &emr_weights_part| x.first),
        ),
        (
            "emr_weights_part.count",
            offset_of!(emr_weights_part, count),
            size_of_member(|x: &emr_weights_part| x.count),
        ),
        (
            "emr_weights_part.dtype",
            offset_of!(emr_weights_part, dtype),
            size_of_member(|x: &emr_weights_part| x.dtype),
        ),
        (
            "emr_weights_part.blocks",
            offset_of!(emr_weights_part, blocks),
            size_of_member(|x: &emr_weights_part| x.blocks),
        ),
        ("emr_weights", size_of::<emr_weights>(), align_of::<emr_weights>()),
        ("emr_weights.size", offset_of!(emr_weights, size), size_of_member(|x: &emr_weights| x.size)),
        ("emr_weights.name", offset_of!(emr_weights, name), size_of_member(|x: &emr_weights| x.name)),
        ("emr_weights.data", offset_of!(emr_weights, data), size_of_member(|x: &emr_weights| x.data)),
        ("emr_weights.first", offset_of!(emr_weights, first), size_of_member(|x: &emr_weights| x.first)),
        ("emr_weights.count", offset_of!(emr_weights, count), size_of_member(|x: &emr_weights| x.count)),
        ("emr_weights.write", offset_of!(emr_weights, write), size_of_member(|x: &emr_weights| x.write)),
        ("emr_weights.user", offset_of!(emr_weights, user), size_of_member(|x: &emr_weights| x.user)),
        (
            "emr_weights.staging",
            offset_of!(emr_weights, staging),
            size_of_member(|x: &emr_weights| x.staging),
        ),
        ("emr_weights.dtype", offset_of!(emr_weights, dtype), size_of_member(|x: &emr_weights| x.dtype)),
        ("emr_weights.blocks", offset_of!(emr_weights, blocks), size_of_member(|x: &emr_weights| x.blocks)),
        ("emr_weights.tensor", offset_of!(emr_weights, tensor), size_of_member(|x: &emr_weights| x.tensor)),
        (
            "emr_weights.without_base",
            offset_of!(emr_weights, without_base),
            size_of_member(|x: &emr_weights| x.without_base),
        ),
        ("emr_gather", size_of::<emr_gather>(), align_of::<emr_gather>()),
        ("emr_gather.size", offset_of!(emr_gather, size), size_of_member(|x: &emr_gather| x.size)),
        ("emr_gather.name", offset_of!(emr_gather, name), size_of_member(|x: &emr_gather| x.name)),
        ("emr_gather.tasks", offset_of!(emr_gather, tasks), size_of_member(|x: &emr_gather| x.tasks)),
        ("emr_gather.rows", offset_of!(emr_gather, rows), size_of_member(|x: &emr_gather| x.rows)),
        ("emr_gather.out", offset_of!(emr_gather, out), size_of_member(|x: &emr_gather| x.out)),
        ("emr_gather.n", offset_of!(emr_gather, n), size_of_member(|x: &emr_gather| x.n)),
        (
            "emr_gather.out_stride",
            offset_of!(emr_gather, out_stride),
            size_of_member(|x: &emr_gather| x.out_stride),
        ),
        (
            "emr_gather.n_columns",
            offset_of!(emr_gather, n_columns),
            size_of_member(|x: &emr_gather| x.n_columns),
        ),
        ("emr_gather.tensor", offset_of!(emr_gather, tensor), size_of_member(|x: &emr_gather| x.tensor)),
        ("emr_gather.dtype", offset_of!(emr_gather, dtype), size_of_member(|x: &emr_gather| x.dtype)),
        (
            "emr_gather.without_base",
            offset_of!(emr_gather, without_base),
            size_of_member(|x: &emr_gather| x.without_base),
        ),
        (
            "emr_gather.reserved",
            offset_of!(emr_gather, reserved),
            size_of_member(|x: &emr_gather| x.reserved),
        ),
        ("emr_session_info", size_of::<emr_session_info>(), align_of::<emr_session_info>()),
        (
            "emr_session_info.size",
            offset_of!(emr_session_info, size),
            size_of_member(|x: &emr_session_info| x.size),
        ),
        (
            "emr_session_info.memory_bytes",
            offset_of!(emr_session_info, memory_bytes),
            size_of_member(|x: &emr_session_info| x.memory_bytes),
        ),
        (
            "emr_session_info.base_bytes",
            offset_of!(emr_session_info, base_bytes),
            size_of_member(|x: &emr_session_info| x.base_bytes),
        ),
        (
            "emr_session_info.unified_bytes",
            offset_of!(emr_session_info, unified_bytes),
            size_of_member(|x: &emr_session_info| x.unified_bytes),
        ),
        (
            "emr_session_info.mask_bytes",
            offset_of!(emr_session_info, mask_bytes),
            size_of_member(|x: &emr_session_info| x.mask_bytes),
        ),
        (
            "emr_session_info.masks_found",
            offset_of!(emr_session_info, masks_found),
            size_of_member(|x: &emr_session_info| x.masks_found),
        ),
        (
            "emr_session_info.masks_read",
            offset_of!(emr_session_info, masks_read),
            size_of_member(|x: &emr_session_info| x.masks_read),
        ),
        (
            "emr_session_info.thread_bytes",
            offset_of!(emr_session_info, thread_bytes),
            size_of_member(|x: &emr_session_info| x.thread_bytes),
        ),
        ("emr_statistics_options", size_of::<emr_statistics_options>(), align_of::<emr_statistics_options>()),
        (
            "emr_statistics_options.size",
            offset_of!(emr_statistics_options, size),
            size_of_member(|x: &emr_statistics_options| x.size),
        ),
        (
            "emr_statistics_options.resources",
            offset_of!(emr_statistics_options, resources),
            size_of_member(|x: &emr_statistics_options| x.resources),
        ),
        (
            "emr_statistics_options.policy",
            offset_of!(emr_statistics_options, policy),
            size_of_member(|x: &emr_statistics_options| x.policy),
        ),
        (
            "emr_statistics_options.quantiles",
            offset_of!(emr_statistics_options, quantiles),
            size_of_member(|x: &emr_statistics_options| x.quantiles),
        ),
        (
            "emr_statistics_options.max_rows",
            offset_of!(emr_statistics_options, max_rows),
            size_of_member(|x: &emr_statistics_options| x.max_rows),
        ),
        (
            "emr_statistics_options.n_quantiles",
            offset_of!(emr_statistics_options, n_quantiles),
            size_of_member(|x: &emr_statistics_options| x.n_quantiles),
        ),
        (
            "emr_statistics_options.skip_missing",
            offset_of!(emr_statistics_options, skip_missing),
            size_of_member(|x: &emr_statistics_options| x.skip_missing),
        ),
        (
            "emr_statistics_options.without_tensors",
            offset_of!(emr_statistics_options, without_tensors),
            size_of_member(|x: &emr_statistics_options| x.without_tensors),
        ),
        (
            "emr_statistics_options.rounding",
            offset_of!(emr_statistics_options, rounding),
            size_of_member(|x: &emr_statistics_options| x.rounding),
        ),
        (
            "emr_statistics_options.on_nonfinite",
            offset_of!(emr_statistics_options, on_nonfinite),
            size_of_member(|x: &emr_statistics_options| x.on_nonfinite),
        ),
        (
            "emr_statistics_options.reserved",
            offset_of!(emr_statistics_options, reserved),
            size_of_member(|x: &emr_statistics_options| x.reserved),
        ),
        ("emr_statistics_plan", size_of::<emr_statistics_plan>(), align_of::<emr_statistics_plan>()),
        (
            "emr_statistics_plan.size",
            offset_of!(emr_statistics_plan, size),
            size_of_member(|x: &emr_statistics_plan| x.size),
        ),
        (
            "emr_statistics_plan.params",
            offset_of!(emr_statistics_plan, params),
            size_of_member(|x: &emr_statistics_plan| x.params),
        ),
        (
            "emr_statistics_plan.bytes_in",
            offset_of!(emr_statistics_plan, bytes_in),
            size_of_member(|x: &emr_statistics_plan| x.bytes_in),
        ),
        (
            "emr_statistics_plan.peak_memory",
            offset_of!(emr_statistics_plan, peak_memory),
            size_of_member(|x: &emr_statistics_plan| x.peak_memory),
        ),
        (
            "emr_statistics_plan.result_bytes",
            offset_of!(emr_statistics_plan, result_bytes),
            size_of_member(|x: &emr_statistics_plan| x.result_bytes),
        ),
        (
            "emr_statistics_plan.n_tensors",
            offset_of!(emr_statistics_plan, n_tensors),
            size_of_member(|x: &emr_statistics_plan| x.n_tensors),
        ),
        (
            "emr_statistics_plan.n_left_out",
            offset_of!(emr_statistics_plan, n_left_out),
            size_of_member(|x: &emr_statistics_plan| x.n_left_out),
        ),
        (
            "emr_statistics_plan.n_layers",
            offset_of!(emr_statistics_plan, n_layers),
            size_of_member(|x: &emr_statistics_plan| x.n_layers),
        ),
        (
            "emr_statistics_plan.n_kinds",
            offset_of!(emr_statistics_plan, n_kinds),
            size_of_member(|x: &emr_statistics_plan| x.n_kinds),
        ),
        ("emr_statistics_group", size_of::<emr_statistics_group>(), align_of::<emr_statistics_group>()),
        (
            "emr_statistics_group.size",
            offset_of!(emr_statistics_group, size),
            size_of_member(|x: &emr_statistics_group| x.size),
        ),
        (
            "emr_statistics_group.name",
            offset_of!(emr_statistics_group, name),
            size_of_member(|x: &emr_statistics_group| x.name),
        ),
        (
            "emr_statistics_group.tensor",
            offset_of!(emr_statistics_group, tensor),
            size_of_member(|x: &emr_statistics_group| x.tensor),
        ),
        (
            "emr_statistics_group.products",
            offset_of!(emr_statistics_group, products),
            size_of_member(|x: &emr_statistics_group| x.products),
        ),
        (
            "emr_statistics_group.distances",
            offset_of!(emr_statistics_group, distances),
            size_of_member(|x: &emr_statistics_group| x.distances),
        ),
        (
            "emr_statistics_group.sums",
            offset_of!(emr_statistics_group, sums),
            size_of_member(|x: &emr_statistics_group| x.sums),
        ),
        (
            "emr_statistics_group.magnitudes",
            offset_of!(emr_statistics_group, magnitudes),
            size_of_member(|x: &emr_statistics_group| x.magnitudes),
        ),
        (
            "emr_statistics_group.fourths",
            offset_of!(emr_statistics_group, fourths),
            size_of_member(|x: &emr_statistics_group| x.fourths),
        ),
        (
            "emr_statistics_group.largest",
            offset_of!(emr_statistics_group, largest),
            size_of_member(|x: &emr_statistics_group| x.largest),
        ),
        (
            "emr_statistics_group.quantiles",
            offset_of!(emr_statistics_group, quantiles),
            size_of_member(|x: &emr_statistics_group| x.quantiles),
        ),
        (
            "emr_statistics_group.zeros",
            offset_of!(emr_statistics_group, zeros),
            size_of_member(|x: &emr_statistics_group| x.zeros),
        ),
        (
            "emr_statistics_group.nonfinite",
            offset_of!(emr_statistics_group, nonfinite),
            size_of_member(|x: &emr_statistics_group| x.nonfinite),
        ),
        (
            "emr_statistics_group.same_signs",
            offset_of!(emr_statistics_group, same_signs),
            size_of_member(|x: &emr_statistics_group| x.same_signs),
        ),
        (
            "emr_statistics_group.both",
            offset_of!(emr_statistics_group, both),
            size_of_member(|x: &emr_statistics_group| x.both),
        ),
        (
            "emr_statistics_group.count",
            offset_of!(emr_statistics_group, count),
            size_of_member(|x: &emr_statistics_group| x.count),
        ),
        (
            "emr_statistics_group.conflicts",
            offset_of!(emr_statistics_group, conflicts),
            size_of_member(|x: &emr_statistics_group| x.conflicts),
        ),
        (
            "emr_statistics_group.unchanged",
            offset_of!(emr_statistics_group, unchanged),
            size_of_member(|x: &emr_statistics_group| x.unchanged),
        ),
        (
            "emr_statistics_group.layer",
            offset_of!(emr_statistics_group, layer),
            size_of_member(|x: &emr_statistics_group| x.layer),
        ),
        (
            "emr_statistics_group.n_tensors",
            offset_of!(emr_statistics_group, n_tensors),
            size_of_member(|x: &emr_statistics_group| x.n_tensors),
        ),
        (
            "emr_statistics_group.n_tasks",
            offset_of!(emr_statistics_group, n_tasks),
            size_of_member(|x: &emr_statistics_group| x.n_tasks),
        ),
        (
            "emr_statistics_group.n_quantiles",
            offset_of!(emr_statistics_group, n_quantiles),
            size_of_member(|x: &emr_statistics_group| x.n_quantiles),
        ),
        (
            "emr_statistics_group.is_rounded",
            offset_of!(emr_statistics_group, is_rounded),
            size_of_member(|x: &emr_statistics_group| x.is_rounded),
        ),
        ("emr_task_moments", size_of::<emr_task_moments>(), align_of::<emr_task_moments>()),
        (
            "emr_task_moments.size",
            offset_of!(emr_task_moments, size),
            size_of_member(|x: &emr_task_moments| x.size),
        ),
        (
            "emr_task_moments.norm",
            offset_of!(emr_task_moments, norm),
            size_of_member(|x: &emr_task_moments| x.norm),
        ),
        (
            "emr_task_moments.mean",
            offset_of!(emr_task_moments, mean),
            size_of_member(|x: &emr_task_moments| x.mean),
        ),
        (
            "emr_task_moments.mean_magnitude",
            offset_of!(emr_task_moments, mean_magnitude),
            size_of_member(|x: &emr_task_moments| x.mean_magnitude),
        ),
        (
            "emr_task_moments.deviation",
            offset_of!(emr_task_moments, deviation),
            size_of_member(|x: &emr_task_moments| x.deviation),
        ),
        (
            "emr_task_moments.kurtosis",
            offset_of!(emr_task_moments, kurtosis),
            size_of_member(|x: &emr_task_moments| x.kurtosis),
        ),
        (
            "emr_task_moments.zero_share",
            offset_of!(emr_task_moments, zero_share),
            size_of_member(|x: &emr_task_moments| x.zero_share),
        ),
        ("emr_kinship_options", size_of::<emr_kinship_options>(), align_of::<emr_kinship_options>()),
        (
            "emr_kinship_options.size",
            offset_of!(emr_kinship_options, size),
            size_of_member(|x: &emr_kinship_options| x.size),
        ),
        (
            "emr_kinship_options.metric",
            offset_of!(emr_kinship_options, metric),
            size_of_member(|x: &emr_kinship_options| x.metric),
        ),
        (
            "emr_kinship_options.absolute",
            offset_of!(emr_kinship_options, absolute),
            size_of_member(|x: &emr_kinship_options| x.absolute),
        ),
        ("emr_features", size_of::<emr_features>(), align_of::<emr_features>()),
        ("emr_features.size", offset_of!(emr_features, size), size_of_member(|x: &emr_features| x.size)),
        (
            "emr_features.kernels",
            offset_of!(emr_features, kernels),
            size_of_member(|x: &emr_features| x.kernels),
        ),
        (
            "emr_features.zstd_version",
            offset_of!(emr_features, zstd_version),
            size_of_member(|x: &emr_features| x.zstd_version),
        ),
        (
            "emr_features.hosted",
            offset_of!(emr_features, hosted),
            size_of_member(|x: &emr_features| x.hosted),
        ),
        (
            "emr_features.format_major",
            offset_of!(emr_features, format_major),
            size_of_member(|x: &emr_features| x.format_major),
        ),
        (
            "emr_features.format_minor",
            offset_of!(emr_features, format_minor),
            size_of_member(|x: &emr_features| x.format_minor),
        ),
        ("emr_status", size_of::<emr_status>(), usize::from(emr_status::MIN != 0)),
        ("emr_block_type", size_of::<emr_block_type>(), usize::from(emr_block_type::MIN != 0)),
        ("emr_dtype", size_of::<emr_dtype>(), usize::from(emr_dtype::MIN != 0)),
        ("emr_source_kind", size_of::<emr_source_kind>(), usize::from(emr_source_kind::MIN != 0)),
        ("emr_modulator_kind", size_of::<emr_modulator_kind>(), usize::from(emr_modulator_kind::MIN != 0)),
        ("emr_rescale", size_of::<emr_rescale>(), usize::from(emr_rescale::MIN != 0)),
        ("emr_rescale_per", size_of::<emr_rescale_per>(), usize::from(emr_rescale_per::MIN != 0)),
        ("emr_mask_rule", size_of::<emr_mask_rule>(), usize::from(emr_mask_rule::MIN != 0)),
        ("emr_base_check", size_of::<emr_base_check>(), usize::from(emr_base_check::MIN != 0)),
        ("emr_method_base", size_of::<emr_method_base>(), usize::from(emr_method_base::MIN != 0)),
        ("emr_on_mismatch", size_of::<emr_on_mismatch>(), usize::from(emr_on_mismatch::MIN != 0)),
        ("emr_on_missing", size_of::<emr_on_missing>(), usize::from(emr_on_missing::MIN != 0)),
        (
            "emr_combination_nonfinite",
            size_of::<emr_combination_nonfinite>(),
            usize::from(emr_combination_nonfinite::MIN != 0),
        ),
        ("emr_combined_action", size_of::<emr_combined_action>(), usize::from(emr_combined_action::MIN != 0)),
        ("emr_head_kind", size_of::<emr_head_kind>(), usize::from(emr_head_kind::MIN != 0)),
        ("emr_tie", size_of::<emr_tie>(), usize::from(emr_tie::MIN != 0)),
        ("emr_on_nonfinite", size_of::<emr_on_nonfinite>(), usize::from(emr_on_nonfinite::MIN != 0)),
        ("emr_action", size_of::<emr_action>(), usize::from(emr_action::MIN != 0)),
        ("emr_role", size_of::<emr_role>(), usize::from(emr_role::MIN != 0)),
        ("emr_search_partner", size_of::<emr_search_partner>(), usize::from(emr_search_partner::MIN != 0)),
        ("emr_search_pool", size_of::<emr_search_pool>(), usize::from(emr_search_pool::MIN != 0)),
        ("emr_search_end", size_of::<emr_search_end>(), usize::from(emr_search_end::MIN != 0)),
        (
            "emr_statistics_scope",
            size_of::<emr_statistics_scope>(),
            usize::from(emr_statistics_scope::MIN != 0),
        ),
        (
            "emr_statistics_rounding",
            size_of::<emr_statistics_rounding>(),
            usize::from(emr_statistics_rounding::MIN != 0),
        ),
        ("emr_kinship_metric", size_of::<emr_kinship_metric>(), usize::from(emr_kinship_metric::MIN != 0)),
    ]
}

pub fn numbers() -> Vec<(&'static str, i64)> {
    vec![
        ("EMR_OK", i64::from(EMR_OK)),
        ("EMR_EINVAL", i64::from(EMR_EINVAL)),
        ("EMR_ENOMEM", i64::from(EMR_ENOMEM)),
        ("EMR_EIO", i64::from(EMR_EIO)),
        ("EMR_EFORMAT", i64::from(EMR_EFORMAT)),
        ("EMR_ECORRUPT", i64::from(EMR_ECORRUPT)),
        ("EMR_EVERSION", i64::from(EMR_EVERSION)),
        ("EMR_EMISMATCH", i64::from(EMR_EMISMATCH)),
        ("EMR_ENONFINITE", i64::from(EMR_ENONFINITE)),
        ("EMR_ENOTFOUND", i64::from(EMR_ENOTFOUND)),
        ("EMR_ECANCELED", i64::from(EMR_ECANCELED)),
        ("EMR_ESTATE", i64::from(EMR_ESTATE)),
        ("EMR_EUNSUPPORTED", i64::from(EMR_EUNSUPPORTED)),
        ("EMR_ELIMIT", i64::from(EMR_ELIMIT)),
        ("EMR_EEXIST", i64::from(EMR_EEXIST)),
        ("EMR_BLOCK_TYPE_NONE", i64::from(EMR_BLOCK_TYPE_NONE)),
        ("EMR_BLOCK_TYPE_Q4_0", i64::from(EMR_BLOCK_TYPE_Q4_0)),
        ("EMR_BLOCK_TYPE_Q4_1", i64::from(EMR_BLOCK_TYPE_Q4_1)),
        ("EMR_BLOCK_TYPE_Q5_0", i64::from(EMR_BLOCK_TYPE_Q5_0)),
        ("EMR_BLOCK_TYPE_Q5_1", i64::from(EMR_BLOCK_TYPE_Q5_1)),
        ("EMR_BLOCK_TYPE_Q8_0", i64::from(EMR_BLOCK_TYPE_Q8_0)),
        ("EMR_DTYPE_NONE", i64::from(EMR_DTYPE_NONE)),
        ("EMR_DTYPE_F32", i64::from(EMR_DTYPE_F32)),
        ("EMR_DTYPE_F16", i64::from(EMR_DTYPE_F16)),
        ("EMR_DTYPE_BF16", i64::from(EMR_DTYPE_BF16)),
        ("EMR_DTYPE_F64", i64::from(EMR_DTYPE_F64)),
        ("EMR_DTYPE_F8_E4M3", i64::from(EMR_DTYPE_F8_E4M3)),
        ("EMR_DTYPE_F8_E5M2", i64::from(EMR_DTYPE_F8_E5M2)),
        ("EMR_DTYPE_BOOL", i64::from(EMR_DTYPE_BOOL)),
        ("EMR_DTYPE_U8", i64::from(EMR_DTYPE_U8)),
        ("EMR_DTYPE_I8", i64::from(EMR_DTYPE_I8)),
        ("EMR_DTYPE_U16", i64::from(EMR_DTYPE_U16)),
        ("EMR_DTYPE_I16", i64::from(EMR_DTYPE_I16)),
        ("EMR_DTYPE_U32", i64::from(EMR_DTYPE_U32)),
        ("EMR_DTYPE_I32", i64::from(EMR_DTYPE_I32)),
        ("EMR_DTYPE_U64", i64::from(EMR_DTYPE_U64)),
        ("EMR_DTYPE_I64", i64::from(EMR_DTYPE_I64)),
        ("EMR_DTYPE_F8_E8M0", i64::from(EMR_DTYPE_F8_E8M0)),
        ("EMR_DTYPE_F8_E4M3FNUZ", i64::from(EMR_DTYPE_F8_E4M3FNUZ)),
        ("EMR_DTYPE_F8_E5M2FNUZ", i64::from(EMR_DTYPE_F8_E5M2FNUZ)),
        ("EMR_DTYPE_F4", i64::from(EMR_DTYPE_F4)),
        ("EMR_DTYPE_F6_E2M3", i64::from(EMR_DTYPE_F6_E2M3)),
        ("EMR_DTYPE_F6_E3M2", i64::from(EMR_DTYPE_F6_E3M2)),
        ("EMR_DTYPE_C64", i64::from(EMR_DTYPE_C64)),
        ("EMR_SOURCE_KIND_UNKNOWN", i64::from(EMR_SOURCE_KIND_UNKNOWN)),
        ("EMR_SOURCE_KIND_ABSENT", i64::from(EMR_SOURCE_KIND_ABSENT)),
        ("EMR_SOURCE_KIND_FILE", i64::from(EMR_SOURCE_KIND_FILE)),
        ("EMR_SOURCE_KIND_FOLDER", i64::from(EMR_SOURCE_KIND_FOLDER)),
        ("EMR_MODULATOR_KIND_DEFAULT", i64::from(EMR_MODULATOR_KIND_DEFAULT)),
        ("EMR_MODULATOR_KIND_MASK", i64::from(EMR_MODULATOR_KIND_MASK)),
        ("EMR_MODULATOR_KIND_TWO_SIDED", i64::from(EMR_MODULATOR_KIND_TWO_SIDED)),
        ("EMR_MODULATOR_KIND_SIGN", i64::from(EMR_MODULATOR_KIND_SIGN)),
        ("EMR_MODULATOR_KIND_THIN", i64::from(EMR_MODULATOR_KIND_THIN)),
        ("EMR_MODULATOR_KIND_LEVELS", i64::from(EMR_MODULATOR_KIND_LEVELS)),
        ("EMR_RESCALE_DEFAULT", i64::from(EMR_RESCALE_DEFAULT)),
        ("EMR_RESCALE_L1", i64::from(EMR_RESCALE_L1)),
        ("EMR_RESCALE_L1_MEANS", i64::from(EMR_RESCALE_L1_MEANS)),
        ("EMR_RESCALE_L2", i64::from(EMR_RESCALE_L2)),
        ("EMR_RESCALE_NORM", i64::from(EMR_RESCALE_NORM)),
        ("EMR_RESCALE_UNBIASED", i64::from(EMR_RESCALE_UNBIASED)),
        ("EMR_RESCALE_MIXED", i64::from(EMR_RESCALE_MIXED)),
        ("EMR_RESCALE_PER_DEFAULT", i64::from(EMR_RESCALE_PER_DEFAULT)),
        ("EMR_RESCALE_PER_MODEL", i64::from(EMR_RESCALE_PER_MODEL)),
        ("EMR_RESCALE_PER_TENSOR", i64::from(EMR_RESCALE_PER_TENSOR)),
        ("EMR_RESCALE_PER_ROW", i64::from(EMR_RESCALE_PER_ROW)),
        ("EMR_MASK_RULE_AGREE", i64::from(EMR_MASK_RULE_AGREE)),
        ("EMR_MASK_RULE_NEAREST", i64::from(EMR_MASK_RULE_NEAREST)),
        ("EMR_BASE_CHECK_FIRST", i64::from(EMR_BASE_CHECK_FIRST)),
        ("EMR_BASE_CHECK_WRITE", i64::from(EMR_BASE_CHECK_WRITE)),
        ("EMR_BASE_CHECK_NONE", i64::from(EMR_BASE_CHECK_NONE)),
        ("EMR_METHOD_BASE_INPUT", i64::from(EMR_METHOD_BASE_INPUT)),
        ("EMR_METHOD_BASE_REQUIRED", i64::from(EMR_METHOD_BASE_REQUIRED)),
        ("EMR_METHOD_BASE_OPTIONAL", i64::from(EMR_METHOD_BASE_OPTIONAL)),
        ("EMR_METHOD_BASE_BESIDE", i64::from(EMR_METHOD_BASE_BESIDE)),
        ("EMR_ON_MISMATCH_ERROR", i64::from(EMR_ON_MISMATCH_ERROR)),
        ("EMR_ON_MISMATCH_PRIVATE", i64::from(EMR_ON_MISMATCH_PRIVATE)),
        ("EMR_ON_MISMATCH_ROWS", i64::from(EMR_ON_MISMATCH_ROWS)),
        ("EMR_ON_MISMATCH_PAD", i64::from(EMR_ON_MISMATCH_PAD)),
        ("EMR_ON_MISSING_ERROR", i64::from(EMR_ON_MISSING_ERROR)),
        ("EMR_ON_MISSING_BASE", i64::from(EMR_ON_MISSING_BASE)),
        ("EMR_ON_MISSING_ABSENT", i64::from(EMR_ON_MISSING_ABSENT)),
        ("EMR_COMBINATION_NONFINITE_ERROR", i64::from(EMR_COMBINATION_NONFINITE_ERROR)),
        ("EMR_COMBINATION_NONFINITE_ZERO", i64::from(EMR_COMBINATION_NONFINITE_ZERO)),
        ("EMR_COMBINED_ACTION_COMBINE", i64::from(EMR_COMBINED_ACTION_COMBINE)),
        ("EMR_COMBINED_ACTION_COPY", i64::from(EMR_COMBINED_ACTION_COPY)),
        ("EMR_COMBINED_ACTION_HEAD", i64::from(EMR_COMBINED_ACTION_HEAD)),
        ("EMR_HEAD_KIND_SOFTMAX", i64::from(EMR_HEAD_KIND_SOFTMAX)),
        ("EMR_HEAD_KIND_SIGMOID", i64::from(EMR_HEAD_KIND_SIGMOID)),
        ("EMR_HEAD_KIND_IDENTITY", i64::from(EMR_HEAD_KIND_IDENTITY)),
        ("EMR_TIE_ZERO", i64::from(EMR_TIE_ZERO)),
        ("EMR_TIE_NEGATIVE", i64::from(EMR_TIE_NEGATIVE)),
        ("EMR_ON_NONFINITE_ERROR", i64::from(EMR_ON_NONFINITE_ERROR)),
        ("EMR_ON_NONFINITE_ZERO", i64::from(EMR_ON_NONFINITE_ZERO)),
        ("EMR_ACTION_MERGE", i64::from(EMR_ACTION_MERGE)),
        ("EMR_ACTION_KEEP", i64::from(EMR_ACTION_KEEP)),
        ("EMR_ACTION_PRIVATE", i64::from(EMR_ACTION_PRIVATE)),
        ("EMR_ROLE_WEIGHT", i64::from(EMR_ROLE_WEIGHT)),
        ("EMR_ROLE_CODE", i64::from(EMR_ROLE_CODE)),
        ("EMR_ROLE_SIDECAR", i64::from(EMR_ROLE_SIDECAR)),
        ("EMR_ROLE_STATISTIC", i64::from(EMR_ROLE_STATISTIC)),
        ("EMR_ROLE_CONSTANT", i64::from(EMR_ROLE_CONSTANT)),
        ("EMR_ROLE_MAGNITUDE", i64::from(EMR_ROLE_MAGNITUDE)),
        ("EMR_SEARCH_PARTNER_LOWEST", i64::from(EMR_SEARCH_PARTNER_LOWEST)),
        ("EMR_SEARCH_PARTNER_HIGHEST", i64::from(EMR_SEARCH_PARTNER_HIGHEST)),
        ("EMR_SEARCH_PARTNER_NONE", i64::from(EMR_SEARCH_PARTNER_NONE)),
        ("EMR_SEARCH_POOL_ALL", i64::from(EMR_SEARCH_POOL_ALL)),
        ("EMR_SEARCH_POOL_TOP", i64::from(EMR_SEARCH_POOL_TOP)),
        ("EMR_SEARCH_POOL_LAST", i64::from(EMR_SEARCH_POOL_LAST)),
        ("EMR_SEARCH_END_STEADY", i64::from(EMR_SEARCH_END_STEADY)),
        ("EMR_SEARCH_END_KINSHIP", i64::from(EMR_SEARCH_END_KINSHIP)),
        ("EMR_SEARCH_END_GENERATIONS", i64::from(EMR_SEARCH_END_GENERATIONS)),
        ("EMR_STATISTICS_SCOPE_MODEL", i64::from(EMR_STATISTICS_SCOPE_MODEL)),
        ("EMR_STATISTICS_SCOPE_TENSOR", i64::from(EMR_STATISTICS_SCOPE_TENSOR)),
        ("EMR_STATISTICS_SCOPE_LAYER", i64::from(EMR_STATISTICS_SCOPE_LAYER)),
        ("EMR_STATISTICS_SCOPE_KIND", i64::from(EMR_STATISTICS_SCOPE_KIND)),
        ("EMR_STATISTICS_ROUNDING_NONE", i64::from(EMR_STATISTICS_ROUNDING_NONE)),
        ("EMR_STATISTICS_ROUNDING_PER_MODEL", i64::from(EMR_STATISTICS_ROUNDING_PER_MODEL)),
        ("EMR_STATISTICS_ROUNDING_PER_TENSOR", i64::from(EMR_STATISTICS_ROUNDING_PER_TENSOR)),
        ("EMR_KINSHIP_METRIC_PEARSON", i64::from(EMR_KINSHIP_METRIC_PEARSON)),
        ("EMR_KINSHIP_METRIC_COSINE", i64::from(EMR_KINSHIP_METRIC_COSINE)),
        ("EMR_KINSHIP_METRIC_EUCLID", i64::from(EMR_KINSHIP_METRIC_EUCLID)),
        ("EMR_ADAPTER_CONFIG_MAX", i64::from(EMR_ADAPTER_CONFIG_MAX)),
        ("EMR_BLOCK_VALUES", i64::from(EMR_BLOCK_VALUES)),
        ("EMR_FILE_COUNT_MAX", i64::from(EMR_FILE_COUNT_MAX)),
        ("EMR_FILE_BYTES_MAX", i64::from(EMR_FILE_BYTES_MAX)),
        ("EMR_FILES_BYTES_MAX", i64::from(EMR_FILES_BYTES_MAX)),
        ("EMR_EVERY_TASK", i64::from(EMR_EVERY_TASK)),
        ("EMR_BASE", i64::from(EMR_BASE)),
        ("EMR_COMPRESSION_NONE", i64::from(EMR_COMPRESSION_NONE)),
        ("EMR_METHOD_STAGES_MAX", i64::from(EMR_METHOD_STAGES_MAX)),
        ("EMR_SEARCH_NO_MODEL", i64::from(EMR_SEARCH_NO_MODEL)),
        ("EMR_ERROR_TEXT_SIZE", i64::from(EMR_ERROR_TEXT_SIZE)),
        ("EMR_RANK_MAX", i64::from(EMR_RANK_MAX)),
        ("EMR_VERSION_MAJOR", i64::from(EMR_VERSION_MAJOR)),
        ("EMR_VERSION_MINOR", i64::from(EMR_VERSION_MINOR)),
        ("EMR_VERSION_PATCH", i64::from(EMR_VERSION_PATCH)),
    ]
}

pub fn texts() -> Vec<(&'static str, &'static core::ffi::CStr)> {
    vec![
        ("EMR_ADAPTER_CONFIG", EMR_ADAPTER_CONFIG),
        ("EMR_GGUF_HEADER", EMR_GGUF_HEADER),
        ("EMR_FILE_PREFIX", EMR_FILE_PREFIX),
        ("EMR_HEAD_GROUPS", EMR_HEAD_GROUPS),
        ("EMR_VERSION_STRING", EMR_VERSION_STRING),
    ]
}

/// The C program that prints the same.
pub const PROGRAM: &str = r##"
#include <emr/emr.h>
#include <stdio.h>
#define ROW(name, a, b) printf("%s %zu %zu\n", name, (size_t)(a), (size_t)(b))
#define NUMBER(name) printf("%s %lld\n", #name, (long long)name)
#define TEXT(name) printf("%s %s\n", #name, name)
int main(void)
{
    ROW("emr_allocator", sizeof(emr_allocator), _Alignof(emr_allocator));
    ROW("emr_allocator.size", offsetof(emr_allocator, size), sizeof(((emr_allocator *)0)->size));
    ROW("emr_allocator.user", offsetof(emr_allocator, user), sizeof(((emr_allocator *)0)->user));
    ROW("emr_allocator.alloc", offsetof(emr_allocator, alloc), sizeof(((emr_allocator *)0)->alloc));
    ROW("emr_allocator.free", offsetof(emr_allocator, free), sizeof(((emr_allocator *)0)->free));
    ROW("emr_error_span", sizeof(emr_error_span), _Alignof(emr_error_span));
    ROW("emr_error_span.offset", offsetof(emr_error_span, offset), sizeof(((emr_error_span *)0)->offset));
    ROW("emr_error_span.length", offsetof(emr_error_span, length), sizeof(((emr_error_span *)0)->length));
    ROW("emr_error", sizeof(emr_error), _Alignof(emr_error));
    ROW("emr_error.text", offsetof(emr_error, text), sizeof(((emr_error *)0)->text));
    ROW("emr_error.status", offsetof(emr_error, status), sizeof(((emr_error *)0)->status));
    ROW("emr_error.system", offsetof(emr_error, system), sizeof(((emr_error *)0)->system));
    ROW("emr_error.file", offsetof(emr_error, file), sizeof(((emr_error *)0)->file));
    ROW("emr_error.task", offsetof(emr_error, task), sizeof(((emr_error *)0)->task));
    ROW("emr_error.tensor", offsetof(emr_error, tensor), sizeof(((emr_error *)0)->tensor));
    ROW("emr_error.reserved", offsetof(emr_error, reserved), sizeof(((emr_error *)0)->reserved));
    ROW("emr_executor", sizeof(emr_executor), _Alignof(emr_executor));
    ROW("emr_executor.size", offsetof(emr_executor, size), sizeof(((emr_executor *)0)->size));
    ROW("emr_executor.user", offsetof(emr_executor, user), sizeof(((emr_executor *)0)->user));
    ROW("emr_executor.parallel_for", offsetof(emr_executor, parallel_for), sizeof(((emr_executor *)0)->parallel_for));
    ROW("emr_executor.concurrency", offsetof(emr_executor, concurrency), sizeof(((emr_executor *)0)->concurrency));
    ROW("emr_executor.reserved", offsetof(emr_executor, reserved), sizeof(((emr_executor *)0)->reserved));
    ROW("emr_pool_options", sizeof(emr_pool_options), _Alignof(emr_pool_options));
    ROW("emr_pool_options.size", offsetof(emr_pool_options, size), sizeof(((emr_pool_options *)0)->size));
    ROW("emr_pool_options.allocator", offsetof(emr_pool_options, allocator), sizeof(((emr_pool_options *)0)->allocator));
    ROW("emr_pool_options.threads", offsetof(emr_pool_options, threads), sizeof(((emr_pool_options *)0)->threads));
    ROW("emr_pool_options.reserved", offsetof(emr_pool_options, reserved), sizeof(((emr_pool_options *)0)->reserved));
    ROW("emr_progress", sizeof(emr_progress), _Alignof(emr_progress));
    ROW("emr_progress.size", offsetof(emr_progress, size), sizeof(((emr_progress *)0)->size));
    ROW("emr_progress.done", offsetof(emr_progress, done), sizeof(((emr_progress *)0)->done));
    ROW("emr_progress.total", offsetof(emr_progress, total), sizeof(((emr_progress *)0)->total));
    ROW("emr_resources", sizeof(emr_resources), _Alignof(emr_resources));
    ROW("emr_resources.size", offsetof(emr_resources, size), sizeof(((emr_resources *)0)->size));
    ROW("emr_resources.allocator", offsetof(emr_resources, allocator), sizeof(((emr_resources *)0)->allocator));
    ROW("emr_resources.executor", offsetof(emr_resources, executor), sizeof(((emr_resources *)0)->executor));
    ROW("emr_resources.progress", offsetof(emr_resources, progress), sizeof(((emr_resources *)0)->progress));
    ROW("emr_resources.progress_user", offsetof(emr_resources, progress_user), sizeof(((emr_resources *)0)->progress_user));
    ROW("emr_resources.memory_bytes", offsetof(emr_resources, memory_bytes), sizeof(((emr_resources *)0)->memory_bytes));
    ROW("emr_io", sizeof(emr_io), _Alignof(emr_io));
    ROW("emr_io.size", offsetof(emr_io, size), sizeof(((emr_io *)0)->size));
    ROW("emr_io.user", offsetof(emr_io, user), sizeof(((emr_io *)0)->user));
    ROW("emr_io.read", offsetof(emr_io, read), sizeof(((emr_io *)0)->read));
    ROW("emr_io.write", offsetof(emr_io, write), sizeof(((emr_io *)0)->write));
    ROW("emr_io.length", offsetof(emr_io, length), sizeof(((emr_io *)0)->length));
    ROW("emr_io.map", offsetof(emr_io, map), sizeof(((emr_io *)0)->map));
    ROW("emr_io.unmap", offsetof(emr_io, unmap), sizeof(((emr_io *)0)->unmap));
    ROW("emr_io.sync", offsetof(emr_io, sync), sizeof(((emr_io *)0)->sync));
    ROW("emr_io.will_need", offsetof(emr_io, will_need), sizeof(((emr_io *)0)->will_need));
    ROW("emr_source", sizeof(emr_source), _Alignof(emr_source));
    ROW("emr_source.size", offsetof(emr_source, size), sizeof(((emr_source *)0)->size));
    ROW("emr_source.user", offsetof(emr_source, user), sizeof(((emr_source *)0)->user));
    ROW("emr_source.open", offsetof(emr_source, open), sizeof(((emr_source *)0)->open));
    ROW("emr_source.close", offsetof(emr_source, close), sizeof(((emr_source *)0)->close));
    ROW("emr_source.kind", offsetof(emr_source, kind), sizeof(((emr_source *)0)->kind));
    ROW("emr_source.list", offsetof(emr_source, list), sizeof(((emr_source *)0)->list));
    ROW("emr_file_options", sizeof(emr_file_options), _Alignof(emr_file_options));
    ROW("emr_file_options.size", offsetof(emr_file_options, size), sizeof(((emr_file_options *)0)->size));
    ROW("emr_file_options.allocator", offsetof(emr_file_options, allocator), sizeof(((emr_file_options *)0)->allocator));
    ROW("emr_file_options.map", offsetof(emr_file_options, map), sizeof(((emr_file_options *)0)->map));
    ROW("emr_file_options.replace", offsetof(emr_file_options, replace), sizeof(((emr_file_options *)0)->replace));
    ROW("emr_computation", sizeof(emr_computation), _Alignof(emr_computation));
    ROW("emr_computation.size", offsetof(emr_computation, size), sizeof(((emr_computation *)0)->size));
    ROW("emr_computation.user", offsetof(emr_computation, user), sizeof(((emr_computation *)0)->user));
    ROW("emr_computation.scratch", offsetof(emr_computation, scratch), sizeof(((emr_computation *)0)->scratch));
    ROW("emr_computation.out", offsetof(emr_computation, out), sizeof(((emr_computation *)0)->out));
    ROW("emr_computation.count", offsetof(emr_computation, count), sizeof(((emr_computation *)0)->count));
    ROW("emr_computation.first", offsetof(emr_computation, first), sizeof(((emr_computation *)0)->first));
    ROW("emr_tensor_desc", sizeof(emr_tensor_desc), _Alignof(emr_tensor_desc));
    ROW("emr_tensor_desc.size", offsetof(emr_tensor_desc, size), sizeof(((emr_tensor_desc *)0)->size));
    ROW("emr_tensor_desc.name", offsetof(emr_tensor_desc, name), sizeof(((emr_tensor_desc *)0)->name));
    ROW("emr_tensor_desc.shape", offsetof(emr_tensor_desc, shape), sizeof(((emr_tensor_desc *)0)->shape));
    ROW("emr_tensor_desc.data", offsetof(emr_tensor_desc, data), sizeof(((emr_tensor_desc *)0)->data));
    ROW("emr_tensor_desc.io", offsetof(emr_tensor_desc, io), sizeof(((emr_tensor_desc *)0)->io));
    ROW("emr_tensor_desc.compute", offsetof(emr_tensor_desc, compute), sizeof(((emr_tensor_desc *)0)->compute));
    ROW("emr_tensor_desc.user", offsetof(emr_tensor_desc, user), sizeof(((emr_tensor_desc *)0)->user));
    ROW("emr_tensor_desc.offset", offsetof(emr_tensor_desc, offset), sizeof(((emr_tensor_desc *)0)->offset));
    ROW("emr_tensor_desc.dtype", offsetof(emr_tensor_desc, dtype), sizeof(((emr_tensor_desc *)0)->dtype));
    ROW("emr_tensor_desc.rank", offsetof(emr_tensor_desc, rank), sizeof(((emr_tensor_desc *)0)->rank));
    ROW("emr_tensor_desc.granule", offsetof(emr_tensor_desc, granule), sizeof(((emr_tensor_desc *)0)->granule));
    ROW("emr_tensor_desc.max_count", offsetof(emr_tensor_desc, max_count), sizeof(((emr_tensor_desc *)0)->max_count));
    ROW("emr_tensor_desc.blocks", offsetof(emr_tensor_desc, blocks), sizeof(((emr_tensor_desc *)0)->blocks));
    ROW("emr_tensor_desc.reserved", offsetof(emr_tensor_desc, reserved), sizeof(((emr_tensor_desc *)0)->reserved));
    ROW("emr_model_options", sizeof(emr_model_options), _Alignof(emr_model_options));
    ROW("emr_model_options.size", offsetof(emr_model_options, size), sizeof(((emr_model_options *)0)->size));
    ROW("emr_model_options.allocator", offsetof(emr_model_options, allocator), sizeof(((emr_model_options *)0)->allocator));
    ROW("emr_model_options.name", offsetof(emr_model_options, name), sizeof(((emr_model_options *)0)->name));
    ROW("emr_model_options.user", offsetof(emr_model_options, user), sizeof(((emr_model_options *)0)->user));
    ROW("emr_model_options.destroy", offsetof(emr_model_options, destroy), sizeof(((emr_model_options *)0)->destroy));
    ROW("emr_model_options.scratch_bytes", offsetof(emr_model_options, scratch_bytes), sizeof(((emr_model_options *)0)->scratch_bytes));
    ROW("emr_model_options.open_scratch", offsetof(emr_model_options, open_scratch), sizeof(((emr_model_options *)0)->open_scratch));
    ROW("emr_model_options.close_scratch", offsetof(emr_model_options, close_scratch), sizeof(((emr_model_options *)0)->close_scratch));
    ROW("emr_model_options.prepare", offsetof(emr_model_options, prepare), sizeof(((emr_model_options *)0)->prepare));
    ROW("emr_rename", sizeof(emr_rename), _Alignof(emr_rename));
    ROW("emr_rename.from", offsetof(emr_rename, from), sizeof(((emr_rename *)0)->from));
    ROW("emr_rename.to", offsetof(emr_rename, to), sizeof(((emr_rename *)0)->to));
    ROW("emr_agree_options", sizeof(emr_agree_options), _Alignof(emr_agree_options));
    ROW("emr_agree_options.size", offsetof(emr_agree_options, size), sizeof(((emr_agree_options *)0)->size));
    ROW("emr_agree_options.allocator", offsetof(emr_agree_options, allocator), sizeof(((emr_agree_options *)0)->allocator));
    ROW("emr_agree_options.differ", offsetof(emr_agree_options, differ), sizeof(((emr_agree_options *)0)->differ));
    ROW("emr_agree_options.n_differ", offsetof(emr_agree_options, n_differ), sizeof(((emr_agree_options *)0)->n_differ));
    ROW("emr_product", sizeof(emr_product), _Alignof(emr_product));
    ROW("emr_product.size", offsetof(emr_product, size), sizeof(((emr_product *)0)->size));
    ROW("emr_product.name", offsetof(emr_product, name), sizeof(((emr_product *)0)->name));
    ROW("emr_product.x", offsetof(emr_product, x), sizeof(((emr_product *)0)->x));
    ROW("emr_product.y", offsetof(emr_product, y), sizeof(((emr_product *)0)->y));
    ROW("emr_product.x_stride", offsetof(emr_product, x_stride), sizeof(((emr_product *)0)->x_stride));
    ROW("emr_product.y_stride", offsetof(emr_product, y_stride), sizeof(((emr_product *)0)->y_stride));
    ROW("emr_product.batch", offsetof(emr_product, batch), sizeof(((emr_product *)0)->batch));
    ROW("emr_product.first_row", offsetof(emr_product, first_row), sizeof(((emr_product *)0)->first_row));
    ROW("emr_product.n_rows", offsetof(emr_product, n_rows), sizeof(((emr_product *)0)->n_rows));
    ROW("emr_product.n_columns", offsetof(emr_product, n_columns), sizeof(((emr_product *)0)->n_columns));
    ROW("emr_product.tensor", offsetof(emr_product, tensor), sizeof(((emr_product *)0)->tensor));
    ROW("emr_product.without_base", offsetof(emr_product, without_base), sizeof(((emr_product *)0)->without_base));
    ROW("emr_product.add", offsetof(emr_product, add), sizeof(((emr_product *)0)->add));
    ROW("emr_product.reserved", offsetof(emr_product, reserved), sizeof(((emr_product *)0)->reserved));
    ROW("emr_modulation_spec", sizeof(emr_modulation_spec), _Alignof(emr_modulation_spec));
    ROW("emr_modulation_spec.size", offsetof(emr_modulation_spec, size), sizeof(((emr_modulation_spec *)0)->size));
    ROW("emr_modulation_spec.kind", offsetof(emr_modulation_spec, kind), sizeof(((emr_modulation_spec *)0)->kind));
    ROW("emr_modulation_spec.thinning", offsetof(emr_modulation_spec, thinning), sizeof(((emr_modulation_spec *)0)->thinning));
    ROW("emr_modulation_spec.n_levels", offsetof(emr_modulation_spec, n_levels), sizeof(((emr_modulation_spec *)0)->n_levels));
    ROW("emr_modulation_spec.rescale", offsetof(emr_modulation_spec, rescale), sizeof(((emr_modulation_spec *)0)->rescale));
    ROW("emr_modulation_spec.rescale_per", offsetof(emr_modulation_spec, rescale_per), sizeof(((emr_modulation_spec *)0)->rescale_per));
    ROW("emr_modulation_spec.mask_rule", offsetof(emr_modulation_spec, mask_rule), sizeof(((emr_modulation_spec *)0)->mask_rule));
    ROW("emr_modulation_spec.vectors_dtype", offsetof(emr_modulation_spec, vectors_dtype), sizeof(((emr_modulation_spec *)0)->vectors_dtype));
    ROW("emr_modulation_spec.without_columns", offsetof(emr_modulation_spec, without_columns), sizeof(((emr_modulation_spec *)0)->without_columns));
    ROW("emr_modulation_spec.seed", offsetof(emr_modulation_spec, seed), sizeof(((emr_modulation_spec *)0)->seed));
    ROW("emr_modulation_spec.reserved", offsetof(emr_modulation_spec, reserved), sizeof(((emr_modulation_spec *)0)->reserved));
    ROW("emr_fidelity", sizeof(emr_fidelity), _Alignof(emr_fidelity));
    ROW("emr_fidelity.size", offsetof(emr_fidelity, size), sizeof(((emr_fidelity *)0)->size));
    ROW("emr_fidelity.error", offsetof(emr_fidelity, error), sizeof(((emr_fidelity *)0)->error));
    ROW("emr_fidelity.cosine", offsetof(emr_fidelity, cosine), sizeof(((emr_fidelity *)0)->cosine));
    ROW("emr_fidelity.coefficient", offsetof(emr_fidelity, coefficient), sizeof(((emr_fidelity *)0)->coefficient));
    ROW("emr_fidelity.reserved", offsetof(emr_fidelity, reserved), sizeof(((emr_fidelity *)0)->reserved));
    ROW("emr_modulation", sizeof(emr_modulation), _Alignof(emr_modulation));
    ROW("emr_modulation.size", offsetof(emr_modulation, size), sizeof(((emr_modulation *)0)->size));
    ROW("emr_modulation.name", offsetof(emr_modulation, name), sizeof(((emr_modulation *)0)->name));
    ROW("emr_modulation.unified", offsetof(emr_modulation, unified), sizeof(((emr_modulation *)0)->unified));
    ROW("emr_modulation.mask", offsetof(emr_modulation, mask), sizeof(((emr_modulation *)0)->mask));
    ROW("emr_modulation.rescalers", offsetof(emr_modulation, rescalers), sizeof(((emr_modulation *)0)->rescalers));
    ROW("emr_modulation.columns", offsetof(emr_modulation, columns), sizeof(((emr_modulation *)0)->columns));
    ROW("emr_modulation.count", offsetof(emr_modulation, count), sizeof(((emr_modulation *)0)->count));
    ROW("emr_modulation.n_rescalers", offsetof(emr_modulation, n_rescalers), sizeof(((emr_modulation *)0)->n_rescalers));
    ROW("emr_modulation.unified_dtype", offsetof(emr_modulation, unified_dtype), sizeof(((emr_modulation *)0)->unified_dtype));
    ROW("emr_modulation.kind", offsetof(emr_modulation, kind), sizeof(((emr_modulation *)0)->kind));
    ROW("emr_modulation.thinning", offsetof(emr_modulation, thinning), sizeof(((emr_modulation *)0)->thinning));
    ROW("emr_modulation.n_levels", offsetof(emr_modulation, n_levels), sizeof(((emr_modulation *)0)->n_levels));
    ROW("emr_modulation.seed", offsetof(emr_modulation, seed), sizeof(((emr_modulation *)0)->seed));
    ROW("emr_modulation.reserved", offsetof(emr_modulation, reserved), sizeof(((emr_modulation *)0)->reserved));
    ROW("emr_application", sizeof(emr_application), _Alignof(emr_application));
    ROW("emr_application.size", offsetof(emr_application, size), sizeof(((emr_application *)0)->size));
    ROW("emr_application.base", offsetof(emr_application, base), sizeof(((emr_application *)0)->base));
    ROW("emr_application.out", offsetof(emr_application, out), sizeof(((emr_application *)0)->out));
    ROW("emr_application.first", offsetof(emr_application, first), sizeof(((emr_application *)0)->first));
    ROW("emr_application.count", offsetof(emr_application, count), sizeof(((emr_application *)0)->count));
    ROW("emr_application.tensor", offsetof(emr_application, tensor), sizeof(((emr_application *)0)->tensor));
    ROW("emr_application.base_dtype", offsetof(emr_application, base_dtype), sizeof(((emr_application *)0)->base_dtype));
    ROW("emr_application.out_dtype", offsetof(emr_application, out_dtype), sizeof(((emr_application *)0)->out_dtype));
    ROW("emr_application.without_base", offsetof(emr_application, without_base), sizeof(((emr_application *)0)->without_base));
    ROW("emr_modulator_stats", sizeof(emr_modulator_stats), _Alignof(emr_modulator_stats));
    ROW("emr_modulator_stats.size", offsetof(emr_modulator_stats, size), sizeof(((emr_modulator_stats *)0)->size));
    ROW("emr_modulator_stats.count", offsetof(emr_modulator_stats, count), sizeof(((emr_modulator_stats *)0)->count));
    ROW("emr_modulator_stats.ones", offsetof(emr_modulator_stats, ones), sizeof(((emr_modulator_stats *)0)->ones));
    ROW("emr_bundle_options", sizeof(emr_bundle_options), _Alignof(emr_bundle_options));
    ROW("emr_bundle_options.size", offsetof(emr_bundle_options, size), sizeof(((emr_bundle_options *)0)->size));
    ROW("emr_bundle_options.allocator", offsetof(emr_bundle_options, allocator), sizeof(((emr_bundle_options *)0)->allocator));
    ROW("emr_bundle_options.map", offsetof(emr_bundle_options, map), sizeof(((emr_bundle_options *)0)->map));
    ROW("emr_bundle_options.reserved", offsetof(emr_bundle_options, reserved), sizeof(((emr_bundle_options *)0)->reserved));
    ROW("emr_bundle_info", sizeof(emr_bundle_info), _Alignof(emr_bundle_info));
    ROW("emr_bundle_info.size", offsetof(emr_bundle_info, size), sizeof(((emr_bundle_info *)0)->size));
    ROW("emr_bundle_info.bytes", offsetof(emr_bundle_info, bytes), sizeof(((emr_bundle_info *)0)->bytes));
    ROW("emr_bundle_info.merged_params", offsetof(emr_bundle_info, merged_params), sizeof(((emr_bundle_info *)0)->merged_params));
    ROW("emr_bundle_info.n_tasks", offsetof(emr_bundle_info, n_tasks), sizeof(((emr_bundle_info *)0)->n_tasks));
    ROW("emr_bundle_info.n_tensors", offsetof(emr_bundle_info, n_tensors), sizeof(((emr_bundle_info *)0)->n_tensors));
    ROW("emr_bundle_info.n_merged", offsetof(emr_bundle_info, n_merged), sizeof(((emr_bundle_info *)0)->n_merged));
    ROW("emr_bundle_info.version_major", offsetof(emr_bundle_info, version_major), sizeof(((emr_bundle_info *)0)->version_major));
    ROW("emr_bundle_info.version_minor", offsetof(emr_bundle_info, version_minor), sizeof(((emr_bundle_info *)0)->version_minor));
    ROW("emr_bundle_info.rescale", offsetof(emr_bundle_info, rescale), sizeof(((emr_bundle_info *)0)->rescale));
    ROW("emr_bundle_info.rescale_per", offsetof(emr_bundle_info, rescale_per), sizeof(((emr_bundle_info *)0)->rescale_per));
    ROW("emr_bundle_info.tie", offsetof(emr_bundle_info, tie), sizeof(((emr_bundle_info *)0)->tie));
    ROW("emr_bundle_info.unified_dtype", offsetof(emr_bundle_info, unified_dtype), sizeof(((emr_bundle_info *)0)->unified_dtype));
    ROW("emr_bundle_info.has_base", offsetof(emr_bundle_info, has_base), sizeof(((emr_bundle_info *)0)->has_base));
    ROW("emr_bundle_info.extendable", offsetof(emr_bundle_info, extendable), sizeof(((emr_bundle_info *)0)->extendable));
    ROW("emr_bundle_info.n_elected", offsetof(emr_bundle_info, n_elected), sizeof(((emr_bundle_info *)0)->n_elected));
    ROW("emr_task_info", sizeof(emr_task_info), _Alignof(emr_task_info));
    ROW("emr_task_info.size", offsetof(emr_task_info, size), sizeof(((emr_task_info *)0)->size));
    ROW("emr_task_info.name", offsetof(emr_task_info, name), sizeof(((emr_task_info *)0)->name));
    ROW("emr_task_info.mask_ones", offsetof(emr_task_info, mask_ones), sizeof(((emr_task_info *)0)->mask_ones));
    ROW("emr_task_info.mask_bytes", offsetof(emr_task_info, mask_bytes), sizeof(((emr_task_info *)0)->mask_bytes));
    ROW("emr_task_info.n_private", offsetof(emr_task_info, n_private), sizeof(((emr_task_info *)0)->n_private));
    ROW("emr_task_info.rescaler", offsetof(emr_task_info, rescaler), sizeof(((emr_task_info *)0)->rescaler));
    ROW("emr_task_info.coded_bytes", offsetof(emr_task_info, coded_bytes), sizeof(((emr_task_info *)0)->coded_bytes));
    ROW("emr_tensor_info", sizeof(emr_tensor_info), _Alignof(emr_tensor_info));
    ROW("emr_tensor_info.size", offsetof(emr_tensor_info, size), sizeof(((emr_tensor_info *)0)->size));
    ROW("emr_tensor_info.name", offsetof(emr_tensor_info, name), sizeof(((emr_tensor_info *)0)->name));
    ROW("emr_tensor_info.shape", offsetof(emr_tensor_info, shape), sizeof(((emr_tensor_info *)0)->shape));
    ROW("emr_tensor_info.count", offsetof(emr_tensor_info, count), sizeof(((emr_tensor_info *)0)->count));
    ROW("emr_tensor_info.unified_bytes", offsetof(emr_tensor_info, unified_bytes), sizeof(((emr_tensor_info *)0)->unified_bytes));
    ROW("emr_tensor_info.base_hash", offsetof(emr_tensor_info, base_hash), sizeof(((emr_tensor_info *)0)->base_hash));
    ROW("emr_tensor_info.dtype", offsetof(emr_tensor_info, dtype), sizeof(((emr_tensor_info *)0)->dtype));
    ROW("emr_tensor_info.rank", offsetof(emr_tensor_info, rank), sizeof(((emr_tensor_info *)0)->rank));
    ROW("emr_tensor_info.merged", offsetof(emr_tensor_info, merged), sizeof(((emr_tensor_info *)0)->merged));
    ROW("emr_tensor_info.reserved", offsetof(emr_tensor_info, reserved), sizeof(((emr_tensor_info *)0)->reserved));
    ROW("emr_private_info", sizeof(emr_private_info), _Alignof(emr_private_info));
    ROW("emr_private_info.size", offsetof(emr_private_info, size), sizeof(((emr_private_info *)0)->size));
    ROW("emr_private_info.name", offsetof(emr_private_info, name), sizeof(((emr_private_info *)0)->name));
    ROW("emr_private_info.shape", offsetof(emr_private_info, shape), sizeof(((emr_private_info *)0)->shape));
    ROW("emr_private_info.bytes", offsetof(emr_private_info, bytes), sizeof(((emr_private_info *)0)->bytes));
    ROW("emr_private_info.dtype", offsetof(emr_private_info, dtype), sizeof(((emr_private_info *)0)->dtype));
    ROW("emr_private_info.rank", offsetof(emr_private_info, rank), sizeof(((emr_private_info *)0)->rank));
    ROW("emr_view_options", sizeof(emr_view_options), _Alignof(emr_view_options));
    ROW("emr_view_options.size", offsetof(emr_view_options, size), sizeof(((emr_view_options *)0)->size));
    ROW("emr_view_options.resources", offsetof(emr_view_options, resources), sizeof(((emr_view_options *)0)->resources));
    ROW("emr_view_options.dtype", offsetof(emr_view_options, dtype), sizeof(((emr_view_options *)0)->dtype));
    ROW("emr_view_options.check", offsetof(emr_view_options, check), sizeof(((emr_view_options *)0)->check));
    ROW("emr_view_options.f32_vectors", offsetof(emr_view_options, f32_vectors), sizeof(((emr_view_options *)0)->f32_vectors));
    ROW("emr_view_options.reserved", offsetof(emr_view_options, reserved), sizeof(((emr_view_options *)0)->reserved));
    ROW("emr_base_difference", sizeof(emr_base_difference), _Alignof(emr_base_difference));
    ROW("emr_base_difference.size", offsetof(emr_base_difference, size), sizeof(((emr_base_difference *)0)->size));
    ROW("emr_base_difference.tensor", offsetof(emr_base_difference, tensor), sizeof(((emr_base_difference *)0)->tensor));
    ROW("emr_base_difference.why", offsetof(emr_base_difference, why), sizeof(((emr_base_difference *)0)->why));
    ROW("emr_base_check_options", sizeof(emr_base_check_options), _Alignof(emr_base_check_options));
    ROW("emr_base_check_options.size", offsetof(emr_base_check_options, size), sizeof(((emr_base_check_options *)0)->size));
    ROW("emr_base_check_options.resources", offsetof(emr_base_check_options, resources), sizeof(((emr_base_check_options *)0)->resources));
    ROW("emr_base_check_options.differs", offsetof(emr_base_check_options, differs), sizeof(((emr_base_check_options *)0)->differs));
    ROW("emr_base_check_options.user", offsetof(emr_base_check_options, user), sizeof(((emr_base_check_options *)0)->user));
    ROW("emr_task_selection", sizeof(emr_task_selection), _Alignof(emr_task_selection));
    ROW("emr_task_selection.size", offsetof(emr_task_selection, size), sizeof(((emr_task_selection *)0)->size));
    ROW("emr_task_selection.resources", offsetof(emr_task_selection, resources), sizeof(((emr_task_selection *)0)->resources));
    ROW("emr_task_selection.tasks", offsetof(emr_task_selection, tasks), sizeof(((emr_task_selection *)0)->tasks));
    ROW("emr_task_selection.n_tasks", offsetof(emr_task_selection, n_tasks), sizeof(((emr_task_selection *)0)->n_tasks));
    ROW("emr_task_selection.reserved", offsetof(emr_task_selection, reserved), sizeof(((emr_task_selection *)0)->reserved));
    ROW("emr_drop_report", sizeof(emr_drop_report), _Alignof(emr_drop_report));
    ROW("emr_drop_report.size", offsetof(emr_drop_report, size), sizeof(((emr_drop_report *)0)->size));
    ROW("emr_drop_report.unified", offsetof(emr_drop_report, unified), sizeof(((emr_drop_report *)0)->unified));
    ROW("emr_drop_report.alone", offsetof(emr_drop_report, alone), sizeof(((emr_drop_report *)0)->alone));
    ROW("emr_drop_report.shared", offsetof(emr_drop_report, shared), sizeof(((emr_drop_report *)0)->shared));
    ROW("emr_drop_report.lost_growth", offsetof(emr_drop_report, lost_growth), sizeof(((emr_drop_report *)0)->lost_growth));
    ROW("emr_drop_report.lost_unified", offsetof(emr_drop_report, lost_unified), sizeof(((emr_drop_report *)0)->lost_unified));
    ROW("emr_checkpoint_read_options", sizeof(emr_checkpoint_read_options), _Alignof(emr_checkpoint_read_options));
    ROW("emr_checkpoint_read_options.size", offsetof(emr_checkpoint_read_options, size), sizeof(((emr_checkpoint_read_options *)0)->size));
    ROW("emr_checkpoint_read_options.allocator", offsetof(emr_checkpoint_read_options, allocator), sizeof(((emr_checkpoint_read_options *)0)->allocator));
    ROW("emr_checkpoint_read_options.map", offsetof(emr_checkpoint_read_options, map), sizeof(((emr_checkpoint_read_options *)0)->map));
    ROW("emr_checkpoint_read_options.dequantise", offsetof(emr_checkpoint_read_options, dequantise), sizeof(((emr_checkpoint_read_options *)0)->dequantise));
    ROW("emr_checkpoint_read_options.side_files", offsetof(emr_checkpoint_read_options, side_files), sizeof(((emr_checkpoint_read_options *)0)->side_files));
    ROW("emr_checkpoint_read_options.reserved", offsetof(emr_checkpoint_read_options, reserved), sizeof(((emr_checkpoint_read_options *)0)->reserved));
    ROW("emr_checkpoint_read_options.source", offsetof(emr_checkpoint_read_options, source), sizeof(((emr_checkpoint_read_options *)0)->source));
    ROW("emr_checkpoint_write_options", sizeof(emr_checkpoint_write_options), _Alignof(emr_checkpoint_write_options));
    ROW("emr_checkpoint_write_options.size", offsetof(emr_checkpoint_write_options, size), sizeof(((emr_checkpoint_write_options *)0)->size));
    ROW("emr_checkpoint_write_options.resources", offsetof(emr_checkpoint_write_options, resources), sizeof(((emr_checkpoint_write_options *)0)->resources));
    ROW("emr_checkpoint_write_options.shard_bytes", offsetof(emr_checkpoint_write_options, shard_bytes), sizeof(((emr_checkpoint_write_options *)0)->shard_bytes));
    ROW("emr_checkpoint_write_options.replace", offsetof(emr_checkpoint_write_options, replace), sizeof(((emr_checkpoint_write_options *)0)->replace));
    ROW("emr_checkpoint_write_options.dtype", offsetof(emr_checkpoint_write_options, dtype), sizeof(((emr_checkpoint_write_options *)0)->dtype));
    ROW("emr_checkpoint_write_options.written", offsetof(emr_checkpoint_write_options, written), sizeof(((emr_checkpoint_write_options *)0)->written));
    ROW("emr_checkpoint_write_options.user", offsetof(emr_checkpoint_write_options, user), sizeof(((emr_checkpoint_write_options *)0)->user));
    ROW("emr_method_parameter", sizeof(emr_method_parameter), _Alignof(emr_method_parameter));
    ROW("emr_method_parameter.name", offsetof(emr_method_parameter, name), sizeof(((emr_method_parameter *)0)->name));
    ROW("emr_method_parameter.initial", offsetof(emr_method_parameter, initial), sizeof(((emr_method_parameter *)0)->initial));
    ROW("emr_method_parameter.least", offsetof(emr_method_parameter, least), sizeof(((emr_method_parameter *)0)->least));
    ROW("emr_method_parameter.most", offsetof(emr_method_parameter, most), sizeof(((emr_method_parameter *)0)->most));
    ROW("emr_method_parameter.per_task", offsetof(emr_method_parameter, per_task), sizeof(((emr_method_parameter *)0)->per_task));
    ROW("emr_method_parameter.is_whole", offsetof(emr_method_parameter, is_whole), sizeof(((emr_method_parameter *)0)->is_whole));
    ROW("emr_method_tensor", sizeof(emr_method_tensor), _Alignof(emr_method_tensor));
    ROW("emr_method_tensor.size", offsetof(emr_method_tensor, size), sizeof(((emr_method_tensor *)0)->size));
    ROW("emr_method_tensor.user", offsetof(emr_method_tensor, user), sizeof(((emr_method_tensor *)0)->user));
    ROW("emr_method_tensor.name", offsetof(emr_method_tensor, name), sizeof(((emr_method_tensor *)0)->name));
    ROW("emr_method_tensor.shape", offsetof(emr_method_tensor, shape), sizeof(((emr_method_tensor *)0)->shape));
    ROW("emr_method_tensor.inputs", offsetof(emr_method_tensor, inputs), sizeof(((emr_method_tensor *)0)->inputs));
    ROW("emr_method_tensor.parameters", offsetof(emr_method_tensor, parameters), sizeof(((emr_method_tensor *)0)->parameters));
    ROW("emr_method_tensor.found", offsetof(emr_method_tensor, found), sizeof(((emr_method_tensor *)0)->found));
    ROW("emr_method_tensor.library", offsetof(emr_method_tensor, library), sizeof(((emr_method_tensor *)0)->library));
    ROW("emr_method_tensor.count", offsetof(emr_method_tensor, count), sizeof(((emr_method_tensor *)0)->count));
    ROW("emr_method_tensor.row_length", offsetof(emr_method_tensor, row_length), sizeof(((emr_method_tensor *)0)->row_length));
    ROW("emr_method_tensor.seed", offsetof(emr_method_tensor, seed), sizeof(((emr_method_tensor *)0)->seed));
    ROW("emr_method_tensor.rank", offsetof(emr_method_tensor, rank), sizeof(((emr_method_tensor *)0)->rank));
    ROW("emr_method_tensor.n_inputs", offsetof(emr_method_tensor, n_inputs), sizeof(((emr_method_tensor *)0)->n_inputs));
    ROW("emr_method_tensor.n_parameters", offsetof(emr_method_tensor, n_parameters), sizeof(((emr_method_tensor *)0)->n_parameters));
    ROW("emr_method_tensor.has_base", offsetof(emr_method_tensor, has_base), sizeof(((emr_method_tensor *)0)->has_base));
    ROW("emr_method_chunk", sizeof(emr_method_chunk), _Alignof(emr_method_chunk));
    ROW("emr_method_chunk.size", offsetof(emr_method_chunk, size), sizeof(((emr_method_chunk *)0)->size));
    ROW("emr_method_chunk.tensor", offsetof(emr_method_chunk, tensor), sizeof(((emr_method_chunk *)0)->tensor));
    ROW("emr_method_chunk.inputs", offsetof(emr_method_chunk, inputs), sizeof(((emr_method_chunk *)0)->inputs));
    ROW("emr_method_chunk.base", offsetof(emr_method_chunk, base), sizeof(((emr_method_chunk *)0)->base));
    ROW("emr_method_chunk.out", offsetof(emr_method_chunk, out), sizeof(((emr_method_chunk *)0)->out));
    ROW("emr_method_chunk.scratch", offsetof(emr_method_chunk, scratch), sizeof(((emr_method_chunk *)0)->scratch));
    ROW("emr_method_chunk.n", offsetof(emr_method_chunk, n), sizeof(((emr_method_chunk *)0)->n));
    ROW("emr_method_chunk.first", offsetof(emr_method_chunk, first), sizeof(((emr_method_chunk *)0)->first));
    ROW("emr_method_chunk.position", offsetof(emr_method_chunk, position), sizeof(((emr_method_chunk *)0)->position));
    ROW("emr_method_stage", sizeof(emr_method_stage), _Alignof(emr_method_stage));
    ROW("emr_method_stage.size", offsetof(emr_method_stage, size), sizeof(((emr_method_stage *)0)->size));
    ROW("emr_method_stage.n_found", offsetof(emr_method_stage, n_found), sizeof(((emr_method_stage *)0)->n_found));
    ROW("emr_method_stage.add_sums", offsetof(emr_method_stage, add_sums), sizeof(((emr_method_stage *)0)->add_sums));
    ROW("emr_method_stage.list_keys", offsetof(emr_method_stage, list_keys), sizeof(((emr_method_stage *)0)->list_keys));
    ROW("emr_method_stage.place_cut", offsetof(emr_method_stage, place_cut), sizeof(((emr_method_stage *)0)->place_cut));
    ROW("emr_method_stage.settle", offsetof(emr_method_stage, settle), sizeof(((emr_method_stage *)0)->settle));
    ROW("emr_method", sizeof(emr_method), _Alignof(emr_method));
    ROW("emr_method.size", offsetof(emr_method, size), sizeof(((emr_method *)0)->size));
    ROW("emr_method.name", offsetof(emr_method, name), sizeof(((emr_method *)0)->name));
    ROW("emr_method.user", offsetof(emr_method, user), sizeof(((emr_method *)0)->user));
    ROW("emr_method.parameters", offsetof(emr_method, parameters), sizeof(((emr_method *)0)->parameters));
    ROW("emr_method.stages", offsetof(emr_method, stages), sizeof(((emr_method *)0)->stages));
    ROW("emr_method.check", offsetof(emr_method, check), sizeof(((emr_method *)0)->check));
    ROW("emr_method.row_length", offsetof(emr_method, row_length), sizeof(((emr_method *)0)->row_length));
    ROW("emr_method.needed_stages", offsetof(emr_method, needed_stages), sizeof(((emr_method *)0)->needed_stages));
    ROW("emr_method.combine", offsetof(emr_method, combine), sizeof(((emr_method *)0)->combine));
    ROW("emr_method.n_parameters", offsetof(emr_method, n_parameters), sizeof(((emr_method *)0)->n_parameters));
    ROW("emr_method.scratch_floats", offsetof(emr_method, scratch_floats), sizeof(((emr_method *)0)->scratch_floats));
    ROW("emr_method.base", offsetof(emr_method, base), sizeof(((emr_method *)0)->base));
    ROW("emr_method.min_tasks", offsetof(emr_method, min_tasks), sizeof(((emr_method *)0)->min_tasks));
    ROW("emr_method.max_tasks", offsetof(emr_method, max_tasks), sizeof(((emr_method *)0)->max_tasks));
    ROW("emr_method.whole_model", offsetof(emr_method, whole_model), sizeof(((emr_method *)0)->whole_model));
    ROW("emr_policy", sizeof(emr_policy), _Alignof(emr_policy));
    ROW("emr_policy.size", offsetof(emr_policy, size), sizeof(((emr_policy *)0)->size));
    ROW("emr_policy.private_globs", offsetof(emr_policy, private_globs), sizeof(((emr_policy *)0)->private_globs));
    ROW("emr_policy.merge_globs", offsetof(emr_policy, merge_globs), sizeof(((emr_policy *)0)->merge_globs));
    ROW("emr_policy.absent_globs", offsetof(emr_policy, absent_globs), sizeof(((emr_policy *)0)->absent_globs));
    ROW("emr_policy.base_globs", offsetof(emr_policy, base_globs), sizeof(((emr_policy *)0)->base_globs));
    ROW("emr_policy.n_private_globs", offsetof(emr_policy, n_private_globs), sizeof(((emr_policy *)0)->n_private_globs));
    ROW("emr_policy.n_merge_globs", offsetof(emr_policy, n_merge_globs), sizeof(((emr_policy *)0)->n_merge_globs));
    ROW("emr_policy.n_absent_globs", offsetof(emr_policy, n_absent_globs), sizeof(((emr_policy *)0)->n_absent_globs));
    ROW("emr_policy.n_base_globs", offsetof(emr_policy, n_base_globs), sizeof(((emr_policy *)0)->n_base_globs));
    ROW("emr_policy.on_mismatch", offsetof(emr_policy, on_mismatch), sizeof(((emr_policy *)0)->on_mismatch));
    ROW("emr_policy.on_missing", offsetof(emr_policy, on_missing), sizeof(((emr_policy *)0)->on_missing));
    ROW("emr_combination_options", sizeof(emr_combination_options), _Alignof(emr_combination_options));
    ROW("emr_combination_options.size", offsetof(emr_combination_options, size), sizeof(((emr_combination_options *)0)->size));
    ROW("emr_combination_options.method", offsetof(emr_combination_options, method), sizeof(((emr_combination_options *)0)->method));
    ROW("emr_combination_options.resources", offsetof(emr_combination_options, resources), sizeof(((emr_combination_options *)0)->resources));
    ROW("emr_combination_options.policy", offsetof(emr_combination_options, policy), sizeof(((emr_combination_options *)0)->policy));
    ROW("emr_combination_options.head_globs", offsetof(emr_combination_options, head_globs), sizeof(((emr_combination_options *)0)->head_globs));
    ROW("emr_combination_options.seed", offsetof(emr_combination_options, seed), sizeof(((emr_combination_options *)0)->seed));
    ROW("emr_combination_options.n_head_globs", offsetof(emr_combination_options, n_head_globs), sizeof(((emr_combination_options *)0)->n_head_globs));
    ROW("emr_combination_options.combine_heads", offsetof(emr_combination_options, combine_heads), sizeof(((emr_combination_options *)0)->combine_heads));
    ROW("emr_combination_options.dtype", offsetof(emr_combination_options, dtype), sizeof(((emr_combination_options *)0)->dtype));
    ROW("emr_combination_options.on_nonfinite", offsetof(emr_combination_options, on_nonfinite), sizeof(((emr_combination_options *)0)->on_nonfinite));
    ROW("emr_combined_tensor", sizeof(emr_combined_tensor), _Alignof(emr_combined_tensor));
    ROW("emr_combined_tensor.size", offsetof(emr_combined_tensor, size), sizeof(((emr_combined_tensor *)0)->size));
    ROW("emr_combined_tensor.name", offsetof(emr_combined_tensor, name), sizeof(((emr_combined_tensor *)0)->name));
    ROW("emr_combined_tensor.reason", offsetof(emr_combined_tensor, reason), sizeof(((emr_combined_tensor *)0)->reason));
    ROW("emr_combined_tensor.shape", offsetof(emr_combined_tensor, shape), sizeof(((emr_combined_tensor *)0)->shape));
    ROW("emr_combined_tensor.count", offsetof(emr_combined_tensor, count), sizeof(((emr_combined_tensor *)0)->count));
    ROW("emr_combined_tensor.dtype", offsetof(emr_combined_tensor, dtype), sizeof(((emr_combined_tensor *)0)->dtype));
    ROW("emr_combined_tensor.rank", offsetof(emr_combined_tensor, rank), sizeof(((emr_combined_tensor *)0)->rank));
    ROW("emr_combined_tensor.action", offsetof(emr_combined_tensor, action), sizeof(((emr_combined_tensor *)0)->action));
    ROW("emr_combined_tensor.n_reads", offsetof(emr_combined_tensor, n_reads), sizeof(((emr_combined_tensor *)0)->n_reads));
    ROW("emr_combined_tensor.n_inputs", offsetof(emr_combined_tensor, n_inputs), sizeof(((emr_combined_tensor *)0)->n_inputs));
    ROW("emr_combined_tensor.reserved", offsetof(emr_combined_tensor, reserved), sizeof(((emr_combined_tensor *)0)->reserved));
    ROW("emr_combination_plan", sizeof(emr_combination_plan), _Alignof(emr_combination_plan));
    ROW("emr_combination_plan.size", offsetof(emr_combination_plan, size), sizeof(((emr_combination_plan *)0)->size));
    ROW("emr_combination_plan.combined_params", offsetof(emr_combination_plan, combined_params), sizeof(((emr_combination_plan *)0)->combined_params));
    ROW("emr_combination_plan.bytes_in", offsetof(emr_combination_plan, bytes_in), sizeof(((emr_combination_plan *)0)->bytes_in));
    ROW("emr_combination_plan.bytes_out", offsetof(emr_combination_plan, bytes_out), sizeof(((emr_combination_plan *)0)->bytes_out));
    ROW("emr_combination_plan.peak_memory", offsetof(emr_combination_plan, peak_memory), sizeof(((emr_combination_plan *)0)->peak_memory));
    ROW("emr_combination_plan.n_tensors", offsetof(emr_combination_plan, n_tensors), sizeof(((emr_combination_plan *)0)->n_tensors));
    ROW("emr_combination_plan.n_combined", offsetof(emr_combination_plan, n_combined), sizeof(((emr_combination_plan *)0)->n_combined));
    ROW("emr_head_group", sizeof(emr_head_group), _Alignof(emr_head_group));
    ROW("emr_head_group.size", offsetof(emr_head_group, size), sizeof(((emr_head_group *)0)->size));
    ROW("emr_head_group.task", offsetof(emr_head_group, task), sizeof(((emr_head_group *)0)->task));
    ROW("emr_head_group.first", offsetof(emr_head_group, first), sizeof(((emr_head_group *)0)->first));
    ROW("emr_head_group.count", offsetof(emr_head_group, count), sizeof(((emr_head_group *)0)->count));
    ROW("emr_head_group.kind", offsetof(emr_head_group, kind), sizeof(((emr_head_group *)0)->kind));
    ROW("emr_head_group.reserved", offsetof(emr_head_group, reserved), sizeof(((emr_head_group *)0)->reserved));
    ROW("emr_heads_options", sizeof(emr_heads_options), _Alignof(emr_heads_options));
    ROW("emr_heads_options.size", offsetof(emr_heads_options, size), sizeof(((emr_heads_options *)0)->size));
    ROW("emr_heads_options.allocator", offsetof(emr_heads_options, allocator), sizeof(((emr_heads_options *)0)->allocator));
    ROW("emr_heads_options.globs", offsetof(emr_heads_options, globs), sizeof(((emr_heads_options *)0)->globs));
    ROW("emr_heads_options.names", offsetof(emr_heads_options, names), sizeof(((emr_heads_options *)0)->names));
    ROW("emr_heads_options.tasks", offsetof(emr_heads_options, tasks), sizeof(((emr_heads_options *)0)->tasks));
    ROW("emr_heads_options.kinds", offsetof(emr_heads_options, kinds), sizeof(((emr_heads_options *)0)->kinds));
    ROW("emr_heads_options.n_globs", offsetof(emr_heads_options, n_globs), sizeof(((emr_heads_options *)0)->n_globs));
    ROW("emr_heads_options.n_tasks", offsetof(emr_heads_options, n_tasks), sizeof(((emr_heads_options *)0)->n_tasks));
    ROW("emr_merge_options", sizeof(emr_merge_options), _Alignof(emr_merge_options));
    ROW("emr_merge_options.size", offsetof(emr_merge_options, size), sizeof(((emr_merge_options *)0)->size));
    ROW("emr_merge_options.resources", offsetof(emr_merge_options, resources), sizeof(((emr_merge_options *)0)->resources));
    ROW("emr_merge_options.policy", offsetof(emr_merge_options, policy), sizeof(((emr_merge_options *)0)->policy));
    ROW("emr_merge_options.modulation", offsetof(emr_merge_options, modulation), sizeof(((emr_merge_options *)0)->modulation));
    ROW("emr_merge_options.rescale", offsetof(emr_merge_options, rescale), sizeof(((emr_merge_options *)0)->rescale));
    ROW("emr_merge_options.rescale_per", offsetof(emr_merge_options, rescale_per), sizeof(((emr_merge_options *)0)->rescale_per));
    ROW("emr_merge_options.tie", offsetof(emr_merge_options, tie), sizeof(((emr_merge_options *)0)->tie));
    ROW("emr_merge_options.on_nonfinite", offsetof(emr_merge_options, on_nonfinite), sizeof(((emr_merge_options *)0)->on_nonfinite));
    ROW("emr_merge_options.unified_dtype", offsetof(emr_merge_options, unified_dtype), sizeof(((emr_merge_options *)0)->unified_dtype));
    ROW("emr_merge_options.embed_base", offsetof(emr_merge_options, embed_base), sizeof(((emr_merge_options *)0)->embed_base));
    ROW("emr_merge_options.extendable", offsetof(emr_merge_options, extendable), sizeof(((emr_merge_options *)0)->extendable));
    ROW("emr_merge_options.compression", offsetof(emr_merge_options, compression), sizeof(((emr_merge_options *)0)->compression));
    ROW("emr_merge_options.block_params", offsetof(emr_merge_options, block_params), sizeof(((emr_merge_options *)0)->block_params));
    ROW("emr_merge_options.measure", offsetof(emr_merge_options, measure), sizeof(((emr_merge_options *)0)->measure));
    ROW("emr_plan_tensor", sizeof(emr_plan_tensor), _Alignof(emr_plan_tensor));
    ROW("emr_plan_tensor.size", offsetof(emr_plan_tensor, size), sizeof(((emr_plan_tensor *)0)->size));
    ROW("emr_plan_tensor.name", offsetof(emr_plan_tensor, name), sizeof(((emr_plan_tensor *)0)->name));
    ROW("emr_plan_tensor.reason", offsetof(emr_plan_tensor, reason), sizeof(((emr_plan_tensor *)0)->reason));
    ROW("emr_plan_tensor.shape", offsetof(emr_plan_tensor, shape), sizeof(((emr_plan_tensor *)0)->shape));
    ROW("emr_plan_tensor.count", offsetof(emr_plan_tensor, count), sizeof(((emr_plan_tensor *)0)->count));
    ROW("emr_plan_tensor.zeroed", offsetof(emr_plan_tensor, zeroed), sizeof(((emr_plan_tensor *)0)->zeroed));
    ROW("emr_plan_tensor.dtype", offsetof(emr_plan_tensor, dtype), sizeof(((emr_plan_tensor *)0)->dtype));
    ROW("emr_plan_tensor.rank", offsetof(emr_plan_tensor, rank), sizeof(((emr_plan_tensor *)0)->rank));
    ROW("emr_plan_tensor.action", offsetof(emr_plan_tensor, action), sizeof(((emr_plan_tensor *)0)->action));
    ROW("emr_plan_tensor.n_private", offsetof(emr_plan_tensor, n_private), sizeof(((emr_plan_tensor *)0)->n_private));
    ROW("emr_plan_summary", sizeof(emr_plan_summary), _Alignof(emr_plan_summary));
    ROW("emr_plan_summary.size", offsetof(emr_plan_summary, size), sizeof(((emr_plan_summary *)0)->size));
    ROW("emr_plan_summary.merged_params", offsetof(emr_plan_summary, merged_params), sizeof(((emr_plan_summary *)0)->merged_params));
    ROW("emr_plan_summary.bytes_in", offsetof(emr_plan_summary, bytes_in), sizeof(((emr_plan_summary *)0)->bytes_in));
    ROW("emr_plan_summary.bytes_out", offsetof(emr_plan_summary, bytes_out), sizeof(((emr_plan_summary *)0)->bytes_out));
    ROW("emr_plan_summary.peak_memory", offsetof(emr_plan_summary, peak_memory), sizeof(((emr_plan_summary *)0)->peak_memory));
    ROW("emr_plan_summary.n_tensors", offsetof(emr_plan_summary, n_tensors), sizeof(((emr_plan_summary *)0)->n_tensors));
    ROW("emr_plan_summary.n_merged", offsetof(emr_plan_summary, n_merged), sizeof(((emr_plan_summary *)0)->n_merged));
    ROW("emr_task_report", sizeof(emr_task_report), _Alignof(emr_task_report));
    ROW("emr_task_report.size", offsetof(emr_task_report, size), sizeof(((emr_task_report *)0)->size));
    ROW("emr_task_report.name", offsetof(emr_task_report, name), sizeof(((emr_task_report *)0)->name));
    ROW("emr_task_report.mask_ones", offsetof(emr_task_report, mask_ones), sizeof(((emr_task_report *)0)->mask_ones));
    ROW("emr_task_report.zeroed", offsetof(emr_task_report, zeroed), sizeof(((emr_task_report *)0)->zeroed));
    ROW("emr_task_report.rescaler", offsetof(emr_task_report, rescaler), sizeof(((emr_task_report *)0)->rescaler));
    ROW("emr_task_report.empty_mask", offsetof(emr_task_report, empty_mask), sizeof(((emr_task_report *)0)->empty_mask));
    ROW("emr_task_report.other_rescaler", offsetof(emr_task_report, other_rescaler), sizeof(((emr_task_report *)0)->other_rescaler));
    ROW("emr_task_report.reserved", offsetof(emr_task_report, reserved), sizeof(((emr_task_report *)0)->reserved));
    ROW("emr_sink_part", sizeof(emr_sink_part), _Alignof(emr_sink_part));
    ROW("emr_sink_part.size", offsetof(emr_sink_part, size), sizeof(((emr_sink_part *)0)->size));
    ROW("emr_sink_part.values", offsetof(emr_sink_part, values), sizeof(((emr_sink_part *)0)->values));
    ROW("emr_sink_part.n", offsetof(emr_sink_part, n), sizeof(((emr_sink_part *)0)->n));
    ROW("emr_sink_part.first", offsetof(emr_sink_part, first), sizeof(((emr_sink_part *)0)->first));
    ROW("emr_sink_part.tensor", offsetof(emr_sink_part, tensor), sizeof(((emr_sink_part *)0)->tensor));
    ROW("emr_sink_part.task", offsetof(emr_sink_part, task), sizeof(((emr_sink_part *)0)->task));
    ROW("emr_sink", sizeof(emr_sink), _Alignof(emr_sink));
    ROW("emr_sink.size", offsetof(emr_sink, size), sizeof(((emr_sink *)0)->size));
    ROW("emr_sink.user", offsetof(emr_sink, user), sizeof(((emr_sink *)0)->user));
    ROW("emr_sink.unified", offsetof(emr_sink, unified), sizeof(((emr_sink *)0)->unified));
    ROW("emr_sink.mask", offsetof(emr_sink, mask), sizeof(((emr_sink *)0)->mask));
    ROW("emr_sink.rescalers", offsetof(emr_sink, rescalers), sizeof(((emr_sink *)0)->rescalers));
    ROW("emr_tensor_role", sizeof(emr_tensor_role), _Alignof(emr_tensor_role));
    ROW("emr_tensor_role.size", offsetof(emr_tensor_role, size), sizeof(((emr_tensor_role *)0)->size));
    ROW("emr_tensor_role.family", offsetof(emr_tensor_role, family), sizeof(((emr_tensor_role *)0)->family));
    ROW("emr_tensor_role.code", offsetof(emr_tensor_role, code), sizeof(((emr_tensor_role *)0)->code));
    ROW("emr_tensor_role.role", offsetof(emr_tensor_role, role), sizeof(((emr_tensor_role *)0)->role));
    ROW("emr_tensor_role.can_dequantise", offsetof(emr_tensor_role, can_dequantise), sizeof(((emr_tensor_role *)0)->can_dequantise));
    ROW("emr_search_options", sizeof(emr_search_options), _Alignof(emr_search_options));
    ROW("emr_search_options.size", offsetof(emr_search_options, size), sizeof(((emr_search_options *)0)->size));
    ROW("emr_search_options.allocator", offsetof(emr_search_options, allocator), sizeof(((emr_search_options *)0)->allocator));
    ROW("emr_search_options.stop_kinship", offsetof(emr_search_options, stop_kinship), sizeof(((emr_search_options *)0)->stop_kinship));
    ROW("emr_search_options.use_stop_kinship", offsetof(emr_search_options, use_stop_kinship), sizeof(((emr_search_options *)0)->use_stop_kinship));
    ROW("emr_search_options.k", offsetof(emr_search_options, k), sizeof(((emr_search_options *)0)->k));
    ROW("emr_search_options.partner", offsetof(emr_search_options, partner), sizeof(((emr_search_options *)0)->partner));
    ROW("emr_search_options.pool", offsetof(emr_search_options, pool), sizeof(((emr_search_options *)0)->pool));
    ROW("emr_search_options.max_generations", offsetof(emr_search_options, max_generations), sizeof(((emr_search_options *)0)->max_generations));
    ROW("emr_search_options.minimise", offsetof(emr_search_options, minimise), sizeof(((emr_search_options *)0)->minimise));
    ROW("emr_search_candidate", sizeof(emr_search_candidate), _Alignof(emr_search_candidate));
    ROW("emr_search_candidate.size", offsetof(emr_search_candidate, size), sizeof(((emr_search_candidate *)0)->size));
    ROW("emr_search_candidate.name", offsetof(emr_search_candidate, name), sizeof(((emr_search_candidate *)0)->name));
    ROW("emr_search_candidate.score", offsetof(emr_search_candidate, score), sizeof(((emr_search_candidate *)0)->score));
    ROW("emr_search_candidate.kinship", offsetof(emr_search_candidate, kinship), sizeof(((emr_search_candidate *)0)->kinship));
    ROW("emr_search_candidate.number", offsetof(emr_search_candidate, number), sizeof(((emr_search_candidate *)0)->number));
    ROW("emr_search_candidate.generation", offsetof(emr_search_candidate, generation), sizeof(((emr_search_candidate *)0)->generation));
    ROW("emr_search_candidate.first", offsetof(emr_search_candidate, first), sizeof(((emr_search_candidate *)0)->first));
    ROW("emr_search_candidate.second", offsetof(emr_search_candidate, second), sizeof(((emr_search_candidate *)0)->second));
    ROW("emr_search_result", sizeof(emr_search_result), _Alignof(emr_search_result));
    ROW("emr_search_result.size", offsetof(emr_search_result, size), sizeof(((emr_search_result *)0)->size));
    ROW("emr_search_result.score", offsetof(emr_search_result, score), sizeof(((emr_search_result *)0)->score));
    ROW("emr_search_result.kinship", offsetof(emr_search_result, kinship), sizeof(((emr_search_result *)0)->kinship));
    ROW("emr_search_result.best", offsetof(emr_search_result, best), sizeof(((emr_search_result *)0)->best));
    ROW("emr_search_result.n_models", offsetof(emr_search_result, n_models), sizeof(((emr_search_result *)0)->n_models));
    ROW("emr_search_result.n_scored", offsetof(emr_search_result, n_scored), sizeof(((emr_search_result *)0)->n_scored));
    ROW("emr_search_result.generation", offsetof(emr_search_result, generation), sizeof(((emr_search_result *)0)->generation));
    ROW("emr_search_result.end", offsetof(emr_search_result, end), sizeof(((emr_search_result *)0)->end));
    ROW("emr_search_result.reserved", offsetof(emr_search_result, reserved), sizeof(((emr_search_result *)0)->reserved));
    ROW("emr_search_host", sizeof(emr_search_host), _Alignof(emr_search_host));
    ROW("emr_search_host.size", offsetof(emr_search_host, size), sizeof(((emr_search_host *)0)->size));
    ROW("emr_search_host.user", offsetof(emr_search_host, user), sizeof(((emr_search_host *)0)->user));
    ROW("emr_search_host.merge", offsetof(emr_search_host, merge), sizeof(((emr_search_host *)0)->merge));
    ROW("emr_search_host.evaluate", offsetof(emr_search_host, evaluate), sizeof(((emr_search_host *)0)->evaluate));
    ROW("emr_search_host.similarity", offsetof(emr_search_host, similarity), sizeof(((emr_search_host *)0)->similarity));
    ROW("emr_search_host.release", offsetof(emr_search_host, release), sizeof(((emr_search_host *)0)->release));
    ROW("emr_trial", sizeof(emr_trial), _Alignof(emr_trial));
    ROW("emr_trial.size", offsetof(emr_trial, size), sizeof(((emr_trial *)0)->size));
    ROW("emr_trial.values", offsetof(emr_trial, values), sizeof(((emr_trial *)0)->values));
    ROW("emr_trial.score", offsetof(emr_trial, score), sizeof(((emr_trial *)0)->score));
    ROW("emr_trial.number", offsetof(emr_trial, number), sizeof(((emr_trial *)0)->number));
    ROW("emr_trial.n_values", offsetof(emr_trial, n_values), sizeof(((emr_trial *)0)->n_values));
    ROW("emr_trials_options", sizeof(emr_trials_options), _Alignof(emr_trials_options));
    ROW("emr_trials_options.size", offsetof(emr_trials_options, size), sizeof(((emr_trials_options *)0)->size));
    ROW("emr_trials_options.allocator", offsetof(emr_trials_options, allocator), sizeof(((emr_trials_options *)0)->allocator));
    ROW("emr_trials_options.user", offsetof(emr_trials_options, user), sizeof(((emr_trials_options *)0)->user));
    ROW("emr_trials_options.evaluate", offsetof(emr_trials_options, evaluate), sizeof(((emr_trials_options *)0)->evaluate));
    ROW("emr_trials_options.seed", offsetof(emr_trials_options, seed), sizeof(((emr_trials_options *)0)->seed));
    ROW("emr_trials_options.n_trials", offsetof(emr_trials_options, n_trials), sizeof(((emr_trials_options *)0)->n_trials));
    ROW("emr_trials_options.n_values", offsetof(emr_trials_options, n_values), sizeof(((emr_trials_options *)0)->n_values));
    ROW("emr_trials_options.minimise", offsetof(emr_trials_options, minimise), sizeof(((emr_trials_options *)0)->minimise));
    ROW("emr_trials_options.reserved", offsetof(emr_trials_options, reserved), sizeof(((emr_trials_options *)0)->reserved));
    ROW("emr_session_options", sizeof(emr_session_options), _Alignof(emr_session_options));
    ROW("emr_session_options.size", offsetof(emr_session_options, size), sizeof(((emr_session_options *)0)->size));
    ROW("emr_session_options.resources", offsetof(emr_session_options, resources), sizeof(((emr_session_options *)0)->resources));
    ROW("emr_session_options.wait", offsetof(emr_session_options, wait), sizeof(((emr_session_options *)0)->wait));
    ROW("emr_session_options.wait_user", offsetof(emr_session_options, wait_user), sizeof(((emr_session_options *)0)->wait_user));
    ROW("emr_session_options.mask_bytes", offsetof(emr_session_options, mask_bytes), sizeof(((emr_session_options *)0)->mask_bytes));
    ROW("emr_session_options.check", offsetof(emr_session_options, check), sizeof(((emr_session_options *)0)->check));
    ROW("emr_session_options.without_base", offsetof(emr_session_options, without_base), sizeof(((emr_session_options *)0)->without_base));
    ROW("emr_weights_part", sizeof(emr_weights_part), _Alignof(emr_weights_part));
    ROW("emr_weights_part.size", offsetof(emr_weights_part, size), sizeof(((emr_weights_part *)0)->size));
    ROW("emr_weights_part.user", offsetof(emr_weights_part, user), sizeof(((emr_weights_part *)0)->user));
    ROW("emr_weights_part.data", offsetof(emr_weights_part, data), sizeof(((emr_weights_part *)0)->data));
    ROW("emr_weights_part.first", offsetof(emr_weights_part, first), sizeof(((emr_weights_part *)0)->first));
    ROW("emr_weights_part.count", offsetof(emr_weights_part, count), sizeof(((emr_weights_part *)0)->count));
    ROW("emr_weights_part.dtype", offsetof(emr_weights_part, dtype), sizeof(((emr_weights_part *)0)->dtype));
    ROW("emr_weights_part.blocks", offsetof(emr_weights_part, blocks), sizeof(((emr_weights_part *)0)->blocks));
    ROW("emr_weights", sizeof(emr_weights), _Alignof(emr_weights));
    ROW("emr_weights.size", offsetof(emr_weights, size), sizeof(((emr_weights *)0)->size));
    ROW("emr_weights.name", offsetof(emr_weights, name), sizeof(((emr_weights *)0)->name));
    ROW("emr_weights.data", offsetof(emr_weights, data), sizeof(((emr_weights *)0)->data));
    ROW("emr_weights.first", offsetof(emr_weights, first), sizeof(((emr_weights *)0)->first));
    ROW("emr_weights.count", offsetof(emr_weights, count), sizeof(((emr_weights *)0)->count));
    ROW("emr_weights.write", offsetof(emr_weights, write), sizeof(((emr_weights *)0)->write));
    ROW("emr_weights.user", offsetof(emr_weights, user), sizeof(((emr_weights *)0)->user));
    ROW("emr_weights.staging", offsetof(emr_weights, staging), sizeof(((emr_weights *)0)->staging));
    ROW("emr_weights.dtype", offsetof(emr_weights, dtype), sizeof(((emr_weights *)0)->dtype));
    ROW("emr_weights.blocks", offsetof(emr_weights, blocks), sizeof(((emr_weights *)0)->blocks));
    ROW("emr_weights.tensor", offsetof(emr_weights, tensor), sizeof(((emr_weights *)0)->tensor));
    ROW("emr_weights.without_base", offsetof(emr_weights, without_base), sizeof(((emr_weights *)0)->without_base));
    ROW("emr_gather", sizeof(emr_gather), _Alignof(emr_gather));
    ROW("emr_gather.size", offsetof(emr_gather, size), sizeof(((emr_gather *)0)->size));
    ROW("emr_gather.name", offsetof(emr_gather, name), sizeof(((emr_gather *)0)->name));
    ROW("emr_gather.tasks", offsetof(emr_gather, tasks), sizeof(((emr_gather *)0)->tasks));
    ROW("emr_gather.rows", offsetof(emr_gather, rows), sizeof(((emr_gather *)0)->rows));
    ROW("emr_gather.out", offsetof(emr_gather, out), sizeof(((emr_gather *)0)->out));
    ROW("emr_gather.n", offsetof(emr_gather, n), sizeof(((emr_gather *)0)->n));
    ROW("emr_gather.out_stride", offsetof(emr_gather, out_stride), sizeof(((emr_gather *)0)->out_stride));
    ROW("emr_gather.n_columns", offsetof(emr_gather, n_columns), sizeof(((emr_gather *)0)->n_columns));
    ROW("emr_gather.tensor", offsetof(emr_gather, tensor), sizeof(((emr_gather *)0)->tensor));
    ROW("emr_gather.dtype", offsetof(emr_gather, dtype), sizeof(((emr_gather *)0)->dtype));
    ROW("emr_gather.without_base", offsetof(emr_gather, without_base), sizeof(((emr_gather *)0)->without_base));
    ROW("emr_gather.reserved", offsetof(emr_gather, reserved), sizeof(((emr_gather *)0)->reserved));
    ROW("emr_session_info", sizeof(emr_session_info), _Alignof(emr_session_info));
    ROW("emr_session_info.size", offsetof(emr_session_info, size), sizeof(((emr_session_info *)0)->size));
    ROW("emr_session_info.memory_bytes", offsetof(emr_session_info, memory_bytes), sizeof(((emr_session_info *)0)->memory_bytes));
    ROW("emr_session_info.base_bytes", offsetof(emr_session_info, base_bytes), sizeof(((emr_session_info *)0)->base_bytes));
    ROW("emr_session_info.unified_bytes", offsetof(emr_session_info, unified_bytes), sizeof(((emr_session_info *)0)->unified_bytes));
    ROW("emr_session_info.mask_bytes", offsetof(emr_session_info, mask_bytes), sizeof(((emr_session_info *)0)->mask_bytes));
    ROW("emr_session_info.masks_found", offsetof(emr_session_info, masks_found), sizeof(((emr_session_info *)0)->masks_found));
    ROW("emr_session_info.masks_read", offsetof(emr_session_info, masks_read), sizeof(((emr_session_info *)0)->masks_read));
    ROW("emr_session_info.thread_bytes", offsetof(emr_session_info, thread_bytes), sizeof(((emr_session_info *)0)->thread_bytes));
    ROW("emr_statistics_options", sizeof(emr_statistics_options), _Alignof(emr_statistics_options));
    ROW("emr_statistics_options.size", offsetof(emr_statistics_options, size), sizeof(((emr_statistics_options *)0)->size));
    ROW("emr_statistics_options.resources", offsetof(emr_statistics_options, resources), sizeof(((emr_statistics_options *)0)->resources));
    ROW("emr_statistics_options.policy", offsetof(emr_statistics_options, policy), sizeof(((emr_statistics_options *)0)->policy));
    ROW("emr_statistics_options.quantiles", offsetof(emr_statistics_options, quantiles), sizeof(((emr_statistics_options *)0)->quantiles));
    ROW("emr_statistics_options.max_rows", offsetof(emr_statistics_options, max_rows), sizeof(((emr_statistics_options *)0)->max_rows));
    ROW("emr_statistics_options.n_quantiles", offsetof(emr_statistics_options, n_quantiles), sizeof(((emr_statistics_options *)0)->n_quantiles));
    ROW("emr_statistics_options.skip_missing", offsetof(emr_statistics_options, skip_missing), sizeof(((emr_statistics_options *)0)->skip_missing));
    ROW("emr_statistics_options.without_tensors", offsetof(emr_statistics_options, without_tensors), sizeof(((emr_statistics_options *)0)->without_tensors));
    ROW("emr_statistics_options.rounding", offsetof(emr_statistics_options, rounding), sizeof(((emr_statistics_options *)0)->rounding));
    ROW("emr_statistics_options.on_nonfinite", offsetof(emr_statistics_options, on_nonfinite), sizeof(((emr_statistics_options *)0)->on_nonfinite));
    ROW("emr_statistics_options.reserved", offsetof(emr_statistics_options, reserved), sizeof(((emr_statistics_options *)0)->reserved));
    ROW("emr_statistics_plan", sizeof(emr_statistics_plan), _Alignof(emr_statistics_plan));
    ROW("emr_statistics_plan.size", offsetof(emr_statistics_plan, size), sizeof(((emr_statistics_plan *)0)->size));
    ROW("emr_statistics_plan.params", offsetof(emr_statistics_plan, params), sizeof(((emr_statistics_plan *)0)->params));
    ROW("emr_statistics_plan.bytes_in", offsetof(emr_statistics_plan, bytes_in), sizeof(((emr_statistics_plan *)0)->bytes_in));
    ROW("emr_statistics_plan.peak_memory", offsetof(emr_statistics_plan, peak_memory), sizeof(((emr_statistics_plan *)0)->peak_memory));
    ROW("emr_statistics_plan.result_bytes", offsetof(emr_statistics_plan, result_bytes), sizeof(((emr_statistics_plan *)0)->result_bytes));
    ROW("emr_statistics_plan.n_tensors", offsetof(emr_statistics_plan, n_tensors), sizeof(((emr_statistics_plan *)0)->n_tensors));
    ROW("emr_statistics_plan.n_left_out", offsetof(emr_statistics_plan, n_left_out), sizeof(((emr_statistics_plan *)0)->n_left_out));
    ROW("emr_statistics_plan.n_layers", offsetof(emr_statistics_plan, n_layers), sizeof(((emr_statistics_plan *)0)->n_layers));
    ROW("emr_statistics_plan.n_kinds", offsetof(emr_statistics_plan, n_kinds), sizeof(((emr_statistics_plan *)0)->n_kinds));
    ROW("emr_statistics_group", sizeof(emr_statistics_group), _Alignof(emr_statistics_group));
    ROW("emr_statistics_group.size", offsetof(emr_statistics_group, size), sizeof(((emr_statistics_group *)0)->size));
    ROW("emr_statistics_group.name", offsetof(emr_statistics_group, name), sizeof(((emr_statistics_group *)0)->name));
    ROW("emr_statistics_group.tensor", offsetof(emr_statistics_group, tensor), sizeof(((emr_statistics_group *)0)->tensor));
    ROW("emr_statistics_group.products", offsetof(emr_statistics_group, products), sizeof(((emr_statistics_group *)0)->products));
    ROW("emr_statistics_group.distances", offsetof(emr_statistics_group, distances), sizeof(((emr_statistics_group *)0)->distances));
    ROW("emr_statistics_group.sums", offsetof(emr_statistics_group, sums), sizeof(((emr_statistics_group *)0)->sums));
    ROW("emr_statistics_group.magnitudes", offsetof(emr_statistics_group, magnitudes), sizeof(((emr_statistics_group *)0)->magnitudes));
    ROW("emr_statistics_group.fourths", offsetof(emr_statistics_group, fourths), sizeof(((emr_statistics_group *)0)->fourths));
    ROW("emr_statistics_group.largest", offsetof(emr_statistics_group, largest), sizeof(((emr_statistics_group *)0)->largest));
    ROW("emr_statistics_group.quantiles", offsetof(emr_statistics_group, quantiles), sizeof(((emr_statistics_group *)0)->quantiles));
    ROW("emr_statistics_group.zeros", offsetof(emr_statistics_group, zeros), sizeof(((emr_statistics_group *)0)->zeros));
    ROW("emr_statistics_group.nonfinite", offsetof(emr_statistics_group, nonfinite), sizeof(((emr_statistics_group *)0)->nonfinite));
    ROW("emr_statistics_group.same_signs", offsetof(emr_statistics_group, same_signs), sizeof(((emr_statistics_group *)0)->same_signs));
    ROW("emr_statistics_group.both", offsetof(emr_statistics_group, both), sizeof(((emr_statistics_group *)0)->both));
    ROW("emr_statistics_group.count", offsetof(emr_statistics_group, count), sizeof(((emr_statistics_group *)0)->count));
    ROW("emr_statistics_group.conflicts", offsetof(emr_statistics_group, conflicts), sizeof(((emr_statistics_group *)0)->conflicts));
    ROW("emr_statistics_group.unchanged", offsetof(emr_statistics_group, unchanged), sizeof(((emr_statistics_group *)0)->unchanged));
    ROW("emr_statistics_group.layer", offsetof(emr_statistics_group, layer), sizeof(((emr_statistics_group *)0)->layer));
    ROW("emr_statistics_group.n_tensors", offsetof(emr_statistics_group, n_tensors), sizeof(((emr_statistics_group *)0)->n_tensors));
    ROW("emr_statistics_group.n_tasks", offsetof(emr_statistics_group, n_tasks), sizeof(((emr_statistics_group *)0)->n_tasks));
    ROW("emr_statistics_group.n_quantiles", offsetof(emr_statistics_group, n_quantiles), sizeof(((emr_statistics_group *)0)->n_quantiles));
    ROW("emr_statistics_group.is_rounded", offsetof(emr_statistics_group, is_rounded), sizeof(((emr_statistics_group *)0)->is_rounded));
    ROW("emr_task_moments", sizeof(emr_task_moments), _Alignof(emr_task_moments));
    ROW("emr_task_moments.size", offsetof(emr_task_moments, size), sizeof(((emr_task_moments *)0)->size));
    ROW("emr_task_moments.norm", offsetof(emr_task_moments, norm), sizeof(((emr_task_moments *)0)->norm));
    ROW("emr_task_moments.mean", offsetof(emr_task_moments, mean), sizeof(((emr_task_moments *)0)->mean));
    ROW("emr_task_moments.mean_magnitude", offsetof(emr_task_moments, mean_magnitude), sizeof(((emr_task_moments *)0)->mean_magnitude));
    ROW("emr_task_moments.deviation", offsetof(emr_task_moments, deviation), sizeof(((emr_task_moments *)0)->deviation));
    ROW("emr_task_moments.kurtosis", offsetof(emr_task_moments, kurtosis), sizeof(((emr_task_moments *)0)->kurtosis));
    ROW("emr_task_moments.zero_share", offsetof(emr_task_moments, zero_share), sizeof(((emr_task_moments *)0)->zero_share));
    ROW("emr_kinship_options", sizeof(emr_kinship_options), _Alignof(emr_kinship_options));
    ROW("emr_kinship_options.size", offsetof(emr_kinship_options, size), sizeof(((emr_kinship_options *)0)->size));
    ROW("emr_kinship_options.metric", offsetof(emr_kinship_options, metric), sizeof(((emr_kinship_options *)0)->metric));
    ROW("emr_kinship_options.absolute", offsetof(emr_kinship_options, absolute), sizeof(((emr_kinship_options *)0)->absolute));
    ROW("emr_features", sizeof(emr_features), _Alignof(emr_features));
    ROW("emr_features.size", offsetof(emr_features, size), sizeof(((emr_features *)0)->size));
    ROW("emr_features.kernels", offsetof(emr_features, kernels), sizeof(((emr_features *)0)->kernels));
    ROW("emr_features.zstd_version", offsetof(emr_features, zstd_version), sizeof(((emr_features *)0)->zstd_version));
    ROW("emr_features.hosted", offsetof(emr_features, hosted), sizeof(((emr_features *)0)->hosted));
    ROW("emr_features.format_major", offsetof(emr_features, format_major), sizeof(((emr_features *)0)->format_major));
    ROW("emr_features.format_minor", offsetof(emr_features, format_minor), sizeof(((emr_features *)0)->format_minor));
    ROW("emr_status", sizeof(emr_status), (emr_status)-1 < 0);
    ROW("emr_block_type", sizeof(emr_block_type), (emr_block_type)-1 < 0);
    ROW("emr_dtype", sizeof(emr_dtype), (emr_dtype)-1 < 0);
    ROW("emr_source_kind", sizeof(emr_source_kind), (emr_source_kind)-1 < 0);
    ROW("emr_modulator_kind", sizeof(emr_modulator_kind), (emr_modulator_kind)-1 < 0);
    ROW("emr_rescale", sizeof(emr_rescale), (emr_rescale)-1 < 0);
    ROW("emr_rescale_per", sizeof(emr_rescale_per), (emr_rescale_per)-1 < 0);
    ROW("emr_mask_rule", sizeof(emr_mask_rule), (emr_mask_rule)-1 < 0);
    ROW("emr_base_check", sizeof(emr_base_check), (emr_base_check)-1 < 0);
    ROW("emr_method_base", sizeof(emr_method_base), (emr_method_base)-1 < 0);
    ROW("emr_on_mismatch", sizeof(emr_on_mismatch), (emr_on_mismatch)-1 < 0);
    ROW("emr_on_missing", sizeof(emr_on_missing), (emr_on_missing)-1 < 0);
    ROW("emr_combination_nonfinite", sizeof(emr_combination_nonfinite), (emr_combination_nonfinite)-1 < 0);
    ROW("emr_combined_action", sizeof(emr_combined_action), (emr_combined_action)-1 < 0);
    ROW("emr_head_kind", sizeof(emr_head_kind), (emr_head_kind)-1 < 0);
    ROW("emr_tie", sizeof(emr_tie), (emr_tie)-1 < 0);
    ROW("emr_on_nonfinite", sizeof(emr_on_nonfinite), (emr_on_nonfinite)-1 < 0);
    ROW("emr_action", sizeof(emr_action), (emr_action)-1 < 0);
    ROW("emr_role", sizeof(emr_role), (emr_role)-1 < 0);
    ROW("emr_search_partner", sizeof(emr_search_partner), (emr_search_partner)-1 < 0);
    ROW("emr_search_pool", sizeof(emr_search_pool), (emr_search_pool)-1 < 0);
    ROW("emr_search_end", sizeof(emr_search_end), (emr_search_end)-1 < 0);
    ROW("emr_statistics_scope", sizeof(emr_statistics_scope), (emr_statistics_scope)-1 < 0);
    ROW("emr_statistics_rounding", sizeof(emr_statistics_rounding), (emr_statistics_rounding)-1 < 0);
    ROW("emr_kinship_metric", sizeof(emr_kinship_metric), (emr_kinship_metric)-1 < 0);
    NUMBER(EMR_OK);
    NUMBER(EMR_EINVAL);
    NUMBER(EMR_ENOMEM);
    NUMBER(EMR_EIO);
    NUMBER(EMR_EFORMAT);
    NUMBER(EMR_ECORRUPT);
    NUMBER(EMR_EVERSION);
    NUMBER(EMR_EMISMATCH);
    NUMBER(EMR_ENONFINITE);
    NUMBER(EMR_ENOTFOUND);
    NUMBER(EMR_ECANCELED);
    NUMBER(EMR_ESTATE);
    NUMBER(EMR_EUNSUPPORTED);
    NUMBER(EMR_ELIMIT);
    NUMBER(EMR_EEXIST);
    NUMBER(EMR_BLOCK_TYPE_NONE);
    NUMBER(EMR_BLOCK_TYPE_Q4_0);
    NUMBER(EMR_BLOCK_TYPE_Q4_1);
    NUMBER(EMR_BLOCK_TYPE_Q5_0);
    NUMBER(EMR_BLOCK_TYPE_Q5_1);
    NUMBER(EMR_BLOCK_TYPE_Q8_0);
    NUMBER(EMR_DTYPE_NONE);
    NUMBER(EMR_DTYPE_F32);
    NUMBER(EMR_DTYPE_F16);
    NUMBER(EMR_DTYPE_BF16);
    NUMBER(EMR_DTYPE_F64);
    NUMBER(EMR_DTYPE_F8_E4M3);
    NUMBER(EMR_DTYPE_F8_E5M2);
    NUMBER(EMR_DTYPE_BOOL);
    NUMBER(EMR_DTYPE_U8);
    NUMBER(EMR_DTYPE_I8);
    NUMBER(EMR_DTYPE_U16);
    NUMBER(EMR_DTYPE_I16);
    NUMBER(EMR_DTYPE_U32);
    NUMBER(EMR_DTYPE_I32);
    NUMBER(EMR_DTYPE_U64);
    NUMBER(EMR_DTYPE_I64);
    NUMBER(EMR_DTYPE_F8_E8M0);
    NUMBER(EMR_DTYPE_F8_E4M3FNUZ);
    NUMBER(EMR_DTYPE_F8_E5M2FNUZ);
    NUMBER(EMR_DTYPE_F4);
    NUMBER(EMR_DTYPE_F6_E2M3);
    NUMBER(EMR_DTYPE_F6_E3M2);
    NUMBER(EMR_DTYPE_C64);
    NUMBER(EMR_SOURCE_KIND_UNKNOWN);
    NUMBER(EMR_SOURCE_KIND_ABSENT);
    NUMBER(EMR_SOURCE_KIND_FILE);
    NUMBER(EMR_SOURCE_KIND_FOLDER);
    NUMBER(EMR_MODULATOR_KIND_DEFAULT);
    NUMBER(EMR_MODULATOR_KIND_MASK);
    NUMBER(EMR_MODULATOR_KIND_TWO_SIDED);
    NUMBER(EMR_MODULATOR_KIND_SIGN);
    NUMBER(EMR_MODULATOR_KIND_THIN);
    NUMBER(EMR_MODULATOR_KIND_LEVELS);
    NUMBER(EMR_RESCALE_DEFAULT);
    NUMBER(EMR_RESCALE_L1);
    NUMBER(EMR_RESCALE_L1_MEANS);
    NUMBER(EMR_RESCALE_L2);
    NUMBER(EMR_RESCALE_NORM);
    NUMBER(EMR_RESCALE_UNBIASED);
    NUMBER(EMR_RESCALE_MIXED);
    NUMBER(EMR_RESCALE_PER_DEFAULT);
    NUMBER(EMR_RESCALE_PER_MODEL);
    NUMBER(EMR_RESCALE_PER_TENSOR);
    NUMBER(EMR_RESCALE_PER_ROW);
    NUMBER(EMR_MASK_RULE_AGREE);
    NUMBER(EMR_MASK_RULE_NEAREST);
    NUMBER(EMR_BASE_CHECK_FIRST);
    NUMBER(EMR_BASE_CHECK_WRITE);
    NUMBER(EMR_BASE_CHECK_NONE);
    NUMBER(EMR_METHOD_BASE_INPUT);
    NUMBER(EMR_METHOD_BASE_REQUIRED);
    NUMBER(EMR_METHOD_BASE_OPTIONAL);
    NUMBER(EMR_METHOD_BASE_BESIDE);
    NUMBER(EMR_ON_MISMATCH_ERROR);
    NUMBER(EMR_ON_MISMATCH_PRIVATE);
    NUMBER(EMR_ON_MISMATCH_ROWS);
    NUMBER(EMR_ON_MISMATCH_PAD);
    NUMBER(EMR_ON_MISSING_ERROR);
    NUMBER(EMR_ON_MISSING_BASE);
    NUMBER(EMR_ON_MISSING_ABSENT);
    NUMBER(EMR_COMBINATION_NONFINITE_ERROR);
    NUMBER(EMR_COMBINATION_NONFINITE_ZERO);
    NUMBER(EMR_COMBINED_ACTION_COMBINE);
    NUMBER(EMR_COMBINED_ACTION_COPY);
    NUMBER(EMR_COMBINED_ACTION_HEAD);
    NUMBER(EMR_HEAD_KIND_SOFTMAX);
    NUMBER(EMR_HEAD_KIND_SIGMOID);
    NUMBER(EMR_HEAD_KIND_IDENTITY);
    NUMBER(EMR_TIE_ZERO);
    NUMBER(EMR_TIE_NEGATIVE);
    NUMBER(EMR_ON_NONFINITE_ERROR);
    NUMBER(EMR_ON_NONFINITE_ZERO);
    NUMBER(EMR_ACTION_MERGE);
    NUMBER(EMR_ACTION_KEEP);
    NUMBER(EMR_ACTION_PRIVATE);
    NUMBER(EMR_ROLE_WEIGHT);
    NUMBER(EMR_ROLE_CODE);
    NUMBER(EMR_ROLE_SIDECAR);
    NUMBER(EMR_ROLE_STATISTIC);
    NUMBER(EMR_ROLE_CONSTANT);
    NUMBER(EMR_ROLE_MAGNITUDE);
    NUMBER(EMR_SEARCH_PARTNER_LOWEST);
    NUMBER(EMR_SEARCH_PARTNER_HIGHEST);
    NUMBER(EMR_SEARCH_PARTNER_NONE);
    NUMBER(EMR_SEARCH_POOL_ALL);
    NUMBER(EMR_SEARCH_POOL_TOP);
    NUMBER(EMR_SEARCH_POOL_LAST);
    NUMBER(EMR_SEARCH_END_STEADY);
    NUMBER(EMR_SEARCH_END_KINSHIP);
    NUMBER(EMR_SEARCH_END_GENERATIONS);
    NUMBER(EMR_STATISTICS_SCOPE_MODEL);
    NUMBER(EMR_STATISTICS_SCOPE_TENSOR);
    NUMBER(EMR_STATISTICS_SCOPE_LAYER);
    NUMBER(EMR_STATISTICS_SCOPE_KIND);
    NUMBER(EMR_STATISTICS_ROUNDING_NONE);
    NUMBER(EMR_STATISTICS_ROUNDING_PER_MODEL);
    NUMBER(EMR_STATISTICS_ROUNDING_PER_TENSOR);
    NUMBER(EMR_KINSHIP_METRIC_PEARSON);
    NUMBER(EMR_KINSHIP_METRIC_COSINE);
    NUMBER(EMR_KINSHIP_METRIC_EUCLID);
    NUMBER(EMR_ADAPTER_CONFIG_MAX);
    NUMBER(EMR_BLOCK_VALUES);
    NUMBER(EMR_FILE_COUNT_MAX);
    NUMBER(EMR_FILE_BYTES_MAX);
    NUMBER(EMR_FILES_BYTES_MAX);
    NUMBER(EMR_EVERY_TASK);
    NUMBER(EMR_BASE);
    NUMBER(EMR_COMPRESSION_NONE);
    NUMBER(EMR_METHOD_STAGES_MAX);
    NUMBER(EMR_SEARCH_NO_MODEL);
    NUMBER(EMR_ERROR_TEXT_SIZE);
    NUMBER(EMR_RANK_MAX);
    NUMBER(EMR_VERSION_MAJOR);
    NUMBER(EMR_VERSION_MINOR);
    NUMBER(EMR_VERSION_PATCH);
    TEXT(EMR_ADAPTER_CONFIG);
    TEXT(EMR_GGUF_HEADER);
    TEXT(EMR_FILE_PREFIX);
    TEXT(EMR_HEAD_GROUPS);
    TEXT(EMR_VERSION_STRING);
    return 0;
}
"##;
