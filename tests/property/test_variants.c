/* test_variants.c - the same bundles and checkpoints from every kernel variant, any number of threads, any
 * memory limit and any order of tensors in the files, over many rounds of the pipeline. */
#include "property.h"

#include "bundle/bundle.h"
#include "merge/force.h"

#include <stdio.h>

static emr_buffer *merge_by(const test_set *s, const emr_merge_options *o, const emr_kernels *kernels)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_merge *merge = test_merge_create(s, o);
    emr_merge_force_kernels(merge, kernels);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

/* A task's model as a safetensors file. */
static emr_buffer *rebuild_by(const emr_buffer *bundle_bytes, uint32_t task, const emr_kernels *kernels,
                              const emr_executor *executor)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_model *model;
    emr_bundle *bundle = test_bundle_open(bundle_bytes);
    bundle->kernels = kernels;
    const emr_resources resources = test_resources(NULL, executor);
    const emr_view_options view = {.size = sizeof view, .resources = &resources};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    assert_ok(emr_bundle_open_task(&model, bundle, task, NULL, &view, &error), &error);
    assert_ok(emr_safetensors_write(model, emr_buffer_io(buffer), &options, &error), &error);
    emr_model_destroy(&model);
    emr_bundle_destroy(&bundle);
    return buffer;
}

static void every_variant_is_the_reference(const test_set *s, const emr_merge_options *o)
{
    emr_buffer *want = merge_by(s, o, &emr_kernels_c), *weights = rebuild_by(want, 0, &emr_kernels_c, NULL);
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        emr_buffer *got = merge_by(s, o, *k);
        emr_buffer *rebuilt = rebuild_by(want, 0, *k, NULL);
        assert_same_buffer(got, want, (*k)->name);
        assert_same_buffer(rebuilt, weights, (*k)->name);
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&rebuilt);
    }
    emr_buffer_destroy(&want);
    emr_buffer_destroy(&weights);
}

static void variants_agree(void **state)
{
    static const emr_dtype unified[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        test_set s = rich_set(i + 50, 1 + i, SOURCE_MEMORY);
        emr_merge_options o = rich_options(1 + i % 3);
        o.rescale = i % 2 ? EMR_RESCALE_L2 : EMR_RESCALE_L1;
        o.tie = i % 2;
        o.unified_dtype = unified[i / 3];
        every_variant_is_the_reference(&s, &o);
        test_set_destroy(&s);
    }
}

/* Nearest masks, and two-sided tasks of either mask rule, with the rules of scales that need all sums, and l2. */
static void variants_agree_on_other_kinds(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 12; i++) {
        emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
        test_set s = rich_set(i + 80, 1 + i / 2, SOURCE_MEMORY);
        emr_merge_options o = rich_options(1 + i % 3);
        spec.kind = i % 4 ? EMR_MODULATOR_KIND_TWO_SIDED : EMR_MODULATOR_KIND_MASK;
        spec.mask_rule = i % 4 < 2 ? EMR_MASK_RULE_NEAREST : EMR_MASK_RULE_AGREE;
        spec.rescale = i % 5 ? EMR_RESCALE_UNBIASED : EMR_RESCALE_L2;
        o.modulation = &spec;
        o.tie = i % 2;
        o.unified_dtype = i % 3 ? EMR_DTYPE_F32 : EMR_DTYPE_F16;
        every_variant_is_the_reference(&s, &o);
        test_set_destroy(&s);
    }
}

/* Large enough for many rounds, whatever the memory. */
static const test_tensor large_tensors[] = {
    {"a", EMR_DTYPE_F32, 2, {1500, 1001}},
    {"b", EMR_DTYPE_BF16, 2, {3, 400000}},
    {"c", EMR_DTYPE_F32, 1, {100}},
    {"d", EMR_DTYPE_F16, 2, {700, 513}},
};

static void threads_and_memory(void **state)
{
    static const uint32_t threads[] = {1, 2, 7};
    static const uint64_t limits[] = {6 << 20, 16 << 20, 0};
    (void)state;
    test_set s = test_set_create(large_tensors, 4, 3, 77, SOURCE_IO);
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.rescale_per = per;
        o.embed_base = 1;
        o.block_params = per == EMR_RESCALE_PER_TENSOR ? 4096 : 65536;
        emr_buffer *want = merge_by(&s, &o, emr_kernels_select());
        emr_buffer *weights = rebuild_by(want, 2, emr_kernels_select(), NULL);
        for (size_t i = 0; i < 9; i++) {
            char what[64];
            emr_pool *pool = create_pool(threads[i % 3]);
            emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
            resources.memory_bytes = limits[i / 3];
            o.resources = &resources;
            snprintf(what, sizeof what, "%u threads, %u MiB", threads[i % 3],
                     (unsigned)(resources.memory_bytes >> 20));
            emr_buffer *got = merge_by(&s, &o, emr_kernels_select());
            emr_buffer *rebuilt = rebuild_by(want, 2, emr_kernels_select(), resources.executor);
            assert_same_buffer(got, want, what);
            assert_same_buffer(rebuilt, weights, what);
            emr_buffer_destroy(&got);
            emr_buffer_destroy(&rebuilt);
            emr_pool_destroy(&pool);
        }
        emr_buffer_destroy(&want);
        emr_buffer_destroy(&weights);
    }
    test_set_destroy(&s);
}

/* Over so many rounds, what comes out is what the formulas say. */
static void many_rounds(void **state)
{
    (void)state;
    test_set s = test_set_create(large_tensors, 4, 2, 78, SOURCE_IO);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_resources resources = resources_within(6 << 20);
    o.resources = &resources;
    o.block_params = 4096;
    assert_merge_is_formula(&s, &o);
    test_set_destroy(&s);
}

/* One model's tensors from `first` on, cyclically, as a file. */
static emr_buffer *file_from(const test_model *m, size_t first)
{
    emr_error error;
    emr_model *turned = test_model_new("turned");
    emr_buffer *buffer = test_buffer_new();
    for (size_t i = 0; i < m->n; i++) {
        const test_tensor *t = &m->tensors[(first + i) % m->n];
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = t->name;
        d.dtype = t->dtype;
        d.rank = t->rank;
        d.shape = t->shape;
        d.data = m->data[(first + i) % m->n];
        assert_ok(emr_model_add(turned, &d, &error), &error);
    }
    assert_ok(emr_safetensors_write(turned, emr_buffer_io(buffer), NULL, &error), &error);
    emr_model_destroy(&turned);
    return buffer;
}

/* Small tensors side by side in a file are read together, across what lies between them and is not merged. */
static void small_tensors_in_files(void **state)
{
    enum { N_TENSORS = 700, NAME = 8, N_TASKS = 3 };
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F32,    EMR_DTYPE_I32,
                                       EMR_DTYPE_F64, EMR_DTYPE_F32,  EMR_DTYPE_F8_E4M3};
    (void)state;
    char(*names)[NAME] = malloc(N_TENSORS * sizeof *names);
    test_tensor *tensors = calloc(N_TENSORS, sizeof *tensors);
    for (size_t i = 0; i < N_TENSORS; i++) {
        snprintf(names[i], NAME, "w%zu", i);
        tensors[i] = (test_tensor){names[i], dtypes[i % 7], 2, {1 + i % 5, i % 11 ? 60 + i % 90 : 2000}};
    }
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, 22, SOURCE_MEMORY);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_buffer *want = merge_by(&s, &o, emr_kernels_select());
    for (size_t turn = 0; turn < 3; turn++) { /* in turn 0 all have the base's order */
        emr_error error;
        emr_buffer *files[N_TASKS + 1], *got = test_buffer_new();
        test_io reads[N_TASKS + 1];
        emr_model *models[N_TASKS + 1];
        emr_merge *merge;
        emr_resources resources = resources_within(turn == 2 ? 5 << 20 : 0);
        o.resources = &resources;
        assert_ok(emr_merge_create(&merge, &o, &error), &error);
        for (size_t i = 0; i <= N_TASKS; i++) {
            char name[8];
            files[i] = file_from(i ? &s.tasks[i - 1] : &s.base, i * turn * 123);
            reads[i] =
                (test_io){.inner = *emr_buffer_io(files[i]), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
            emr_io io = test_io_make(&reads[i]);
            assert_ok(emr_safetensors_open(&models[i], &io, "file", NULL, &error), &error);
            snprintf(name, sizeof name, "t%zu", i - 1);
            assert_ok(i ? emr_merge_add_task(merge, name, models[i], &error)
                        : emr_merge_set_base(merge, models[i], &error),
                      &error);
        }
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        assert_same_buffer(got, want, "files");
        for (size_t i = 1; i <= N_TASKS; i++) /* 600 merged ones, and 100 to compare with the base's */
            assert_in_range(reads[i].reads, 100, 150);
        emr_merge_destroy(&merge);
        for (size_t i = 0; i <= N_TASKS; i++) {
            emr_model_destroy(&models[i]);
            emr_buffer_destroy(&files[i]);
        }
        emr_buffer_destroy(&got);
    }
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
    free(tensors);
    free(names);
}

/* What was announced of one object, whose bytes come from another. */
typedef struct announced {
    const emr_io *inner;
    size_t calls;
    uint64_t begin; /* of what the last call named */
    bool forward;   /* each began behind the one before it */
} announced;

static emr_status read_announced(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const announced *a = user;
    return a->inner->read(a->inner->user, offset, destination, n, error);
}

static void note_announcement(void *user, uint64_t offset, uint64_t n)
{
    announced *a = user;
    assert_true(n > 0);
    a->forward = a->calls++ == 0 || (a->forward && offset > a->begin);
    a->begin = offset;
}

/* Each source is told what follows the window; a table without the hint is not asked. */
static void what_comes_next_is_announced(void **state)
{
    enum { COUNT = 900000 };
    (void)state;
    const test_tensor tensor = {"a", EMR_DTYPE_F32, 1, {COUNT}};
    test_set s = test_set_create(&tensor, 1, 1, 41, SOURCE_MEMORY);
    for (int mute = 0; mute < 2; mute++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        emr_resources resources = resources_within(6 << 20);
        o.resources = &resources;
        emr_buffer *buffers[2];
        announced all[2];
        emr_model *models[2];
        emr_error error;
        for (size_t m = 0; m < 2; m++) {
            buffers[m] = test_buffer_of((m ? &s.tasks[0] : &s.base)->data[0], COUNT * 4);
            all[m] = (announced){.inner = emr_buffer_io(buffers[m])};
            emr_io io = EMR_INIT(emr_io);
            io.user = &all[m];
            io.read = read_announced;
            io.will_need = mute ? NULL : note_announcement;
            emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
            d.name = "a";
            d.dtype = EMR_DTYPE_F32;
            d.rank = 1;
            d.shape = tensor.shape;
            d.io = &io;
            models[m] = test_model_new("announced");
            assert_ok(emr_model_add(models[m], &d, &error), &error);
        }
        emr_buffer *got = test_buffer_new(), *want = merge_by(&s, &o, emr_kernels_select());
        emr_merge *merge;
        assert_ok(emr_merge_create(&merge, &o, &error), &error);
        assert_ok(emr_merge_set_base(merge, models[0], &error), &error);
        assert_ok(emr_merge_add_task(merge, "t0", models[1], &error), &error);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        assert_same_buffer(got, want, "announced");
        for (size_t m = 0; m < 2; m++) {
            assert_true(mute ? all[m].calls == 0 : all[m].calls > 2);
            assert_true(mute || (all[m].forward &&
                                 all[m].begin == COUNT * 4)); /* after the last window, what would follow */
        }
        emr_merge_destroy(&merge);
        for (size_t m = 0; m < 2; m++) {
            emr_model_destroy(&models[m]);
            emr_buffer_destroy(&buffers[m]);
        }
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&want);
    }
    test_set_destroy(&s);
}

/* An object in which only the tensors' own bytes can be read. */
typedef struct holey {
    const unsigned char *bytes;
    size_t tensor_bytes, stride, n;
} holey;

static emr_status read_holey(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const holey *h = user;
    if (offset / h->stride >= h->n || offset % h->stride + n > h->tensor_bytes)
        return emr_error_set(error, EMR_EIO, 0, NULL, "there is a hole");
    memcpy(destination, h->bytes + offset / h->stride * h->tensor_bytes + offset % h->stride, n);
    return EMR_OK;
}

/* What lies between tensors need not be readable. */
static void holes_are_no_failure(void **state)
{
    enum { N_TENSORS = 9, COUNT = 100, STRIDE = COUNT * 4 + 40 };
    (void)state;
    test_tensor tensors[N_TENSORS];
    static const char *const names[N_TENSORS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    for (size_t i = 0; i < N_TENSORS; i++)
        tensors[i] = (test_tensor){names[i], EMR_DTYPE_F32, 1, {COUNT}};
    test_set s = test_set_create(tensors, N_TENSORS, 1, 31, SOURCE_MEMORY);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_buffer *want = merge_by(&s, &o, emr_kernels_select()), *got = test_buffer_new();
    emr_model *models[2];
    holey holes[2];
    unsigned char *bytes[2];
    emr_error error;
    for (size_t m = 0; m < 2; m++) {
        const test_model *from = m ? &s.tasks[0] : &s.base;
        bytes[m] = malloc((size_t)N_TENSORS * COUNT * 4);
        holes[m] = (holey){bytes[m], COUNT * 4, STRIDE, N_TENSORS};
        emr_io io = EMR_INIT(emr_io);
        io.user = &holes[m];
        io.read = read_holey;
        models[m] = test_model_new("holey");
        for (size_t i = 0; i < N_TENSORS; i++) {
            emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
            memcpy(bytes[m] + i * COUNT * 4, from->data[i], COUNT * 4);
            d.name = names[i];
            d.dtype = EMR_DTYPE_F32;
            d.rank = 1;
            d.shape = tensors[i].shape;
            d.io = &io;
            d.offset = i * STRIDE;
            assert_ok(emr_model_add(models[m], &d, &error), &error);
        }
    }
    emr_merge *merge;
    assert_ok(emr_merge_create(&merge, &o, &error), &error);
    assert_ok(emr_merge_set_base(merge, models[0], &error), &error);
    assert_ok(emr_merge_add_task(merge, "t0", models[1], &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    assert_same_buffer(got, want, "holey");
    emr_merge_destroy(&merge);
    for (size_t m = 0; m < 2; m++) {
        emr_model_destroy(&models[m]);
        free(bytes[m]);
    }
    emr_buffer_destroy(&got);
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_agree),
        cmocka_unit_test(variants_agree_on_other_kinds),
        cmocka_unit_test(threads_and_memory),
        cmocka_unit_test(many_rounds),
        cmocka_unit_test(small_tensors_in_files),
        cmocka_unit_test(holes_are_no_failure),
        cmocka_unit_test(what_comes_next_is_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
