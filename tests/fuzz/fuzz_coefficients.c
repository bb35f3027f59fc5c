/* fuzz_coefficients.c - any bytes as a saved state of coefficients of a small model and two tasks: it is refused in a sentence and
 * nothing has changed, or it is one, which comes back when it is saved again, and learning goes on from it. An input is a byte of
 * choices and a safetensors file. */
#include "saved.h"

#include <emr/fit/coefficients.h>

enum { CHOICE_MAP = 3, CHOICE_MODEL_SCOPE = 4, CHOICE_FIXED = 8 };
enum { N = 3 };
enum { FIXED = 16 << 10, TIMES = 8 }; /* of the file, what reading a state takes */

static void add_vector(emr_model *model, const char *name, const float *values)
{
    const uint64_t shape = N;
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = name,
                                  .dtype = EMR_DTYPE_F32,
                                  .rank = 1,
                                  .shape = &shape,
                                  .data = values};
    promise(emr_model_add(model, &desc, NULL) == EMR_OK);
}

static emr_coefficients *coefficients_of(const emr_model *base, const emr_model *const *tasks,
                                         uint8_t choices, const emr_resources *resources)
{
    static const char *const names[] = {"one", "two"}, *const fixed[] = {"b"};
    emr_coefficients *c;
    emr_error error = {0};
    emr_coefficients_options options = {.size = sizeof options};
    options.resources = resources;
    options.base = base;
    options.tasks = tasks;
    options.names = names;
    options.n_tasks = 2;
    options.map = choices & CHOICE_MAP;
    options.scope = choices & CHOICE_MODEL_SCOPE ? EMR_COEFFICIENT_SCOPE_MODEL : EMR_COEFFICIENT_SCOPE_TENSOR;
    options.fixed = fixed;
    options.n_fixed = choices & CHOICE_FIXED ? 1 : 0;
    promise(fuzz_status(emr_coefficients_create(&c, &options, &error), &error) == EMR_OK);
    return c;
}

static emr_buffer *saved_state(const emr_coefficients *c)
{
    emr_model *state;
    emr_error error = {0};
    promise(fuzz_status(emr_coefficients_open_state(c, &state, &error), &error) == EMR_OK);
    return saved_bytes(state);
}

/* What any state must allow. */
static void check_numbers(const emr_coefficients *c)
{
    emr_coefficient info = {.size = sizeof info};
    for (uint32_t t = 0; t < emr_coefficients_n_tasks(c); t++)
        for (uint32_t g = 0; g < emr_coefficients_n_groups(c); g++) {
            promise(emr_coefficients_get(c, t, g, &info) == EMR_OK);
            promise(info.raw - info.raw == 0 && info.lambda - info.lambda == 0 && info.gradient == 0);
        }
}

static void go_on(emr_coefficients *c)
{
    static const float gradient[N] = {1, -0.5f, 2};
    emr_error error = {0};
    emr_coefficients_report report = {.size = sizeof report};
    promise(fuzz_status(emr_coefficients_gradient(c, "a", 0, N, EMR_DTYPE_F32, gradient, &error), &error) ==
            EMR_OK);
    emr_status status = fuzz_status(emr_coefficients_step(c, &report, &error), &error);
    promise(status == EMR_OK || status == EMR_ENONFINITE);
    check_numbers(c);
}

static void check_taken(emr_coefficients *c, emr_coefficients *again)
{
    emr_error error = {0};
    emr_buffer *one = saved_state(c);
    emr_model *file = saved_open(one);
    promise(fuzz_status(emr_coefficients_set_state(again, file, &error), &error) == EMR_OK);
    emr_model_destroy(&file);
    promise(saved_same(one, saved_state(again)));
    check_numbers(c);
    go_on(c);
    go_on(again);
    promise(saved_same(saved_state(c), saved_state(again)));
}

static void read_state(const emr_model *file, uint8_t choices, size_t size)
{
    static const float base_values[N] = {1, 2, 3}, task_values[N] = {1.5f, 1, 3};
    fuzz_budget budget = {.cap = SIZE_MAX / 2};
    const emr_allocator allocator = fuzz_allocator(&budget);
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator, .memory_bytes = 16 << 10};
    emr_model *base = fuzz_model("base"), *task = fuzz_model("task");
    const emr_model *const tasks[] = {task, task};
    emr_error error = {0};
    add_vector(base, "a", base_values), add_vector(base, "b", base_values);
    add_vector(task, "a", task_values), add_vector(task, "b", task_values);
    emr_coefficients *c = coefficients_of(base, tasks, choices, &resources),
                     *again = coefficients_of(base, tasks, choices, NULL);
    emr_buffer *before = saved_state(c);
    budget.cap = FIXED + TIMES * size;
    emr_status status = fuzz_status(emr_coefficients_set_state(c, file, &error), &error);
    budget.cap = SIZE_MAX / 2; /* of saving, too */
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EMISMATCH);
    if (status) {
        promise(saved_same(before, saved_state(c)));
        go_on(c);
    } else {
        emr_buffer_destroy(&before);
        check_taken(c, again);
    }
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&again);
    emr_model_destroy(&task);
    emr_model_destroy(&base);
    promise(budget.now == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    saved_read(data, size, read_state);
    return 0;
}
