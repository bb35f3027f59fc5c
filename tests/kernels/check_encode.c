/* check_encode.c - see check_encode.h. Items of all lengths, rows from 8 to 20,000 columns, every kind and
 * rule, all dtypes, values of every sort; guards around what is written. */
#include "check_encode.h"

#include "core/bytes.h"
#include "numeric/convert.h"
#include "numeric/encode.h"

#include <stdio.h>
#include <string.h>

enum { MARGIN = 64, CODES_MAX = EMR_CHUNK * 4, SCALES_MAX = EMR_CHUNK / 4 + 4 };

/* Of no importance, but ascending and symmetric. */
static const float levels_of_3[] = {-1.25f, 0, 1.25f}, levels_of_4[] = {-1.5f, -0.45f, 0.45f, 1.5f},
                   levels_of_8[] = {-2.1f, -1.3f, -0.7f, -0.2f, 0.2f, 0.7f, 1.3f, 2.1f},
                   levels_of_16[] = {-2.7f, -2.1f, -1.6f, -1.2f, -0.9f, -0.6f, -0.4f, -0.1f,
                                     0.1f,  0.4f,  0.6f,  0.9f,  1.2f,  1.6f,  2.1f,  2.7f};

typedef struct encoded {
    uint8_t codes[CODES_MAX + 2 * MARGIN], scales[SCALES_MAX + 2 * MARGIN];
    float columns[EMR_CHUNK + MARGIN];
    emr_encoding e;
} encoded;

static uint8_t base_bytes[EMR_CHUNK * 8 + 8], task_bytes[EMR_CHUNK * 8 + 8];

static void encode_into(encoded *to, const emr_kernels *kernels, const emr_encoding *e)
{
    static float tau[EMR_CHUNK + 64];
    memset(to, 0x5a, sizeof *to);
    memset(tau, 0xff, sizeof tau); /* NaNs, should anything look at what it has not written */
    to->e = *e;
    to->e.tau = tau;
    to->e.codes = to->codes + MARGIN;
    to->e.scales = to->scales + MARGIN;
    to->e.column_sums = e->has_columns ? to->columns : NULL;
    emr_encode_item(kernels, &to->e);
}

static bool same_double(double a, double b)
{
    return emr_f64_bits(a) == emr_f64_bits(b);
}

static bool same_encoded(const encoded *a, const encoded *b)
{
    if (a->e.bad != b->e.bad)
        return false;
    return a->e.bad < a->e.n ||
           (memcmp(a->codes, b->codes, sizeof a->codes) == 0 &&
            memcmp(a->scales, b->scales, sizeof a->scales) == 0 &&
            memcmp(a->columns, b->columns, sizeof a->columns) == 0 && same_double(a->e.tt, b->e.tt) &&
            same_double(a->e.tq, b->e.tq) && same_double(a->e.qq, b->e.qq) && same_double(a->e.rr, b->e.rr) &&
            a->e.zeroed == b->e.zeroed && a->e.n_stretches == b->e.n_stretches);
}

static void choose_coding(emr_encoding *e)
{
    static const float *const levels[] = {levels_of_3, levels_of_4, levels_of_8, levels_of_16};
    static const uint32_t level_counts[] = {3, 4, 8, 16}, rates[] = {128, 128, 192, 256};
    static const emr_modulator_kind kinds[] = {0,
                                               EMR_MODULATOR_KIND_SIGN,
                                               EMR_MODULATOR_KIND_SIGN,
                                               EMR_MODULATOR_KIND_THIN,
                                               EMR_MODULATOR_KIND_THIN,
                                               EMR_MODULATOR_KIND_LEVELS,
                                               EMR_MODULATOR_KIND_LEVELS};
    size_t which = below(4);
    e->kind = kinds[below(sizeof kinds / sizeof *kinds)];
    e->coding.seed = (uint32_t)next_bits();
    e->rescale = EMR_RESCALE_L1 + (uint32_t)below(5);
    if (e->kind == EMR_MODULATOR_KIND_SIGN) {
        e->coding.rate = EMR_GROUP;
        e->has_columns = chance(2);
    } else if (e->kind == EMR_MODULATOR_KIND_THIN) {
        e->coding.rate = 2u << below(5);
        e->rescale = EMR_RESCALE_L1 + (uint32_t)below(6);
    } else if (e->kind == EMR_MODULATOR_KIND_LEVELS) {
        e->n_levels = level_counts[which];
        e->coding.levels = levels[which];
        e->coding.rate = rates[which];
    } else {
        e->coding.rate = EMR_GROUP * (chance(2) ? 16 : 32);
    }
}

static bool check_item(const emr_kernels *kernels)
{
    static encoded reference, other;
    static const uint64_t row_lengths[] = {8,   9,   16,  17,   63,   64,    100,
                                           255, 256, 257, 1000, 4096, 16384, 20000};
    bool wide = chance(8);
    flavour f = (flavour)below(N_FLAVOURS);
    emr_encoding e = {.n = 1 + below(chance(2) ? 300 : EMR_CHUNK), .zero_nonfinite = chance(2)};
    e.base_dtype = wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    e.task_dtype = chance(2) ? e.base_dtype : wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    e.row_length = chance(2) ? row_lengths[below(sizeof row_lengths / sizeof *row_lengths)] : 8 + below(300);
    e.first = below(100) * EMR_GROUP;
    e.flat = (next_bits() >> 20) * EMR_CHUNK + (EMR_CHUNK - e.n) / EMR_GROUP * EMR_GROUP;
    e.base = base_bytes + below(8);
    e.task = task_bytes + below(8);
    choose_coding(&e);
    fill_values(base_bytes + ((const uint8_t *)e.base - base_bytes), e.base_dtype, e.n, f);
    fill_values(task_bytes + ((const uint8_t *)e.task - task_bytes), e.task_dtype, e.n, f);
    if (e.base_dtype == e.task_dtype && chance(4)) /* runs of zeros */
        memcpy(task_bytes + ((const uint8_t *)e.task - task_bytes), e.base,
               e.n / 2 * emr_float_size(e.base_dtype));
    encode_into(&reference, &emr_kernels_c, &e);
    encode_into(&other, kernels, &e);
    if (same_encoded(&reference, &other))
        return true;
    printf("%s: encoding differs: kind %u, rule %u, rate %u, %zu parameters, rows of %u, base %s, task %s, "
           "flavour %d\n",
           kernels->name, (unsigned)e.kind, (unsigned)e.rescale, (unsigned)e.coding.rate, e.n,
           (unsigned)e.row_length, emr_dtype_name(e.base_dtype), emr_dtype_name(e.task_dtype), (int)f);
    return false;
}

void check_encode(const emr_kernels *kernels, counts *n)
{
    for (int i = 0; i < 1500; i++)
        count(n, check_item(kernels));
}
