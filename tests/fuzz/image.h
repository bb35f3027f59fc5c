/* image.h - a bundle's bytes as something to change: its sections and records are found as a reader finds
 * them, but nothing is trusted, and the checksums are made right again on demand. */
#ifndef EMR_TESTS_FUZZ_IMAGE_H
#define EMR_TESTS_FUZZ_IMAGE_H

#include "bundle/format.h"

typedef struct image {
    uint8_t *bytes;
    size_t n, capacity;
} image;

/* A section as it stands in the index; `head` is where its head begins. */
typedef struct image_section {
    size_t head, size;
    uint32_t kind;
} image_section;

enum { IMAGE_SECTIONS = 24 }; /* more are not looked at */

/* The sections of the index, in order; 0 if there is none to be found. */
size_t image_sections(const image *im, image_section sections[IMAGE_SECTIONS]);
/* The first one of a kind; false if there is none. */
bool image_find(const image *im, enum emr_section_kind kind, image_section *section);

/* Replaces `removed` bytes at `at`, in the index, by as many as `added` new ones, which are zero; false if
 * there is no room. The trailer is told. */
bool image_splice(image *im, size_t at, size_t removed, size_t added);
/* The same within the content of a section, whose head and padding are told too. */
bool image_splice_content(image *im, const image_section *section, size_t at, size_t removed, size_t added);

/* Block i of the table, and where its bytes are; false if there is none or it lies outside. */
bool image_block(const image *im, size_t i, uint8_t **record, uint8_t **stored, size_t *size);
size_t image_n_blocks(const image *im);
/* The largest block that a stream claims to have; 1 if there is none. */
uint32_t image_largest_block(const image *im);

/* Makes the checksums of blocks (if asked for), header, index and trailer right. */
void image_seal(image *im, bool blocks);

#endif
