/* model_files.c - see model_files.h. */
#define _GNU_SOURCE

#include "model_files.h"

#include "merging.h"
#include "plain_files.h"
#include "synthetic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One tensor while it is written: its place in the model's values. */
typedef struct part {
    emr_dtype dtype;
    size_t source;
    uint64_t first;
} part;

typedef struct building {
    emr_model *model;
    size_t source;
    uint64_t position; /* values so far */
    part *parts;       /* PARTS_MAX, so that they stay where they are */
    size_t n_parts;
} building;

enum { PARTS_MAX = 1 << 17 };

static emr_status compute_part(const emr_computation *c, emr_error *error)
{
    const part *p = c->user;
    (void)error;
    if (emr_dtype_is_float(p->dtype)) {
        synthetic_values(p->dtype, c->out, p->source, p->first + c->first, c->count);
        return EMR_OK;
    }
    for (size_t i = 0; i < c->count; i++) { /* I64: positions */
        uint64_t value = c->first + i;
        memcpy((char *)c->out + i * sizeof value, &value, sizeof value);
    }
    return EMR_OK;
}

static void add_part(building *b, emr_dtype dtype, uint64_t rows, uint64_t columns, const char *name)
{
    if (b->n_parts == PARTS_MAX)
        die("too many tensors");
    part *p = &b->parts[b->n_parts++];
    *p = (part){dtype, b->source, b->position};
    add_computed(b->model, name, dtype, rows, columns, compute_part, p);
    b->position += rows * columns;
}

static void add_even(building *b, const model_recipe *r)
{
    enum { TENSORS = 16, ROW = 1024 };
    for (unsigned i = 0; i < TENSORS; i++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%u.weight", i);
        add_part(b, r->dtype, r->params / TENSORS / ROW, ROW, name);
    }
}

static void add_small(building *b, const model_recipe *r)
{
    for (unsigned i = 0; i < r->params / 256; i++) {
        char name[48];
        snprintf(name, sizeof name, "model.layers.%u.block.weight", i);
        add_part(b, EMR_DTYPE_F32, 1, 256, name);
    }
}

/* A matrix with its bias. */
static void add_linear(building *b, unsigned layer, const char *of, uint64_t rows, uint64_t columns)
{
    char name[64];
    snprintf(name, sizeof name, "encoder.layer.%u.%s.weight", layer, of);
    add_part(b, EMR_DTYPE_BF16, rows, columns, name);
    snprintf(name, sizeof name, "encoder.layer.%u.%s.bias", layer, of);
    add_part(b, EMR_DTYPE_F32, 1, rows, name);
}

static void add_norm(building *b, unsigned layer, const char *of, uint64_t width)
{
    char name[64];
    snprintf(name, sizeof name, "encoder.layer.%u.%s.norm.weight", layer, of);
    add_part(b, EMR_DTYPE_F32, 1, width, name);
    snprintf(name, sizeof name, "encoder.layer.%u.%s.norm.bias", layer, of);
    add_part(b, EMR_DTYPE_F32, 1, width, name);
}

/* As many layers of width 768 as the parameters asked for have room for, and an embedding of 30,522 words
 * where they have room for more than that. */
static void add_transformer(building *b, const model_recipe *r)
{
    static const char *const square[] = {"attention.query", "attention.key", "attention.value",
                                         "attention.output"};
    const uint64_t width = 768, per_layer = 12 * width * width;
    uint64_t words = r->params > 64 << 20 ? 30522 : 512;
    unsigned n_layers = (unsigned)((r->params - words * width) / per_layer);
    add_part(b, EMR_DTYPE_BF16, words, width, "embeddings.word");
    add_part(b, EMR_DTYPE_I64, 1, 512, "embeddings.position_ids");
    add_part(b, EMR_DTYPE_BF16, 512, width, "embeddings.position");
    for (unsigned i = 0; i < n_layers; i++) {
        for (size_t m = 0; m < 4; m++)
            add_linear(b, i, square[m], width, width);
        add_norm(b, i, "attention", width);
        add_linear(b, i, "intermediate", 4 * width, width);
        add_linear(b, i, "output", width, 4 * width);
        add_norm(b, i, "output", width);
    }
    if (b->source)
        add_part(b, EMR_DTYPE_F32, 10, width, "classifier.weight");
}

static void write_model(const model_recipe *r, size_t source, part *parts, const team *t)
{
    emr_error error;
    building b = {.model = create_model(), .source = source, .parts = parts};
    int descriptor;
    if (r->kind == MODEL_EVEN)
        add_even(&b, r);
    else if (r->kind == MODEL_SMALL)
        add_small(&b, r);
    else
        add_transformer(&b, r);
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    options.resources = &t->resources;
    emr_io io = plain_output(model_path(r, source).text, &descriptor);
    check(emr_safetensors_write(b.model, &io, &options, &error), &error);
    emr_model_destroy(&b.model);
    fdatasync(descriptor);
    close(descriptor);
}

/* The header by hand and a hole for the data: nothing else could be written without writing all of it. */
static void write_sparse(const model_recipe *r, size_t source)
{
    enum { HEADER = 128, PAGES = 16, PAGE_PARAMS = 1024 };
    char header[8 + HEADER + 1];
    float page[PAGE_PARAMS];
    uint64_t length = HEADER, bytes = r->params * 4;
    emr_error error;
    int descriptor, n;
    n = snprintf(header + 8, HEADER + 1,
                 "{\"weight\":{\"dtype\":\"F32\",\"shape\":[%" PRIu64 ",1024],\"data_offsets\":[0,%" PRIu64
                 "]}}",
                 r->params / 1024, bytes);
    memset(header + 8 + n, ' ', (size_t)(HEADER - n));
    for (size_t i = 0; i < 8; i++)
        header[i] = (char)(length >> 8 * i);
    emr_io io = plain_output(model_path(r, source).text, &descriptor);
    check(io.write(io.user, 0, header, 8 + HEADER, &error), &error);
    if (ftruncate(descriptor, (off_t)(8 + HEADER + bytes)))
        die("a sparse model could not be written");
    for (uint64_t i = 0; i < PAGES; i++) {
        uint64_t first = r->params / PAGES * i / PAGE_PARAMS * PAGE_PARAMS;
        synthetic_values(EMR_DTYPE_F32, page, source, first, PAGE_PARAMS);
        check(io.write(io.user, 8 + HEADER + first * 4, page, sizeof page, &error), &error);
    }
    fdatasync(descriptor);
    close(descriptor);
}

path_text model_path(const model_recipe *r, size_t source)
{
    path_text p;
    if (source)
        snprintf(p.text, sizeof p.text, "%s/task%zu.safetensors", r->directory, source);
    else
        snprintf(p.text, sizeof p.text, "%s/base.safetensors", r->directory);
    return p;
}

void models_create(const model_recipe *r, const team *t)
{
    part *parts = malloc(PARTS_MAX * sizeof *parts);
    if (!parts)
        die("out of memory");
    for (size_t i = 0; i <= r->n_tasks; i++) {
        if (r->kind == MODEL_SPARSE)
            write_sparse(r, i);
        else
            write_model(r, i, parts, t);
    }
    free(parts);
}

void models_unlink(const model_recipe *r)
{
    for (size_t i = 0; i <= r->n_tasks; i++)
        unlink(model_path(r, i).text);
}
