/* format.h - the bytes of a bundle: constants and records, each with its encoder and decoder side by side,
 * and what streams of each kind are. docs/bundle-format.md is the normative text; this file follows it field
 * by field. */
#ifndef EMR_BUNDLE_FORMAT_H
#define EMR_BUNDLE_FORMAT_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    EMR_FORMAT_MAJOR = 1,
    EMR_FORMAT_MINOR = 1, /* the newest; a bundle that needs nothing of it is 1.0 */

    EMR_HEADER_SIZE = 64,
    EMR_TRAILER_SIZE = 64,
    EMR_SEALED = 56, /* header and trailer end in the XXH3-64 of their first 56 bytes */
    EMR_SECTION_HEAD = 16,
    EMR_RAW_ALIGNMENT = 64,
    EMR_TENSOR_ALIGNMENT = 64, /* parameters in flat space; bytes in the base and private streams */

    EMR_BLOCK_BYTES_MIN = 512,
    EMR_VECTORS_BLOCK_MIN = 2048, /* of EMR_STREAM_VECTORS: 512 numbers lie in one block, as codes do */
    EMR_BLOCK_BYTES_MAX = 16 << 20,
};

/* Required features: bits of the header. A reader that does not know one refuses the bundle. */
enum {
    EMR_FEATURE_ABSENT = 1,   /* a task may lack a merged tensor: its dtype there is 0 */
    EMR_FEATURE_RULES = 2,    /* GROWTH has other patterns besides those of private tensors */
    EMR_FEATURE_ARRANGED = 4, /* there is an ARRANGEMENT */
    EMR_FEATURE_KINDS = 8,    /* MODULATORS says what kind each task's modulator is of */
    EMR_FEATURES_KNOWN = 15,
};

/* Gives header or trailer its hash, and tells whether it is right. */
void emr_set_seal(uint8_t *p);
bool emr_is_sealed(const uint8_t *p);

#define EMR_HEADER_MAGIC                                                                                     \
    "\x89"                                                                                                   \
    "EMR\r\n\x1a\n"
#define EMR_TRAILER_MAGIC "EMRINDEX"

enum emr_section_kind {
    EMR_SECTION_SUMMARY = 1,
    EMR_SECTION_STRINGS = 2,
    EMR_SECTION_SHAPES = 3,
    EMR_SECTION_TASKS = 4,
    EMR_SECTION_TENSORS = 5,
    EMR_SECTION_TASK_DTYPES = 6,
    EMR_SECTION_RESCALERS = 7,
    EMR_SECTION_PRIVATE = 8,
    EMR_SECTION_STREAMS = 9,
    EMR_SECTION_BLOCKS = 10,
    EMR_SECTION_METADATA = 11,
    EMR_SECTION_GROWTH = 12,      /* may be absent, */
    EMR_SECTION_ARRANGEMENT = 13, /* and so may this, */
    EMR_SECTION_MODULATORS = 14,  /* which is required with EMR_FEATURE_KINDS, and else says more of masks */
    EMR_N_SECTIONS = 15,
};

enum { EMR_SECTION_REQUIRED = 1 };

enum emr_stream_kind {
    EMR_STREAM_UNIFIED = 1,
    EMR_STREAM_MASK = 2,
    EMR_STREAM_BASE = 3,
    EMR_STREAM_PRIVATE = 4,
    EMR_STREAM_ROW_RESCALERS = 5,
    /* what adding a task needs */
    EMR_STREAM_SUMS = 6,
    EMR_STREAM_OPPOSITES = 7,
    EMR_STREAM_EXTREMES = 8,
    EMR_STREAM_NONZEROS = 9,
    EMR_STREAM_UNDECIDED = 10,
    EMR_STREAM_ROW_NUMERATORS = 11,
    /* of tasks whose kind has no unified values */
    EMR_STREAM_CODES = 12,
    EMR_STREAM_SCALES = 13,
    EMR_STREAM_COLUMNS = 14,
    EMR_STREAM_VECTORS = 15,
    EMR_N_STREAM_KINDS = 16,
};

enum { EMR_STREAM_REQUIRED = 1 };

enum emr_codec { EMR_CODEC_RAW = 0, EMR_CODEC_ZSTD = 1, EMR_CODEC_FILL = 2, EMR_CODEC_PLANES = 3 };

/* rescale and rescale_per, as stored: one less than emr_rescale and emr_rescale_per */
enum { EMR_RESCALE_L1_MEANS_BYTE = 1, EMR_RESCALE_L2_BYTE = 2, EMR_RESCALE_MIXED_BYTE = 5 };
enum { EMR_PER_MODEL_BYTE = 0, EMR_PER_TENSOR_BYTE = 1, EMR_PER_ROW_BYTE = 2 };

typedef struct emr_summary {
    uint8_t rescale, rescale_per, tie, unified_dtype, modulator, on_nonfinite, has_base;
    uint32_t n_tasks, n_tensors, n_merged;
    uint64_t merged_params, flat_params, n_rows;
} emr_summary;

enum { EMR_SUMMARY_SIZE = 48 };

static inline void emr_encode_summary(uint8_t *p, const emr_summary *s)
{
    memset(p, 0, EMR_SUMMARY_SIZE);
    p[0] = s->rescale;
    p[1] = s->rescale_per;
    p[2] = s->tie;
    p[3] = s->unified_dtype;
    p[4] = s->modulator;
    p[5] = s->on_nonfinite;
    p[6] = s->has_base;
    emr_store32(p + 8, s->n_tasks);
    emr_store32(p + 12, s->n_tensors);
    emr_store32(p + 16, s->n_merged);
    emr_store64(p + 24, s->merged_params);
    emr_store64(p + 32, s->flat_params);
    emr_store64(p + 40, s->n_rows);
}

static inline emr_summary emr_decode_summary(const uint8_t *p)
{
    return (emr_summary){
        .rescale = p[0],
        .rescale_per = p[1],
        .tie = p[2],
        .unified_dtype = p[3],
        .modulator = p[4],
        .on_nonfinite = p[5],
        .has_base = p[6],
        .n_tasks = emr_load32(p + 8),
        .n_tensors = emr_load32(p + 12),
        .n_merged = emr_load32(p + 16),
        .merged_params = emr_load64(p + 24),
        .flat_params = emr_load64(p + 32),
        .n_rows = emr_load64(p + 40),
    };
}

/* What lengths of streams depend on besides the summary. */
typedef struct emr_extent {
    uint32_t n_elected;     /* tasks whose kind has unified values */
    uint64_t n_columns;     /* of all matrices that may have scales of columns */
    uint64_t n_differences; /* parameters of all vectors */
} emr_extent;

/* How long a stream is, once decoded. What its owner's kind does not have is 0 bytes long. */
typedef enum emr_stream_length {
    EMR_LENGTH_ANY,       /* whatever its tensors take */
    EMR_LENGTH_UNIFIED,   /* flat parameters in the unified dtype, if there is an elected task */
    EMR_LENGTH_MASK,      /* elected tasks: a bit for each flat parameter */
    EMR_LENGTH_RESCALERS, /* elected tasks: an f32 for each scale of each row, where they are per row */
    EMR_LENGTH_PARAMS,    /* `bits` for each flat parameter */
    EMR_LENGTH_ROWS,      /* `bits` for each row, where rescalers are per row */
    EMR_LENGTH_CODES,     /* coded tasks: what codes of all flat parameters take */
    EMR_LENGTH_SCALES,    /* coded tasks: a BF16 for each slot */
    EMR_LENGTH_COLUMNS,   /* coded tasks with scales of columns: a BF16 for each */
    EMR_LENGTH_VECTORS    /* coded tasks: all differences */
} emr_stream_length;

/* What streams of one kind are. All that differs between kinds is here, so that a new kind is a line in
 * format.c: the writer marks it, opening checks it, dropping carries it along. */
typedef struct emr_stream_rule {
    const char *name; /* in "block 3 of its mask stream" */
    bool per_task;    /* every task has one; otherwise the base has the only one */
    bool required;    /* a reader that does not know the kind refuses the bundle */
    bool optional;    /* may be absent, however long it would be; not for growth */
    bool growth;      /* for adding tasks alone: there exactly if GROWTH is, useless once a task is dropped */
    emr_stream_length length;
    uint32_t bits;
} emr_stream_rule;

/* NULL for a kind that this version does not know. */
const emr_stream_rule *emr_stream_rule_of(uint32_t kind);

typedef struct emr_task_record {
    uint32_t name; /* offset in the strings section, as in every record */
    float rescaler;
    uint64_t ones, zeroed;
    uint32_t empty_mask;
} emr_task_record;

enum { EMR_TASK_SIZE = 32 };

static inline void emr_encode_task(uint8_t *p, const emr_task_record *t)
{
    memset(p, 0, EMR_TASK_SIZE);
    emr_store32(p, t->name);
    emr_store32(p + 4, emr_f32_bits(t->rescaler));
    emr_store64(p + 8, t->ones);
    emr_store64(p + 16, t->zeroed);
    emr_store32(p + 24, t->empty_mask);
}

static inline emr_task_record emr_decode_task(const uint8_t *p)
{
    return (emr_task_record){
        .name = emr_load32(p),
        .rescaler = emr_f32_from_bits(emr_load32(p + 4)),
        .ones = emr_load64(p + 8),
        .zeroed = emr_load64(p + 16),
        .empty_mask = emr_load32(p + 24),
    };
}

/* What a task's modulator is. */
typedef struct emr_modulator_record {
    uint8_t kind;
    uint8_t thinning;                 /* thin: log2 of how many parameters there are for one that is kept */
    uint8_t n_levels;                 /* levels */
    uint8_t rescale;                  /* the rule of its scales */
    uint8_t vectors_dtype;            /* of differences; kinds without unified values */
    uint8_t has_columns;              /* sign: there are scales of columns */
    uint8_t mask_rule;                /* kinds with unified values */
    uint32_t seed;                    /* thin */
    float other_rescaler;             /* two-sided, per model: where the mask is 0 */
    float error, cosine, coefficient; /* of the rebuilt task vector; NaN where that was not measured */
} emr_modulator_record;

enum { EMR_MODULATOR_SIZE = 48, EMR_THINNING_MAX = 5 };

static inline void emr_encode_modulator(uint8_t *p, const emr_modulator_record *m)
{
    memset(p, 0, EMR_MODULATOR_SIZE);
    p[0] = m->kind;
    p[1] = m->thinning;
    p[2] = m->n_levels;
    p[3] = m->rescale;
    p[4] = m->vectors_dtype;
    p[5] = m->has_columns;
    p[6] = m->mask_rule;
    emr_store32(p + 8, m->seed);
    emr_store32(p + 12, emr_f32_bits(m->other_rescaler));
    emr_store32(p + 16, emr_f32_bits(m->error));
    emr_store32(p + 20, emr_f32_bits(m->cosine));
    emr_store32(p + 24, emr_f32_bits(m->coefficient));
}

static inline emr_modulator_record emr_decode_modulator(const uint8_t *p)
{
    return (emr_modulator_record){
        .kind = p[0],
        .thinning = p[1],
        .n_levels = p[2],
        .rescale = p[3],
        .vectors_dtype = p[4],
        .has_columns = p[5],
        .mask_rule = p[6],
        .seed = emr_load32(p + 8),
        .other_rescaler = emr_f32_from_bits(emr_load32(p + 12)),
        .error = emr_f32_from_bits(emr_load32(p + 16)),
        .cosine = emr_f32_from_bits(emr_load32(p + 20)),
        .coefficient = emr_f32_from_bits(emr_load32(p + 24)),
    };
}

/* Bits of the codes of 64 parameters where the kind has no unified values; else 0. */
uint32_t emr_code_rate(const emr_modulator_record *modulator);

/* How long a stream must be by its rule; EMR_ANY_BYTES where anything will do. `modulator` is its owner's, NULL
 * for the base, and valid. flat_params is a multiple of 64, and neither it nor n_rows is above UINT64_MAX / 8. */
#define EMR_ANY_BYTES UINT64_MAX
uint64_t emr_stream_bytes(const emr_stream_rule *rule, const emr_summary *summary, const emr_extent *extent,
                          const emr_modulator_record *modulator);

/* Which of a merged tensor's rows are coded, and with what, where the kind has no unified values. */
enum {
    EMR_ROW_MIN = 8,            /* a tensor of shorter rows, or of rank below 2, is a vector */
    EMR_COLUMNS_ROWS_MIN = 8,   /* a matrix of fewer rows, */
    EMR_COLUMNS_MAX = 64 << 10, /* or of more columns, has no scales of columns */
};

typedef struct emr_tensor_record {
    uint32_t name;
    uint32_t shape; /* index of the first dimension in the shapes section */
    uint16_t rank, dtype;
    uint32_t merged;
    uint64_t first_param; /* in flat space; merged tensors */
    uint64_t base_offset; /* in the base stream, where there is one */
    uint64_t hash_low, hash_high;
    uint64_t first_row; /* number of rows of the merged tensors before this one */
    /* with EMR_FEATURE_KINDS: of a merged vector, elements of the vectors before it; of a merged matrix, columns of
     * those matrices before it that may have scales of columns */
    uint64_t first_place;
} emr_tensor_record;

enum { EMR_TENSOR_SIZE = 64 };

static inline void emr_encode_tensor(uint8_t *p, const emr_tensor_record *t)
{
    memset(p, 0, EMR_TENSOR_SIZE);
    emr_store32(p, t->name);
    emr_store32(p + 4, t->shape);
    emr_store16(p + 8, t->rank);
    emr_store16(p + 10, t->dtype);
    emr_store32(p + 12, t->merged);
    emr_store64(p + 16, t->first_param);
    emr_store64(p + 24, t->base_offset);
    emr_store64(p + 32, t->hash_low);
    emr_store64(p + 40, t->hash_high);
    emr_store64(p + 48, t->first_row);
    emr_store64(p + 56, t->first_place);
}

static inline emr_tensor_record emr_decode_tensor(const uint8_t *p)
{
    return (emr_tensor_record){
        .name = emr_load32(p),
        .shape = emr_load32(p + 4),
        .rank = emr_load16(p + 8),
        .dtype = emr_load16(p + 10),
        .merged = emr_load32(p + 12),
        .first_param = emr_load64(p + 16),
        .base_offset = emr_load64(p + 24),
        .hash_low = emr_load64(p + 32),
        .hash_high = emr_load64(p + 40),
        .first_row = emr_load64(p + 48),
        .first_place = emr_load64(p + 56),
    };
}

typedef struct emr_private_record {
    uint32_t task, name, shape;
    uint16_t rank, dtype;
    uint64_t offset; /* in the task's private stream */
} emr_private_record;

enum { EMR_PRIVATE_SIZE = 24 };

static inline void emr_encode_private(uint8_t *p, const emr_private_record *r)
{
    emr_store32(p, r->task);
    emr_store32(p + 4, r->name);
    emr_store32(p + 8, r->shape);
    emr_store16(p + 12, r->rank);
    emr_store16(p + 14, r->dtype);
    emr_store64(p + 16, r->offset);
}

static inline emr_private_record emr_decode_private(const uint8_t *p)
{
    return (emr_private_record){
        .task = emr_load32(p),
        .name = emr_load32(p + 4),
        .shape = emr_load32(p + 8),
        .rank = emr_load16(p + 12),
        .dtype = emr_load16(p + 14),
        .offset = emr_load64(p + 16),
    };
}

/* What a tensor of the bundle is in the model of a task, or in the base: how it is called, and its shape. */
typedef struct emr_arrangement_record {
    uint32_t owner;
    uint32_t tensor; /* its number; for a task, its i-th private tensor has number n_tensors + i */
    uint32_t name, shape;
    uint32_t rest; /* the number of the tensor with the rows after this one's, or EMR_NO_REST */
} emr_arrangement_record;

enum { EMR_ARRANGEMENT_SIZE = 24 };
#define EMR_NO_REST UINT32_MAX

static inline void emr_encode_arrangement(uint8_t *p, const emr_arrangement_record *r)
{
    emr_store32(p, r->owner);
    emr_store32(p + 4, r->tensor);
    emr_store32(p + 8, r->name);
    emr_store32(p + 12, r->shape);
    emr_store32(p + 16, r->rest);
    emr_store32(p + 20, 0);
}

static inline emr_arrangement_record emr_decode_arrangement(const uint8_t *p)
{
    return (emr_arrangement_record){
        .owner = emr_load32(p),
        .tensor = emr_load32(p + 4),
        .name = emr_load32(p + 8),
        .shape = emr_load32(p + 12),
        .rest = emr_load32(p + 16),
    };
}

typedef struct emr_stream_record {
    uint32_t kind, owner;
    uint64_t bytes;
    uint64_t first_block; /* in the blocks section; ceil(bytes / block_bytes) of them */
    uint32_t block_bytes, flags;
} emr_stream_record;

enum { EMR_STREAM_SIZE = 32 };

static inline void emr_encode_stream(uint8_t *p, const emr_stream_record *s)
{
    emr_store32(p, s->kind);
    emr_store32(p + 4, s->owner);
    emr_store64(p + 8, s->bytes);
    emr_store64(p + 16, s->first_block);
    emr_store32(p + 24, s->block_bytes);
    emr_store32(p + 28, s->flags);
}

static inline emr_stream_record emr_decode_stream(const uint8_t *p)
{
    return (emr_stream_record){
        .kind = emr_load32(p),
        .owner = emr_load32(p + 4),
        .bytes = emr_load64(p + 8),
        .first_block = emr_load64(p + 16),
        .block_bytes = emr_load32(p + 24),
        .flags = emr_load32(p + 28),
    };
}

/* The number of blocks of a stream, and the length of block i once decoded. */
static inline uint64_t emr_stream_blocks(const emr_stream_record *s)
{
    return s->bytes / s->block_bytes + (s->bytes % s->block_bytes != 0);
}

static inline size_t emr_stream_block_length(const emr_stream_record *s, uint64_t i)
{
    uint64_t left = s->bytes - i * s->block_bytes;
    return left < s->block_bytes ? (size_t)left : s->block_bytes;
}

typedef struct emr_block_record {
    uint64_t offset; /* in the file */
    uint64_t hash;   /* XXH3-64 of the stored bytes */
    uint32_t stored; /* bytes in the file */
    uint8_t codec;
    uint8_t parameter; /* EMR_CODEC_FILL: every byte of the block; EMR_CODEC_PLANES: how many, 2 or 4 */
} emr_block_record;

enum { EMR_BLOCK_SIZE = 24 };

static inline void emr_encode_block(uint8_t *p, const emr_block_record *b)
{
    emr_store64(p, b->offset);
    emr_store64(p + 8, b->hash);
    emr_store32(p + 16, b->stored);
    p[20] = b->codec;
    p[21] = b->parameter;
    p[22] = p[23] = 0;
}

static inline emr_block_record emr_decode_block(const uint8_t *p)
{
    return (emr_block_record){
        .offset = emr_load64(p),
        .hash = emr_load64(p + 8),
        .stored = emr_load32(p + 16),
        .codec = p[20],
        .parameter = p[21],
    };
}

/* With EMR_FEATURE_RULES each pattern of the growth section begins with the letter of the list that it is in. */
enum {
    EMR_GLOB_PRIVATE = 'p',
    EMR_GLOB_MERGE = 'm',
    EMR_GLOB_ABSENT = 'a',
    EMR_GLOB_BASE = 'b',
};

/* The growth section: this, then the globs' strings, zeros up to a multiple of 8, the numerators. */
typedef struct emr_growth_record {
    uint8_t on_mismatch, on_missing;
    int32_t compression;
    uint32_t block_params, n_globs;
} emr_growth_record;

enum { EMR_GROWTH_SIZE = 16, EMR_LEVEL_MAX = 19 /* of zstd */ };

static inline void emr_encode_growth(uint8_t *p, const emr_growth_record *g)
{
    p[0] = g->on_mismatch;
    p[1] = g->on_missing;
    p[2] = p[3] = 0;
    emr_store32(p + 4, (uint32_t)g->compression);
    emr_store32(p + 8, g->block_params);
    emr_store32(p + 12, g->n_globs);
}

static inline emr_growth_record emr_decode_growth(const uint8_t *p)
{
    return (emr_growth_record){
        .on_mismatch = p[0],
        .on_missing = p[1],
        .compression = (int32_t)emr_load32(p + 4),
        .block_params = emr_load32(p + 8),
        .n_globs = emr_load32(p + 12),
    };
}

/* Where the numerators begin. */
static inline uint64_t emr_growth_numerators(uint32_t n_globs)
{
    return EMR_GROWTH_SIZE + ((uint64_t)n_globs * 4 + 7) / 8 * 8;
}

typedef struct emr_metadata_record {
    uint32_t owner, key, value;
} emr_metadata_record;

enum { EMR_METADATA_SIZE = 12 };

static inline void emr_encode_metadata(uint8_t *p, const emr_metadata_record *m)
{
    emr_store32(p, m->owner);
    emr_store32(p + 4, m->key);
    emr_store32(p + 8, m->value);
}

static inline emr_metadata_record emr_decode_metadata(const uint8_t *p)
{
    return (emr_metadata_record){
        .owner = emr_load32(p),
        .key = emr_load32(p + 4),
        .value = emr_load32(p + 8),
    };
}

#endif
