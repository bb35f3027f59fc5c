/* test_bundle_kinds_damage.c - bundles of several kinds that are not what docs/bundle-format.md allows: refused with
 * the right status, whatever their checksums say. */
#include "kinds_bundle.h"

#include "bundle/bundle.h"
#include "../fuzz/image.h"

enum { MASK, SIGN, TWO_SIDED, THIN, LEVELS_8, LEVELS_3, THINNEST, PLAIN_SIGN }; /* the tasks: kinds_of_all */
enum { MODEL = EMR_PER_MODEL_BYTE, TENSOR = EMR_PER_TENSOR_BYTE, ROW = EMR_PER_ROW_BYTE };

/* A written bundle's bytes, with room to grow. */
static image copy_of(const kinds_bundle *k)
{
    size_t n = (size_t)emr_buffer_bytes(k->buffer);
    image im = {malloc(n + 4096), n, n + 4096};
    memcpy(im.bytes, emr_buffer_data(k->buffer), n);
    return im;
}

/* Opens the bytes, sealed. */
static emr_status open_image(image *im)
{
    emr_bundle *b;
    emr_error error = {.text = ""};
    image_seal(im, false);
    emr_buffer *view = test_buffer_of(im->bytes, im->n);
    emr_status status = emr_bundle_open(&b, emr_buffer_io(view), "test.emr", NULL, &error);
    assert_true(!status || test_span_is(&error, error.file, "test.emr"));
    if (!status)
        assert_ok(emr_bundle_verify(b, NULL, &error), &error);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&view);
    return status;
}

static uint8_t *record_at(const image *im, enum emr_section_kind kind, size_t size, size_t i)
{
    image_section s;
    assert_true(image_find(im, kind, &s));
    assert_true((i + 1) * size <= s.size);
    return im->bytes + s.head + EMR_SECTION_HEAD + i * size;
}

static void expect(const char *what, unsigned line, emr_status got, emr_status expected)
{
    if (got == expected)
        return;
    print_error("%s %u: %s instead of %s\n", what, line, emr_status_name(got), emr_status_name(expected));
    fail();
}

/* ---- fields ---- */

/* A number of `width` bytes, put at an offset of a record. */
typedef struct field_edit {
    enum emr_section_kind section;
    unsigned per, record, offset, width;
    uint32_t value;
    emr_status expected;
} field_edit;

static size_t size_of_records(enum emr_section_kind section)
{
    return section == EMR_SECTION_MODULATORS ? EMR_MODULATOR_SIZE
           : section == EMR_SECTION_TASKS    ? EMR_TASK_SIZE
           : section == EMR_SECTION_TENSORS  ? EMR_TENSOR_SIZE
                                             : 4;
}

#define OF_MODULATOR EMR_SECTION_MODULATORS
#define OF_TASK      EMR_SECTION_TASKS
#define OF_TENSOR    EMR_SECTION_TENSORS
#define OF_RESCALERS EMR_SECTION_RESCALERS
#define ONE          0x3f800000
#define MINUS_ONE    0xbf800000
#define MINUS_ZERO   0x80000000
#define A_NAN        0x7fc00000

static const field_edit edits[] = {
    {OF_MODULATOR, ROW, MASK, 0, 1, 0, EMR_EVERSION}, /* kinds */
    {OF_MODULATOR, ROW, MASK, 0, 1, 6, EMR_EVERSION},
    {OF_MODULATOR, ROW, SIGN, 0, 1, 255, EMR_EVERSION},
    {OF_MODULATOR, ROW, SIGN, 0, 1, EMR_MODULATOR_KIND_MASK, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 0, 1, EMR_MODULATOR_KIND_TWO_SIDED, EMR_EFORMAT},
    {OF_MODULATOR, ROW, LEVELS_3, 0, 1, EMR_MODULATOR_KIND_SIGN, EMR_EFORMAT},
    {OF_MODULATOR, ROW, THIN, 1, 1, 0, EMR_EVERSION}, /* parameters */
    {OF_MODULATOR, ROW, THIN, 1, 1, 6, EMR_EVERSION},
    {OF_MODULATOR, ROW, THIN, 1, 1, 64, EMR_EVERSION},
    {OF_MODULATOR, ROW, THIN, 1, 1, 3, EMR_EFORMAT}, /* half as many codes */
    {OF_MODULATOR, ROW, SIGN, 1, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 1, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, LEVELS_8, 2, 1, 0, EMR_EVERSION},
    {OF_MODULATOR, ROW, LEVELS_8, 2, 1, 5, EMR_EVERSION},
    {OF_MODULATOR, ROW, LEVELS_8, 2, 1, 32, EMR_EVERSION},
    {OF_MODULATOR, ROW, LEVELS_8, 2, 1, 16, EMR_EFORMAT},
    {OF_MODULATOR, ROW, LEVELS_3, 2, 1, 4, EMR_OK}, /* codes of as many bits */
    {OF_MODULATOR, ROW, THIN, 2, 1, 4, EMR_EFORMAT},
    {OF_MODULATOR, ROW, TWO_SIDED, 2, 1, 3, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 3, 1, 6, EMR_EVERSION}, /* rules */
    {OF_MODULATOR, ROW, SIGN, 3, 1, 6, EMR_EVERSION},
    {OF_MODULATOR, ROW, MASK, 3, 1, 5, EMR_EFORMAT},
    {OF_MODULATOR, ROW, SIGN, 3, 1, 5, EMR_EFORMAT},
    {OF_MODULATOR, ROW, LEVELS_8, 3, 1, 5, EMR_EFORMAT},
    {OF_MODULATOR, ROW, THINNEST, 3, 1, 5, EMR_OK},
    {OF_MODULATOR, ROW, SIGN, 3, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, MODEL, SIGN, 3, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 3, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, TENSOR, TWO_SIDED, 3, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, MODEL, MASK, 3, 1, 1, EMR_OK},
    {OF_MODULATOR, MODEL, MASK, 3, 1, 0, EMR_OK},
    {OF_MODULATOR, ROW, SIGN, 4, 1, 0, EMR_EVERSION}, /* dtypes of differences */
    {OF_MODULATOR, ROW, SIGN, 4, 1, EMR_DTYPE_F16, EMR_EVERSION},
    {OF_MODULATOR, ROW, SIGN, 4, 1, EMR_DTYPE_F32, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 4, 1, EMR_DTYPE_F32, EMR_EFORMAT},
    {OF_MODULATOR, ROW, SIGN, 5, 1, 0, EMR_EFORMAT}, /* scales of columns */
    {OF_MODULATOR, ROW, SIGN, 5, 1, 2, EMR_EFORMAT},
    {OF_MODULATOR, ROW, PLAIN_SIGN, 5, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, THIN, 5, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 5, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 6, 1, 2, EMR_EVERSION}, /* rules of masks */
    {OF_MODULATOR, ROW, MASK, 6, 1, 0, EMR_OK},
    {OF_MODULATOR, ROW, TWO_SIDED, 6, 1, 1, EMR_OK},
    {OF_MODULATOR, ROW, LEVELS_8, 6, 1, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, MASK, 7, 1, 9, EMR_OK}, /* reserved, to be ignored */
    {OF_MODULATOR, ROW, SIGN, 28, 4, UINT32_MAX, EMR_OK},
    {OF_MODULATOR, ROW, SIGN, 44, 4, UINT32_MAX, EMR_OK},
    {OF_MODULATOR, ROW, SIGN, 8, 4, 1, EMR_EFORMAT}, /* seeds */
    {OF_MODULATOR, ROW, TWO_SIDED, 8, 4, 1, EMR_EFORMAT},
    {OF_MODULATOR, ROW, THIN, 8, 4, 0, EMR_OK},
    {OF_MODULATOR, MODEL, TWO_SIDED, 12, 4, ONE, EMR_OK}, /* the other rescaler */
    {OF_MODULATOR, MODEL, TWO_SIDED, 12, 4, MINUS_ONE, EMR_EFORMAT},
    {OF_MODULATOR, MODEL, TWO_SIDED, 12, 4, MINUS_ZERO, EMR_EFORMAT},
    {OF_MODULATOR, MODEL, TWO_SIDED, 12, 4, A_NAN, EMR_EFORMAT},
    {OF_MODULATOR, MODEL, MASK, 12, 4, ONE, EMR_EFORMAT},
    {OF_MODULATOR, MODEL, SIGN, 12, 4, ONE, EMR_EFORMAT},
    {OF_MODULATOR, TENSOR, TWO_SIDED, 12, 4, ONE, EMR_EFORMAT},
    {OF_MODULATOR, ROW, TWO_SIDED, 12, 4, ONE, EMR_EFORMAT},
    {OF_MODULATOR, ROW, SIGN, 16, 4, A_NAN, EMR_OK}, /* how near it comes, which nobody needs */
    {OF_MODULATOR, ROW, SIGN, 20, 4, MINUS_ONE, EMR_OK},
    {OF_MODULATOR, ROW, SIGN, 24, 4, UINT32_MAX, EMR_OK},
    {OF_TASK, MODEL, SIGN, 4, 4, ONE, EMR_EFORMAT}, /* what coded tasks do not have */
    {OF_TASK, MODEL, SIGN, 4, 4, MINUS_ZERO, EMR_EFORMAT},
    {OF_TASK, MODEL, SIGN, 8, 4, 1, EMR_EFORMAT},
    {OF_TASK, MODEL, LEVELS_3, 24, 4, 1, EMR_EFORMAT},
    {OF_TASK, MODEL, MASK, 4, 4, ONE, EMR_OK},
    {OF_TASK, MODEL, MASK, 8, 4, 1, EMR_OK},
    {OF_TASK, MODEL, MASK, 24, 4, 1, EMR_OK},
    {OF_TENSOR, ROW, 0, 56, 4, 1, EMR_EFORMAT}, /* places */
    {OF_TENSOR, ROW, 1, 56, 4, 1, EMR_EFORMAT},
    {OF_TENSOR, ROW, 4, 56, 4, 0, EMR_EFORMAT},
    {OF_TENSOR, ROW, 7, 56, 4, 70, EMR_EFORMAT},
    {OF_TENSOR, ROW, 8, 60, 4, 1, EMR_EFORMAT},
    {OF_RESCALERS, TENSOR, 0, 0, 4, ONE, EMR_OK}, /* of the mask, and of the two sides */
    {OF_RESCALERS, TENSOR, 0, 0, 4, MINUS_ONE, EMR_EFORMAT},
    {OF_RESCALERS, TENSOR, KINDS_MERGED + 1, 0, 4, MINUS_ZERO, EMR_EFORMAT},
    {OF_RESCALERS, TENSOR, 3 * KINDS_MERGED - 1, 0, 4, A_NAN, EMR_EFORMAT},
};

static void impossible_fields_are_refused(void **state)
{
    (void)state;
    for (uint8_t per = 0; per < 3; per++) {
        kinds_bundle k;
        kinds_draw(&k, per, kinds_of_all, n_kinds_of_all);
        kinds_write(&k);
        for (unsigned i = 0; i < sizeof edits / sizeof *edits; i++) {
            const field_edit *e = &edits[i];
            if (e->per != per)
                continue;
            image im = copy_of(&k);
            uint8_t *p = record_at(&im, e->section, size_of_records(e->section), e->record) + e->offset;
            if (e->width == 1)
                *p = (uint8_t)e->value;
            else
                emr_store32(p, e->value);
            expect("edit", i, open_image(&im), e->expected);
            free(im.bytes);
        }
        kinds_destroy(&k);
    }
}

/* ---- streams ---- */

static emr_status write_and_open(kinds_bundle *k)
{
    kinds_write(k);
    image im = copy_of(k);
    emr_status status = open_image(&im);
    free(im.bytes);
    return status;
}

/* Every task has what its kind has, to the byte, and nothing else. */
static void streams_of_another_length_are_refused(void **state)
{
    kinds_bundle k;
    (void)state;
    kinds_draw(&k, ROW, kinds_of_all, n_kinds_of_all);
    expect("as it is", 0, write_and_open(&k), EMR_OK);
    for (uint32_t kind = 1; kind < EMR_N_STREAM_KINDS; kind++) {
        const emr_stream_rule *rule = emr_stream_rule_of(kind);
        for (uint32_t t = 0; rule->per_task && !rule->growth && kind != EMR_STREAM_PRIVATE && t < k.n_tasks;
             t++) {
            kinds_stream *s = &k.streams[kind][t], old = *s;
            if (!old.n)
                s->bytes = calloc(64, 1);
            for (unsigned other = 0; other < 2; other++) {
                s->n = other || !old.n ? old.n + 1 : old.n - 1;
                expect(rule->name, t, write_and_open(&k), EMR_EFORMAT);
            }
            s->n = 0;
            expect(rule->name, t, write_and_open(&k), old.n ? EMR_EFORMAT : EMR_OK);
            if (!old.n)
                free(s->bytes);
            *s = old;
        }
    }
    kinds_destroy(&k);
}

static void unified_values_are_there_for_those_who_use_them(void **state)
{
    const emr_modulator_record coded[] = {kinds_of_all[SIGN], kinds_of_all[THIN]};
    kinds_bundle k;
    (void)state;
    kinds_draw(&k, MODEL, kinds_of_all, n_kinds_of_all);
    k.extent.n_elected = 0;
    expect("no unified values", 0, write_and_open(&k), EMR_EFORMAT);
    kinds_destroy(&k);
    kinds_draw(&k, MODEL, coded, 2);
    expect("no unified values", 1, write_and_open(&k), EMR_OK);
    k.extent.n_elected = 1;
    expect("unified values", 0, write_and_open(&k), EMR_EFORMAT);
    kinds_destroy(&k);
}

/* The place of a task's stream in the table. */
static size_t stream_of(const image *im, enum emr_stream_kind kind, uint32_t owner)
{
    size_t i = 0;
    for (;; i++) {
        emr_stream_record s = emr_decode_stream(record_at(im, EMR_SECTION_STREAMS, EMR_STREAM_SIZE, i));
        if (s.kind == kind && s.owner == owner)
            return i;
    }
}

/* Streams whose blocks another size would cut elsewhere are recut as fill: the rest is right then. */
static emr_status open_with_block_size(const kinds_bundle *k, enum emr_stream_kind kind, uint32_t owner,
                                       uint32_t block_bytes)
{
    image im = copy_of(k);
    size_t i = stream_of(&im, kind, owner), n = 0;
    emr_stream_record s = emr_decode_stream(record_at(&im, EMR_SECTION_STREAMS, EMR_STREAM_SIZE, i));
    image_section blocks;
    size_t old = (size_t)emr_stream_blocks(&s);
    s.block_bytes = block_bytes;
    size_t new = (size_t)emr_stream_blocks(&s);
    im.bytes = realloc(im.bytes, im.n + new *EMR_BLOCK_SIZE + 4096);
    im.capacity = im.n + new *EMR_BLOCK_SIZE + 4096;
    assert_true(image_find(&im, EMR_SECTION_BLOCKS, &blocks));
    assert_true(image_splice_content(&im, &blocks, (size_t)s.first_block * EMR_BLOCK_SIZE,
                                     old * EMR_BLOCK_SIZE, new *EMR_BLOCK_SIZE));
    emr_encode_stream(record_at(&im, EMR_SECTION_STREAMS, EMR_STREAM_SIZE, i), &s);
    for (size_t b = 0; b < new; b++)
        emr_encode_block(record_at(&im, EMR_SECTION_BLOCKS, EMR_BLOCK_SIZE, (size_t)s.first_block + b),
                         &(emr_block_record){.offset = EMR_HEADER_SIZE, .codec = EMR_CODEC_FILL});
    assert_true(image_find(&im, EMR_SECTION_STREAMS, &blocks));
    for (size_t j = 0; j < blocks.size / EMR_STREAM_SIZE; j++) {
        uint8_t *p = record_at(&im, EMR_SECTION_STREAMS, EMR_STREAM_SIZE, j);
        s = emr_decode_stream(p);
        emr_store64(p + 16, n);
        n += (size_t)emr_stream_blocks(&s);
    }
    image_seal(&im, false);
    emr_buffer *view = test_buffer_of(im.bytes, im.n);
    emr_bundle *b;
    emr_status status = emr_bundle_open(&b, emr_buffer_io(view), "test.emr", NULL, NULL);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&view);
    free(im.bytes);
    return status;
}

static void codes_are_cut_between_units(void **state)
{
    static const struct {
        enum emr_stream_kind kind;
        uint32_t task, block;
        emr_status expected;
    } cuts[] = {
        {EMR_STREAM_CODES, LEVELS_8, 512, EMR_EFORMAT},
        {EMR_STREAM_CODES, LEVELS_8, 1024, EMR_EFORMAT},
        {EMR_STREAM_CODES, LEVELS_8, 384, EMR_EFORMAT},
        {EMR_STREAM_CODES, LEVELS_8, 768, EMR_OK},
        {EMR_STREAM_CODES, LEVELS_8, 1536, EMR_OK},
        {EMR_STREAM_CODES, LEVELS_8, 3 << 22, EMR_OK},
        {EMR_STREAM_CODES, LEVELS_8, 3 << 23, EMR_EFORMAT},
        {EMR_STREAM_CODES, LEVELS_3, 768, EMR_EFORMAT},
        {EMR_STREAM_CODES, LEVELS_3, 512, EMR_OK},
        {EMR_STREAM_CODES, LEVELS_3, 16 << 20, EMR_OK},
        {EMR_STREAM_CODES, LEVELS_3, 32 << 20, EMR_EFORMAT},
        {EMR_STREAM_CODES, SIGN, 256, EMR_EFORMAT},
        {EMR_STREAM_CODES, SIGN, 1536, EMR_EFORMAT},
        {EMR_STREAM_CODES, SIGN, 1024, EMR_OK},
        {EMR_STREAM_CODES, THIN, 512, EMR_OK},
        {EMR_STREAM_SCALES, LEVELS_8, 768, EMR_EFORMAT},
        {EMR_STREAM_SCALES, LEVELS_8, 512, EMR_OK},
        {EMR_STREAM_MASK, MASK, 1536, EMR_EFORMAT},
        {EMR_STREAM_VECTORS, LEVELS_8, 512, EMR_EFORMAT},
        {EMR_STREAM_VECTORS, SIGN, 1024, EMR_EFORMAT},
        {EMR_STREAM_VECTORS, SIGN, 3072, EMR_EFORMAT},
        {EMR_STREAM_VECTORS, SIGN, 2048, EMR_OK},
        {EMR_STREAM_VECTORS, THIN, 2048, EMR_OK},
        {EMR_STREAM_COLUMNS, SIGN, 512, EMR_OK},
    };
    kinds_bundle k;
    (void)state;
    kinds_draw(&k, MODEL, kinds_of_all, n_kinds_of_all);
    kinds_write(&k);
    for (unsigned i = 0; i < sizeof cuts / sizeof *cuts; i++)
        expect("cut", i, open_with_block_size(&k, cuts[i].kind, cuts[i].task, cuts[i].block),
               cuts[i].expected);
    kinds_destroy(&k);
}

static void streams_of_others_are_refused(void **state)
{
    kinds_bundle k;
    (void)state;
    kinds_draw(&k, MODEL, kinds_of_all, n_kinds_of_all);
    kinds_write(&k);
    for (uint32_t kind = EMR_STREAM_CODES; kind <= EMR_STREAM_VECTORS; kind++) {
        const uint32_t owners[] = {EMR_BASE, k.n_tasks, MASK, THIN};
        for (unsigned i = 0; i < 4; i++) {
            image im = copy_of(&k);
            uint8_t *p = record_at(&im, EMR_SECTION_STREAMS, EMR_STREAM_SIZE,
                                   stream_of(&im, (enum emr_stream_kind)kind, SIGN));
            emr_store32(p + 4, owners[i]);
            expect("owner", i, open_image(&im), EMR_EFORMAT);
            emr_store32(p, EMR_N_STREAM_KINDS);
            emr_store32(p + 4, SIGN);
            expect("kind", i, open_image(&im), EMR_EVERSION);
            free(im.bytes);
        }
    }
    kinds_destroy(&k);
}

/* ---- sections and features ---- */

static void feature_and_section_go_together(void **state)
{
    kinds_bundle k, masks;
    image_section s;
    (void)state;
    kinds_draw(&k, MODEL, kinds_of_all, n_kinds_of_all);
    kinds_draw(&masks, MODEL, &kinds_paper_mask, 1);
    kinds_write(&k);
    kinds_write(&masks);
    image im = copy_of(&k);
    emr_store64(im.bytes + 16, 0); /* a reader that does not look at the section would be wrong */
    expect("feature", 0, open_image(&im), EMR_EFORMAT);
    emr_store64(im.bytes + 16, EMR_FEATURE_KINDS | EMR_FEATURE_ABSENT);
    expect("feature", 1, open_image(&im), EMR_OK);
    emr_store64(im.bytes + 16, EMR_FEATURES_KNOWN + 1);
    expect("feature", 2, open_image(&im), EMR_EVERSION);
    free(im.bytes);
    im = copy_of(&masks);
    expect("feature", 3, open_image(&im), EMR_OK);
    emr_store64(im.bytes + 16, EMR_FEATURE_KINDS);
    expect("feature", 4, open_image(&im), EMR_EFORMAT);
    free(im.bytes);
    im = copy_of(&k); /* a record too few, a part of one, one too many, none */
    assert_true(image_find(&im, EMR_SECTION_MODULATORS, &s));
    assert_true(image_splice_content(&im, &s, 0, EMR_MODULATOR_SIZE, 0));
    expect("records", 0, open_image(&im), EMR_EFORMAT);
    assert_true(image_find(&im, EMR_SECTION_MODULATORS, &s));
    assert_true(image_splice_content(&im, &s, 0, 0, EMR_MODULATOR_SIZE - 8));
    expect("records", 1, open_image(&im), EMR_EFORMAT);
    assert_true(image_find(&im, EMR_SECTION_MODULATORS, &s));
    assert_true(image_splice_content(&im, &s, 0, 0, EMR_MODULATOR_SIZE + 8));
    expect("records", 2, open_image(&im), EMR_EFORMAT);
    assert_true(image_find(&im, EMR_SECTION_MODULATORS, &s));
    assert_true(image_splice_content(&im, &s, 0, s.size, 0));
    expect("records", 3, open_image(&im), EMR_EFORMAT);
    free(im.bytes);
    kinds_destroy(&k);
    kinds_destroy(&masks);
}

/* What masks alone say, which a reader that does not know the section skips. */
static void records_of_masks_alone_are_checked(void **state)
{
    static const struct {
        unsigned offset;
        uint8_t value;
        emr_status expected;
    } changes[] = {
        {0, 0, EMR_EVERSION},    {0, EMR_MODULATOR_KIND_TWO_SIDED, EMR_EFORMAT},
        {0, 6, EMR_EVERSION},    {0, EMR_MODULATOR_KIND_THIN, EMR_EVERSION},
        {1, 1, EMR_EFORMAT},     {2, 4, EMR_EFORMAT},
        {3, 0, EMR_OK},          {3, 5, EMR_EFORMAT},
        {3, 6, EMR_EVERSION},    {4, EMR_DTYPE_BF16, EMR_EFORMAT},
        {5, 1, EMR_EFORMAT},     {6, 0, EMR_OK},
        {6, 2, EMR_EVERSION},    {8, 1, EMR_EFORMAT},
        {15, 0x3f, EMR_EFORMAT}, {19, 0x7f, EMR_OK},
        {47, UINT8_MAX, EMR_OK},
    };
    const emr_modulator_record two[] = {kinds_of_all[MASK], kinds_of_all[MASK]};
    kinds_bundle k;
    image_section s;
    (void)state;
    kinds_draw(&k, MODEL, two, 2);
    kinds_write(&k);
    image im = copy_of(&k);
    expect("masks", 0, open_image(&im), EMR_OK);
    assert_int_equal(emr_load64(im.bytes + 16), 0);
    assert_true(image_find(&im, EMR_SECTION_MODULATORS, &s));
    assert_int_equal(emr_load32(im.bytes + s.head + 4), 0); /* flags */
    emr_store32(im.bytes + s.head + 4, EMR_SECTION_REQUIRED);
    expect("masks", 1, open_image(&im), EMR_OK);
    emr_store64(im.bytes + 16, EMR_FEATURE_KINDS); /* tensors have no places in streams */
    expect("masks", 2, open_image(&im), EMR_EFORMAT);
    emr_store64(im.bytes + 16, 0);
    assert_true(image_splice_content(&im, &s, 0, 8, 0));
    expect("masks", 3, open_image(&im), EMR_EFORMAT);
    free(im.bytes);
    for (unsigned i = 0; i < 2 * sizeof changes / sizeof *changes; i++) {
        im = copy_of(&k);
        record_at(&im, EMR_SECTION_MODULATORS, EMR_MODULATOR_SIZE, i % 2)[changes[i / 2].offset] =
            changes[i / 2].value;
        expect("record of a mask", i / 2, open_image(&im), changes[i / 2].expected);
        free(im.bytes);
    }
    kinds_destroy(&k);
}

/* Older bundles without tasks have unified values; newer ones need not. */
static void a_bundle_without_tasks_may_have_unified_values(void **state)
{
    (void)state;
    for (unsigned has = 0; has < 2; has++) {
        kinds_bundle k;
        kinds_draw(&k, MODEL, kinds_of_all, 0);
        k.extent.n_elected = has; /* so that they are written */
        kinds_write(&k);
        image im = copy_of(&k);
        expect("no tasks", has, open_image(&im), EMR_OK);
        free(im.bytes);
        kinds_destroy(&k);
    }
}

static void rescalers_are_as_many_as_kinds_have(void **state)
{
    (void)state;
    for (uint8_t per = 0; per < 3; per++)
        for (unsigned i = 0; i < 3; i++) {
            kinds_bundle k;
            image_section s;
            kinds_draw(&k, per, kinds_of_all, n_kinds_of_all);
            kinds_write(&k);
            image im = copy_of(&k);
            assert_true(image_find(&im, EMR_SECTION_RESCALERS, &s));
            assert_int_equal(s.size, per == TENSOR ? 3 * KINDS_MERGED * 4 : 0);
            if (i == 0 && s.size)
                assert_true(image_splice_content(&im, &s, 0, 4, 0));
            else if (i == 1)
                assert_true(image_splice_content(&im, &s, s.size, 0, 4));
            else
                assert_true(image_splice_content(&im, &s, s.size, 0, KINDS_MERGED * 4));
            expect("rescalers", per * 10u + i, open_image(&im), EMR_EFORMAT);
            free(im.bytes);
            kinds_destroy(&k);
        }
}

static void bundles_of_kinds_do_not_grow(void **state)
{
    static const uint8_t growth[EMR_SECTION_HEAD + EMR_GROWTH_SIZE] = {
        EMR_SECTION_GROWTH, 0, 0, 0, 0, 0, 0, 0, EMR_GROWTH_SIZE};
    kinds_bundle k;
    (void)state;
    kinds_draw(&k, ROW, kinds_of_all, n_kinds_of_all);
    kinds_write(&k);
    image im = copy_of(&k);
    size_t end = im.n - EMR_TRAILER_SIZE;
    assert_true(image_splice(&im, end, 0, sizeof growth));
    memcpy(im.bytes + end, growth, sizeof growth);
    expect("growth", 0, open_image(&im), EMR_EVERSION);
    free(im.bytes);
    kinds_destroy(&k);
}

static void truncated_files_are_refused(void **state)
{
    kinds_bundle k;
    rng r = {17};
    (void)state;
    kinds_draw(&k, TENSOR, kinds_of_all, n_kinds_of_all);
    kinds_write(&k);
    for (int i = 0; i < 2000; i++) {
        size_t n = (size_t)rng_below(&r, emr_buffer_bytes(k.buffer));
        emr_buffer *view = test_buffer_of(emr_buffer_data(k.buffer), n);
        emr_bundle *b;
        emr_status status = emr_bundle_open(&b, emr_buffer_io(view), "test.emr", NULL, NULL);
        assert_true((status == EMR_EFORMAT || status == EMR_ECORRUPT) && !b);
        emr_buffer_destroy(&view);
    }
    kinds_destroy(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_fields_are_refused),
        cmocka_unit_test(streams_of_another_length_are_refused),
        cmocka_unit_test(unified_values_are_there_for_those_who_use_them),
        cmocka_unit_test(codes_are_cut_between_units),
        cmocka_unit_test(streams_of_others_are_refused),
        cmocka_unit_test(feature_and_section_go_together),
        cmocka_unit_test(records_of_masks_alone_are_checked),
        cmocka_unit_test(a_bundle_without_tasks_may_have_unified_values),
        cmocka_unit_test(rescalers_are_as_many_as_kinds_have),
        cmocka_unit_test(bundles_of_kinds_do_not_grow),
        cmocka_unit_test(truncated_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
