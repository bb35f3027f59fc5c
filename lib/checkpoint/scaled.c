/* scaled.c - weight = code x scale, computed as it is read, of every family that lib/role knows to be a
 * product. One multiplication of floats, rounded once; what bitsandbytes divides by 127 takes a second one,
 * as there. A scale that is NaN or infinite makes weights that are, and a merge names them as it names all
 * others. */
#include "checkpoint/scaled.h"

#include "core/text.h"
#include "numeric/convert.h"
#include "role/role.h"

#include <string.h>

enum { AT_A_TIME = 1 << 16 /* elements that are computed */, SCALES = 512 /* that are read */ };

/* FP8 without infinities and without -0, which is NaN: FNUZ, 2^-bias of the other one's numbers. */
static float fnuz_to_f32(uint8_t b, uint32_t mantissa_bits)
{
    uint32_t exponent = (b & 0x7f) >> mantissa_bits, mantissa = b & ((1u << mantissa_bits) - 1);
    uint32_t bias = mantissa_bits == 3 ? 8 : 16, unit = 127 - bias - mantissa_bits + 1;
    if (b == 0x80)
        return emr_f32_from_bits(0x7fc00000);
    if (exponent) {
        mantissa += 1u << mantissa_bits;
        unit += exponent - 1;
    }
    float value = (float)mantissa * emr_f32_from_bits(unit << 23); /* exact */
    return b & 0x80 ? -value : value;
}

/* What the 256 codes of a dtype stand for. */
static void fill_table(float table[256], emr_dtype dtype)
{
    uint8_t codes[256];
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    if (emr_dtype_is_float(dtype)) {
        emr_load_f32(table, dtype, codes, 256);
        return;
    }
    for (int i = 0; i < 256; i++)
        table[i] = dtype == EMR_DTYPE_I8            ? (float)(int8_t)codes[i]
                   : dtype == EMR_DTYPE_F8_E4M3FNUZ ? fnuz_to_f32(codes[i], 3)
                                                    : fnuz_to_f32(codes[i], 2);
}

/* Some of a code's scales, those that were needed last. */
typedef struct scale_window {
    const emr_tensor *tensor;
    uint64_t first;
    size_t n;
    float values[SCALES];
} scale_window;

/* A byte that is an exponent: 2^(byte - 127), NaN for the last one. */
static float exponent_to_f32(uint8_t b)
{
    return emr_f32_from_bits(b == 255 ? 0x7fc00000 : b == 0 ? 0x00400000 : (uint32_t)b << 23);
}

static emr_status load_scale_window(scale_window *w, uint64_t first, emr_error *error)
{
    uint8_t bytes[SCALES];
    w->n = (size_t)emr_min(SCALES, w->tensor->count - first);
    w->first = first;
    if (emr_dtype_is_float(w->tensor->dtype))
        return emr_tensor_read_floats(w->tensor, first, w->n, w->values, error);
    emr_status status = emr_tensor_read(w->tensor, first, bytes, w->n, error);
    for (size_t i = 0; !status && i < w->n; i++)
        w->values[i] = exponent_to_f32(bytes[i]);
    return status;
}

/* Multiplies elements [first, first + n) of a row of the code by their scales, the row's being from number
 * `scale` on. `factor` comes after that. */
static emr_status scale_row(scale_window *w, const float table[256], float factor, uint64_t block,
                            uint64_t first, size_t n, uint64_t scale, const uint8_t *codes, uint8_t *to,
                            emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < n;) {
        uint64_t at = scale + (first + i) / block, left = block - (first + i) % block;
        size_t end = left < n - i ? i + (size_t)left : n;
        if (at < w->first || at - w->first >= w->n)
            status = load_scale_window(w, at, error);
        float s = status ? 0 : w->values[at - w->first];
        for (; !status && i < end; i++, to += 4)
            emr_store32(to, emr_f32_bits(table[codes[i]] * s * factor));
    }
    return status;
}

/* Which scale is whose. bitsandbytes has one a row, in whatever shape. */
static bool find_layout(emr_scale_layout *layout, const emr_tensor *code, const emr_tensor *scale,
                        bool is_scb)
{
    if (!is_scb)
        return emr_scale_layout_find(layout, code, scale);
    layout->block[0] = 1;
    layout->block[1] = code->shape[1] ? code->shape[1] : 1;
    return true;
}

/* The number of a row's first scale; rows are all but the last dimension. */
static uint64_t first_scale_of_row(const emr_scale_layout *layout, const emr_tensor *code, uint64_t row)
{
    uint64_t number = 0, stride = 1;
    for (uint32_t i = code->rank; i-- > 0;) {
        if (i + 1 < code->rank) {
            number += row % code->shape[i] / layout->block[i] * stride;
            row /= code->shape[i];
        }
        stride *= (code->shape[i] - 1) / layout->block[i] + 1;
    }
    return number;
}

/* Codes are read into the end of where the floats go: a float overwrites none that is still needed. */
static emr_status multiply_codes(const emr_computation *c, bool is_scb, emr_error *error)
{
    const emr_tensor *code = c->user, *scale = code->user;
    uint8_t *out = c->out, *codes = out + 3 * c->count;
    uint64_t row_length = code->rank ? code->shape[code->rank - 1] : 1, block = 1;
    float table[256];
    scale_window window;
    emr_scale_layout layout;
    window.tensor = scale;
    window.first = window.n = 0;
    if (!find_layout(&layout, code, scale, is_scb))
        return EMR_EINVAL; /* it was found when the model was opened */
    if (code->rank)
        block = layout.block[code->rank - 1];
    fill_table(table, code->dtype);
    emr_status status = emr_tensor_read(code, c->first, codes, c->count, error);
    for (size_t done = 0; !status && done < c->count;) {
        uint64_t row = (c->first + done) / row_length, first = (c->first + done) % row_length;
        size_t n = (size_t)emr_min(row_length - first, c->count - done);
        status = scale_row(&window, table, is_scb ? 7.874015718698502e-3f : 1, block, first, n,
                           first_scale_of_row(&layout, code, row), codes + done, out + 4 * done, error);
        done += n;
    }
    return status;
}

static emr_status compute_product(const emr_computation *c, emr_error *error)
{
    return multiply_codes(c, false, error);
}

static emr_status compute_scb(const emr_computation *c, emr_error *error)
{
    return multiply_codes(c, true, error);
}

enum { STAYS = 0, GOES = 1, IS_DERIVED = 2 };

/* What becomes of a tensor. ComfyUI's marker says that there are codes: it goes too. */
static emr_status decide_fate(const emr_tensor *t, uint8_t *fate, emr_error *error)
{
    const emr_found_role found = emr_role_find(t);
    *fate = STAYS;
    if (found.role == EMR_ROLE_CODE && found.family->scaling == EMR_SCALING_ODD)
        return emr_fail(
            error, EMR_EFORMAT,
            "%F: tensor '%T' cannot be dequantised: '%s' is neither one scale, nor one a row, nor one a "
            "block of it (without --dequantise both are kept as they are)",
            t->model_name, t->name, found.key->name);
    if (found.can_dequantise)
        *fate = found.role == EMR_ROLE_CODE ? IS_DERIVED : GOES;
    else if (found.role == EMR_ROLE_CONSTANT && emr_same_text(found.name, EMR_ROLE_MARKER))
        *fate = GOES;
    return EMR_OK;
}

static emr_status derive_product(emr_model *m, uint32_t i, emr_error *error)
{
    const emr_found_role found = emr_role_find(m->tensors[i]);
    bool is_scb = found.family->scaling == EMR_SCALING_SCB;
    emr_status status =
        emr_model_derive(m, i, EMR_DTYPE_F32, is_scb ? compute_scb : compute_product, AT_A_TIME, error);
    if (!status) /* what it was before has no use for its `user`: it is read from a file */
        m->hidden[m->n_hidden - 1]->user = (void *)(uintptr_t)found.key;
    return status;
}

emr_status emr_scaled_dequantise(emr_model *m, emr_error *error)
{
    uint8_t *fates = emr_allocate_array(&m->allocator, m->n_tensors, 1);
    emr_status status = fates ? EMR_OK : emr_no_memory(error, m->name);
    bool is_any = false;
    for (uint32_t i = 0; !status && i < m->n_tensors; i++) {
        status = decide_fate(m->tensors[i], &fates[i], error);
        is_any = is_any || fates[i] == IS_DERIVED;
    }
    for (uint32_t i = 0; !status && is_any && i < m->n_tensors; i++)
        if (fates[i] == IS_DERIVED) {
            status = derive_product(m, i, error);
            fates[i] = STAYS;
        }
    if (!status && is_any) {
        status = emr_model_hide(m, fates, error);
        emr_model_remove_metadata(m, "_quantization_metadata"); /* ComfyUI's list of codes, if it is there */
    }
    emr_release(&m->allocator, fates);
    return status;
}
