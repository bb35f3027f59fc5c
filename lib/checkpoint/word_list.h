/* word_list.h - names for a sentence: the first few, and how many more there are. */
#ifndef EMR_CHECKPOINT_WORD_LIST_H
#define EMR_CHECKPOINT_WORD_LIST_H

#include <stddef.h>

typedef struct emr_word_list {
    char text[250]; /* "'a', 'b', 'c' and 2 more" once it is ended */
    size_t length, n;
    size_t most; /* shown; 0: three */
} emr_word_list;

void emr_word_list_add(emr_word_list *list, const char *name);
/* The text. */
const char *emr_word_list_end(emr_word_list *list);

#endif
