/* fuzz_drop.c - tasks dropped from any bytes as a bundle: a status, or a bundle that opens, verifies as the
 * old one did, and has the tasks that stayed with the same weights, masks and rescalers to the last bit; and
 * those tasks extracted give the same bytes, or the same status. The
 * input's first byte says which tasks go (bit task % 7) and whether there is a report (bit 7); the bundle
 * follows. */
#include "fuzz.h"
#include "fuzz_base.h"
#include "image.h"

#include "core/hash.h"

enum {
    CHOICE_REPORT = 128,
    ASKED_TASKS = 3,
    ASKED = 40 /* tensors of each model */,
    FIXED = 256 << 10, /* of memory, besides the index and blocks */
    PATTERN_BYTES = 8 << 20,
    PIECE = 9000
};

typedef struct subject {
    uint8_t choices;
    fuzz_random random;
    size_t largest_block, index_bytes;
    size_t reads_left;
    fuzz_pattern pattern;
    emr_bundle *bundle;
    emr_bundle_info info;
    bool intact; /* verified */
} subject;

static bool is_dropped(const subject *s, uint32_t task)
{
    return s->choices >> task % 7 & 1;
}

/* Where blocks are large and many, a small file can stand for more work than there is time. */
typedef struct patience {
    uint64_t done;
    size_t calls_left;
} patience;

static emr_status lose_patience(void *user, const emr_progress *progress, emr_error *error)
{
    patience *p = user;
    (void)error;
    promise(progress->done >= p->done && (progress->total == 0 || progress->done <= progress->total));
    p->done = progress->done;
    return p->calls_left-- == 1 ? EMR_ECANCELED : EMR_OK;
}

static patience make_patience(const subject *s)
{
    return (patience){0, 4 + (256 << 20) / (s->largest_block + (64 << 10))};
}

static emr_status verify_bundle(const subject *s, const emr_bundle *bundle)
{
    emr_error error = {0};
    patience p = make_patience(s);
    emr_resources resources = {.size = sizeof resources, .progress = lose_patience, .progress_user = &p};
    return fuzz_status(emr_bundle_verify(bundle, &resources, &error), &error);
}

/* A piece of two tensors that must be equal, or cannot be read for the same reason. */
static void compare_piece(subject *s, const emr_tensor *old, const emr_tensor *new, uint64_t at, size_t n)
{
    emr_error error = {0};
    uint8_t a[PIECE], b[PIECE];
    s->pattern.left = PATTERN_BYTES;
    emr_status status = fuzz_status(emr_tensor_read(old, at, a, n, &error), &error);
    s->pattern.left = PATTERN_BYTES;
    promise(fuzz_status(emr_tensor_read(new, at, b, n, &error), &error) == status);
    promise(status || memcmp(a, b, n) == 0);
    promise(!s->intact || status != EMR_ECORRUPT);
}

static void compare_models(subject *s, const emr_model *old, const emr_model *new)
{
    uint32_t n = emr_model_n_tensors(old);
    promise(emr_model_n_tensors(new) == n && emr_model_n_metadata(new) == emr_model_n_metadata(old));
    for (uint32_t i = 0; i < n && i < ASKED && s->reads_left; i++, s->reads_left--) {
        const emr_tensor *a = emr_model_tensor(old, i), *b = emr_model_tensor(new, i);
        uint64_t all = emr_tensor_bytes(a);
        size_t some = all < PIECE ? (size_t)all : PIECE;
        promise(strcmp(emr_tensor_name(a), emr_tensor_name(b)) == 0 && emr_tensor_bytes(b) == all);
        promise(emr_tensor_dtype(a) == emr_tensor_dtype(b));
        compare_piece(s, a, b, 0, some);
        compare_piece(s, a, b, all - some, some);
        if (all > some)
            compare_piece(s, a, b, fuzz_below(&s->random, all < SIZE_MAX ? (size_t)all - some : SIZE_MAX),
                          some);
    }
    for (uint32_t i = 0; i < emr_model_n_metadata(old); i++) {
        const char *key_a, *value_a, *key_b, *value_b;
        promise(emr_model_get_metadata(old, i, &key_a, &value_a) == EMR_OK);
        promise(emr_model_get_metadata(new, i, &key_b, &value_b) == EMR_OK);
        promise(strcmp(key_a, key_b) == 0 && strcmp(value_a, value_b) == 0);
    }
}

/* A bundle that is left with masks alone no longer says how they were made. */
static void compare_modulations(subject *s, const emr_bundle *new, uint32_t was, uint32_t is)
{
    emr_modulation_spec a = EMR_INIT(emr_modulation_spec), b = a;
    emr_fidelity of_a = EMR_INIT(emr_fidelity), of_b = of_a;
    promise(emr_bundle_get_modulation(s->bundle, was, &a, &of_a) == EMR_OK);
    promise(emr_bundle_get_modulation(new, is, &b, &of_b) == EMR_OK);
    promise(a.kind == b.kind && a.rescale_per == b.rescale_per);
    promise(a.kind == EMR_MODULATOR_KIND_MASK ||
            (memcmp(&a, &b, sizeof a) == 0 && memcmp(&of_a, &of_b, sizeof of_a) == 0));
}

static void compare_rescalers(subject *s, const emr_bundle *new, uint32_t was, uint32_t is)
{
    emr_error error = {0};
    emr_modulator *old_modulator, *new_modulator;
    promise(emr_bundle_open_modulator(&old_modulator, s->bundle, was, NULL, &error) == EMR_OK);
    promise(emr_bundle_open_modulator(&new_modulator, new, is, NULL, &error) == EMR_OK);
    for (uint32_t i = 0; i < s->info.n_merged && i < ASKED; i++) {
        float a[9], b[9];
        uint64_t n = emr_modulator_n_rescalers(old_modulator, i);
        size_t some = n < 9 ? (size_t)n : 9;
        promise(emr_modulator_n_rescalers(new_modulator, i) == n);
        emr_status status = emr_modulator_read_rescalers(old_modulator, i, n - some, some, a, &error);
        fuzz_status(status, &error);
        promise(emr_modulator_read_rescalers(new_modulator, i, n - some, some, b, &error) == status);
        promise(status || memcmp(a, b, some * sizeof *a) == 0);
    }
    emr_modulator_destroy(&old_modulator);
    emr_modulator_destroy(&new_modulator);
}

static void compare_task(subject *s, const emr_bundle *new, uint32_t was, uint32_t is, const emr_model *base)
{
    emr_error error = {0};
    emr_view_options options = EMR_INIT(emr_view_options);
    emr_task_info a = EMR_INIT(emr_task_info), b = EMR_INIT(emr_task_info);
    emr_model *old_model, *new_model;
    options.check = EMR_BASE_CHECK_NONE;
    promise(emr_bundle_get_task(s->bundle, was, &a) == EMR_OK && emr_bundle_get_task(new, is, &b) == EMR_OK);
    promise(strcmp(a.name, b.name) == 0 && a.mask_ones == b.mask_ones && a.n_private == b.n_private);
    promise(memcmp(&a.rescaler, &b.rescaler, sizeof a.rescaler) == 0);
    compare_modulations(s, new, was, is);
    compare_rescalers(s, new, was, is);
    emr_status status = emr_bundle_open_task(&old_model, s->bundle, was, base, &options, &error);
    fuzz_status(status, &error);
    promise(emr_bundle_open_task(&new_model, new, is, base, &options, &error) == status);
    if (!status)
        compare_models(s, old_model, new_model);
    emr_model_destroy(&old_model);
    emr_model_destroy(&new_model);
    status = emr_bundle_open_mask(&old_model, s->bundle, was, NULL, &error);
    promise(fuzz_status(status, &error) == EMR_OK || status == EMR_EUNSUPPORTED);
    promise(emr_bundle_open_mask(&new_model, new, is, NULL, &error) == status);
    if (!status)
        compare_models(s, old_model, new_model);
    emr_model_destroy(&old_model);
    emr_model_destroy(&new_model);
}

static void examine_dropped(subject *s, const emr_buffer *out, size_t n_gone)
{
    emr_error error = {0};
    emr_bundle *new;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_status status = emr_bundle_open(&new, emr_buffer_io(out), "dropped", NULL, &error);
    promise(fuzz_status(status, &error) == EMR_OK);
    promise(emr_bundle_get_info(new, &info) == EMR_OK);
    promise(info.n_tasks == s->info.n_tasks - n_gone && info.n_tensors == s->info.n_tensors);
    promise(info.n_merged == s->info.n_merged && info.has_base == s->info.has_base && !info.extendable);
    promise(info.n_elected <= s->info.n_elected);
    emr_status verified = verify_bundle(s, new);
    promise(!s->intact || verified == EMR_OK || verified == EMR_ECANCELED);
    emr_model *base =
        s->info.has_base ? NULL : fuzz_made_up_base(s->bundle, &s->pattern, UINT32_MAX, &s->random);
    size_t asked = 0;
    for (uint32_t was = 0, is = 0; was < s->info.n_tasks && asked < ASKED_TASKS; was++) {
        if (is_dropped(s, was))
            continue;
        compare_task(s, new, was, is++, base);
        asked++;
    }
    emr_model_destroy(&base);
    emr_bundle_destroy(&new);
}

/* Some of the tasks: those that go, or those that stay. */
typedef struct chosen {
    uint32_t *tasks;
    uint32_t n;
} chosen;

static chosen choose_tasks(const subject *s, bool gone)
{
    chosen c = {calloc(s->info.n_tasks + 1, sizeof *c.tasks), 0};
    promise(c.tasks != NULL);
    for (uint32_t t = 0; t < s->info.n_tasks; t++)
        if (is_dropped(s, t) == gone)
            c.tasks[c.n++] = t;
    return c;
}

typedef emr_status (*select_fn)(const emr_bundle *bundle, const emr_task_selection *tasks, const emr_io *io,
                                emr_drop_report *report, emr_error *error);

/* Drops or extracts, within the memory that is promised. */
static emr_status write_selected(const subject *s, select_fn fn, const chosen *c, const emr_buffer *out,
                                 emr_drop_report *report)
{
    emr_error error = {0};
    fuzz_budget budget = {0, FIXED + 6 * s->index_bytes + 4 * s->largest_block};
    emr_allocator allocator = fuzz_allocator(&budget);
    patience p = make_patience(s);
    emr_resources resources = {
        .size = sizeof resources, .allocator = &allocator, .progress = lose_patience, .progress_user = &p};
    emr_task_selection selection = {
        .size = sizeof selection, .resources = &resources, .tasks = c->tasks, .n_tasks = c->n};
    emr_status status = fn(s->bundle, &selection, emr_buffer_io(out), report, &error);
    fuzz_status(status, &error);
    promise(budget.now == 0);
    promise(status == EMR_OK || status == EMR_EINVAL || status == EMR_ECORRUPT || status == EMR_ECANCELED ||
            status == EMR_EUNSUPPORTED /* without zstd */);
    promise(!s->intact || status != EMR_ECORRUPT);
    return status;
}

static void drop_tasks(subject *s)
{
    emr_buffer *dropped = fuzz_buffer(), *extracted = fuzz_buffer();
    emr_drop_report report = EMR_INIT(emr_drop_report), other = report;
    bool reported = s->choices & CHOICE_REPORT;
    chosen gone = choose_tasks(s, true), left = choose_tasks(s, false);
    emr_status status = write_selected(s, emr_bundle_drop, &gone, dropped, reported ? &report : NULL);
    promise((status == EMR_EINVAL) == (gone.n == 0 || left.n == 0));
    promise(status || report.alone <= s->info.merged_params + 512 * s->info.n_merged);
    if (gone.n && left.n) {
        emr_status again = write_selected(s, emr_bundle_extract, &left, extracted, reported ? &other : NULL);
        promise(again == status && memcmp(&report, &other, sizeof report) == 0);
        size_t n = emr_buffer_bytes(dropped);
        promise(emr_buffer_bytes(extracted) == n);
        promise(!n || memcmp(emr_buffer_data(dropped), emr_buffer_data(extracted), n) == 0);
    }
    if (!status)
        examine_dropped(s, dropped, gone.n);
    free(gone.tasks);
    free(left.tasks);
    emr_buffer_destroy(&dropped);
    emr_buffer_destroy(&extracted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    emr_error error = {0};
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    image im = {bytes, size - 1, size - 1};
    subject s = {.choices = data[0], .info = EMR_INIT(emr_bundle_info)};
    emr_buffer *file = fuzz_buffer_of(bytes, size - 1);
    s.random = fuzz_random_make(emr_hash64(bytes, size - 1));
    s.largest_block = image_largest_block(&im);
    s.reads_left = 8 + (64 << 20) / (s.largest_block + (64 << 10));
    emr_status status = emr_bundle_open(&s.bundle, emr_buffer_io(file), "input", NULL, &error);
    fuzz_status(status, &error);
    if (!status) {
        promise(emr_bundle_get_info(s.bundle, &s.info) == EMR_OK);
        s.index_bytes = (size_t)emr_load64(bytes + size - 1 - EMR_TRAILER_SIZE + 8);
        s.intact = verify_bundle(&s, s.bundle) == EMR_OK;
        drop_tasks(&s);
    }
    emr_bundle_destroy(&s.bundle);
    emr_buffer_destroy(&file);
    free(bytes);
    return 0;
}
