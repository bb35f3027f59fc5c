/* dtype.c - names and sizes of the element types. */
#include "emr/dtype.h"

typedef struct dtype_row {
    uint8_t dtype;
    uint8_t bits;
    char name[14];
} dtype_row;

static const dtype_row rows[] = {
    {EMR_DTYPE_F32, 32, "F32"},
    {EMR_DTYPE_F16, 16, "F16"},
    {EMR_DTYPE_BF16, 16, "BF16"},
    {EMR_DTYPE_F64, 64, "F64"},
    {EMR_DTYPE_F8_E4M3, 8, "F8_E4M3"},
    {EMR_DTYPE_F8_E5M2, 8, "F8_E5M2"},
    {EMR_DTYPE_BOOL, 8, "BOOL"},
    {EMR_DTYPE_U8, 8, "U8"},
    {EMR_DTYPE_I8, 8, "I8"},
    {EMR_DTYPE_U16, 16, "U16"},
    {EMR_DTYPE_I16, 16, "I16"},
    {EMR_DTYPE_U32, 32, "U32"},
    {EMR_DTYPE_I32, 32, "I32"},
    {EMR_DTYPE_U64, 64, "U64"},
    {EMR_DTYPE_I64, 64, "I64"},
    {EMR_DTYPE_F8_E8M0, 8, "F8_E8M0"},
    {EMR_DTYPE_F8_E4M3FNUZ, 8, "F8_E4M3FNUZ"},
    {EMR_DTYPE_F8_E5M2FNUZ, 8, "F8_E5M2FNUZ"},
    {EMR_DTYPE_F4, 4, "F4"},
    {EMR_DTYPE_F6_E2M3, 6, "F6_E2M3"},
    {EMR_DTYPE_F6_E3M2, 6, "F6_E3M2"},
    {EMR_DTYPE_C64, 64, "C64"},
};

static const dtype_row *find(emr_dtype dtype)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].dtype == dtype)
            return &rows[i];
    return NULL;
}

uint32_t emr_dtype_bits(emr_dtype dtype)
{
    const dtype_row *row = find(dtype);
    return row ? row->bits : 0;
}

const char *emr_dtype_name(emr_dtype dtype)
{
    const dtype_row *row = find(dtype);
    return row ? row->name : "?";
}

emr_dtype emr_dtype_from_name(const char *name)
{
    for (size_t i = 0; name && i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = 0;
        while (rows[i].name[n] && rows[i].name[n] == name[n])
            n++;
        if (!rows[i].name[n] && !name[n])
            return rows[i].dtype;
    }
    return EMR_DTYPE_NONE;
}

int emr_dtype_is_float(emr_dtype dtype)
{
    return dtype >= EMR_DTYPE_F32 && dtype <= EMR_DTYPE_F8_E5M2;
}
