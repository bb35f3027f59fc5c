/* method_driver.c - see method_driver.h. */
#include "method_driver.h"

#include <stdio.h>

driven_method driven_method_of(const char *name, uint32_t n_inputs)
{
    driven_method d = {.method = emr_method_find(name), .n_inputs = n_inputs};
    assert_non_null(d.method);
    assert_true(d.method->n_parameters <= DRIVEN_PARAMETERS_MAX);
    for (uint32_t p = 0; p < d.method->n_parameters; p++)
        driven_set_all(&d, d.method->parameters[p].name, d.method->parameters[p].initial);
    return d;
}

void driven_set(driven_method *d, const char *parameter, uint32_t input, double value)
{
    for (uint32_t p = 0; p < d->method->n_parameters; p++)
        if (strcmp(d->method->parameters[p].name, parameter) == 0) {
            d->parameters[input * d->method->n_parameters + p] = value;
            return;
        }
    fail_msg("%s has no %s", d->method->name, parameter);
}

void driven_set_all(driven_method *d, const char *parameter, double value)
{
    for (uint32_t t = 0; t < d->n_inputs; t++)
        driven_set(d, parameter, t, value);
}

static uint64_t count_of(const driven_tensor *t)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        count *= t->shape[i];
    return count;
}

/* A tensor as the method sees it, and where the numbers found are. */
typedef struct driven_view {
    emr_method_tensor tensor;
    const char *inputs[DRIVEN_INPUTS_MAX];
    double found[512];
} driven_view;

static void view_tensor(driven_view *v, const driven_method *d, const driven_tensor *t, uint64_t count)
{
    static const char *const names[DRIVEN_INPUTS_MAX] = {"a", "b", "c", "d", "e", "f",
                                                         "g", "h", "i", "j", "k", "l"};
    *v = (driven_view){.tensor = {.size = sizeof v->tensor,
                                  .user = d->method->user,
                                  .name = t->name,
                                  .shape = t->shape,
                                  .inputs = v->inputs,
                                  .parameters = d->parameters,
                                  .found = v->found,
                                  .count = count,
                                  .rank = t->rank,
                                  .n_inputs = d->n_inputs,
                                  .n_parameters = d->method->n_parameters,
                                  .has_base = t->base ? 1 : 0}};
    memcpy(v->inputs, names, sizeof names);
    if (d->method->row_length)
        v->tensor.row_length = d->method->row_length(&v->tensor);
}

/* A chunk of a tensor; `position` is that of the tensor's first element. */
static emr_method_chunk chunk_of(const driven_view *v, const driven_tensor *t, const float **inputs,
                                 uint64_t first, size_t n, uint64_t position)
{
    for (uint32_t i = 0; i < v->tensor.n_inputs; i++)
        inputs[i] = t->inputs[i] + first;
    return (emr_method_chunk){.size = sizeof(emr_method_chunk),
                              .tensor = &v->tensor,
                              .inputs = inputs,
                              .base = t->base ? t->base + first : NULL,
                              .out = t->out + first,
                              .first = first,
                              .position = position + first,
                              .n = n};
}

static uint64_t step_of(const driven_view *v, uint64_t about)
{
    uint64_t row = v->tensor.row_length;
    return row == 0 ? about : about < row ? row : about / row * row;
}

static float *scratch_of(const driven_method *d, uint64_t n)
{
    float *scratch = malloc(n * d->method->scratch_floats * sizeof *scratch + 1);
    assert_non_null(scratch);
    return scratch;
}

static void drive_sums(const driven_view *v, const driven_method *d, const emr_method_stage *stage,
                       const driven_tensor *tensors, size_t n_tensors, double *found)
{
    const float *inputs[DRIVEN_INPUTS_MAX];
    uint32_t n_found = stage->n_found(&v->tensor);
    for (size_t i = 0; i < n_tensors; i++) {
        uint64_t count = count_of(&tensors[i]), step = step_of(v, 16384);
        float *scratch = scratch_of(d, step);
        for (uint64_t first = 0; first < count; first += step) {
            double sums[64] = {0};
            size_t n = (size_t)(count - first < step ? count - first : step);
            emr_method_chunk c = chunk_of(v, &tensors[i], inputs, first, n, 0);
            c.scratch = scratch;
            stage->add_sums(&c, sums);
            for (uint32_t k = 0; k < n_found; k++)
                found[k] += sums[k];
        }
        free(scratch);
    }
}

typedef struct placed_key {
    float key;
    uint64_t position;
} placed_key;

static int compare_placed(const void *a, const void *b)
{
    const placed_key *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key) - (x->key > y->key)
                            : (x->position > y->position) - (x->position < y->position);
}

/* The keys of a list, the largest first. */
static placed_key *sort_list(const driven_view *v, const emr_method_stage *stage,
                             const driven_tensor *tensors, size_t n_tensors, uint32_t list)
{
    const float *inputs[DRIVEN_INPUTS_MAX];
    placed_key *keys = malloc(v->tensor.count * sizeof *keys);
    uint64_t position = 0;
    assert_non_null(keys);
    for (size_t i = 0; i < n_tensors; i++) {
        uint64_t count = count_of(&tensors[i]);
        float *plain = malloc(count * sizeof *plain);
        assert_non_null(plain);
        emr_method_chunk c = chunk_of(v, &tensors[i], inputs, 0, (size_t)count, position);
        stage->list_keys(&c, list, plain);
        for (uint64_t k = 0; k < count; k++)
            keys[position + k] = (placed_key){plain[k], position + k};
        position += count;
        free(plain);
    }
    qsort(keys, v->tensor.count, sizeof *keys, compare_placed);
    return keys;
}

static void drive_cuts(const driven_view *v, const emr_method_stage *stage, const driven_tensor *tensors,
                       size_t n_tensors, double *found)
{
    uint32_t n_cuts = stage->n_found(&v->tensor) / 2;
    for (uint32_t i = 0; i < n_cuts; i++) {
        uint32_t list = UINT32_MAX;
        uint64_t k = stage->place_cut(&v->tensor, i, &list), count = v->tensor.count;
        placed_key *keys = sort_list(v, stage, tensors, n_tensors, list);
        found[2 * i] = k == 0 ? 1e300 : k > count ? 0 : (double)keys[k - 1].key;
        found[2 * i + 1] = k == 0 ? 0 : k > count ? (double)count : (double)(keys[k - 1].position + 1);
        free(keys);
    }
}

static void drive_stages(driven_view *v, const driven_method *d, const driven_tensor *tensors, size_t n)
{
    const emr_method *m = d->method;
    double *found = v->found;
    for (uint32_t i = 0; i < EMR_METHOD_STAGES_MAX && m->stages[i]; i++) {
        const emr_method_stage *stage = m->stages[i];
        uint32_t needed = m->needed_stages ? m->needed_stages(&v->tensor) : UINT32_MAX;
        if (needed >> i & 1) {
            if (stage->add_sums)
                drive_sums(v, d, stage, tensors, n, found);
            else
                drive_cuts(v, stage, tensors, n, found);
            if (stage->settle)
                assert_int_equal(stage->settle(&v->tensor, found, NULL), EMR_OK);
        }
        found += stage->n_found(&v->tensor);
        assert_true(found <= v->found + 512);
    }
}

static void drive_combine(const driven_view *v, const driven_method *d, const driven_tensor *t,
                          uint64_t position)
{
    const float *inputs[DRIVEN_INPUTS_MAX];
    uint64_t count = count_of(t), step = step_of(v, d->chunk ? d->chunk : 1000);
    float *scratch = scratch_of(d, step);
    for (uint64_t first = 0; first < count; first += step) {
        size_t n = (size_t)(count - first < step ? count - first : step);
        emr_method_chunk c = chunk_of(v, t, inputs, first, n, position);
        c.scratch = scratch;
        assert_int_equal(d->method->combine(&c, NULL), EMR_OK);
    }
    free(scratch);
}

static void drive_alone(const driven_method *d, const driven_tensor *t)
{
    driven_view v;
    view_tensor(&v, d, t, count_of(t));
    drive_stages(&v, d, t, 1);
    drive_combine(&v, d, t, 0);
}

static void drive_as_one(const driven_method *d, const driven_tensor *tensors, size_t n)
{
    driven_view all, v;
    uint64_t count = 0, position = 0;
    for (size_t i = 0; i < n; i++)
        count += count_of(&tensors[i]);
    view_tensor(&all, d, &(driven_tensor){.name = "", .base = tensors[0].base, .shape = {count}, .rank = 1},
                count);
    drive_stages(&all, d, tensors, n);
    for (size_t i = 0; i < n; i++) {
        view_tensor(&v, d, &tensors[i], count_of(&tensors[i]));
        v.tensor.found = all.found;
        drive_combine(&v, d, &tensors[i], position);
        position += count_of(&tensors[i]);
    }
}

void drive_method(const driven_method *d, const driven_tensor *tensors, size_t n)
{
    if (d->method->whole_model) {
        drive_as_one(d, tensors, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        drive_alone(d, &tensors[i]);
}
