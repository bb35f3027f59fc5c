/* image.c - see image.h. */
#include "image.h"

#include "core/hash.h"

/* Where the index begins; 0 if the trailer does not say so. */
static size_t index_of(const image *im)
{
    if (im->n < EMR_HEADER_SIZE + EMR_TRAILER_SIZE)
        return 0;
    uint64_t offset = emr_load64(im->bytes + im->n - EMR_TRAILER_SIZE);
    return offset < EMR_HEADER_SIZE || offset > im->n - EMR_TRAILER_SIZE ? 0 : (size_t)offset;
}

size_t image_sections(const image *im, image_section sections[IMAGE_SECTIONS])
{
    size_t at = index_of(im), n = 0;
    if (!at)
        return 0;
    while (n < IMAGE_SECTIONS && im->n - EMR_TRAILER_SIZE - at >= EMR_SECTION_HEAD) {
        uint64_t size = emr_load64(im->bytes + at + 8);
        size_t left = im->n - EMR_TRAILER_SIZE - at - EMR_SECTION_HEAD;
        if (size > left || (size + 7) / 8 * 8 > left)
            break;
        sections[n++] = (image_section){at, (size_t)size, emr_load32(im->bytes + at)};
        at += EMR_SECTION_HEAD + (size_t)(size + 7) / 8 * 8;
    }
    return n;
}

bool image_find(const image *im, enum emr_section_kind kind, image_section *section)
{
    image_section all[IMAGE_SECTIONS];
    size_t n = image_sections(im, all);
    for (size_t i = 0; i < n; i++) {
        if (all[i].kind == (uint32_t)kind) {
            *section = all[i];
            return true;
        }
    }
    return false;
}

bool image_splice(image *im, size_t at, size_t removed, size_t added)
{
    if (added > removed && added - removed > im->capacity - im->n)
        return false;
    memmove(im->bytes + at + added, im->bytes + at + removed, im->n - at - removed);
    memset(im->bytes + at, 0, added);
    im->n = im->n - removed + added;
    uint8_t *trailer = im->bytes + im->n - EMR_TRAILER_SIZE;
    emr_store64(trailer + 8, emr_load64(trailer + 8) - removed + added);
    emr_store64(trailer + 24, im->n);
    return true;
}

bool image_splice_content(image *im, const image_section *s, size_t at, size_t removed, size_t added)
{
    size_t content = s->head + EMR_SECTION_HEAD, size = s->size - removed + added;
    size_t old_end = (s->size + 7) / 8 * 8, new_end = (size + 7) / 8 * 8, kept = s->size - at - removed;
    if (new_end > old_end && !image_splice(im, content + old_end, 0, new_end - old_end))
        return false;
    memmove(im->bytes + content + at + added, im->bytes + content + at + removed, kept);
    memset(im->bytes + content + at, 0, added);
    if (new_end < old_end)
        image_splice(im, content + new_end, old_end - new_end, 0);
    memset(im->bytes + content + size, 0, new_end - size);
    emr_store64(im->bytes + s->head + 8, size);
    return true;
}

size_t image_n_blocks(const image *im)
{
    image_section s;
    return image_find(im, EMR_SECTION_BLOCKS, &s) ? s.size / EMR_BLOCK_SIZE : 0;
}

bool image_block(const image *im, size_t i, uint8_t **record, uint8_t **stored, size_t *size)
{
    image_section s;
    if (!image_find(im, EMR_SECTION_BLOCKS, &s) || i >= s.size / EMR_BLOCK_SIZE)
        return false;
    *record = im->bytes + s.head + EMR_SECTION_HEAD + i * EMR_BLOCK_SIZE;
    emr_block_record block = emr_decode_block(*record);
    if (block.offset > im->n || block.stored > im->n - block.offset)
        return false;
    *stored = im->bytes + block.offset;
    *size = block.stored;
    return true;
}

uint32_t image_largest_block(const image *im)
{
    image_section s;
    uint32_t largest = 1;
    if (!image_find(im, EMR_SECTION_STREAMS, &s))
        return 1;
    for (size_t at = 0; s.size - at >= EMR_STREAM_SIZE; at += EMR_STREAM_SIZE) {
        emr_stream_record r = emr_decode_stream(im->bytes + s.head + EMR_SECTION_HEAD + at);
        uint32_t block = r.bytes < r.block_bytes ? (uint32_t)r.bytes : r.block_bytes;
        largest = block > largest ? block : largest;
    }
    return largest;
}

void image_seal(image *im, bool blocks)
{
    uint8_t *record, *stored;
    size_t size, index = index_of(im);
    if (!index)
        return;
    for (size_t i = 0; blocks && i < image_n_blocks(im); i++)
        if (image_block(im, i, &record, &stored, &size))
            emr_store64(record + 8, emr_hash64(stored, size));
    uint8_t *trailer = im->bytes + im->n - EMR_TRAILER_SIZE;
    emr_store64(im->bytes + EMR_SEALED, emr_hash64(im->bytes, EMR_SEALED));
    emr_store64(trailer + 16, emr_hash64(im->bytes + index, im->n - EMR_TRAILER_SIZE - index));
    emr_store64(trailer + EMR_SEALED, emr_hash64(trailer, EMR_SEALED));
}
