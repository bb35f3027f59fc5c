/* share.c - how much of a model is merged: told with every merge, and loudly where most of it is not. */
#include "cli.h"

#include <string.h>

/* A tensor of that name, of the base or else of a task. */
static const emr_tensor *find_anywhere(const char *name, emr_model *const *models, size_t n,
                                       const emr_model *base)
{
    const emr_tensor *found = emr_model_find_tensor(base, name);
    for (size_t i = 0; !found && i < n; i++)
        found = emr_model_find_tensor(models[i], name);
    return found;
}

bool is_no_weight(const char *name)
{
    return strcmp(name, EMR_GGUF_HEADER) == 0 || strncmp(name, EMR_FILE_PREFIX, strlen(EMR_FILE_PREFIX)) == 0;
}

share count_share(const emr_merge *merge, emr_model *const *models, size_t n, const emr_model *base)
{
    share s = {0, 0, 0};
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &t) == EMR_OK; i++) {
        uint64_t params = t.count;
        if (is_no_weight(t.name))
            continue;
        emr_gguf_blocks(find_anywhere(t.name, models, n, base),
                        &params); /* changes it where bytes are no elements */
        if (t.action == EMR_ACTION_MERGE)
            s.merged += params;
        else if (t.action == EMR_ACTION_PRIVATE ||
                 t.n_private) /* of what is kept, some tasks may have their own */
            s.private += params;
        else
            s.kept += params;
    }
    return s;
}

static double merged_share(const share *s)
{
    double all = (double)s->merged + (double)s->kept + (double)s->private;
    return all > 0 ? (double)s->merged / all : 0;
}

void print_share(const share *s)
{
    printf("parameters: %llu merged (%.1f %%), %llu private, %llu kept\n", (unsigned long long)s->merged,
           100 * merged_share(s), (unsigned long long)s->private, (unsigned long long)s->kept);
}

void add_share_json(json_t *object, const share *s)
{
    json_object_set_new(object, "merged_params", json_integer((json_int_t)s->merged));
    json_object_set_new(object, "private_params", json_integer((json_int_t)s->private));
    json_object_set_new(object, "kept_params", json_integer((json_int_t)s->kept));
    json_object_set_new(object, "merged_share", json_real(merged_share(s)));
}

void note_share(const arguments *a, const share *s, const emr_model *base)
{
    uint64_t all = s->merged + s->kept + s->private;
    if (a->quiet || (s->merged && s->merged >= all - s->merged))
        return;
    if (!all) {
        complain(0, "note: nothing is merged: there are no parameters");
        return;
    }
    char merged[64] = "nothing is merged";
    if (s->merged)
        snprintf(merged, sizeof merged, "only %.1f %% of the parameters are merged", 100 * merged_share(s));
    complain(0, "note: %s: of %llu%s, %llu are private to tasks, %llu kept from the base%s", merged,
             (unsigned long long)all, s->merged ? "" : " parameters", (unsigned long long)s->private,
             (unsigned long long)s->kept,
             !a->dequantise && holds_quantised(base) ? " (--dequantise merges quantised tensors)" : "");
}
