/* fixture.h - a small merge of every kind of tensor, and its bundle. */
#ifndef EMR_TESTS_FIXTURE_H
#define EMR_TESTS_FIXTURE_H

#include "support.h"

enum {
    FIXTURE_TENSORS = 9, /* of each model; one is private, one is kept from the base */
    FIXTURE_MERGED = 7,
    FIXTURE_TASKS = 3,
};
#define FIXTURE_PRIVATE "head.bias"
#define FIXTURE_KEPT    "ids"

typedef struct fixture {
    test_set set;
    emr_buffer *buffer;
    emr_bundle *bundle;
} fixture;

/* Options may be NULL; the private glob is added. With `large`, one tensor spans several blocks of every
 * stream. */
void fixture_create(fixture *f, const emr_merge_options *options, bool large);
/* The small one with every kind of stream: rescalers per row, the base embedded. */
void fixture_create_rich(fixture *f);
void fixture_destroy(fixture *f);

/* The place of a tensor in the set's models. */
size_t fixture_index(const fixture *f, const char *name);

/* All bytes of a tensor; free them. */
unsigned char *read_all(const emr_tensor *tensor);

/* Whether two models have the same tensors with the same bytes. */
bool same_models(const emr_model *a, const emr_model *b);

#endif
