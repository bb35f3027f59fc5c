/* method_run.c - see method_run.h. */
#include "method_run.h"

#include <math.h>

enum { SUMS_CHUNK = 16384 };

double draw_number(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)*state * 0x1p-63;
}

/* "3x70" */
static void read_shape(method_run *run, const char *shape)
{
    run->count = 1;
    for (char *end; *shape; shape = *end ? end + 1 : end) {
        uint64_t length = strtoull(shape, &end, 10);
        run->shape[run->rank++] = length;
        run->count *= length;
    }
}

static void set_defaults(method_run *run)
{
    for (uint32_t p = 0; p < run->method->n_parameters; p++) {
        double initial = run->method->parameters[p].initial;
        method_run_set(run, run->method->parameters[p].name, isnan(initial) ? 1 : initial);
    }
}

void method_run_begin(method_run *run, const char *method, uint32_t n_inputs, const char *shape, uint64_t seed)
{
    *run = (method_run){.method = emr_method_find(method), .n_inputs = n_inputs};
    assert_non_null(run->method);
    assert_true(run->method->n_parameters <= RUN_PARAMETERS && n_inputs <= RUN_INPUTS);
    read_shape(run, shape);
    run->out = malloc(run->count * sizeof *run->out);
    for (uint32_t t = 0; t < n_inputs; t++) {
        run->inputs[t] = malloc(run->count * sizeof *run->inputs[t]);
        for (uint64_t i = 0; i < run->count; i++)
            run->inputs[t][i] = (float)draw_number(&seed);
    }
    set_defaults(run);
}

void method_run_end(method_run *run)
{
    free(run->out);
    for (uint32_t t = 0; t < run->n_inputs; t++)
        free(run->inputs[t]);
}

void method_run_set_one(method_run *run, const char *parameter, uint32_t input, double value)
{
    for (uint32_t p = 0; p < run->method->n_parameters; p++)
        if (strcmp(run->method->parameters[p].name, parameter) == 0) {
            run->parameters[input * run->method->n_parameters + p] = value;
            return;
        }
    fail_msg("%s has no %s", run->method->name, parameter);
}

void method_run_set(method_run *run, const char *parameter, double value)
{
    for (uint32_t t = 0; t < run->n_inputs; t++)
        method_run_set_one(run, parameter, t, value);
}

static emr_method_tensor tensor_of(const method_run *run)
{
    static const char *const names[RUN_INPUTS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    emr_method_tensor tensor = {.size = sizeof tensor,
                                .user = run->method->user,
                                .name = "weight",
                                .shape = run->shape,
                                .inputs = names,
                                .parameters = run->parameters,
                                .count = run->count,
                                .rank = run->rank,
                                .n_inputs = run->n_inputs,
                                .n_parameters = run->method->n_parameters,
                                .has_base = run->method->base != EMR_METHOD_BASE_INPUT};
    tensor.row_length = run->method->row_length ? run->method->row_length(&tensor) : 0;
    return tensor;
}

/* The length of pieces of about n elements, whole rows. */
static uint64_t piece_length(const emr_method_tensor *tensor, uint64_t n)
{
    uint64_t row = tensor->row_length ? tensor->row_length : 1;
    return n < row ? row : n - n % row;
}

static emr_method_chunk chunk_of(const method_run *run, const emr_method_tensor *tensor, uint64_t first, uint64_t n,
                                 const float **inputs)
{
    for (uint32_t t = 0; t < run->n_inputs; t++)
        inputs[t] = run->inputs[t] + first;
    return (emr_method_chunk){.size = sizeof(emr_method_chunk),
                              .tensor = tensor,
                              .inputs = inputs,
                              .out = run->out + first,
                              .first = first,
                              .n = (size_t)(n < run->count - first ? n : run->count - first)};
}

static emr_status run_stage(const method_run *run, const emr_method_tensor *tensor, const emr_method_stage *stage,
                            double *found, emr_error *error)
{
    const float *inputs[RUN_INPUTS];
    uint32_t n_found = stage->n_found(tensor);
    double *sums = malloc((n_found + 1) * sizeof *sums);
    uint64_t length = piece_length(tensor, SUMS_CHUNK);
    for (uint64_t first = 0; first < run->count; first += length) {
        emr_method_chunk chunk = chunk_of(run, tensor, first, length, inputs);
        memset(sums, 0, n_found * sizeof *sums);
        stage->add_sums(&chunk, sums);
        for (uint32_t i = 0; i < n_found; i++)
            found[i] += sums[i];
    }
    free(sums);
    return stage->settle ? stage->settle(tensor, found, error) : EMR_OK;
}

static emr_status combine_pieces(const method_run *run, const emr_method_tensor *tensor, emr_error *error)
{
    const float *inputs[RUN_INPUTS];
    uint64_t length = piece_length(tensor, run->piece ? run->piece : run->count);
    float *scratch = malloc((run->method->scratch_floats * length + 1) * sizeof *scratch);
    emr_status status = EMR_OK;
    for (uint64_t first = 0; first < run->count && !status; first += length) {
        emr_method_chunk chunk = chunk_of(run, tensor, first, length, inputs);
        chunk.scratch = scratch;
        status = run->method->combine(&chunk, error);
    }
    free(scratch);
    return status;
}

emr_status method_run_try(method_run *run, emr_error *error)
{
    emr_method_tensor tensor = tensor_of(run);
    const emr_method_stage *stage = run->method->stages[0];
    uint32_t needed = run->method->needed_stages ? run->method->needed_stages(&tensor) : 1;
    emr_status status = run->method->check ? run->method->check(&tensor, error) : EMR_OK;
    double *found;
    assert_null(run->method->stages[1]); /* no method that is tested here has two */
    if (status)
        return status;
    found = calloc(stage ? stage->n_found(&tensor) + 1 : 1, sizeof *found);
    if (stage && needed)
        status = run_stage(run, &tensor, stage, found, error);
    tensor.found = found;
    if (!status)
        status = combine_pieces(run, &tensor, error);
    free(found);
    return status;
}

void method_run_do(method_run *run)
{
    emr_error error;
    assert_ok(method_run_try(run, &error), &error);
}

void method_run_refused(method_run *run, emr_status status, const char *part)
{
    emr_error error;
    assert_int_equal(method_run_try(run, &error), status);
    if (!strstr(error.text, part))
        fail_msg("'%s' does not say '%s'", error.text, part);
}

void assert_near(const method_run *run, const double *want, double part, double scale)
{
    for (uint64_t i = 0; i < run->count; i++)
        if (!(fabs(run->out[i] - want[i]) <= part * scale))
            fail_msg("%s: element %u is %.9g, not %.9g", run->method->name, (unsigned)i, (double)run->out[i],
                     want[i]);
}
