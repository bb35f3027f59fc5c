/* sink.c - see sink.h. */
#include "merge/sink.h"

#include <string.h>

typedef emr_status (*sink_fn)(void *user, const emr_sink_part *part, emr_error *error);

/* `task` is the name of the part's task, NULL for unified values. */
static emr_status give_part(const emr_sink *sink, sink_fn fn, const emr_item *item, emr_sink_part part,
                            const char *task, emr_error *error)
{
    emr_error why;
    if (!fn || !part.n)
        return EMR_OK;
    memset(&why, 0, sizeof why);
    part.size = sizeof part;
    part.tensor = item->number;
    emr_status status = fn(sink->user, &part, &why);
    why.text[sizeof why.text - 1] = '\0';
    if (!status)
        return EMR_OK;
    status = emr_callback_status(status, EMR_EIO);
    return task ? emr_fail_because(error, status, &why, "task '%K': the sink failed on tensor '%T'", task,
                                   item->entry->base->name)
                : emr_fail_because(error, status, &why, "the sink failed on tensor '%T'",
                                   item->entry->base->name);
}

emr_status emr_sink_elected(const emr_sink *sink, const emr_item *item, const void *unified,
                            uint8_t *const *masks, const emr_merge_plan *plan, emr_error *error)
{
    uint32_t n = plan->modulations.n_elected;
    emr_sink_part part = {.values = unified, .n = item->n, .first = item->first, .task = EMR_BASE};
    emr_status status = n ? give_part(sink, sink->unified, item, part, NULL, error) : EMR_OK;
    for (uint32_t t = 0; !status && t < n; t++) {
        part.values = masks[t];
        part.task = plan->modulations.elected[t];
        status = give_part(sink, sink->mask, item, part, emr_merge_elected_task(plan, t)->name, error);
    }
    return status;
}

emr_status emr_sink_rescalers(const emr_sink *sink, const emr_item *item, emr_sink_part part,
                              const emr_alignment *a, emr_error *error)
{
    return give_part(sink, sink->rescalers, item, part, a->tasks[part.task].name, error);
}
