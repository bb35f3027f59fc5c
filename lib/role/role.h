/* role.h - the rules by which tensors are recognised, and what they find. The tables are files of their own:
 * float8.c, integers.c, packed.c (codes and their side-cars), numbers.c (what is no weight by itself). */
#ifndef EMR_ROLE_ROLE_H
#define EMR_ROLE_ROLE_H

#include "emr/role.h"
#include "model/model.h"

enum { EMR_ROLE_NAME_MAX = 1000 /* bytes of a name that is looked at, its end included */ };

/* How one name follows from another: `from` at its end gives way to `to`. An ending that begins with a letter
 * is the name's whole last part ("weight" in "l.weight", not in "l.overweight"); "" is any name's. */
typedef struct emr_renaming {
    const char *from, *to;
    uint8_t from_bytes, to_bytes;
} emr_renaming;
#define EMR_RENAMING(from, to)                                                                               \
    {                                                                                                        \
        from, to, sizeof(from) - 1, sizeof(to) - 1                                                           \
    }

#define EMR_DTYPE_BIT(name) ((uint64_t)1 << EMR_DTYPE_##name)
#define EMR_DTYPES_FLOAT    (EMR_DTYPE_BIT(F32) | EMR_DTYPE_BIT(F16) | EMR_DTYPE_BIT(BF16) | EMR_DTYPE_BIT(F64))
#define EMR_DTYPES_INTEGER                                                                                   \
    (EMR_DTYPE_BIT(U8) | EMR_DTYPE_BIT(I8) | EMR_DTYPE_BIT(U16) | EMR_DTYPE_BIT(I16) | EMR_DTYPE_BIT(U32) |  \
     EMR_DTYPE_BIT(I32) | EMR_DTYPE_BIT(U64) | EMR_DTYPE_BIT(I64))
#define EMR_DTYPES_ANY (~(uint64_t)0)

/* How the weights are got back from a code and its scales. */
typedef enum emr_scaling {
    EMR_SCALING_NONE,    /* not here */
    EMR_SCALING_PRODUCT, /* code x scale */
    EMR_SCALING_SCB,     /* code x scale / 127 */
    EMR_SCALING_ODD      /* code x scale, if it were known which scale is whose */
} emr_scaling;

/* One way in which weights are coded. Reasons are what a merge's plan says of the code and its side-cars. */
typedef struct emr_code_family {
    const char *name, *code_reason, *sidecar_reason;
    emr_scaling scaling;
} emr_code_family;
#define EMR_FAMILY(name, scaling)                                                                            \
    {                                                                                                        \
        name, name ": a code, never merged", "side-car of a code (" name "): never merged by itself",        \
            scaling                                                                                          \
    }

/* How a code is recognised: a tensor with one of these dtypes and, found by its name, the side-car that every
 * code of the family has. */
typedef struct emr_code_rule {
    emr_renaming key;                 /* from the code's name to that side-car's */
    uint64_t code_dtypes, key_dtypes; /* sets of EMR_DTYPE_BIT */
    /* The family; NULL: these two do not belong together. */
    const emr_code_family *(*family)(const emr_tensor *code, const emr_tensor *key);
    const emr_renaming *sidecars; /* those that a code may have besides; the last one is all zero */
    bool (*is_code)(const emr_tensor *tensor); /* asked before names are; NULL: dtypes say enough */
} emr_code_rule;

extern const emr_code_rule emr_float8_rules[], emr_integer_rules[],
    emr_packed_rules[]; /* up to one without key */

/* What is no weight, by itself or beside another tensor. */
typedef struct emr_number_rule {
    emr_renaming partner; /* from its own name to that of the tensor that must be there; to "": none */
    emr_role role;
    const char *family, *reason;
    bool (*fits)(const emr_tensor *tensor,
                 const emr_tensor *partner); /* `partner` NULL where none is needed */
} emr_number_rule;

extern const emr_number_rule emr_number_rules[]; /* up to one without family */

/* What no weight's name holds as one of its parts, which dots separate. */
typedef struct emr_part_rule {
    const char *part;
    emr_role role;
    const char *family, *reason;
} emr_part_rule;

extern const emr_part_rule emr_part_rules[]; /* up to one without part */

/* The family of a tensor that says that there are codes, and nothing else. */
#define EMR_ROLE_MARKER "marker of scaled FP8"

/* A tensor's role, and what it was found by. */
typedef struct emr_found_role {
    emr_role role;
    const char *name, *reason;     /* of the family; NULL for a weight */
    const emr_tensor *code, *key;  /* of a code or side-car */
    const emr_code_family *family; /* the same */
    bool can_dequantise;
} emr_found_role;

emr_found_role emr_role_find(const emr_tensor *tensor);

/* The same for one of many tensors of one name, whose emr_role_is_possible is known: most are none of all
 * that, and cost nothing then. */
emr_found_role emr_role_find_quickly(const emr_tensor *tensor, bool is_possible);

/* Whether a plain float of that name could be anything but a weight. */
bool emr_role_is_possible(const char *name);

/* The tensor of the same model whose name follows so from this one's, or NULL. */
const emr_tensor *emr_role_partner(const emr_tensor *tensor, const emr_renaming *renaming);

/* scales.c: which scale belongs to which elements of a code. In each dimension a scale stands for `block`
 * elements, the last one of a dimension for those that are left. */
typedef struct emr_scale_layout {
    uint64_t block[EMR_RANK_MAX];
    bool one; /* scale for all */
    bool row; /* a scale for each row */
} emr_scale_layout;

/* false: the shapes do not fit. Scales have at most the code's dimensions; those that lack, at the end, are
 * 1. A block is a power of two if that leads to as many scales (DeepSeek-V3's last blocks of 128 are
 * shorter), else what divides the dimension. */
bool emr_scale_layout_find(emr_scale_layout *layout, const emr_tensor *code, const emr_tensor *scale);

#endif
