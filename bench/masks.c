/* masks.c - how small masks become on disk, against the entropy of their bits, and how fast.
 *
 * Sizes come from a real merge. Its base is zero and its first task 100 everywhere, so that the positive side
 * is elected everywhere; every other task has +0.01 where its mask shall have a one, and -0.01 elsewhere.
 * A mask's size counts its frames and its entries in the block table. */
#include "measure.h"
#include "merging.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include "bundle/codec.h"

#include <math.h>
#include <stdlib.h>

enum {
    DENSITIES = 11, /* 0.0, 0.1, ... 1.0 */
    BLOCK_PARAMS = 262144,
    BLOCK_BYTES = BLOCK_PARAMS / 8,
    TABLE_ENTRY = 24, /* docs/bundle-format.md */
};

/* Task i + 1 has the mask of density i / 10; the base is not `leader` and has no mask. */
typedef struct crafted {
    bool base, leader;
    unsigned tenths;
} crafted;

static bool mask_bit(unsigned tenths, uint64_t position)
{
    return (mix64(position * DENSITIES + tenths) >> 32) * 10 < (uint64_t)tenths << 32;
}

static emr_status compute_crafted(const emr_computation *c, emr_error *error)
{
    const crafted *source = c->user;
    float *out = c->out;
    (void)error;
    for (size_t i = 0; i < c->count; i++)
        out[i] = source->base                             ? 0.0f
                 : source->leader                         ? 100.0f
                 : mask_bit(source->tenths, c->first + i) ? 0.01f
                                                          : -0.01f;
    return EMR_OK;
}

static void merge_crafted(const settings *s, uint64_t params, emr_buffer *buffer)
{
    crafted sources[DENSITIES + 2] = {{.base = true}, {.leader = true}};
    emr_model *models[DENSITIES + 2];
    team t = team_create(s->threads);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.resources = &t.resources;
    options.block_params = BLOCK_PARAMS;
    for (unsigned i = 0; i < DENSITIES + 2; i++) {
        sources[i].tenths = i < 2 ? 0 : i - 2;
        models[i] = create_model();
        add_computed(models[i], "weight", EMR_DTYPE_F32, 1, params, compute_crafted, &sources[i]);
    }
    run_merge(&options, models, DENSITIES + 1, emr_buffer_io(buffer));
    destroy_models(models, DENSITIES + 2);
    team_destroy(&t);
}

/* Bytes that the order-0 entropy of the bits asks for. */
static double entropy_bytes(double ones, double params)
{
    double p = ones / params;
    return ones <= 0 || ones >= params ? 0 : -(p * log2(p) + (1 - p) * log2(1 - p)) * params / 8;
}

static double stored_bytes(const emr_task_info *info, uint64_t params)
{
    return (double)info->mask_bytes + TABLE_ENTRY * (double)((params + BLOCK_PARAMS - 1) / BLOCK_PARAMS);
}

static emr_task_info task_info(const emr_bundle *bundle, unsigned tenths)
{
    emr_task_info info = EMR_INIT(emr_task_info);
    emr_error error = {.text = "the bundle lacks a task"};
    check(emr_bundle_get_task(bundle, tenths + 1, &info), &error);
    return info;
}

static void print_sizes(const emr_bundle *bundle, uint64_t params)
{
    double largest = 0;
    for (unsigned tenths = 1; tenths < 10; tenths++) {
        emr_task_info info = task_info(bundle, tenths);
        double stored = stored_bytes(&info, params);
        double entropy = entropy_bytes((double)info.mask_ones, (double)params);
        largest = stored > largest ? stored : largest;
        row(100 * (stored / entropy - 1), "%", at_most(tenths == 1 || tenths == 9 ? 8 : 2),
            "masks: density 0.%u, above the entropy", tenths);
    }
    row(largest * 8 / (double)params, "bit/param", at_most(1.001), "masks: largest of them");
    for (unsigned tenths = 0; tenths <= 10; tenths += 10) {
        emr_task_info info = task_info(bundle, tenths);
        row(stored_bytes(&info, params), "bytes", no_bar(), "masks: all %s, %.3g Mi parameters",
            tenths ? "one" : "zero", (double)params / 0x1p20);
    }
}

static void measure_sizes(const settings *s)
{
    uint64_t params = size_of_run(s, 16 << 20, 1 << 19);
    emr_error error;
    emr_bundle *bundle;
    emr_buffer *buffer;
    check(emr_buffer_create(&buffer, NULL, &error), &error);
    merge_crafted(s, params, buffer);
    check(emr_bundle_open(&bundle, emr_buffer_io(buffer), NULL, NULL, &error), &error);
    print_sizes(bundle, params);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
}

/* Blocks of one density, and their frames. */
typedef struct blocks {
    size_t n;
    uint8_t *bits, *frames; /* BLOCK_BYTES each */
    size_t *sizes;          /* of the frames; 0: did not shrink, and stays raw */
    emr_encoder *encoder;
    emr_decoder *decoder;
    uint8_t out[BLOCK_BYTES];
} blocks;

static void encode_all(blocks *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (emr_encode(b->encoder, b->frames + i * BLOCK_BYTES, BLOCK_BYTES, b->bits + i * BLOCK_BYTES,
                       BLOCK_BYTES, EMR_TEXTURE_BITS, &b->sizes[i]))
            die("a mask could not be compressed");
}

static size_t decode_all(blocks *b)
{
    size_t decoded = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->sizes[i])
            continue;
        if (emr_decode(b->decoder, b->out, BLOCK_BYTES, 1, b->frames + i * BLOCK_BYTES, b->sizes[i], NULL))
            die("a mask could not be decompressed");
        decoded += BLOCK_BYTES;
    }
    return decoded;
}

static void measure_density(const settings *s, blocks *b, unsigned tenths)
{
    double encoding[RUNS_MAX], decoding[RUNS_MAX];
    size_t decoded = 0, bytes = b->n * BLOCK_BYTES;
    for (size_t i = 0; i < bytes; i++) {
        b->bits[i] = 0;
        for (unsigned k = 0; k < 8; k++)
            b->bits[i] |= (uint8_t)(mask_bit(tenths, i * 8 + k) << k);
    }
    for (unsigned i = 0; i < s->runs; i++) {
        double start = now();
        encode_all(b);
        double middle = now();
        decoded = decode_all(b);
        encoding[i] = middle - start;
        decoding[i] = now() - middle;
    }
    row((double)bytes / median(encoding, s->runs) / 1e9, "GB/s", no_bar(),
        "masks: compress blocks of density 0.%u, 1 thread", tenths);
    if (decoded)
        row((double)decoded / median(decoding, s->runs) / 1e9, "GB/s", no_bar(),
            "masks: decompress blocks of density 0.%u, 1 thread", tenths);
}

static void measure_rates(const settings *s)
{
    static const unsigned densities[] = {1, 3, 4, 5};
    emr_allocator allocator;
    emr_error error;
    static blocks b;
    check(emr_allocator_take(&allocator, NULL, &error), &error);
    if (emr_encoder_create(&b.encoder, &allocator, 1, BLOCK_BYTES) ||
        emr_decoder_create(&b.decoder, &allocator))
        die("out of memory");
    if (!b.encoder) {
        row_text("masks: compress", "not in this build: it has no zstd");
        return;
    }
    b.n = (size_t)size_of_run(s, 256, 8);
    b.bits = allocate_large(b.n * BLOCK_BYTES);
    b.frames = allocate_large(b.n * BLOCK_BYTES);
    b.sizes = calloc(b.n, sizeof *b.sizes);
    if (!b.sizes)
        die("out of memory");
    for (size_t i = 0; i < sizeof densities / sizeof *densities; i++)
        measure_density(s, &b, densities[i]);
    release_large(b.bits, b.n * BLOCK_BYTES);
    release_large(b.frames, b.n * BLOCK_BYTES);
    free(b.sizes);
    emr_encoder_destroy(b.encoder);
    emr_decoder_destroy(b.decoder);
}

void bench_masks(const settings *s)
{
    measure_sizes(s);
    measure_rates(s);
}
