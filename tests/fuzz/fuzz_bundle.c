/* fuzz_bundle.c - any bytes as a bundle: a status, or a bundle that answers everything it is asked within its
 * bounds, takes no more memory than is said below, and never contradicts itself. The input's first byte
 * chooses how the bundle is read; the bundle follows. */
#include "fuzz.h"
#include "fuzz_base.h"
#include "fuzz_session.h"
#include "image.h"

#include "core/hash.h"

/* Bits of the first byte. */
enum {
    CHOICE_MAP = 1,
    CHOICE_OWN_BASE = 2,
    CHOICE_DTYPE = 4,
    CHOICE_VERIFY_LAST = 8,
    CHOICE_WRONG_BASE = 16
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
    MOST_EXTENDED = 1 << 20
};

typedef struct subject {
    size_t size; /* of the input */
    uint8_t choices;
    emr_memory memory;
    fuzz_budget budget;
    fuzz_random random;
    emr_bundle *bundle;
    emr_bundle_info info;
    size_t largest_block;
    size_t reads_left;    /* of tensors; fewer where blocks are large */
    fuzz_pattern pattern; /* the made-up base's bytes */
    bool intact;          /* verified: nothing may be found damaged from now on */
} subject;

static void allow(subject *s, size_t models, size_t cursors)
{
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
    size_t found;
    uint64_t params = 0;
    for (size_t i = 0; i < s->info.n_tensors; i++) {
        promise(emr_bundle_get_tensor(s->bundle, i, &info) == EMR_OK);
        promise(strlen(info.name) < s->size && info.rank <= EMR_RANK_MAX);
        promise(info.merged == (i < s->info.n_merged) && (info.merged || !info.unified_bytes));
        promise(info.unified_bytes <= s->info.bytes);
        promise(emr_bundle_find_tensor(s->bundle, info.name, &found) == EMR_OK && found == i);
        params += info.merged ? info.count : 0;
    }
    promise(params == s->info.merged_params);
    promise(emr_bundle_get_tensor(s->bundle, s->info.n_tensors, &info) == EMR_ENOTFOUND);
}

static void ask_task(subject *s, size_t task)
{
    emr_task_info info = EMR_INIT(emr_task_info);
    emr_private_info own = EMR_INIT(emr_private_info);
    size_t found;
    promise(emr_bundle_get_task(s->bundle, task, &info) == EMR_OK);
    promise(strlen(info.name) < s->size && info.mask_ones <= s->info.merged_params);
    promise(info.rescaler >= 0 && info.mask_bytes <= s->info.bytes);
    promise(emr_bundle_find_task(s->bundle, info.name, &found) == EMR_OK && found == task);
    for (size_t i = 0; i < info.n_private; i++) {
        promise(emr_bundle_get_private(s->bundle, task, i, &own) == EMR_OK);
        promise(strlen(own.name) < s->size && own.rank <= EMR_RANK_MAX);
    }
    promise(emr_bundle_get_private(s->bundle, task, info.n_private, &own) == EMR_ENOTFOUND);
}

static void ask_rescalers(subject *s, size_t task, size_t tensor)
{
    emr_error error = {""};
    float rescalers[9];
    uint64_t n = emr_bundle_n_rescalers(s->bundle, tensor), some = n < 9 ? n : 9;
    emr_status status =
        emr_bundle_rescalers(s->bundle, task, tensor, n - some, (size_t)some, rescalers, &error);
    fuzz_status(status, &error);
    promise(!s->intact || status == EMR_OK || status == EMR_EFORMAT);
    status = emr_bundle_rescalers(s->bundle, task, tensor, n, 1, rescalers, &error);
    promise(fuzz_status(status, &error) == EMR_EINVAL);
}

static int stop_late(void *user, uint64_t done, uint64_t total)
{
    size_t *calls = user;
    promise(done <= total);
    return --*calls == 0;
}

static void verify(subject *s)
{
    emr_error error = {""};
    size_t calls = 1 + s->reads_left / 8;
    emr_status status = emr_bundle_verify(s->bundle, NULL, stop_late, &calls, &error);
    s->intact = fuzz_status(status, &error) == EMR_OK;
    promise(status == EMR_OK || status == EMR_ECORRUPT || status == EMR_EFORMAT || status == EMR_ECANCELED ||
            status == EMR_EUNSUPPORTED);
}

static void count_faults(void *user, const char *tensor, const char *why)
{
    promise(strlen(tensor) + 1 > 0 && *why); /* both can be read */
    ++*(size_t *)user;
}

static void check_base(subject *s, const emr_model *base)
{
    emr_error error = {""};
    size_t faults = 0;
    s->pattern.left = 1 << 20;
    emr_status status =
        emr_bundle_check_base(s->bundle, base, NULL, NULL, NULL, count_faults, &faults, &error);
    promise((fuzz_status(status, &error) == EMR_OK) == (faults == 0));
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EIO);
    s->pattern.left = PATTERN_BYTES;
}

/* A base that lacks something, or has it in another form, is refused, or the task does without. */
static void try_wrong_base(subject *s)
{
    emr_error error = {""};
    emr_model *model, *base = fuzz_made_up_base(s->bundle, &s->pattern,
                                                fuzz_below(&s->random, s->info.n_tensors), &s->random);
    emr_view_options options = EMR_INIT(emr_view_options);
    check_base(s, base);
    s->pattern.left = 1 << 20;
    emr_status status = emr_bundle_open_task(&model, s->bundle, 0, base, NULL, &error);
    promise(fuzz_status(status, &error) == EMR_EMISMATCH || status == EMR_EIO);
    options.trust_base = 1;
    status = emr_bundle_open_task(&model, s->bundle, 0, base, &options, &error);
    fuzz_status(status, &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EFORMAT);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
}

static void read_model(subject *s, const emr_model *model)
{
    size_t n = emr_model_n_tensors(model);
    for (size_t i = 0; i < n && i < ASKED && may_read(s); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        promise(emr_model_find(model, emr_tensor_name(t)) == t);
        s->pattern.left = PATTERN_BYTES;
        fuzz_read_tensor(t, &s->random, s->intact);
    }
    for (size_t i = 0; i < emr_model_n_metadata(model); i++) {
        const char *key, *value;
        promise(emr_model_get_metadata(model, i, &key, &value) == EMR_OK);
        promise(strlen(key) < s->size && strlen(value) < s->size);
    }
}

/* The modulator gives what the model gives. */
static void compare_apply(subject *s, emr_modulator *modulator, size_t tensor, const emr_tensor *base,
                          const emr_tensor *weights)
{
    enum { MOST = 700 };
    uint8_t from[MOST * 8], out[MOST * 8], want[MOST * 8];
    emr_error error = {""};
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
    status = emr_modulator_apply(modulator, tensor, first, n, in_dtype, from, out_dtype, out, &error);
    fuzz_status(status, &error);
    promise(!s->intact || status == EMR_OK || status == EMR_EFORMAT);
    emr_status other = emr_tensor_read(weights, first * out_size, want, n * out_size, &error);
    promise(fuzz_status(other, &error) == status);
    promise(status || memcmp(out, want, n * out_size) == 0);
    status = emr_modulator_apply(modulator, tensor, count - n + 1, n, in_dtype, from, out_dtype, out, &error);
    promise(fuzz_status(status, &error) == EMR_EINVAL);
}

/* The statistics count what the mask's model shows. */
static void compare_mask(subject *s, emr_modulator *modulator, size_t tensor, const emr_tensor *mask)
{
    enum { MOST = 20000 };
    emr_error error = {""};
    emr_modulation_stats stats = EMR_INIT(emr_modulation_stats);
    uint64_t count = emr_tensor_count(mask), ones = 0;
    if (count > MOST)
        return;
    emr_status status = emr_modulator_get_stats(modulator, tensor, &stats, &error);
    fuzz_status(status, &error);
    promise(!s->intact || status == EMR_OK);
    uint8_t *bits = malloc((size_t)count + 1);
    promise(bits != NULL);
    emr_status other = emr_tensor_read(mask, 0, bits, (size_t)count, &error);
    promise(fuzz_status(other, &error) == status);
    for (uint64_t i = 0; !status && i < count; i++) {
        promise(bits[i] <= 1);
        ones += bits[i];
    }
    promise(status || (stats.count == count && stats.ones == ones));
    free(bits);
}

/* Whether a name is that of a private tensor, which a task may have instead of a merged one. */
static bool is_private(const subject *s, size_t task, const char *name)
{
    emr_private_info own = EMR_INIT(emr_private_info);
    for (size_t i = 0; emr_bundle_get_private(s->bundle, task, i, &own) == EMR_OK; i++)
        if (strcmp(own.name, name) == 0)
            return true;
    return false;
}

/* A task's modulator beside the views that must agree with it. */
static void examine_modulator(subject *s, size_t task, const emr_model *base, const emr_model *weights)
{
    emr_error error = {""};
    emr_modulator *modulator;
    emr_model *mask;
    promise(fuzz_status(emr_bundle_open_modulator(&modulator, s->bundle, task, NULL, &error), &error) == EMR_OK);
    promise(fuzz_status(emr_bundle_open_mask(&mask, s->bundle, task, NULL, &error), &error) == EMR_OK);
    promise(emr_modulator_n_tensors(modulator) == s->info.n_merged);
    for (size_t i = 0; i < s->info.n_merged && i < ASKED && may_read(s); i++) {
        const char *name = emr_modulator_tensor_name(modulator, i);
        const emr_tensor *rebuilt = weights ? emr_model_find(weights, name) : NULL;
        size_t found;
        promise(emr_modulator_find_tensor(modulator, name, &found) == EMR_OK && found == i);
        ask_rescalers(s, task, i);
        compare_mask(s, modulator, i, emr_model_find(mask, name));
        s->pattern.left = PATTERN_BYTES;
        if (rebuilt && !is_private(s, task, name))
            compare_apply(s, modulator, i, emr_model_find(base, name), rebuilt);
    }
    emr_modulator_destroy(&modulator);
    emr_model_destroy(&mask);
}

/* One task's model over a base (NULL: the embedded one). */
static void examine_task(subject *s, size_t task, const emr_model *base)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    emr_error error = {""};
    emr_model *model, *embedded = NULL;
    emr_view_options options = EMR_INIT(emr_view_options);
    options.trust_base = 1;
    if (s->choices & CHOICE_DTYPE)
        options.dtype = (int)dtypes[fuzz_below(&s->random, 6)];
    ask_task(s, task);
    emr_status status = emr_bundle_open_task(&model, s->bundle, task, base, &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (model != NULL));
    promise(status == EMR_OK || status == EMR_EFORMAT); /* private names that clash */
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
    for (size_t i = 0; i < emr_model_n_tensors(model); i++)
        bytes += emr_tensor_bytes(emr_model_tensor(model, i));
    return bytes;
}

/* Adds its own first task to a bundle that says that it can grow; not where models are large that small files
 * can claim to hold. */
static void extend(subject *s)
{
    emr_error error = {""};
    emr_merge *merge;
    emr_model *base, *task;
    emr_bundle *grown;
    emr_buffer buffer = {0};
    emr_io out = emr_buffer_io(&buffer);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.memory_bytes = 16 << 20;
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
            status = emr_merge_set_output(merge, &out, &error);
        if (!status)
            status = emr_merge_run(merge, &error);
        fuzz_status(status, &error);
        emr_merge_destroy(&merge);
    }
    if (!status) {
        emr_memory memory = {buffer.data, buffer.bytes};
        emr_io in = emr_memory_io(&memory);
        promise(fuzz_status(emr_bundle_open(&grown, &in, "grown", NULL, &error), &error) == EMR_OK);
        promise(fuzz_status(emr_bundle_verify(grown, NULL, NULL, NULL, &error), &error) == EMR_OK);
        emr_bundle_destroy(&grown);
    }
    emr_model_destroy(&base);
    emr_model_destroy(&task);
    emr_buffer_free(&buffer);
}

static void examine_bundle(subject *s)
{
    emr_error error = {""};
    emr_model *base, *model;
    promise(emr_bundle_get_info(s->bundle, &s->info) == EMR_OK);
    ask_tensors(s);
    base = fuzz_made_up_base(s->bundle, &s->pattern, SIZE_MAX, &s->random);
    allow(s, 1, 1); /* verifying takes less than a model; comparing with a base takes a buffer of its size */
    if (!(s->choices & CHOICE_VERIFY_LAST))
        verify(s);
    check_base(s, base);
    bool embedded = s->info.has_base && !(s->choices & CHOICE_OWN_BASE);
    if (s->choices & CHOICE_WRONG_BASE && s->info.n_tasks && s->info.n_tensors)
        try_wrong_base(s);
    /* the task's model and the mask, each with a cursor; with the embedded base twice; and a modulator */
    allow(s, embedded ? 4 : 2, embedded ? 10 : 8);
    for (size_t task = 0; task < s->info.n_tasks && task < ASKED_TASKS; task++)
        examine_task(s, task, embedded ? NULL : base);
    fuzz_session(s->bundle, embedded ? NULL : base, &s->pattern, FIXED + s->size * MODEL_TIMES + MODEL,
                 &s->random, s->intact);
    if (s->info.extendable && s->info.has_base && s->info.n_tasks)
        extend(s);
    emr_status status = emr_bundle_open_unified(&model, s->bundle, NULL, &error);
    promise(fuzz_status(status, &error) == EMR_OK);
    read_model(s, model);
    emr_model_destroy(&model);
    status = emr_bundle_open_task(&model, s->bundle, s->info.n_tasks, base, NULL, &error);
    promise(fuzz_status(status, &error) == EMR_ENOTFOUND && !model);
    if (s->choices & CHOICE_VERIFY_LAST)
        verify(s);
    emr_model_destroy(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    emr_error error = {""};
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    subject s = {
        .size = size, .choices = data[0], .memory = {bytes, size - 1}, .info = EMR_INIT(emr_bundle_info)};
    s.random = fuzz_random_make(emr_hash64(bytes, size - 1));
    s.largest_block = image_largest_block(&(image){bytes, size - 1, size - 1});
    s.reads_left = 8 + (64 << 20) / (s.largest_block + (64 << 10));
    s.pattern.left = PATTERN_BYTES;
    emr_allocator allocator = fuzz_allocator(&s.budget);
    emr_bundle_options options = EMR_INIT(emr_bundle_options);
    options.allocator = &allocator;
    emr_io io = emr_memory_io(&s.memory);
    io.map = s.choices & CHOICE_MAP ? io.map : NULL;
    allow(&s, 0, 0);
    emr_status status = emr_bundle_open(&s.bundle, &io, "input", &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (s.bundle != NULL));
    if (s.bundle)
        examine_bundle(&s);
    emr_bundle_destroy(&s.bundle);
    promise(s.budget.now == 0);
    free(bytes);
    return 0;
}
