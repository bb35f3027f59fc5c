/* glob.h - matching tensor names against shell patterns. */
#ifndef EMR_ALIGN_GLOB_H
#define EMR_ALIGN_GLOB_H

#include <stdbool.h>

/* '*' any bytes, '?' one byte, '[abc]', '[a-z]', '[!a-z]' one byte of a set, '\' takes the next byte as it
 * is. The whole name must match. Time is at most proportional to the product of the lengths. */
bool emr_glob_match(const char *pattern, const char *name);

#endif
