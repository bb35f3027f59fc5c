/* json.h - JSON of metadata. */
#ifndef EMR_FIT_JSON_H
#define EMR_FIT_JSON_H

#include "host.h"

#include <jansson.h>

/* Its text, on one line, in the host's memory: release it. NULL: there is no memory, or no value. */
char *fit_write_json(const fit_host *host, const json_t *value);

/* Whether it can be written: it is UTF-8. */
bool fit_is_text(const char *string);

#endif
