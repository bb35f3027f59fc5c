/* values.c - see values.h. */
#include "values.h"

#include "numeric/convert.h"

static uint64_t state;

void count(counts *n, bool passed)
{
    if (passed)
        n->passed++;
    else
        n->failed++;
}

void begin_values(uint64_t seed)
{
    state = seed;
}

uint64_t next_bits(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

size_t below(size_t n)
{
    return (size_t)(next_bits() % n);
}

bool chance(unsigned one_in)
{
    return below(one_in) == 0;
}

const emr_dtype narrow_dtypes[3] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
const emr_dtype all_dtypes[6] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                 EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};

float ordinary(void)
{
    return (float)((double)(int64_t)next_bits() * 0x1p-63);
}

float value_of(flavour f)
{
    static const float nasty[] = {0.0f,   -0.0f,    1e-45f,   -1e-45f, 1e-39f, 3e38f,
                                  -3e38f, 65504.0f, 65520.0f, 1.0f,    -1.0f};
    switch (f) {
    case SPREAD: /* sums of narrow values round, so that their order shows */
        return ordinary() / (float)((uint64_t)1 << below(40));
    case TIES:
        return (float)((int)below(5) - 2) * 0.5f;
    case TINY:
        return ordinary() * 1e-38f;
    case HUGE_VALUES:
        return ordinary() * (chance(4) ? 3e38f : 1e30f);
    default:
        return chance(40) ? nasty[below(sizeof nasty / sizeof nasty[0])] : ordinary();
    }
}

void fill_values(uint8_t *to, emr_dtype dtype, size_t n, flavour f)
{
    size_t size = emr_float_size(dtype);
    for (size_t i = 0; i < n; i++) {
        if (f == ANY_BITS && chance(50)) {
            uint64_t bits = next_bits(); /* NaNs and infinities among them */
            memcpy(to + i * size, &bits, size);
        } else {
            float value = value_of(f == ANY_BITS ? ORDINARY : f);
            emr_store_f32(dtype, to + i * size, &value, 1);
        }
    }
}

void fill_nonfinite(uint8_t *to, emr_dtype dtype, size_t n)
{
    static const uint64_t exponents[] = {
        [EMR_DTYPE_F32] = 0x7f800000, [EMR_DTYPE_F16] = 0x7c00,   [EMR_DTYPE_BF16] = 0x7f80,
        [EMR_DTYPE_F8_E4M3] = 0x7f,   [EMR_DTYPE_F8_E5M2] = 0x7c, [EMR_DTYPE_F64] = (uint64_t)0x7ff << 52};
    size_t size = emr_float_size(dtype);
    for (size_t i = 0; i < n; i++) {
        float infinity = emr_f32_from_bits(0x7f800000), value = chance(2) ? infinity : ordinary();
        uint64_t nan = next_bits() | exponents[dtype];
        value = chance(2) ? value : -value;
        if (chance(2))
            memcpy(to + i * size, &nan, size);
        else
            emr_store_f32(dtype, to + i * size, &value, 1);
    }
}
