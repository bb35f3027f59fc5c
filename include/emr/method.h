/* method.h - merging methods: the library's, by name, and how a host describes one of its own. A method sees
 * chunks of tensors, all inputs side by side, and computes what becomes of them.
 *
 * The mean of the tasks' changes, but nothing where their root mean square over the tensor is below 1e-6:
 *
 *     static void add_squares(const emr_method_chunk *c, double *sums)
 *     {
 *         for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
 *             for (size_t i = 0; i < c->n; i++)
 *                 sums[0] += (double)c->inputs[t][i] * c->inputs[t][i];
 *     }
 *     static uint32_t one_number(const emr_method_tensor *tensor) { return 1; }
 *     static emr_status combine_mean(const emr_method_chunk *c, emr_error *error)
 *     {
 *         uint32_t n = c->tensor->n_inputs;
 *         int is_small = c->tensor->found[0] < 1e-12 * (double)c->tensor->count * n;
 *         for (size_t i = 0; i < c->n; i++) {
 *             c->out[i] = 0;
 *             for (uint32_t t = 0; t < n && !is_small; t++)
 *                 c->out[i] += c->inputs[t][i] / (float)n;
 *         }
 *         return EMR_OK;
 *     }
 *     static const emr_method_stage squares = {
 *         .size = sizeof squares, .n_found = one_number, .add_sums = add_squares};
 *     static const emr_method quiet_mean = {.size = sizeof quiet_mean, .name = "quiet_mean",
 *         .base = EMR_METHOD_BASE_REQUIRED, .stages = {&squares}, .combine = combine_mean};
 *
 * The callbacks are called by several threads at a time; all that they may write to is what their chunk gives them.
 */
#ifndef EMR_METHOD_H
#define EMR_METHOD_H

#include "emr/export.h"
#include "emr/status.h"
#include "emr/tensor.h"

/* What a method does with a base. */
typedef uint32_t emr_method_base;
enum {
    EMR_METHOD_BASE_INPUT = 0, /* none is needed; one that is there is one more input, before the tasks */
    EMR_METHOD_BASE_REQUIRED =
        1, /* inputs are the tasks' task vectors; what is computed is added to the base */
    EMR_METHOD_BASE_OPTIONAL = 2, /* with a base as REQUIRED; without one, inputs are the tasks' weights */
    EMR_METHOD_BASE_BESIDE = 3 /* required; but inputs are the tasks' weights, and so is what is computed */
};

/* A number that a method can be told, for a task or for all. */
typedef struct emr_method_parameter {
    const char *name;
    double initial; /* where it is not set; NaN: it must be */
    double least;   /* what it may be; both are allowed */
    double most;
    uint32_t per_task; /* 0: it is the same for all inputs */
    uint32_t is_whole; /* non-zero: a whole number; with 0 and 1 as least and most, a flag */
} emr_method_parameter;

/* A tensor as a method sees it. Pointers are valid during the call. */
typedef struct emr_method_tensor {
    size_t size;
    void *user; /* the method's */
    const char *name;
    const uint64_t *shape;
    const char *const *inputs; /* the inputs' names; the base's, where it is one, is "" */
    const double *parameters;  /* n_parameters for each input, in the method's order */
    const double *found;       /* what the stages so far have found, one behind the other */
    const void *library;       /* the library's own; NULL in a tensor that a host describes itself */
    uint64_t count;            /* elements; never 0 */
    uint64_t row_length;       /* of the method's rows; 0: it has none */
    uint64_t seed;
    uint32_t rank;
    uint32_t n_inputs; /* at least 1 */
    uint32_t n_parameters;
    uint32_t has_base; /* inputs are task vectors, or the base is beside */
} emr_method_tensor;

/* Elements [first, first + n) of it. */
typedef struct emr_method_chunk {
    size_t size;
    const emr_method_tensor *tensor;
    const float *const *inputs; /* n values of each */
    const float *base;          /* its weights; NULL: there is none, or it is an input */
    float *out;                 /* combine: n values are written */
    float *scratch;             /* scratch_floats for each element, 64-byte aligned */
    size_t n;
    uint64_t first;
    uint64_t position; /* of the first one among all that stages run over: `first`, but in the order of names'
                          bytes where whole_model joins tensors */
} emr_method_chunk;

/* Something that must be known of the whole tensor before it can be combined. What it finds are numbers, n_found of
 * them, behind those of the stages before it. It either adds up sums or cuts lists.
 *
 * Sums are taken over chunks of 16,384 elements, or over as many whole rows as fit into that, but at least one, and
 * added up in order.
 *
 * A list is a key for each element, at least 0 and finite, such as a magnitude. It is cut where its k largest end:
 * of equal ones those in front are larger. A cut is two numbers: the key of the k-th, and the position behind it. Element i is among
 * the k largest if its key is larger, or is equal and i is less than the position (emr_method_is_above); with
 * whole_model i is the chunk's `position` plus its place there. Cuts are exact. They mostly take one reading, and some
 * more where memory is short or many keys are nearly alike. Keys that are not finite, or not the same in each reading,
 * are EMR_EIO where that shows, and else cut anywhere. */
typedef struct emr_method_stage {
    size_t size;
    uint32_t (*n_found)(const emr_method_tensor *tensor);
    /* Adds to n_found sums, which are 0 at first. NULL: the stage cuts. */
    void (*add_sums)(const emr_method_chunk *chunk, double *sums);
    /* The keys of a chunk, in list number `list`. */
    void (*list_keys)(const emr_method_chunk *chunk, uint32_t list, float *keys);
    /* Cut number `cut`, of n_found / 2: its list, cuts of one list side by side and in ascending order of lists, and its k. */
    uint64_t (*place_cut)(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list);
    /* Makes of the n_found numbers what combine needs; may be NULL. */
    emr_status (*settle)(const emr_method_tensor *tensor, double *found, emr_error *error);
} emr_method_stage;

#define EMR_METHOD_STAGES_MAX 4

/* A method. Members may be NULL or 0 but for name and combine. The library's are constants; a host's is borrowed as
 * long as what is made with it. */
typedef struct emr_method {
    size_t size;
    const char *name;
    void *user;
    const emr_method_parameter *parameters;
    const emr_method_stage *stages[EMR_METHOD_STAGES_MAX]; /* in this order, as many as are not NULL */
    /* Whether the parameters of a tensor go together. The sentence need not name the tensor. */
    emr_status (*check)(const emr_method_tensor *tensor, emr_error *error);
    /* The length of the rows, on a multiple of which each chunk begins and ends; 0: there are none. */
    uint64_t (*row_length)(const emr_method_tensor *tensor);
    /* Which stages a tensor needs, a bit for each; NULL: all. Numbers of the others are 0 in `found`. */
    uint32_t (*needed_stages)(const emr_method_tensor *tensor);
    emr_status (*combine)(const emr_method_chunk *chunk, emr_error *error);
    uint32_t n_parameters;
    uint32_t scratch_floats; /* for each element of a chunk */
    emr_method_base base;
    uint32_t min_tasks; /* 0: 1. The base does not count */
    uint32_t max_tasks; /* 0: no limit */
    uint32_t
        whole_model; /* non-zero: stages run over all combined tensors as if they were one, in the order of their
                             names' bytes; `found` is the same for all. n_found, place_cut, settle and
                             needed_stages see a tensor named "" that stands for all: rank 1, `count` that of
                             all, and parameters as they were set without a glob */
} emr_method;

EMR_BEGIN_DECLS

/* The library's methods: that of a name, or NULL; the i-th, or NULL past the end. Names are mergekit's where it has
 * the method. */
EMR_API const emr_method *emr_method_find(const char *name);
EMR_API const emr_method *emr_method_at(uint32_t i);

/* An input's parameter. */
static inline double emr_method_value(const emr_method_tensor *tensor, uint32_t input, uint32_t parameter)
{
    return tensor->parameters[EMR_CAST(size_t, input) * tensor->n_parameters + parameter];
}

/* Whether an element is among the largest that a cut, two numbers of `found`, keeps. */
static inline int emr_method_is_above(const double *cut, float key, uint64_t position)
{
    double value = EMR_CAST(double, key);
    return value > cut[0] || (value >= cut[0] && EMR_CAST(double, position) < cut[1]);
}

/* 32 random bits for each of the elements [first, first + n), which depend on the seed and on the names of input and
 * tensor alone: Philox-4x32-10 (Salmon and others, 2011), see docs/combining.md. */
EMR_API void emr_method_draw(const emr_method_tensor *tensor, uint32_t input, uint64_t first, size_t n,
                             uint32_t *words);

EMR_END_DECLS

#endif
