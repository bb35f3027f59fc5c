/* reader.c - see reader.h. Loops over floats have no branches, so that compilers make vector instructions of them. */
#include "combine/reader.h"

#include "core/bytes.h"
#include "numeric/convert.h"

#include <string.h>

/* Between buffers: were they powers of two apart, they would compete for the same sets of the caches. */
enum { SKEW = 1088 };

/* Memory that is laid out piece by piece; where there is none it is only counted. */
typedef struct layout_cursor {
    uint8_t *memory;
    uint64_t used;
} layout_cursor;

static void *take_bytes(layout_cursor *c, uint64_t bytes)
{
    void *taken = c->memory ? c->memory + c->used : NULL;
    c->used += emr_round_up(bytes, EMR_ALIGNMENT);
    return taken;
}

static void *take_elements(layout_cursor *c, size_t capacity, size_t size)
{
    void *taken = take_bytes(c, (uint64_t)capacity * size);
    c->used += SKEW;
    return taken;
}

static uint32_t input_count(const emr_combination *c)
{
    return c->n_tasks + (c->base && emr_base_is_input(c));
}

static void lay_out_reader(emr_combine_reader *r, layout_cursor *cursor, bool combines)
{
    const emr_combination *c = r->combination;
    const uint32_t n = input_count(c);
    const size_t capacity = r->capacity;
    r->buffers = take_bytes(cursor, n * sizeof *r->buffers);
    r->inputs = take_bytes(cursor, n * sizeof *r->inputs);
    for (uint32_t i = 0; i < n; i++) {
        float *buffer = take_elements(cursor, capacity, sizeof *buffer);
        if (cursor->memory)
            r->buffers[i] = buffer;
    }
    r->base = c->base ? take_elements(cursor, capacity, sizeof *r->base) : NULL;
    r->out = combines ? take_elements(cursor, capacity, sizeof *r->out) : NULL;
    r->scratch = take_elements(cursor, capacity, c->method.scratch_floats * sizeof *r->scratch);
    r->wide_base = c->has_wide ? take_elements(cursor, capacity, sizeof *r->wide_base) : NULL;
    r->wide_task = c->has_wide ? take_elements(cursor, capacity, sizeof *r->wide_task) : NULL;
    r->raw = c->raw_size ? take_elements(cursor, capacity, c->raw_size) : NULL;
}

uint64_t emr_reader_bytes(const emr_combination *c, size_t capacity, bool combines)
{
    emr_combine_reader r = {.combination = c, .capacity = capacity};
    layout_cursor cursor = {NULL, 0};
    lay_out_reader(&r, &cursor, combines);
    return cursor.used;
}

void emr_reader_place(emr_combine_reader *r, const emr_combination *c, size_t capacity, bool combines,
                      void *memory)
{
    layout_cursor cursor = {memory, 0};
    *r = (emr_combine_reader){.combination = c, .capacity = capacity};
    lay_out_reader(r, &cursor, combines);
}

/* The top bit is set where the value is not finite. */
static inline uint32_t nonfinite_bit(float value)
{
    return (emr_f32_bits(value) & 0x7f800000) + 0x00800000;
}

static bool are_finite(const float *values, size_t n)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++)
        seen |= nonfinite_bit(values[i]);
    return seen >> 31 == 0;
}

static void add_base(float *restrict values, const float *restrict base, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = base[i] + values[i];
}

/* What is loaded now: a range of a tensor. */
typedef struct load {
    emr_combine_reader *reader;
    const emr_combined *tensor;
    const emr_combine_range *range;
} load;

/* Stored elements of a tensor: in the host's memory, or read. */
static emr_status read_stored(const load *l, const emr_tensor *t, size_t n, const void **stored,
                              emr_error *error)
{
    const size_t size = emr_float_size(t->dtype);
    const uint64_t offset = l->range->first * size;
    *stored = l->reader->raw;
    if (t->kind != EMR_TENSOR_MEMORY || t->unchecked)
        return emr_tensor_read(t, offset, l->reader->raw, n * size, error);
    *stored = (const uint8_t *)t->data + offset;
    return EMR_OK;
}

static bool is_plain(const emr_tensor *t)
{
    return t->dtype == EMR_DTYPE_F32 && emr_is_little_endian();
}

/* Whether elements may be used where they are. */
static bool lies_in_memory(const emr_tensor *t)
{
    return t->kind == EMR_TENSOR_MEMORY && !t->unchecked && is_plain(t) &&
           (uintptr_t)t->data % sizeof(float) == 0;
}

static emr_status read_values(const load *l, const emr_tensor *t, size_t n, float *values, emr_error *error)
{
    const void *stored;
    if (is_plain(t))
        return emr_tensor_read(t, l->range->first * sizeof *values, values, n * sizeof *values, error);
    emr_status status = read_stored(l, t, n, &stored, error);
    if (!status)
        l->reader->combination->kernels->convert(EMR_DTYPE_F32, values, t->dtype, stored, n);
    return status;
}

static emr_status read_wide(const load *l, const emr_tensor *t, size_t n, double *values, emr_error *error)
{
    const void *stored;
    emr_status status = read_stored(l, t, n, &stored, error);
    if (!status)
        emr_load_f64(values, t->dtype, stored, n);
    return status;
}

/* Names the task of a read that failed. */
static emr_status name_task(const load *l, uint32_t task, emr_status status, emr_error *error)
{
    if (status && task != EMR_BASE && error && !error->task.length)
        emr_error_prefix(error, "task '%K'", emr_input_name(l->reader->combination, task));
    return status;
}

static emr_status refuse_nonfinite(const load *l, const emr_combined_input *input, const float *values,
                                   size_t n, emr_error *error)
{
    const emr_tensor *t = input->tensor;
    size_t at = 0;
    float own = 0;
    while (at + 1 < n && nonfinite_bit(values[at]) >> 31 == 0)
        at++;
    const uint64_t index = l->range->first + at;
    if (input->task == EMR_BASE)
        return emr_fail(error, EMR_ENONFINITE,
                        "the base (%F): tensor '%T': NaN or infinity at index %u (to count it as 0: "
                        "--on-nonfinite zero)",
                        t->model_name, t->name, index);
    emr_status status = emr_tensor_read_floats(t, index, 1, &own, error);
    if (status)
        return name_task(l, input->task, status, error);
    return emr_fail(
        error, EMR_ENONFINITE,
        "task '%K' (%F): tensor '%T': %s at index %u (to count it as unchanged: --on-nonfinite zero)",
        emr_input_name(l->reader->combination, input->task), t->model_name, t->name,
        nonfinite_bit(own) >> 31 ? "NaN or infinity" : "the difference from the base overflows f32", index);
}

/* What counts in the place of values that are not finite; NULL: 0. */
static void replace_nonfinite(float *values, double *wide, const float *instead, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (nonfinite_bit(values[i]) >> 31) {
            values[i] = instead ? instead[i] : 0;
            if (wide)
                wide[i] = values[i];
        }
}

/* Values of which some are not finite. */
static emr_status settle_nonfinite(const load *l, const emr_combined_input *input, float *values,
                                   double *wide, const float *instead, size_t n, emr_error *error)
{
    if (l->reader->combination->options.on_nonfinite == EMR_COMBINATION_NONFINITE_ERROR)
        return refuse_nonfinite(l, input, values, n, error);
    replace_nonfinite(values, wide, instead, n);
    return EMR_OK;
}

/* The base where it is no input. */
static emr_status load_base_chunk(const load *l, emr_error *error)
{
    const size_t n = l->range->n, at = l->range->at;
    const emr_combined_input input = {l->tensor->base, EMR_BASE};
    float *values = l->reader->base + at;
    double *wide = l->tensor->is_wide ? l->reader->wide_base + at : NULL;
    emr_status status =
        wide ? read_wide(l, input.tensor, n, wide, error) : read_values(l, input.tensor, n, values, error);
    if (!status && wide)
        l->reader->combination->kernels->convert(EMR_DTYPE_F32, values, EMR_DTYPE_F64, wide, n);
    return status || are_finite(values, n) ? status
                                           : settle_nonfinite(l, &input, values, wide, NULL, n, error);
}

/* The first n differences from the base, in f64. */
static emr_status load_wide_difference(const load *l, const emr_tensor *t, uint32_t i, size_t n,
                                       emr_error *error)
{
    emr_combine_reader *r = l->reader;
    const size_t at = l->range->at;
    const double *base = r->wide_base + at;
    double *wide = r->wide_task + at;
    emr_status status = read_wide(l, t, n, wide, error);
    for (size_t k = 0; !status && k < n; k++)
        wide[k] -= base[k];
    if (!status)
        r->combination->kernels->convert(EMR_DTYPE_F32, r->buffers[i] + at, EMR_DTYPE_F64, wide, n);
    return status;
}

/* The first n differences; *finite: whether all are. */
static emr_status load_difference(const load *l, const emr_tensor *t, uint32_t i, size_t n, bool *finite,
                                  emr_error *error)
{
    emr_combine_reader *r = l->reader;
    const size_t at = l->range->at;
    float *values = r->buffers[i] + at;
    emr_status status = EMR_OK;
    if (l->tensor->is_wide) {
        status = load_wide_difference(l, t, i, n, error);
        *finite = status || are_finite(values, n);
        return status;
    }
    const float *given = lies_in_memory(t) ? (const float *)t->data + l->range->first : values;
    if (given == values)
        status = read_values(l, t, n, values, error);
    if (!status)
        *finite = r->combination->kernels->subtract(values, given, r->base + at, n);
    return status;
}

/* What a task's weights count as where it has none: the base's. */
static const float *values_of_base(const load *l, bool is_difference)
{
    const emr_combine_reader *r = l->reader;
    if (is_difference || !l->tensor->base)
        return NULL;
    return (l->tensor->seen.has_base ? r->base : r->buffers[0]) + l->range->at;
}

/* Elements [n, end) of an input: those of rows that its tensor lacks. */
static void fill_lacking(const load *l, uint32_t i, const float *instead, size_t n)
{
    emr_combine_reader *r = l->reader;
    const size_t at = l->range->at, end = l->range->n;
    float *values = r->buffers[i] + at;
    for (size_t k = n; k < end; k++)
        values[k] = instead ? instead[k] : 0;
}

static emr_status load_input(const load *l, uint32_t i, emr_error *error)
{
    emr_combine_reader *r = l->reader;
    const emr_combined_input *input = &l->tensor->inputs[i];
    const emr_combine_range *range = l->range;
    const bool is_difference = l->tensor->seen.has_base && emr_adds_to_base(r->combination);
    const float *instead = input->task == EMR_BASE ? NULL : values_of_base(l, is_difference);
    float *values = r->buffers[i] + range->at;
    size_t n = 0;
    bool finite = true;
    emr_status status = EMR_OK;
    if (input->tensor && input->tensor->count > range->first)
        n = (size_t)emr_min(range->n, input->tensor->count - range->first);
    if (n && is_difference)
        status = load_difference(l, input->tensor, i, n, &finite, error);
    else if (n)
        status = read_values(l, input->tensor, n, values, error);
    if (status)
        return name_task(l, input->task, status, error);
    if (is_difference ? !finite : !are_finite(values, n))
        status = settle_nonfinite(l, input, values, NULL, instead, n, error);
    if (n < range->n)
        fill_lacking(l, i, instead, n);
    return status;
}

emr_status emr_reader_load(emr_combine_reader *r, const emr_combined *t, const emr_combine_range *range,
                           emr_error *error)
{
    const load l = {r, t, range};
    emr_status status = t->seen.has_base ? load_base_chunk(&l, error) : EMR_OK;
    for (uint32_t i = 0; !status && i < t->seen.n_inputs; i++)
        status = load_input(&l, i, error);
    return status;
}

emr_method_chunk emr_reader_chunk(const emr_combine_reader *r, const emr_combined *t,
                                  const emr_method_tensor *seen, const emr_combine_range *range)
{
    for (uint32_t i = 0; i < t->seen.n_inputs; i++)
        r->inputs[i] = r->buffers[i] + range->at;
    return (emr_method_chunk){.size = sizeof(emr_method_chunk),
                              .tensor = seen,
                              .inputs = r->inputs,
                              .base = t->seen.has_base ? r->base + range->at : NULL,
                              .scratch = r->scratch,
                              .first = range->first,
                              .position = t->position + range->first,
                              .n = range->n};
}

/* What the method computed, with the base where it is added, in the tensor's dtype. */
static void store_combined(const emr_combine_reader *r, const emr_combined *t, const emr_method_chunk *chunk,
                           void *out)
{
    const emr_kernels *kernels = r->combination->kernels;
    const bool adds = t->seen.has_base && emr_adds_to_base(r->combination);
    double *wide = r->wide_task;
    if (!t->is_wide) {
        if (adds)
            add_base(chunk->out, r->base, chunk->n);
        if (chunk->out != out)
            kernels->convert(t->dtype, out, EMR_DTYPE_F32, chunk->out, chunk->n);
        return;
    }
    emr_load_f64(wide, EMR_DTYPE_F32, chunk->out, chunk->n);
    for (size_t i = 0; adds && i < chunk->n; i++)
        wide[i] = r->wide_base[i] + wide[i];
    kernels->convert(t->dtype, out, EMR_DTYPE_F64, wide, chunk->n);
}

emr_status emr_reader_combine(emr_combine_reader *r, const emr_combined *t, const double *found,
                              uint64_t first, size_t n, void *out, emr_error *error)
{
    const emr_combine_range range = {first, n, 0};
    const bool goes_straight = !t->is_wide && t->dtype == EMR_DTYPE_F32 && emr_is_little_endian() &&
                               (uintptr_t)out % sizeof(float) == 0;
    emr_method_tensor seen = t->seen;
    seen.found = found;
    emr_status status = emr_reader_load(r, t, &range, error);
    if (status)
        return status;
    emr_method_chunk chunk = emr_reader_chunk(r, t, &seen, &range);
    chunk.out = goes_straight ? out : r->out;
    status = r->combination->method.combine(&chunk, error);
    if (!status)
        store_combined(r, t, &chunk, out);
    return status;
}
