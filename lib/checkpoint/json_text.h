/* json_text.h - writing JSON: pieces of text one after the other. */
#ifndef EMR_CHECKPOINT_JSON_TEXT_H
#define EMR_CHECKPOINT_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Begun as {NULL, 0}, it only counts; what was counted fits into as many `bytes` when all is put again. */
typedef struct emr_json_text {
    char *bytes;
    size_t n;
} emr_json_text;

/* As it stands. */
void emr_json_put(emr_json_text *text, const char *piece);
/* In quotes and escaped; the string is valid UTF-8. */
void emr_json_put_string(emr_json_text *text, const char *string);
void emr_json_put_natural(emr_json_text *text, uint64_t number);

#endif
