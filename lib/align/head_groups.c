/* head_groups.c - the metadata of a combined model that tell whose rows of its heads are whose: EMR_HEAD_GROUPS
 * (emr/heads.h). */
#include "align/heads.h"

#include "core/text.h"
#include "model/model.h"

#include <string.h>

/* JSON as it grows. `text` NULL after there was no memory. */
typedef struct group_text {
    const emr_allocator *allocator;
    char *text;
    size_t n, capacity;
} group_text;

static bool append_bytes(group_text *g, const char *bytes, size_t n)
{
    if (!emr_grow(g->allocator, (void **)&g->text, &g->capacity, g->n + n + 1, 1))
        return false;
    memcpy(g->text + g->n, bytes, n);
    g->n += n;
    g->text[g->n] = '\0';
    return true;
}

static bool append_text(group_text *g, const char *text)
{
    return append_bytes(g, text, emr_text_length(text));
}

static bool append_count(group_text *g, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    return append_bytes(g, digits + at, sizeof digits - at);
}

static bool append_quoted(group_text *g, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    bool is_done = append_text(g, "\"");
    for (; is_done && *text; text++) {
        unsigned char byte = (unsigned char)*text;
        const char escaped[] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, plain[] = {'\\', *text};
        is_done = byte < 0x20                   ? append_bytes(g, escaped, sizeof escaped)
                  : byte == '"' || byte == '\\' ? append_bytes(g, plain, sizeof plain)
                                                : append_bytes(g, text, 1);
    }
    return is_done && append_text(g, "\"");
}

static bool append_group(group_text *g, const emr_head_group *group)
{
    static const char *const kinds[] = {"softmax", "sigmoid", "identity"};
    bool is_single = group->kind == EMR_HEAD_KIND_SOFTMAX && group->count == 1;
    return append_text(g, g->n > 1 ? ", {\"task\": " : "{\"task\": ") && append_quoted(g, group->task) &&
           append_text(g, ", \"first\": ") && append_count(g, group->first) &&
           append_text(g, ", \"count\": ") && append_count(g, group->count) &&
           append_text(g, ", \"kind\": \"") &&
           append_text(g, kinds[is_single ? EMR_HEAD_KIND_SIGMOID : group->kind]) && append_text(g, "\"}");
}

emr_status emr_heads_set_metadata(const emr_heads *heads, emr_model *model, emr_error *error)
{
    if (!heads || !model)
        return emr_fail(error, EMR_EINVAL, "emr_heads_set_metadata: NULL");
    group_text g = {.allocator = emr_heads_allocator(heads)};
    bool is_done = append_text(&g, "[");
    for (uint32_t i = 0; is_done && i < emr_heads_n_tasks(heads); i++) {
        emr_head_group group = EMR_INIT(emr_head_group);
        emr_heads_get_group(heads, i, &group);
        is_done = append_group(&g, &group);
    }
    is_done = is_done && append_text(&g, "]");
    emr_status status = is_done ? emr_model_set_metadata(model, EMR_HEAD_GROUPS, g.text, error)
                                : emr_no_memory(error, model->name);
    emr_release(g.allocator, g.text);
    return status;
}
