/* fuzz_bundle.c - any bytes as a bundle: a status, or a bundle that answers everything it is asked within its
 * bounds, takes no more memory than is said below, and never contradicts itself. The input's first byte
 * chooses how the bundle is read; the bundle follows. */
#include "fuzz.h"
#include "fuzz_base.h"
#include "fuzz_session.h"
#include "image.h"

#include "core/hash.h"

#include <float.h>

/* Bits of the first byte. */
enum {
    CHOICE_MAP = 1,
    CHOICE_OWN_BASE = 2,
    CHOICE_DTYPE = 4,
    CHOICE_VERIFY_LAST = 8,
    CHOICE_WRONG_BASE = 16,
    CHOICE_OWN_NAMES = 32
};

/* What the library may take: for the opened bundle so many times its size; for each model made from it as
 * well, and its work memory; for each cursor two of the stream's blocks, and a zstd decoder. The models'
 * share is so large because a record of 24 bytes can use a shape of 64 dimensions that other records use too.
 */
enum {
    FIXED = 4 << 10,
    OPENED_TIMES = 4,
    MODEL_TIMES = 48,
    MODEL = 256 << 10,
    DECODER = 192 << 10,
};

enum {
    ASKED = 40 /* tensors looked at of each kind */,
    ASKED_TASKS = 3,
    PATTERN_BYTES = 8 << 20,
    MOST_EXTENDED = 1 << 20,
    MOST_WRITTEN = 256 << 10
};

typedef struct subject {
    size_t size; /* of the input */
    uint8_t choices;
    fuzz_budget budget;
    fuzz_random random;
    emr_bundle *bundle;
    emr_bundle_info info;
    size_t largest_block;
    size_t reads_left;    /* of tensors; fewer where blocks are large */
    fuzz_pattern pattern; /* the made-up base's bytes */
    bool intact;          /* verified: nothing may be found damaged from now on */
    bool arranged;        /* tasks or the base have tensors otherwise than the bundle */
} subject;

/* Each model of a bundle with an arrangement may consist of three. */
static void allow_memory(subject *s, size_t models, size_t cursors)
{
    models *= s->arranged ? 3 : 1;
    cursors *= s->arranged ? 3 : 1;
    s->budget.cap = FIXED + s->size * (OPENED_TIMES + models * MODEL_TIMES) + models * MODEL +
                    cursors * (2 * s->largest_block + DECODER);
}

static bool may_read(subject *s)
{
    return s->reads_left && s->reads_left--;
}

static void ask_tensors(subject *s)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    uint32_t found;
    uint64_t params = 0;
    for (uint32_t i = 0; i < s->info.n_tensors; i++) {
        promise(emr_bundle_get_tensor(s->bundle, i, &info) == EMR_OK);
        promise(strlen(info.name) < s->size && info.rank <= EMR_RANK_MAX);
        promise(info.merged == (i < s->info.n_merged) && (info.merged || !info.unified_bytes));
        promise(info.unified_bytes <= s->info.bytes);
        promise(emr_bundle_find_tensor(s->bundle, info.name, &found, NULL) == EMR_OK && found == i);
        params += info.merged ? info.count : 0;
    }
    promise(params == s->info.merged_params);
    promise(emr_bundle_get_tensor(s->bundle, s->info.n_tensors, &info) == EMR_ENOTFOUND);
}

static void ask_task(subject *s, uint32_t task)
{
    emr_task_info info = EMR_INIT(emr_task_info);
    emr_private_info own = EMR_INIT(emr_private_info);
    const char *key, *value;
    uint32_t found;
    promise(emr_bundle_get_task(s->bundle, task, &info) == EMR_OK);
    promise(strlen(info.name) < s->size && info.mask_ones <= s->info.merged_params);
    promise(info.rescaler >= 0 && info.mask_bytes <= s->info.bytes);
    promise(info.coded_bytes <= s->info.bytes && info.mask_bytes <= info.coded_bytes);
    promise(emr_bundle_find_task(s->bundle, info.name, &found, NULL) == EMR_OK && found == task);
    for (uint32_t i = 0; i < info.n_private; i++) {
        promise(emr_bundle_get_private(s->bundle, task, i, &own) == EMR_OK);
        promise(strlen(own.name) < s->size && own.rank <= EMR_RANK_MAX);
    }
    promise(emr_bundle_get_private(s->bundle, task, info.n_private, &own) == EMR_ENOTFOUND);
    uint32_t n = emr_bundle_n_metadata(s->bundle, task);
    for (uint32_t i = 0; i < n && i < ASKED; i++) {
        promise(emr_bundle_get_metadata(s->bundle, task, i, &key, &value) == EMR_OK);
        promise(strlen(key) < s->size && strlen(value) < s->size);
        promise(emr_bundle_find_metadata(s->bundle, task, key) != NULL);
    }
    promise(emr_bundle_get_metadata(s->bundle, task, n, &key, &value) == EMR_ENOTFOUND);
}

/* A kind and its parameters, none of them a default; whether it has masks. */
static bool ask_modulation(subject *s, uint32_t task)
{
    emr_modulation_spec m = EMR_INIT(emr_modulation_spec);
    emr_fidelity fidelity = EMR_INIT(emr_fidelity);
    promise(emr_bundle_get_modulation(s->bundle, task, &m, &fidelity) == EMR_OK);
    promise(m.kind >= EMR_MODULATOR_KIND_MASK && m.kind <= EMR_MODULATOR_KIND_LEVELS);
    promise(m.rescale >= EMR_RESCALE_L1 && m.rescale <= EMR_RESCALE_MIXED &&
            m.mask_rule <= EMR_MASK_RULE_NEAREST);
    promise(m.rescale_per >= EMR_RESCALE_PER_MODEL && m.rescale_per <= EMR_RESCALE_PER_ROW);
    promise((m.thinning >= 2 && m.thinning <= 32) == (m.kind == EMR_MODULATOR_KIND_THIN));
    promise((m.n_levels >= 3 && m.n_levels <= 16) == (m.kind == EMR_MODULATOR_KIND_LEVELS));
    return m.kind <= EMR_MODULATOR_KIND_TWO_SIDED;
}

static void ask_rescalers(subject *s, emr_modulator *modulator, uint32_t tensor)
{
    emr_error error = {0};
    float rescalers[9];
    uint64_t n = emr_modulator_n_rescalers(modulator, tensor), some = n < 9 ? n : 9;
    emr_status status =
        emr_modulator_read_rescalers(modulator, tensor, n - some, (size_t)some, rescalers, &error);
    fuzz_status(status, &error);
    promise(!s->intact || status == EMR_OK || status == EMR_EFORMAT);
    for (uint64_t i = 0; !status && i < some; i++)
        promise(rescalers[i] >= 0 && rescalers[i] <= FLT_MAX); /* NaN is neither */
    status = emr_modulator_read_rescalers(modulator, tensor, n, 1, rescalers, &error);
    promise(fuzz_status(status, &error) == EMR_EINVAL);
}

static emr_status stop_late(void *user, const emr_progress *progress, emr_error *error)
{
    size_t *calls = user;
    (void)error;
    promise(progress->total == 0 || progress->done <= progress->total);
    return --*calls == 0 ? EMR_ECANCELED : EMR_OK;
}

static void verify_bundle(subject *s)
{
    emr_error error = {0};
    size_t calls = 1 + s->reads_left / 8;
    emr_resources resources = {.size = sizeof resources, .progress = stop_late, .progress_user = &calls};
    emr_status status = emr_bundle_verify(s->bundle, &resources, &error);
    s->intact = fuzz_status(status, &error) == EMR_OK;
    promise(status == EMR_OK || status == EMR_ECORRUPT || status == EMR_EFORMAT || status == EMR_ECANCELED ||
            status == EMR_EUNSUPPORTED);
}

static void count_faults(void *user, const emr_base_difference *difference)
{
    promise(strlen(difference->tensor) + 1 > 0 && *difference->why); /* both can be read */
    ++*(size_t *)user;
}

static void check_base(subject *s, const emr_model *base)
{
    emr_error error = {0};
    size_t faults = 0;
    emr_base_check_options options = {.size = sizeof options, .differs = count_faults, .user = &faults};
    s->pattern.left = 1 << 20;
    emr_status status = emr_bundle_check_base(s->bundle, base, &options, &error);
    fuzz_status(status, &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EIO ||
            (s->arranged && status == EMR_EFORMAT));
    promise(status == EMR_EIO || status == EMR_EFORMAT || (status == EMR_OK) == (faults == 0));
    s->pattern.left = PATTERN_BYTES;
}

/* A base that lacks something, or has it in another form, is refused, or the task does without. */
static void try_wrong_base(subject *s)
{
    emr_error error = {0};
    emr_model *model,
        *base = fuzz_made_up_base(s->bundle, &s->pattern, (uint32_t)fuzz_below(&s->random, s->info.n_tensors),
                                  &s->random);
    emr_view_options options = EMR_INIT(emr_view_options);
    check_base(s, base);
    s->pattern.left = 1 << 20;
    emr_status status = emr_bundle_open_task(&model, s->bundle, 0, base, NULL, &error);
    promise(fuzz_status(status, &error) == EMR_EMISMATCH || status == EMR_EIO ||
            (s->arranged && status == EMR_EFORMAT));
    options.check = EMR_BASE_CHECK_NONE;
    status = emr_bundle_open_task(&model, s->bundle, 0, base, &options, &error);
    fuzz_status(status, &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EFORMAT);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
}

static void read_model(subject *s, const emr_model *model)
{
    uint32_t n = emr_model_n_tensors(model);
    for (uint32_t i = 0; i < n && i < ASKED && may_read(s); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        promise(emr_model_find_tensor(model, emr_tensor_name(t)) == t);
        s->pattern.left = PATTERN_BYTES;
        fuzz_read_tensor(t, &s->random, s->intact);
    }
    for (uint32_t i = 0; i < emr_model_n_metadata(model); i++) {
        const char *key, *value;
        promise(emr_model_get_metadata(model, i, &key, &value) == EMR_OK);
        promise(strlen(key) < s->size && strlen(value) < s->size);
    }
}

/* The modulator gives what the model gives. */
static void compare_apply(subject *s, emr_modulator *modulator, uint32_t tensor, const emr_tensor *base,
                          const emr_tensor *weights)
{
    enum { MOST = 700 };
    uint8_t from[MOST * 8], out[MOST * 8], want[MOST * 8];
    emr_error error = {0};
    emr_dtype in_dtype = emr_tensor_dtype(base), out_dtype = emr_tensor_dtype(weights);
    size_t in_size = emr_dtype_bits(in_dtype) / 8, out_size = emr_dtype_bits(out_dtype) / 8;
    uint64_t count = emr_modulator_tensor_count(modulator, tensor);
    promise(count == emr_tensor_count(base) && count == emr_tensor_count(weights));
    if (!count)
        return;
    uint64_t first = fuzz_below(&s->random, count < SIZE_MAX ? (size_t)count : SIZE_MAX);
    size_t n = count - first < MOST ? (size_t)(count - first) : MOST;
    n = 1 + fuzz_below(&s->random, n);
    emr_status status = emr_tensor_read(base, first * in_size, from, n * in_size, &error);
    if (fuzz_status(status, &error))
        return;
    emr_application a = {
        .size = sizeof a, .base = from, .out = out, .first = first, .count = n, .tensor = tensor};
    a.base_dtype = in_dtype;
    a.out_dtype = out_dtype;
    status = emr_modulator_apply(modulator, &a, &error);
    fuzz_status(status, &error);
    promise(!s->intact || status == EMR_OK || status == EMR_EFORMAT);
    emr_status other = emr_tensor_read(weights, first * out_size, want, n * out_size, &error);
    promise(fuzz_status(other, &error) == status);
    promise(status || memcmp(out, want, n * out_size) == 0);
    a.first = count - n + 1;
    status = emr_modulator_apply(modulator, &a, &error);
    promise(fuzz_status(status, &error) == EMR_EINVAL);
}

/* The statistics count what the mask's model shows. */
static void compare_mask(subject *s, emr_modulator *modulator, uint32_t tensor, const emr_tensor *mask)
{
    enum { MOST = 20000 };
    emr_error error = {0};
    emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
    uint64_t count = emr_modulator_tensor_count(modulator, tensor), ones = 0;
    if (count > MOST)
        return;
    emr_status status = emr_modulator_get_stats(modulator, tensor, &stats, &error);
    fuzz_status(status, &error);
    promise(!s->intact || status == EMR_OK);
    promise(status || stats.count == count);
    if (!mask) {
        promise(status == EMR_OK && stats.ones == 0);
        return;
    }
    uint8_t *bits = malloc((size_t)count + 1);
    promise(bits != NULL);
    emr_status other = emr_tensor_read(mask, 0, bits, (size_t)count, &error);
    promise(fuzz_status(other, &error) == status);
    for (uint64_t i = 0; !status && i < count; i++) {
        promise(bits[i] <= 1);
        ones += bits[i];
    }
    promise(status || stats.ones == ones);
    free(bits);
}

/* Whether a name is that of a private tensor, which a task may have instead of a merged one. */
static bool is_private(const subject *s, uint32_t task, const char *name)
{
    emr_private_info own = EMR_INIT(emr_private_info);
    for (uint32_t i = 0; emr_bundle_get_private(s->bundle, task, i, &own) == EMR_OK; i++)
        if (strcmp(own.name, name) == 0)
            return true;
    return false;
}

/* A task's modulator beside the views that must agree with it. */
static void examine_modulator(subject *s, uint32_t task, const emr_model *base, const emr_model *weights)
{
    emr_error error = {0};
    emr_modulator *modulator;
    emr_model *mask;
    promise(fuzz_status(emr_bundle_open_modulator(&modulator, s->bundle, task, NULL, &error), &error) ==
            EMR_OK);
    promise(fuzz_status(emr_bundle_open_mask(&mask, s->bundle, task, NULL, &error), &error) ==
            (ask_modulation(s, task) ? EMR_OK : EMR_EUNSUPPORTED));
    promise(emr_modulator_n_tensors(modulator) == s->info.n_merged);
    for (uint32_t i = 0; i < s->info.n_merged && i < ASKED && may_read(s); i++) {
        const char *name = emr_modulator_tensor_name(modulator, i);
        const emr_tensor *rebuilt = weights ? emr_model_find_tensor(weights, name) : NULL;
        uint32_t found;
        promise(emr_modulator_find_tensor(modulator, name, &found) == EMR_OK && found == i);
        ask_rescalers(s, modulator, i);
        compare_mask(s, modulator, i, mask ? emr_model_find_tensor(mask, name) : NULL);
        s->pattern.left = PATTERN_BYTES;
        if (rebuilt && !is_private(s, task, name) && !fuzz_is_arranged(s->bundle, task) &&
            !(s->choices & CHOICE_OWN_NAMES && fuzz_is_arranged(s->bundle, EMR_BASE)))
            compare_apply(s, modulator, i, emr_model_find_tensor(base, name), rebuilt);
    }
    emr_modulator_destroy(&modulator);
    emr_model_destroy(&mask);
}

/* One task's model over a base (NULL: the embedded one). */
static void examine_task(subject *s, uint32_t task, const emr_model *base)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                       EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    emr_error error = {0};
    emr_model *model, *embedded = NULL;
    emr_view_options options = EMR_INIT(emr_view_options);
    options.check = EMR_BASE_CHECK_NONE;
    if (s->choices & CHOICE_DTYPE)
        options.dtype = dtypes[fuzz_below(&s->random, 6)];
    ask_task(s, task);
    emr_status status = emr_bundle_open_task(&model, s->bundle, task, base, &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (model != NULL));
    /* private names that clash; or an arrangement by which the made-up base has other shapes */
    promise(status == EMR_OK || status == EMR_EFORMAT || (status == EMR_EMISMATCH && base && s->arranged));
    if (!base)
        promise(emr_bundle_open_base(&embedded, s->bundle, NULL, &error) == EMR_OK);
    if (model)
        read_model(s, model);
    examine_modulator(s, task, base ? base : embedded, model);
    emr_model_destroy(&model);
    emr_model_destroy(&embedded);
}

static uint64_t model_bytes(const emr_model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++)
        bytes += emr_tensor_bytes(emr_model_tensor(model, i));
    return bytes;
}

/* The first task's model, opened and written to a file. */
static emr_status write_first(subject *s, const emr_model *base, emr_base_check when, const emr_buffer *file)
{
    emr_error error = {0};
    emr_model *model;
    emr_view_options view = {.size = sizeof view, .check = when};
    emr_resources resources = {.size = sizeof resources, .memory_bytes = 256 << 10};
    emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    s->pattern.left = PATTERN_BYTES;
    emr_status status = emr_bundle_open_task(&model, s->bundle, 0, base, &view, &error);
    if (fuzz_status(status, &error))
        return status;
    if (model_bytes(model) < MOST_WRITTEN)
        status = fuzz_status(emr_safetensors_write(model, emr_buffer_io(file), &options, &error), &error);
    else
        status = EMR_ELIMIT;
    emr_model_destroy(&model);
    return status;
}

/* The file opened again; NULL where that fails: a bundle may have a key of its metadata twice, a file may not. */
static emr_model *open_written(const emr_buffer *file, emr_status *status)
{
    emr_error error = {0};
    emr_model *model = NULL;
    if (!*status)
        *status =
            fuzz_status(emr_safetensors_open(&model, emr_buffer_io(file), "written", NULL, &error), &error);
    return model;
}

static void compare_written(const emr_model *a, const emr_model *b)
{
    promise(emr_model_n_tensors(a) == emr_model_n_tensors(b));
    for (uint32_t i = 0; i < emr_model_n_tensors(a); i++) {
        emr_error error = {0};
        const emr_tensor *x = emr_model_tensor(a, i), *y = emr_model_tensor(b, i);
        size_t n = (size_t)emr_tensor_bytes(x);
        uint8_t *of_x = malloc(n + 1), *of_y = malloc(n + 1);
        promise(of_x && of_y && emr_tensor_bytes(y) == n);
        promise(emr_tensor_read(x, 0, of_x, n, &error) == EMR_OK);
        promise(emr_tensor_read(y, 0, of_y, n, &error) == EMR_OK);
        promise(memcmp(of_x, of_y, n) == 0);
        free(of_x);
        free(of_y);
    }
}

/* A base that is checked while a task's model is written: it is refused, or the file is that of a base that
 * nobody checked. */
static void write_in_one_pass(subject *s, const emr_model *base)
{
    emr_buffer *one = fuzz_buffer(), *two = fuzz_buffer();
    emr_status status = write_first(s, base, EMR_BASE_CHECK_WRITE, one);
    emr_status other = write_first(s, base, EMR_BASE_CHECK_NONE, two);
    emr_model *a = open_written(one, &status), *b = open_written(two, &other);
    promise(!a || b);
    promise(status == other || status == EMR_EMISMATCH || (s->arranged && status == EMR_EIO));
    if (a)
        compare_written(a, b);
    emr_model_destroy(&a);
    emr_model_destroy(&b);
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&two);
}

/* Over a base that is made up, and over the bundle's own. */
static void write_task(subject *s, const emr_model *made_up)
{
    emr_error error = {0};
    emr_model *base;
    write_in_one_pass(s, made_up);
    if (!s->info.has_base)
        return;
    promise(fuzz_status(emr_bundle_open_base(&base, s->bundle, NULL, &error), &error) == EMR_OK);
    write_in_one_pass(s, base);
    emr_model_destroy(&base);
}

/* Adds its own first task to a bundle that says that it can grow; not where models are large that small files
 * can claim to hold. */
static void extend_bundle(subject *s)
{
    emr_error error = {0};
    emr_merge *merge;
    emr_model *base, *task;
    emr_bundle *grown;
    emr_buffer *buffer = fuzz_buffer();
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_resources resources = {.size = sizeof resources, .memory_bytes = 16 << 20};
    options.resources = &resources;
    options.on_nonfinite = s->choices & CHOICE_DTYPE ? EMR_ON_NONFINITE_ZERO : EMR_ON_NONFINITE_ERROR;
    promise(emr_bundle_open_base(&base, s->bundle, NULL, &error) == EMR_OK);
    emr_status status = emr_bundle_open_task(&task, s->bundle, 0, NULL, NULL, &error);
    if (!fuzz_status(status, &error) && (model_bytes(base) | model_bytes(task)) >= MOST_EXTENDED)
        status = EMR_ELIMIT;
    if (!status) {
        promise(emr_merge_create(&merge, &options, &error) == EMR_OK);
        status = emr_merge_set_base(merge, base, &error);
        if (!status)
            status = emr_merge_extend(merge, s->bundle, &error);
        if (!status)
            status = emr_merge_add_task(merge, "another", task, &error);
        if (!status)
            status = emr_merge_set_output(merge, emr_buffer_io(buffer), &error);
        if (!status)
            status = emr_merge_run(merge, &error);
        fuzz_status(status, &error);
        emr_merge_destroy(&merge);
    }
    if (!status) {
        status = emr_bundle_open(&grown, emr_buffer_io(buffer), "grown", NULL, &error);
        promise(fuzz_status(status, &error) == EMR_OK);
        promise(fuzz_status(emr_bundle_verify(grown, NULL, &error), &error) == EMR_OK);
        emr_bundle_destroy(&grown);
    }
    emr_model_destroy(&base);
    emr_model_destroy(&task);
    emr_buffer_destroy(&buffer);
}

static void examine_bundle(subject *s)
{
    emr_error error = {0};
    emr_model *base, *model;
    promise(emr_bundle_get_info(s->bundle, &s->info) == EMR_OK);
    ask_tensors(s);
    for (uint32_t task = 0; !s->arranged && task < s->info.n_tasks; task++)
        s->arranged = fuzz_is_arranged(s->bundle, task);
    s->arranged = s->arranged || fuzz_is_arranged(s->bundle, EMR_BASE);
    base = s->choices & CHOICE_OWN_NAMES ? fuzz_own_base(s->bundle, &s->pattern)
                                         : fuzz_made_up_base(s->bundle, &s->pattern, UINT32_MAX, &s->random);
    allow_memory(s, 1,
                 1); /* verifying takes less than a model; comparing with a base takes a buffer of its size */
    if (!(s->choices & CHOICE_VERIFY_LAST))
        verify_bundle(s);
    check_base(s, base);
    bool embedded = s->info.has_base && !(s->choices & CHOICE_OWN_BASE);
    if (s->choices & CHOICE_WRONG_BASE && s->info.n_tasks && s->info.n_tensors)
        try_wrong_base(s);
    /* the task's model and the mask, each with a cursor; with the embedded base twice; and a modulator, of as many as
     * four, as that of the model */
    allow_memory(s, embedded ? 4 : 2, embedded ? 12 : 10);
    for (uint32_t task = 0; task < s->info.n_tasks && task < ASKED_TASKS; task++)
        examine_task(s, task, embedded ? NULL : base);
    if (s->info.n_tasks) {
        allow_memory(s, 4, 10);
        s->budget.cap += 1 << 20; /* to write with */
        write_task(s, base);
        allow_memory(s, embedded ? 4 : 2, embedded ? 12 : 10);
    }
    fuzz_session(s->bundle, embedded ? NULL : base, &s->pattern, FIXED + s->size * MODEL_TIMES + MODEL,
                 &s->random, s->intact);
    if (s->info.extendable && s->info.has_base && s->info.n_tasks)
        extend_bundle(s);
    emr_status status = emr_bundle_open_unified(&model, s->bundle, NULL, &error);
    promise(fuzz_status(status, &error) == (s->info.n_elected ? EMR_OK : EMR_EUNSUPPORTED));
    if (model)
        read_model(s, model);
    emr_model_destroy(&model);
    status = emr_bundle_open_task(&model, s->bundle, s->info.n_tasks, base, NULL, &error);
    promise(fuzz_status(status, &error) == EMR_ENOTFOUND && !model);
    if (s->choices & CHOICE_VERIFY_LAST)
        verify_bundle(s);
    emr_model_destroy(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    emr_error error = {0};
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    subject s = {.size = size, .choices = data[0], .info = EMR_INIT(emr_bundle_info)};
    emr_buffer *file = fuzz_buffer_of(bytes, size - 1);
    s.random = fuzz_random_make(emr_hash64(bytes, size - 1));
    s.largest_block = image_largest_block(&(image){bytes, size - 1, size - 1});
    s.reads_left = 8 + (64 << 20) / (s.largest_block + (64 << 10));
    s.pattern.left = PATTERN_BYTES;
    emr_allocator allocator = fuzz_allocator(&s.budget);
    emr_bundle_options options = EMR_INIT(emr_bundle_options);
    options.allocator = &allocator;
    emr_io io = *emr_buffer_io(file);
    io.map = s.choices & CHOICE_MAP ? io.map : NULL;
    allow_memory(&s, 0, 0);
    emr_status status = emr_bundle_open(&s.bundle, &io, "input", &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (s.bundle != NULL));
    if (s.bundle)
        examine_bundle(&s);
    emr_bundle_destroy(&s.bundle);
    promise(s.budget.now == 0);
    emr_buffer_destroy(&file);
    free(bytes);
    return 0;
}
