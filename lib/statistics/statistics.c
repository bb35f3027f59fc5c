/* statistics.c - the handle (emr/statistics.h). */
#include "emr/statistics.h"

#include "core/error.h"

static emr_status not_there_yet(emr_error *error)
{
    return emr_fail(error, EMR_EUNSUPPORTED, "emr_statistics: not yet");
}

emr_status emr_statistics_create(emr_statistics **s, const emr_statistics_options *options, emr_error *error)
{
    (void)options;
    if (s)
        *s = NULL;
    return not_there_yet(error);
}

void emr_statistics_destroy(emr_statistics **s)
{
    (void)s;
}

emr_status emr_statistics_set_base(emr_statistics *s, const emr_model *base, emr_error *error)
{
    (void)s, (void)base;
    return not_there_yet(error);
}

emr_status emr_statistics_add_task(emr_statistics *s, const char *name, const emr_model *model,
                                   emr_error *error)
{
    (void)s, (void)name, (void)model;
    return not_there_yet(error);
}

emr_status emr_statistics_get_plan(emr_statistics *s, emr_statistics_plan *plan, emr_error *error)
{
    (void)s, (void)plan;
    return not_there_yet(error);
}

emr_status emr_statistics_run(emr_statistics *s, emr_error *error)
{
    (void)s;
    return not_there_yet(error);
}

uint32_t emr_statistics_n_groups(const emr_statistics *s, emr_statistics_scope scope)
{
    (void)s, (void)scope;
    return 0;
}

emr_status emr_statistics_get_group(const emr_statistics *s, emr_statistics_scope scope, uint32_t i,
                                    emr_statistics_group *group)
{
    (void)s, (void)scope, (void)i, (void)group;
    return EMR_EUNSUPPORTED;
}

emr_status emr_statistics_get_moments(const emr_statistics_group *group, uint32_t task,
                                      emr_task_moments *moments)
{
    (void)group, (void)task, (void)moments;
    return EMR_EUNSUPPORTED;
}

emr_status emr_kinship(const emr_statistics_group *group, const emr_kinship_options *options, double *matrix,
                       emr_error *error)
{
    (void)group, (void)options, (void)matrix;
    return not_there_yet(error);
}

emr_status emr_statistics_split_kinship(const emr_statistics *s, const emr_kinship_options *options,
                                        double *matrix, emr_error *error)
{
    (void)s, (void)options, (void)matrix;
    return not_there_yet(error);
}

double emr_kinship_mean(const double *matrix, uint32_t n_tasks)
{
    (void)matrix, (void)n_tasks;
    return 0;
}
