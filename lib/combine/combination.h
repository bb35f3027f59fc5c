/* combination.h - what a combined model is made of: its method, models and settings, and, once planned, its
 * tensors. The handle and the models that were opened from it hold it together; the last one frees it. */
#ifndef EMR_COMBINE_COMBINATION_H
#define EMR_COMBINE_COMBINATION_H

#include "emr/combine.h"
#include "emr/heads.h"
#include "align/arrange.h"
#include "core/resources.h"
#include "model/model.h"
#include "numeric/kernels.h"

#include <stdatomic.h>

/* A parameter that was set: settings.h. */
typedef struct emr_setting {
    char *glob; /* NULL: every tensor */
    double value;
    uint32_t parameter; /* of the method */
    uint32_t task;      /* EMR_EVERY_TASK, EMR_BASE */
} emr_setting;

/* Where an input's values come from. */
typedef struct emr_combined_input {
    const emr_tensor *tensor; /* NULL: its task vector is 0 */
    uint32_t task;            /* or EMR_BASE */
} emr_combined_input;

/* A tensor of the combined model. */
typedef struct emr_combined {
    struct emr_combination *owner;
    const emr_tensor *sample;   /* whose name and shape it has; of one that is copied, which */
    const emr_tensor *base;     /* NULL: there is none */
    emr_combined_input *inputs; /* as many as seen.n_inputs */
    const char *reason;
    emr_method_tensor seen;  /* as the method sees it, but for what was found */
    uint64_t position;       /* of its first element among all combined ones, in the order of names */
    _Atomic(double *) found; /* by the method's stages; NULL: not yet */
    emr_dtype dtype;
    emr_combined_action action;
    uint32_t n_reads;
    bool is_wide;     /* differences and sums are taken in f64 */
    bool is_compared; /* copied, if every task that has it has the same bytes */
} emr_combined;

struct emr_combination {
    atomic_uint holders;
    emr_allocator allocator;
    emr_env env; /* of reading */
    emr_combination_options options;
    emr_method method; /* a copy, and so are its stages */
    emr_method_stage stages[EMR_METHOD_STAGES_MAX];
    emr_policy policy;
    const emr_kernels *kernels;
    const emr_model *base;
    emr_task *tasks;
    size_t tasks_capacity;
    emr_setting *settings;
    size_t settings_capacity, n_settings;
    uint32_t n_tasks, n_stages;
    bool has_wide;    /* some tensor that is combined is F64 */
    size_t raw_size;  /* the largest element of inputs that are no plain floats; 0: all are */
    size_t out_size;  /* the largest element that comes out */
    bool has_rows;    /* some tensor is combined by whole rows */
    emr_heads *heads; /* NULL: none; with them, */
    struct emr_head_view {
        const emr_model *given; /* what `view` stands in the place of, in `tasks` or, last, the base */
        emr_model *view;
    } * views;
    emr_model *joined; /* the heads that are not combined */
    bool is_open;      /* a model was opened: nothing changes any more */
    /* once planned */
    bool is_planned;
    emr_combined *tensors;        /* in the model's order */
    const emr_combined **ordered; /* combined ones with elements, in the order of their names' bytes */
    emr_combined whole;           /* stands for all of them where the method's stages join them */
    uint32_t n_tensors, n_ordered;
    size_t chunk;          /* elements that a reader computes at a time; with rows at least the longest */
    uint64_t reader_bytes; /* of memory that each reader takes */
    emr_combination_plan totals;
};

/* Whether inputs are task vectors, which are added to the base. */
static inline bool emr_adds_to_base(const emr_combination *c)
{
    return c->base &&
           (c->method.base == EMR_METHOD_BASE_REQUIRED || c->method.base == EMR_METHOD_BASE_OPTIONAL);
}

/* Whether the base is an input. */
static inline bool emr_base_is_input(const emr_combination *c)
{
    return c->method.base == EMR_METHOD_BASE_INPUT;
}

/* The name of an input's task as the method sees it. */
static inline const char *emr_input_name(const emr_combination *c, uint32_t task)
{
    return task == EMR_BASE ? "" : c->tasks[task].name;
}

/* Memory that reading and preparing may each use in all. */
uint64_t emr_combination_memory(const emr_combination *combination);
/* How many readers there are at a time. */
uint32_t emr_combination_readers(const emr_combination *combination);

void emr_combination_hold(emr_combination *combination);
void emr_combination_release(emr_combination *combination);

#endif
