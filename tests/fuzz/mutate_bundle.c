/* mutate_bundle.c - changes bundles where it hurts: fields of records, whole records, sections, blocks and
 * the way a stream is cut; then makes the checksums right again, mostly, so that readers look at the change.
 * An input is one byte of choices (fuzz_bundle.c) and the bundle. */
#include "fuzz.h"
#include "image.h"

/* Widths of a record's fields, in order. */
static const char *const layouts[EMR_N_SECTIONS] = {
    [EMR_SECTION_SUMMARY] = "111111114444888",
    [EMR_SECTION_STRINGS] = "1",
    [EMR_SECTION_SHAPES] = "8",
    [EMR_SECTION_TASKS] = "448844",
    [EMR_SECTION_TENSORS] = "44224888888",
    [EMR_SECTION_TASK_DTYPES] = "1",
    [EMR_SECTION_RESCALERS] = "4",
    [EMR_SECTION_PRIVATE] = "444228",
    [EMR_SECTION_STREAMS] = "448844",
    [EMR_SECTION_BLOCKS] = "884112",
    [EMR_SECTION_METADATA] = "444",
    [EMR_SECTION_GROWTH] = "8",
    [EMR_SECTION_ARRANGEMENT] = "444444",
    [EMR_SECTION_MODULATORS] = "1111111144444884",
};

static size_t record_size(uint32_t kind)
{
    size_t size = 0;
    for (const char *p = kind < EMR_N_SECTIONS && layouts[kind] ? layouts[kind] : "1"; *p; p++)
        size += (size_t)(*p - '0');
    return size;
}

static uint64_t load(const uint8_t *p, size_t width)
{
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

static void store(uint8_t *p, size_t width, uint64_t value)
{
    for (size_t i = 0; i < width; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* Picks a section that is not empty and a record in it; false if the index holds none. */
static bool pick_record(const image *im, fuzz_random *r, image_section *s, size_t *at, size_t *size)
{
    image_section all[IMAGE_SECTIONS];
    size_t n = image_sections(im, all);
    for (int tries = 0; n && tries < 20; tries++) {
        *s = all[fuzz_below(r, n)];
        *size = record_size(s->kind);
        if (s->size < *size)
            continue;
        *at = fuzz_below(r, s->size / *size) * *size;
        return true;
    }
    return false;
}

/* A number that might be taken for the field's own, or that lies at a boundary. */
static uint64_t interesting(const image *im, fuzz_random *r, uint64_t old, const uint8_t *other, size_t width)
{
    switch (fuzz_below(r, 9)) {
    case 0:
        return old + 1 + fuzz_below(r, 4);
    case 1:
        return old - 1 - fuzz_below(r, 4);
    case 2:
        return old ^ (uint64_t)1 << fuzz_below(r, 8 * width);
    case 3:
        return (uint64_t)1 << fuzz_below(r, 8 * width);
    case 4:
        return 0 - (uint64_t)fuzz_below(r, 2);
    case 5:
        return fuzz_below(r, 40); /* kinds, dtypes, ranks, numbers of things */
    case 6:
        return fuzz_below(r, im->n + 2);
    case 7:
        return old * 2;
    default:
        return load(other, width); /* the same field of another record */
    }
}

static void change_field(image *im, fuzz_random *r)
{
    image_section s;
    size_t at, size, offset = 0;
    if (!pick_record(im, r, &s, &at, &size))
        return;
    const char *layout = s.kind < EMR_N_SECTIONS && layouts[s.kind] ? layouts[s.kind] : "1";
    size_t field = fuzz_below(r, strlen(layout)), width = (size_t)(layout[field] - '0');
    for (size_t i = 0; i < field; i++)
        offset += (size_t)(layout[i] - '0');
    uint8_t *content = im->bytes + s.head + EMR_SECTION_HEAD, *p = content + at + offset;
    const uint8_t *other = content + fuzz_below(r, s.size / size) * size + offset;
    store(p, width, interesting(im, r, load(p, width), other, width));
}

/* Takes a record out, or puts a copy of another in. */
static void change_records(image *im, fuzz_random *r)
{
    image_section s;
    size_t at, size;
    uint8_t copy[EMR_TENSOR_SIZE];
    if (!pick_record(im, r, &s, &at, &size))
        return;
    memcpy(copy, im->bytes + s.head + EMR_SECTION_HEAD + at, size);
    at = fuzz_below(r, s.size / size) * size;
    if (fuzz_below(r, 2))
        image_splice_content(im, &s, at, size, 0);
    else if (image_splice_content(im, &s, at, 0, size))
        memcpy(im->bytes + s.head + EMR_SECTION_HEAD + at, copy, size);
}

/* Takes a section out, puts a copy of it at the end, or changes its head. */
static void change_section(image *im, fuzz_random *r)
{
    image_section all[IMAGE_SECTIONS];
    size_t n = image_sections(im, all);
    if (!n)
        return;
    image_section s = all[fuzz_below(r, n)];
    size_t size = EMR_SECTION_HEAD + (s.size + 7) / 8 * 8, end = im->n - EMR_TRAILER_SIZE;
    uint8_t *head = im->bytes + s.head;
    switch (fuzz_below(r, 4)) {
    case 0:
        image_splice(im, s.head, size, 0);
        return;
    case 1:
        if (image_splice(im, end, 0, size))
            memcpy(im->bytes + end, im->bytes + s.head, size);
        return;
    case 2:
        emr_store32(head, (uint32_t)fuzz_below(r, EMR_N_SECTIONS + 3));
        return;
    default:
        emr_store64(head + 8, s.size - 4 + fuzz_below(r, 9));
    }
}

/* Sizes and contents of strings, dimensions and dtypes have no records of their own. */
static void change_content(image *im, fuzz_random *r)
{
    image_section s;
    size_t at, size, removed, added;
    if (!pick_record(im, r, &s, &at, &size))
        return;
    if (fuzz_below(r, 2)) {
        removed = fuzz_below(r, (s.size - at < 16 ? s.size - at : 16) + 1);
        added = fuzz_below(r, 17);
        image_splice_content(im, &s, at, removed, added);
    } else {
        size = s.size - at < 64 ? s.size - at : 64;
        LLVMFuzzerMutate(im->bytes + s.head + EMR_SECTION_HEAD + at, size, size);
    }
}

/* The features that the header requires: any of those there are, or those that the sections need. */
static void change_features(image *im, fuzz_random *r)
{
    image_section s;
    if (im->n < EMR_HEADER_SIZE)
        return;
    bool arranged = image_find(im, EMR_SECTION_ARRANGEMENT, &s) && s.size;
    uint64_t features = fuzz_below(r, EMR_FEATURES_KNOWN + 1), needed = arranged ? EMR_FEATURE_ARRANGED : 0;
    if (image_find(im, EMR_SECTION_MODULATORS, &s) &&
        emr_load32(im->bytes + s.head + 4) & EMR_SECTION_REQUIRED)
        needed |= EMR_FEATURE_KINDS;
    if (fuzz_below(r, 4))
        features = (features & ~(uint64_t)(EMR_FEATURE_ARRANGED | EMR_FEATURE_KINDS)) | needed;
    emr_store64(im->bytes + 16, features);
}

/* The bytes of a block, which a seal makes right again. */
static void change_block(image *im, fuzz_random *r)
{
    uint8_t *record, *stored;
    size_t size, n = image_n_blocks(im);
    if (!n || !image_block(im, fuzz_below(r, n), &record, &stored, &size))
        return;
    if (fuzz_below(r, 4) == 0) { /* now it takes no room */
        record[20] = EMR_CODEC_FILL;
        emr_store32(record + 16, 0);
    } else if (size) {
        size_t at = fuzz_below(r, fuzz_below(r, 2) ? size : size < 24 ? size : 24); /* often a frame's head */
        LLVMFuzzerMutate(stored + at, size - at, size - at);
    }
}

/* Numbers of first blocks, once a stream before them has changed its number. */
static void renumber_blocks(image *im)
{
    image_section s;
    uint64_t next = 0;
    if (!image_find(im, EMR_SECTION_STREAMS, &s))
        return;
    for (size_t at = 0; s.size - at >= EMR_STREAM_SIZE; at += EMR_STREAM_SIZE) {
        uint8_t *p = im->bytes + s.head + EMR_SECTION_HEAD + at;
        emr_stream_record stream = emr_decode_stream(p);
        emr_store64(p + 16, next);
        next += stream.block_bytes ? emr_stream_blocks(&stream) : 0;
    }
}

/* Cuts a stream into blocks of another size, all of them fill: a bundle that is right and unusual. */
static void recut_stream(image *im, fuzz_random *r)
{
    image_section streams, blocks;
    if (!image_find(im, EMR_SECTION_STREAMS, &streams) || streams.size < EMR_STREAM_SIZE ||
        !image_find(im, EMR_SECTION_BLOCKS, &blocks))
        return;
    size_t n = streams.size / EMR_STREAM_SIZE, i = fuzz_below(r, n);
    size_t place = streams.head + EMR_SECTION_HEAD + i * EMR_STREAM_SIZE;
    emr_stream_record s = emr_decode_stream(im->bytes + place);
    if (!s.block_bytes || s.first_block > blocks.size / EMR_BLOCK_SIZE ||
        emr_stream_blocks(&s) > blocks.size / EMR_BLOCK_SIZE - s.first_block)
        return;
    size_t old = (size_t)emr_stream_blocks(&s), at = (size_t)s.first_block * EMR_BLOCK_SIZE;
    bool thirds = s.kind == EMR_STREAM_CODES && s.block_bytes % 3 == 0; /* of codes of 3 bits */
    s.block_bytes = (thirds ? 768u : 512u) << fuzz_below(r, fuzz_below(r, 4) ? 5 : 15);
    if (emr_stream_blocks(&s) > 1000)
        return;
    size_t new = (size_t)emr_stream_blocks(&s);
    if (!image_splice_content(im, &blocks, at, old * EMR_BLOCK_SIZE, new *EMR_BLOCK_SIZE) ||
        !image_find(im, EMR_SECTION_STREAMS, &streams) || !image_find(im, EMR_SECTION_BLOCKS, &blocks))
        return;
    emr_block_record fill = {.offset = EMR_HEADER_SIZE, .codec = EMR_CODEC_FILL};
    for (size_t k = 0; k < new; k++) {
        fill.parameter = (uint8_t)(fuzz_below(r, 2) ? 0 : fuzz_below(r, 256));
        emr_encode_block(im->bytes + blocks.head + EMR_SECTION_HEAD + at + k * EMR_BLOCK_SIZE, &fill);
    }
    emr_encode_stream(im->bytes + streams.head + EMR_SECTION_HEAD + i * EMR_STREAM_SIZE, &s);
    renumber_blocks(im);
}

/* SUMMARY's numbers of tasks and tensors, as the sections have them. */
static void recount(image *im)
{
    image_section summary, tasks, tensors;
    if (!image_find(im, EMR_SECTION_SUMMARY, &summary) || summary.size < EMR_SUMMARY_SIZE ||
        !image_find(im, EMR_SECTION_TASKS, &tasks) || !image_find(im, EMR_SECTION_TENSORS, &tensors))
        return;
    uint8_t *p = im->bytes + summary.head + EMR_SECTION_HEAD;
    emr_store32(p + 8, (uint32_t)(tasks.size / EMR_TASK_SIZE));
    emr_store32(p + 12, (uint32_t)(tensors.size / EMR_TENSOR_SIZE));
}

static void change(image *im, fuzz_random *r)
{
    static void (*const ways[])(image *, fuzz_random *) = {
        change_field,   change_field,   change_field, change_field, change_records, change_block,
        change_content, change_section, recut_stream, change_block, change_content, change_features,
    };
    for (size_t n = 1 + fuzz_below(r, 3); n; n--)
        ways[fuzz_below(r, sizeof ways / sizeof ways[0])](im, r);
    if (fuzz_below(r, 3) == 0)
        recount(im);
    if (fuzz_below(r, 3) == 0)
        renumber_blocks(im);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    image_section sections[IMAGE_SECTIONS];
    fuzz_random r = fuzz_random_make(seed);
    image im = {data + 1, size ? size - 1 : 0, max_size ? max_size - 1 : 0};
    if (!size || !image_sections(&im, sections) || fuzz_below(&r, 20) == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
        im.n = size ? size - 1 : 0;
    } else {
        if (fuzz_below(&r, 8) == 0)
            data[0] = (uint8_t)fuzz_below(&r, 256);
        change(&im, &r);
    }
    if (fuzz_below(&r, 16))
        image_seal(&im, fuzz_below(&r, 4) != 0);
    return size ? im.n + 1 : 0;
}
