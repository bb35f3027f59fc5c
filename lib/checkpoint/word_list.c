/* word_list.c - see word_list.h. A name that is too long is cut. */
#include "checkpoint/word_list.h"

#include <stdint.h>
#include <string.h>

enum { SHOWN = 3, NAME_BYTES = 50 };

static size_t shown_at_most(const emr_word_list *l)
{
    return l->most ? l->most : SHOWN;
}

static void put_text(emr_word_list *l, const char *text, size_t most)
{
    for (; *text && most && l->length + 1 < sizeof l->text; text++, most--)
        l->text[l->length++] = *text;
    l->text[l->length] = '\0';
}

void emr_word_list_add(emr_word_list *l, const char *name)
{
    if (l->n++ >= shown_at_most(l))
        return;
    size_t n = strlen(name), most = n;
    if (n > NAME_BYTES)
        for (most = NAME_BYTES;
             most && ((unsigned char)name[most] & 0xc0) == 0x80;) /* not inside a character */
            most--;
    put_text(l, l->n > 1 ? ", '" : "'", SIZE_MAX);
    put_text(l, name, most);
    put_text(l, most < n ? "...'" : "'", SIZE_MAX);
}

const char *emr_word_list_end(emr_word_list *l)
{
    char digits[20];
    size_t n = 0, most = shown_at_most(l);
    if (l->n <= most)
        return l->text;
    put_text(l, " and ", SIZE_MAX);
    for (size_t more = l->n - most; more; more /= 10)
        digits[n++] = (char)('0' + more % 10);
    while (n)
        put_text(l, &digits[--n], 1);
    put_text(l, " more", SIZE_MAX);
    l->n = most;
    return l->text;
}
