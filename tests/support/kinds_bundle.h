/* kinds_bundle.h - small bundles whose tasks have modulators of any kind: contents drawn at random, written as
 * docs/bundle-format.md says, and the weights that the page says these stand for. */
#ifndef EMR_TESTS_KINDS_BUNDLE_H
#define EMR_TESTS_KINDS_BUNDLE_H

#include "support.h"

#include "bundle/format.h"

enum {
    KINDS_TENSORS = 11, /* all F32; the last one is kept from the base, the others are merged */
    KINDS_MERGED = 10,
    KINDS_MOST = 8, /* tasks */
};

/* A stream's bytes, decoded. */
typedef struct kinds_stream {
    unsigned char *bytes;
    uint64_t n;
} kinds_stream;

typedef struct kinds_bundle {
    emr_summary summary;
    emr_extent extent;
    emr_tensor_record tensors[KINDS_TENSORS]; /* but for strings and shapes */
    uint32_t n_tasks;
    bool coarse; /* few blocks, rather than as many as may be */
    emr_modulator_record modulators[KINDS_MOST];
    float scales[KINDS_MOST][KINDS_MERGED][2]; /* where they are not per row */
    kinds_stream base, unified, streams[EMR_N_STREAM_KINDS][KINDS_MOST];
    emr_buffer *buffer; /* the file; once it is written */
} kinds_bundle;

/* One of each kind, with parameters that differ from the usual. */
extern const emr_modulator_record kinds_of_all[];
/* The paper's mask, of which there is nothing to say. */
extern const emr_modulator_record kinds_paper_mask;
extern const uint32_t n_kinds_of_all;

/* Draws contents: the same for a task whatever other tasks there are. They may be changed before they are
 * written. */
void kinds_draw(kinds_bundle *k, uint8_t rescale_per, const emr_modulator_record *modulators,
                uint32_t n_tasks);
void kinds_write(kinds_bundle *k);
void kinds_destroy(kinds_bundle *k);

const char *kinds_tensor_name(uint32_t tensor);
uint64_t kinds_count(uint32_t tensor);
/* Rows of a tensor, and the columns of each. */
uint64_t kinds_rows(uint32_t tensor);
uint64_t kinds_columns(uint32_t tensor);
/* Whether tasks without a unified vector have it as differences. */
bool kinds_is_vector(uint32_t tensor);
/* Where the scale of a parameter's stretch is. */
uint64_t kinds_slot(const kinds_bundle *k, uint32_t tensor, uint64_t parameter);

/* A task's weights of a tensor. */
void kinds_weights(const kinds_bundle *k, uint32_t task, uint32_t tensor, float *weights);

/* The product of a vector with a row of n columns, the tensor's or parts of those, as emr/product.h says. The task
 * may be EMR_BASE. */
float kinds_product(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t row, uint64_t n,
                    const float *x);

#endif
