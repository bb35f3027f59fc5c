/* test_weights_name.c - what the name of a file says, and that any name says something harmless. */
#include "support.h"

#include "checkpoint/weights_name.h"

typedef struct example {
    const char *name, *model;
    emr_weights_form form;
    uint32_t number, total;
    bool gguf;
} example;

static const example examples[] = {
    {"model.safetensors", "model", EMR_WEIGHTS_WHOLE, 0, 0, false},
    {"model.fp16.safetensors", "model.fp16", EMR_WEIGHTS_WHOLE, 0, 0, false},
    {"a-of-b.safetensors", "a-of-b", EMR_WEIGHTS_WHOLE, 0, 0, false},
    {"x.gguf", "x", EMR_WEIGHTS_WHOLE, 0, 0, true},
    {"model-00001-of-00002.safetensors", "model", EMR_WEIGHTS_SHARD, 1, 2, false},
    {"model-00001-of-000163.safetensors", "model", EMR_WEIGHTS_SHARD, 1, 163, false},
    {"model_2-of-2.safetensors", "model", EMR_WEIGHTS_SHARD, 2, 2, false},
    {"q-4-of-9-00003-of-00003.gguf", "q-4-of-9", EMR_WEIGHTS_SHARD, 3, 3, true},
    {"model.fp16-00001-of-00002.safetensors", "model.fp16", EMR_WEIGHTS_SHARD, 1, 2, false},
    {"model-00001-of-00002.fp16.safetensors", "model.fp16", EMR_WEIGHTS_SHARD, 1, 2, false},
    {"model-00000-of-00002.safetensors", "model-00000-of-00002", EMR_WEIGHTS_WHOLE, 0, 0, false},
    {"model-00003-of-00002.safetensors", "model-00003-of-00002", EMR_WEIGHTS_WHOLE, 0, 0, false},
    {"model-1-of-2x.safetensors", "model-1-of-2x", EMR_WEIGHTS_WHOLE, 0, 0, false},
    {"m-1-of-99999999999999999999.safetensors", "m-1-of-99999999999999999999", EMR_WEIGHTS_WHOLE, 0, 0,
     false},
    {"model.safetensors.index.json", "model", EMR_WEIGHTS_INDEX, 0, 0, false},
    {"model.safetensors.index.fp16.json", "model.fp16", EMR_WEIGHTS_INDEX, 0, 0, false},
    {"model.safetensors.fp16.index.json", "model.fp16", EMR_WEIGHTS_INDEX, 0, 0, false},
    {"pytorch_model.bin", "pytorch_model", EMR_WEIGHTS_PICKLE, 0, 0, false},
    {"a.b.ckpt", "a.b", EMR_WEIGHTS_PICKLE, 0, 0, false},
    {"training_args.bin", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {"pytorch_model.bin.index.json", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {"model.safetensors.indexes.json", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {".safetensors", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {".safetensors.index.json", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {"model.safetensors.json", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {"config.json", "", EMR_WEIGHTS_NONE, 0, 0, false},
    {"", "", EMR_WEIGHTS_NONE, 0, 0, false},
};

static emr_allocator allocator;

static void names_say_what_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const example *e = &examples[i];
        emr_weights_name w = emr_weights_name_read(e->name);
        char *model = emr_weights_model(&w, &allocator);
        if (w.form != e->form || w.number != e->number || w.total != e->total || w.gguf != e->gguf ||
            strcmp(model, e->model) != 0)
            fail_msg("%s: form %d, model '%s', %u of %u", e->name, w.form, model, w.number, w.total);
        emr_release(&allocator, model);
    }
}

/* Names put together of the pieces that matter: what is found lies in the name. */
static void any_name_is_harmless(void **state)
{
    static const char *const pieces[] = {"-",     "_",         "-of-",  "0",     "1",
                                         "00002", "999999999", ".",     ".fp16", ".safetensors",
                                         "index", ".json",     ".gguf", ".bin",  "model"};
    rng r = {7};
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char name[200] = "";
        for (uint64_t n = rng_below(&r, 9); n; n--)
            strcat(name, pieces[rng_below(&r, sizeof pieces / sizeof pieces[0])]);
        emr_weights_name w = emr_weights_name_read(name);
        const char *end = name + strlen(name);
        assert_true(w.stem <= strlen(name));
        assert_true(!w.variant_bytes ||
                    (*w.variant == '.' && w.variant >= name + w.stem && w.variant + w.variant_bytes <= end));
        assert_true(w.form == EMR_WEIGHTS_SHARD ? w.number >= 1 && w.number <= w.total
                                                : !w.number && !w.total);
        char *model = emr_weights_model(&w, &allocator);
        assert_int_equal(strlen(model), w.stem + w.variant_bytes);
        emr_release(&allocator, model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_they_are),
        cmocka_unit_test(any_name_is_harmless),
    };
    emr_allocator_take(&allocator, NULL, NULL);
    return cmocka_run_group_tests_name("names of weights", tests, NULL, NULL);
}
