/* test_source.c - checkpoints from a host's emr_source: files by name in memory, folders, side files, and all that can
 * go wrong with them. */
#include "craft.h"

#include <stdio.h>

enum { SHARDS = 10, FILES = SHARDS + 2, FOLDER = 8 };

/* "kept:/m/" in memory. */
typedef struct stored {
    char name[64];
    crafted file;
    uint64_t stamp;
} stored;

typedef struct store {
    stored files[FILES];
    size_t opened, closed; /* calls */
    const char *failing;   /* a name that cannot be opened, with this status */
    emr_status status;
    const char *absent; /* a name that is in no list, and not there */
} store;

static stored *find(store *s, const char *name)
{
    for (size_t i = 0; i < FILES; i++)
        if (strncmp(name, "kept:/m/", FOLDER) == 0 && strcmp(name + FOLDER, s->files[i].name) == 0 &&
            !(s->absent && strcmp(s->absent, s->files[i].name) == 0))
            return &s->files[i];
    return NULL;
}

static emr_status open_stored(void *user, const char *name, emr_io *io, uint64_t *stamp, emr_error *error)
{
    store *s = user;
    stored *f = find(s, name);
    if (s->failing && strcmp(name + FOLDER, s->failing) == 0)
        return emr_error_set(error, s->status, 0, NULL, "the vault is shut");
    if (!f)
        return emr_error_set(error, EMR_EIO, 0, NULL, "no such thing");
    *io = *crafted_io(&f->file);
    *stamp = f->stamp;
    s->opened++;
    return EMR_OK;
}

static void close_stored(void *user, emr_io *io)
{
    assert_non_null(io->read);
    ((store *)user)->closed++;
}

static emr_source_kind kind_of_stored(void *user, const char *name)
{
    if (strcmp(name, "kept:/m/") == 0)
        return EMR_SOURCE_KIND_FOLDER;
    return find(user, name) ? EMR_SOURCE_KIND_FILE : EMR_SOURCE_KIND_ABSENT;
}

static emr_status list_stored(void *user, const char *folder, emr_found_fn found, void *found_user,
                              emr_error *error)
{
    store *s = user;
    if (strcmp(folder, "kept:/m/") != 0)
        return emr_error_set(error, EMR_EIO, 0, folder, "no such folder");
    for (size_t i = 0; i < FILES; i++)
        found(found_user, s->files[i].name);
    return EMR_OK;
}

static emr_source source_of(store *s)
{
    return (emr_source){.size = sizeof(emr_source),
                        .user = s,
                        .open = open_stored,
                        .close = close_stored,
                        .kind = kind_of_stored,
                        .list = list_stored};
}

static void put_text(stored *f, const char *name, const char *text)
{
    snprintf(f->name, sizeof f->name, "%s", name);
    f->file.n = strlen(text);
    f->file.bytes = malloc(f->file.n + 1);
    memcpy(f->file.bytes, text, f->file.n);
}

static int set_up(void **state)
{
    store *s = calloc(1, sizeof *s);
    char index[2000] = "{\"weight_map\":{", header[100];
    for (unsigned i = 0; i < SHARDS; i++) {
        snprintf(s->files[i].name, sizeof s->files[i].name, "model-%05u-of-%05u.safetensors", i + 1, SHARDS);
        snprintf(header, sizeof header, "{\"t%u\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}",
                 i);
        s->files[i].file = craft(header, 16);
        s->files[i].file.bytes[s->files[i].file.n - 16] = (unsigned char)(100 + i);
        s->files[i].stamp = i;
        snprintf(index + strlen(index), sizeof index - strlen(index), "%s\"t%u\":\"%s\"", i ? "," : "", i,
                 s->files[i].name);
    }
    strcat(index, "}}");
    put_text(&s->files[SHARDS], "model.safetensors.index.json", index);
    put_text(&s->files[SHARDS + 1], "config.json", "{\"a\": 1}");
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    store *s = *state;
    for (size_t i = 0; i < FILES; i++)
        crafted_free(&s->files[i].file);
    free(s);
    return 0;
}

static emr_status open_model(store *s, emr_model **model, const char *path, const emr_allocator *allocator,
                             emr_error *error)
{
    const emr_source source = source_of(s); /* a copy is kept */
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.allocator = allocator;
    options.side_files = 1;
    options.source = &source;
    return emr_checkpoint_open(model, path, &options, error);
}

static void check_values(const emr_model *model)
{
    emr_error error;
    for (unsigned i = 0; i < SHARDS; i++) {
        char name[20];
        unsigned char value[16];
        snprintf(name, sizeof name, "t%u", i);
        assert_ok(emr_tensor_read(emr_model_find_tensor(model, name), 0, value, 16, &error), &error);
        assert_int_equal(value[0], 100 + i);
    }
}

static void test_a_folder_and_an_index(void **state)
{
    const char *const paths[] = {"kept:/m/", "kept:/m/model.safetensors.index.json"};
    for (size_t i = 0; i < 2; i++) {
        emr_model *model;
        emr_error error;
        char text[8];
        assert_ok(open_model(*state, &model, paths[i], NULL, &error), &error);
        assert_int_equal(emr_model_n_tensors(model), SHARDS + 1);
        check_values(model);
        assert_ok(emr_tensor_read(emr_model_find_tensor(model, "file:config.json"), 0, text, 8, &error),
                  &error);
        assert_memory_equal(text, "{\"a\": 1}", 8);
        emr_model_destroy(&model);
    }
    assert_int_equal(((store *)*state)->opened, ((store *)*state)->closed);
}

static void check_refused(store *s, const char *path, emr_status status, const char *word, const char *other)
{
    emr_model *model;
    emr_error error;
    assert_int_equal(open_model(s, &model, path, NULL, &error), status);
    assert_null(model);
    assert_true(is_sentence(&error, word, other));
    assert_int_equal(s->opened, s->closed);
}

static void test_what_cannot_be_opened_is_named(void **state)
{
    store *s = *state;
    static const char shard[] = "model-00003-of-00010.safetensors";
    check_refused(s, "kept:/other", EMR_EIO, "kept:/other", "no such thing");
    s->absent = shard;
    check_refused(s, "kept:/m/", EMR_EIO, shard, "is absent");
    s->absent = NULL;
    s->status = EMR_EFORMAT; /* not one that is handed on */
    const char *const names[] = {shard, "config.json", "model.safetensors.index.json"};
    for (size_t i = 0; i < 3; i++) {
        s->failing = names[i];
        check_refused(s, "kept:/m/", EMR_EIO, s->failing, "the vault is shut");
    }
    s->status = EMR_ECANCELED;
    check_refused(s, "kept:/m/", EMR_ECANCELED, s->failing, "the vault is shut");
}

static void test_a_file_that_changes_is_noticed(void **state)
{
    store *s = *state;
    emr_model *model;
    emr_error error;
    unsigned char value[16];
    assert_ok(open_model(s, &model, "kept:/m/", NULL, &error), &error);
    check_values(model);
    for (size_t i = 0; i < FILES; i++) /* of which two shards have been closed in between */
        s->files[i].stamp += 50;
    unsigned changed = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        char name[20];
        snprintf(name, sizeof name, "t%u", i);
        if (emr_tensor_read(emr_model_find_tensor(model, name), 0, value, 16, &error)) {
            assert_true(is_sentence(&error, s->files[i].name, "has changed"));
            changed++;
        }
    }
    assert_true(changed > 0);
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "file:config.json"), 0, value, 8, &error),
                     EMR_EIO);
    assert_true(is_sentence(&error, "config.json", "has changed"));
    emr_model_destroy(&model);
    assert_int_equal(s->opened, s->closed);
}

static void test_all_four_members_are_needed(void **state)
{
    for (unsigned i = 0; i < 5; i++) {
        emr_source source = source_of(*state);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        emr_model *model;
        emr_error error;
        if (i == 0)
            source.open = NULL;
        if (i == 1)
            source.close = NULL;
        if (i == 2)
            source.kind = NULL;
        if (i == 3)
            source.list = NULL;
        if (i == 4)
            source.size = 0;
        options.source = &source;
        assert_int_equal(emr_checkpoint_open(&model, "kept:/m/", &options, &error), EMR_EINVAL);
        assert_null(model);
        assert_true(is_sentence(&error, "emr_source", ""));
    }
}

static void test_memory_that_runs_out(void **state)
{
    store *s = *state;
    emr_status status = EMR_ENOMEM;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {.fail_at = k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_model *model;
        emr_error error;
        status = open_model(s, &model, "kept:/m/", &allocator, &error);
        if (status)
            assert_int_equal(status, EMR_ENOMEM);
        else
            assert_true(k > 50);
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
        assert_int_equal(s->opened, s->closed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_folder_and_an_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_opened_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_that_changes_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_four_members_are_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_that_runs_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
