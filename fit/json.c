/* json.c - see json.h. */
#include "json.h"

char *fit_write_json(const fit_host *host, const json_t *value)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    const size_t n = json_dumpb(value, NULL, 0, flags);
    char *text = n ? fit_allocate(host, n + 1, 1) : NULL;
    if (text && json_dumpb(value, text, n, flags) != n) {
        fit_release(host, text);
        return NULL;
    }
    return text;
}

bool fit_is_text(const char *string)
{
    json_t *value = json_string(string);
    json_decref(value);
    return value != NULL;
}
