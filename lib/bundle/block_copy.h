/* block_copy.h - blocks of a bundle into another one, as they are stored; checked on the way. */
#ifndef EMR_BUNDLE_BLOCK_COPY_H
#define EMR_BUNDLE_BLOCK_COPY_H

#include "bundle/bundle.h"
#include "bundle/writer.h"

typedef struct emr_block_copy {
    const emr_bundle *bundle;
    const emr_allocator *allocator;
    emr_writer *writer;    /* with nothing under way */
    const size_t *streams; /* in the writer, of each of the bundle's; EMR_NO_STREAM: left out */
    emr_status (*advance)(void *context, uint64_t bytes, emr_error *error); /* so many more were copied */
    void *context;
} emr_block_copy;

emr_status emr_copy_blocks(const emr_block_copy *copy, emr_error *error);

/* What it allocates. */
uint64_t emr_copy_memory(const emr_bundle *bundle);

#endif
