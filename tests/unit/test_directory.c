/* test_directory.c - what of a directory is opened: what the loaders of each library would load, or
 * nothing, with a sentence that names what is there and what to give instead. */
#define _XOPEN_SOURCE 700

#include "craft.h"
#include "own_directory.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Safetensors with tensors of 4 bytes, one a letter. */
static void put_weights(const char *path, const char *letters)
{
    char header[1000] = "{\"__metadata__\":{}";
    size_t n = strlen(letters), used = strlen(header);
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 ",\"%c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                                 letters[i], 4 * i, 4 * i + 4);
    strcat(header, "}");
    crafted file = craft(header, 4 * n);
    test_write_file(path, file.bytes, file.n);
    crafted_free(&file);
}

static void make_folders(char *path)
{
    for (char *slash = path + strlen(directory) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
}

/* A file of a scene: "PATH:LETTERS" has those tensors, "PATH=TEXT" that text, "PATH" nothing; "PATH/" is a
 * folder. */
static void put_file(const char *described)
{
    char name[300];
    snprintf(name, sizeof name, "%s", described);
    size_t n = strcspn(name, ":=");
    char kind = name[n], *path;
    name[n] = '\0';
    path = test_path(directory, name);
    make_folders(path);
    if (kind == ':')
        put_weights(path, name + n + 1);
    else if (kind == '=')
        test_write_file(path, name + n + 1, strlen(name + n + 1));
    else if (name[n - 1] != '/')
        test_write_file(path, "", 0);
    free(path);
}

static void put_files(const char *described)
{
    char *all = strdup(described);
    for (char *one = strtok(all, " "); one; one = strtok(NULL, " "))
        put_file(one);
    free(all);
}

/* What lies in a directory; what is opened there; and either the tensors, or the status and words of the
 * sentence. */
typedef struct scene {
    const char *files, *opened, *tensors;
    emr_status status;
    const char *words[3];
} scene;

static void check_scene(const scene *s)
{
    emr_model *model;
    emr_error error = {.text = ""};
    put_files(s->files);
    char *path = test_path(directory, s->opened);
    emr_status status = emr_checkpoint_open(&model, path, NULL, &error);
    if (status != s->status)
        fail_msg("%s: %s: %s", s->files, emr_status_name(status), error.text);
    if (s->tensors) {
        assert_int_equal(emr_model_n_tensors(model), strlen(s->tensors));
        for (const char *t = s->tensors; *t; t++) {
            const char letter[] = {*t, '\0'};
            if (!emr_model_find_tensor(model, letter))
                fail_msg("%s: tensor '%s' is not there", s->files, letter);
        }
    }
    for (size_t i = 0; i < 3 && s->words[i]; i++)
        if (!strstr(error.text, s->words[i]))
            fail_msg("%s: \"%s\" without '%s'", s->files, error.text, s->words[i]);
    emr_model_destroy(&model);
    free(path);
}

/* The same while the k-th allocation fails, for each k. */
static void check_memory(const scene *s)
{
    char *path = test_path(directory, s->opened);
    emr_status status = EMR_ENOMEM;
    for (size_t k = 0; status == EMR_ENOMEM; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.allocator = &allocator;
        emr_model *model;
        status = emr_checkpoint_open(&model, path, &options, NULL);
        if (counts.requests > k && status != EMR_ENOMEM)
            fail_msg("%s: allocation %zu fails: %s", s->files, k, emr_status_name(status));
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
    }
    assert_int_equal(status, s->status);
    free(path);
}

static void check_scenes(const scene *scenes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_scene(&scenes[i]);
        check_memory(&scenes[i]);
        tear_down(NULL);
        set_up(NULL);
    }
}

#define check_all(scenes) check_scenes(scenes, sizeof(scenes) / sizeof((scenes)[0]))

#define INDEX(stem) stem ".safetensors.index.json"
#define MAP(name)   "={\"weight_map\":{\"a\":\"" name "\"}}"
#define SHARD(k, n) "model-0000" #k "-of-0000" #n ".safetensors"
#define SEVERAL(...)                                                                                         \
    NULL, EMR_EFORMAT,                                                                                       \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define OPENS(letters)                                                                                       \
    letters, EMR_OK,                                                                                         \
    {                                                                                                        \
        NULL                                                                                                 \
    }
#define REFUSED(...)                                                                                         \
    NULL, EMR_EUNSUPPORTED,                                                                                  \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

static void a_loaders_own_name_goes_first(void **state)
{
    static const scene scenes[] = {
        {"model.safetensors:m other.safetensors:o b.gguf x.bin", "", OPENS("m")},
        {"adapter_model.safetensors:m other.safetensors:o", "", OPENS("m")},
        {"diffusion_pytorch_model.safetensors:m other.safetensors:o", "", OPENS("m")},
        {"model.safetensors:m model.fp16.safetensors:h model.onnx config.json={}", "", OPENS("m")},
        {"pytorch_lora_weights.safetensors:m step-500.safetensors:o", "", OPENS("m")},
        {"model.safetensors:m consolidated.00.safetensors:a consolidated.01.safetensors:a", "", OPENS("m")},
        {"consolidated.safetensors:c " SHARD(1, 1) ":a " INDEX("model") MAP(SHARD(1, 1)), "", OPENS("a")},
        {"model.safetensors:m adapter_model.safetensors:a", "", SEVERAL("'model.", "'adapter_model.")},
        {"model.safetensors:m diffusion_pytorch_model.safetensors:a", "", SEVERAL("'model.", "'diffusion")},
    };
    (void)state;
    check_all(scenes);
}

static void the_only_one_needs_no_name(void **state)
{
    static const scene scenes[] = {
        {"x.safetensors:x y.bin z.txt", "", OPENS("x")},
        {"model.fp16.safetensors:x", "", OPENS("x")},
        {"x.safetensors:x y.safetensors:y", "", SEVERAL("several", "'x.safetensors'", "'y.safetensors'")},
        {"a.safetensors b.safetensors c.safetensors d.safetensors e.safetensors", "",
         SEVERAL("'a.safetensors', 'b.safetensors', 'c.safetensors' and 2 more")},
        {"model.fp16.safetensors:x model.bf16.safetensors:y", "", SEVERAL("bf16", "fp16")},
        {"one.safetensors:a z.safetensors:z " INDEX("x") MAP("one.safetensors"), "", OPENS("a")},
        {"one.safetensors:a " INDEX("x") MAP("one.safetensors") " " INDEX("y") MAP("one.safetensors"), "",
         SEVERAL("'x.safetensors.index.json'", "'y.")},
        {"a.gguf b.gguf", "", SEVERAL("'a.gguf', 'b.gguf'")},
    };
    (void)state;
    check_all(scenes);
}

/* transformers reads the file, diffusers the index, and each leaves the other's behind when it saves. */
static void a_whole_file_and_shards_may_be_two_models(void **state)
{
    static const scene scenes[] = {
        {"model.safetensors:m " SHARD(1, 1) ":a " INDEX("model") MAP(SHARD(1, 1)), "",
         SEVERAL("'model.safetensors'", "'model.safetensors.index.json'", "two models")},
        {"model.safetensors:m " SHARD(1, 2) ":a", "",
         SEVERAL("'model.safetensors'", "'model-00001-of-00002.", "two models")},
        {"model.safetensors:m " SHARD(1, 1) ":a " INDEX("model") MAP(SHARD(1, 1)), "model.safetensors",
         OPENS("m")},
        {"model.safetensors:m " SHARD(1, 1) ":a " INDEX("model") MAP(SHARD(1, 1)), INDEX("model"),
         OPENS("a")},
        {"model.safetensors:m " INDEX("model") MAP(SHARD(1, 2)), "", OPENS("m")}, /* they are gone */
        {"model.safetensors:a " INDEX("model") MAP("model.safetensors"), "",
         OPENS("a")}, /* as mlx saves it */
        {"model.safetensors:m model-00001-of-00001.fp16.safetensors:h", "", OPENS("m")},
    };
    (void)state;
    check_all(scenes);
}

static void shards_need_no_index_if_they_are_all_there(void **state)
{
    static const scene scenes[] = {
        {SHARD(2, 2) ":z " SHARD(1, 2) ":ab", "", OPENS("abz")},
        {"model-00001-of-000002.safetensors:a model-00002-of-000002.safetensors:b", "", OPENS("ab")},
        {"x-1-of-2.safetensors:a x-2-of-2.safetensors:b", "", OPENS("ab")},
        {SHARD(1, 1) ":a", "", OPENS("a")},
        {SHARD(1, 1) ":a", SHARD(1, 1), OPENS("a")},
        {SHARD(1, 3) ":a " SHARD(3, 3) ":b", "", SEVERAL("shard 2 of 3", "absent", "index")},
        {SHARD(2, 3) ":a " SHARD(3, 3) ":b", "", SEVERAL("shard 1 of 3")},
        {SHARD(1, 3) ":a " SHARD(2, 3) ":b", "", SEVERAL("shard 3 of 3")},
        {SHARD(1, 2) ":a " SHARD(2, 2) ":a", "", SEVERAL("'a'", "two shards")},
        {SHARD(1, 2) ":a " SHARD(2, 2) ":b " SHARD(1, 3) ":c", "",
         SEVERAL("two models", "-of-00002", "-of-00003")},
        {"model-1-of-2.safetensors:a model-01-of-2.safetensors:b", "", SEVERAL("both shard 1 of 2")},
        {SHARD(1, 2) ":a " SHARD(2, 2) ":b model-x-of-00002.safetensors:x", "", OPENS("ab")},
        {"model.fp16-00001-of-00002.safetensors:a model-00002-of-00002.fp16.safetensors:b", "", OPENS("ab")},
        {"model.fp16-00001-of-00001.safetensors:a "
         "model.safetensors.index.fp16.json" MAP("model.fp16-00001-of-00001.safetensors"),
         "", OPENS("a")},
        {SHARD(1, 2) ":a " SHARD(2, 2) ":b " SHARD(9, 9) ":c " INDEX("model") MAP(SHARD(1, 2)), "",
         OPENS("a")},
        {INDEX("model") MAP(SHARD(1, 2)) " config.json={}",
         "",
         NULL,
         EMR_EIO,
         {"'model-00001-of-00002.safetensors'", "absent", "index.json"}},
    };
    (void)state;
    check_all(scenes);
}

static void one_shard_is_no_model(void **state)
{
    static const scene scenes[] = {
        {SHARD(1, 2) ":a", SHARD(1, 2), SEVERAL("shard 1 of 2", "directory", "index")},
        {"x_3-of-12.safetensors:a", "x_3-of-12.safetensors", SEVERAL("shard 3 of 12")},
        {"model-00003-of-00002.safetensors:a", "model-00003-of-00002.safetensors", OPENS("a")},
        {"model-00000-of-00002.safetensors:a", "model-00000-of-00002.safetensors", OPENS("a")},
        {"", SHARD(1, 2), NULL, EMR_EIO, {"cannot be opened"}},
    };
    (void)state;
    check_all(scenes);
}

#define SNAPSHOTS "models--org--name/snapshots/"

/* The hub's cache: blobs/, refs/main with a hash, snapshots/HASH/ with links into blobs. */
static void a_cache_leads_to_its_snapshot(void **state)
{
    static const scene scenes[] = {
        {SNAPSHOTS "aa/model.safetensors:a models--org--name/refs/main=aa models--org--name/blobs/",
         "models--org--name", OPENS("a")},
        {SNAPSHOTS "aa/model.safetensors:a models--org--name/refs/main=aa", "", OPENS("a")},
        {SNAPSHOTS "aa/model.safetensors:a " SNAPSHOTS
                   "bb/model.safetensors:b models--org--name/refs/main=bb\n",
         "models--org--name", OPENS("b")},
        {SNAPSHOTS "aa/model.safetensors:a " SNAPSHOTS "bb/model.safetensors:b models--org--name/blobs/x",
         "models--org--name", SEVERAL("'aa', 'bb'", "snapshots")},
        {SNAPSHOTS "aa/model.safetensors:a models--org--name/refs/main=gone", "models--org--name",
         OPENS("a")},
        {SNAPSHOTS "aa/model.safetensors:a models--org--name/refs/main=../../x", "models--org--name",
         OPENS("a")},
        {SNAPSHOTS " models--org--name/refs/main=aa", "models--org--name", SEVERAL("snapshot", "unfinished")},
        {SNAPSHOTS "aa/model.safetensors:a models--org--name/blobs/0123", "models--org--name/blobs",
         SEVERAL("blobs", "snapshots", "folder above")},
        {SNAPSHOTS "aa/model.safetensors:a models--org--name/blobs/0123:x", "models--org--name/blobs/0123",
         OPENS("x")},
        {"models--a--b/refs/main=x models--c--d/refs/main=x", "", SEVERAL("'models--a--b', 'models--c--d'")},
        {SNAPSHOTS "aa/config.json={} models--org--name/refs/main=aa", "models--org--name",
         SEVERAL("snapshots/aa", "no .safetensors")},
        {SNAPSHOTS "aa/models--x/blobs/ models--org--name/refs/main=aa", "", SEVERAL("no .safetensors")},
    };
    (void)state;
    check_all(scenes);
}

static void models_that_belong_together_are_merged_one_by_one(void **state)
{
    static const scene scenes[] = {
        {"model_index.json={\"unet\":[\"d\",\"U\"],\"vae\":[\"d\",\"A\"],\"tokenizer\":[\"t\",\"T\"]} "
         "unet/diffusion_pytorch_model.safetensors:a vae/diffusion_pytorch_model.bin tokenizer/vocab.json={} "
         "other/model.safetensors:o",
         "", REFUSED("'unet', 'vae'", "one at a time", "model_index.json")},
        {"model_index.json={\"unet\":[\"d\",\"U\"]} unet/model.safetensors:a v1-5.safetensors:v "
         "v1-6.safetensors:w",
         "", REFUSED("'unet', 'v1-5.safetensors', 'v1-6.safetensors'")},
        {"model_index.json={\"unet\":[\"d\",\"U\"]} unet/model.safetensors:a", "unet", OPENS("a")},
        {"modules.json=[{\"path\":\"\"},{\"path\":\"1_Pooling\"},{\"path\":\"2_Dense\"}] model.safetensors:m "
         "1_Pooling/config.json={} 2_Dense/model.safetensors:d",
         "", REFUSED("'2_Dense', 'model.safetensors'")},
        {"modules.json=[{\"path\":\"0_Transformer\"}] 0_Transformer/model.safetensors:m", "",
         REFUSED("'0_Transformer'")},
        {"modules.json=[{\"path\":\"\"},{\"path\":\"1_Pooling\"}] model.safetensors:m "
         "1_Pooling/config.json={} "
         "checkpoint-5/model.safetensors:c",
         "", OPENS("m")},
        {"modules.json model.safetensors:m 2_Dense/model.safetensors:d", "", OPENS("m")},
        {"modules.json=2_Dense\" model.safetensors:m 2_Dense/model.safetensors:d", "", OPENS("m")},
    };
    (void)state;
    check_all(scenes);
}

#define PARTS(k, more) "consolidated.0" #k more " "

/* Files of the same tensors, each a part of them: one of them, merged, would be half a model. */
static void a_part_of_each_tensor_is_no_model(void **state)
{
    static const scene scenes[] = {
        {PARTS(0, ".safetensors:a") PARTS(1, ".safetensors:a"), "", REFUSED("tensor-parallel", "join")},
        {PARTS(0, ".safetensors:a") PARTS(1, ".safetensors:a"), "consolidated.00.safetensors",
         REFUSED("tensor-parallel", "consolidated.00")},
        {PARTS(1, ".safetensors:a"), "consolidated.01.safetensors", REFUSED("tensor-parallel")},
        {PARTS(0, ".safetensors:a") "params.json={}", "", OPENS("a")},
        {PARTS(0, ".safetensors:a") "params.json={}", "consolidated.00.safetensors", OPENS("a")},
        {PARTS(0, ".pth") PARTS(1, ".pth"), "", REFUSED("tensor-parallel")},
        {"model-rank-0-of-2.safetensors:a model-rank-1-of-2.safetensors:a", "", REFUSED("tensor-parallel")},
        {"model-rank-1-of-2.safetensors:a model-rank-2-of-2.safetensors:a", "", REFUSED("tensor-parallel")},
        {"model-rank-1-of-2.safetensors:a", "model-rank-1-of-2.safetensors", REFUSED("tensor-parallel")},
        {"model-rank-0-part-0.safetensors:a model-rank-1-part-0.safetensors:a", "",
         REFUSED("tensor-parallel")},
        {"rank0.safetensors:a rank1.safetensors:a", "rank0.safetensors", REFUSED("tensor-parallel")},
        {"model_world_size_2_rank_0.pt model_world_size_2_rank_1.pt", "", REFUSED("tensor-parallel")},
        {"lora_rank16.safetensors:a lora_rank1.safetensors:b", "", SEVERAL("several checkpoints")},
        {"lora_rank16.safetensors:a lora_rank1.safetensors:b", "lora_rank1.safetensors", OPENS("b")},
        {"frank0.safetensors:a frank1.safetensors:b", "", SEVERAL("several checkpoints")},
    };
    (void)state;
    check_all(scenes);
}

static void directories_of_other_programs_are_known(void **state)
{
    static const scene scenes[] = {
        {".metadata __0_0.distcp __1_0.distcp", "",
         REFUSED("'__0_0.distcp'", "dcp_to_torch", "merge-weights")},
        {"pytorch_model_fsdp_0/__0_0.distcp optimizer.bin", "",
         REFUSED("'pytorch_model_fsdp_0'", "dcp_to_torch")},
        {"latest=global_step100 zero_to_fp32.py global_step100/mp_rank_00_model_states.pt", "",
         REFUSED("zero_to_fp32.py --safe_serialization")},
        {"latest=global_step100 global_step100/zero_pp_rank_0_mp_rank_00_optim_states.pt", "",
         REFUSED("'global_step100'", "zero_to_fp32.py")},
        {"mp_rank_00_model_states.pt zero_pp_rank_0_mp_rank_00_optim_states.pt", "", REFUSED("DeepSpeed")},
        {"mp_rank_00/model_optim_rng.pt mp_rank_01/model_optim_rng.pt", "", REFUSED("Megatron", "convert")},
        {"latest_checkpointed_iteration.txt=100 iter_0000100/mp_rank_00/model_optim_rng.pt", "",
         REFUSED("Megatron")},
        {"mp_rank_00/model_optim_rng.pt", "mp_rank_00", REFUSED("Megatron")},
        {"config.json={} flax_model.msgpack", "", REFUSED("'flax_model.msgpack'", "Flax")},
        {"config.json={} tf_model.h5", "", REFUSED("'tf_model.h5'", "TensorFlow")},
        {"model.onnx", "", REFUSED("ONNX")},
        {"a.nemo", "", REFUSED("unpack")},
        {"flax_model.msgpack pytorch_model.bin", "", REFUSED("torch.load")},
        {"pytorch_model.bin.index.json={} pytorch_model-00001-of-00002.bin", "",
         REFUSED("glob('pytorch_model-*.bin')", "'safetensors'", "in glob")},
        {"pytorch_model.bin.index.json={}", "pytorch_model.bin.index.json", REFUSED("glob")},
        {"pytorch_model.bin.index.json={} model.safetensors:a", "", OPENS("a")},
    };
    (void)state;
    check_all(scenes);
}

static void what_cannot_be_read_is_said(void **state)
{
    static const scene scenes[] = {
        {"config.json={}", "",
         SEVERAL("no .safetensors file and no .gguf file", "but there are: 'config.json'")},
        {".hidden", "", SEVERAL("is empty")},
        {"d c b a e", "", SEVERAL("'a', 'b', 'c' and 2 more")},
        {"checkpoint-500/model.safetensors:a checkpoint-1000/model.safetensors:b "
         "checkpoint-5/trainer_state.json=1",
         "", SEVERAL("'checkpoint-500', 'checkpoint-1000': give the path of one")},
        {"default/adapter_model.safetensors:a chat/adapter_model.safetensors:b README.md=x", "",
         SEVERAL("'chat', 'default'")},
        {"checkpoint-1/model.safetensors:a checkpoint-2/adapter_model.safetensors:b tokenizer/x.json={}", "",
         SEVERAL("in its folders: 'checkpoint-1', 'checkpoint-2'")},
        {"pytorch_model.bin training_args.bin", "",
         REFUSED("/pytorch_model.bin", "torch.load('pytorch_model.bin'", "'model.safetensors'")},
        {"adapter_model.bin adapter_config.json={}", "", REFUSED("'adapter_model.safetensors'", "clone()")},
        {"pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin", "",
         REFUSED("glob('pytorch_model-*.bin')")},
        {"training_args.bin optimizer.pt scheduler.pt rng_state.pth", "", SEVERAL("no .safetensors file")},
        {"model.safetensors/", "", NULL, EMR_EIO, {"not a regular file"}},
    };
    (void)state;
    check_all(scenes);
}

static void a_copied_snapshot_has_links_that_lead_nowhere(void **state)
{
    emr_model *model;
    emr_error error = {.text = ""};
    char *link = test_path(directory, "model.safetensors");
    (void)state;
    assert_int_equal(symlink("../../blobs/0123", link), 0);
    assert_int_equal(emr_checkpoint_open(&model, directory, NULL, &error), EMR_EIO);
    assert_true(is_sentence(&error, "model.safetensors", "link"));
    free(link);
}

/* Any mixture, in whatever order its files were made: a model, or a sentence that names a path. */
static void any_mixture_has_an_answer(void **state)
{
    static const char *const pieces[] = {"model.safetensors:m",
                                         SHARD(1, 2) ":a",
                                         SHARD(2, 2) ":b",
                                         SHARD(1, 3) ":c",
                                         INDEX("model") MAP(SHARD(1, 2)),
                                         "model.fp16.safetensors:h",
                                         "adapter_model.safetensors:d",
                                         "adapter_config.json={}",
                                         "x.safetensors:x",
                                         INDEX("x") MAP("x.safetensors"),
                                         "x.gguf=GGUF",
                                         "y.gguf",
                                         "consolidated.00.safetensors:a",
                                         "consolidated.01.safetensors:a",
                                         "__0_0.distcp",
                                         "global_step7/",
                                         "pytorch_model.bin.index.json",
                                         "pytorch_model.bin",
                                         "modules.json=\"2_Dense\"",
                                         "2_Dense/model.safetensors:e",
                                         "models--a--b/refs/main=x",
                                         "models--a--b/snapshots/x/model.safetensors:y",
                                         "snapshots/z/x.safetensors:z",
                                         "refs/main=z",
                                         "blobs/",
                                         "model_index.json={}",
                                         "unet/"};
    enum { N = sizeof pieces / sizeof pieces[0] };
    rng r = {3};
    (void)state;
    for (int i = 0; i < 300; i++) {
        bool chosen[N];
        emr_status status[2];
        emr_error error[2] = {{.text = ""}, {.text = ""}};
        for (size_t k = 0; k < N; k++)
            chosen[k] = rng_below(&r, 4) == 0;
        for (int turn = 0; turn < 2; turn++) {
            emr_model *model;
            for (size_t k = 0; k < N; k++)
                if (chosen[turn ? N - 1 - k : k])
                    put_file(pieces[turn ? N - 1 - k : k]);
            status[turn] = emr_checkpoint_open(&model, directory, NULL, &error[turn]);
            assert_true((status[turn] == EMR_OK) == (model != NULL));
            assert_true(!status[turn] || is_sentence(&error[turn], directory, ""));
            emr_model_destroy(&model);
            tear_down(NULL);
            set_up(NULL);
        }
        assert_int_equal(status[0], status[1]);
        assert_int_equal(strlen(error[0].text), strlen(error[1].text)); /* the directory has another name */
    }
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(a_loaders_own_name_goes_first),
        with_directory(the_only_one_needs_no_name),
        with_directory(a_whole_file_and_shards_may_be_two_models),
        with_directory(shards_need_no_index_if_they_are_all_there),
        with_directory(one_shard_is_no_model),
        with_directory(a_cache_leads_to_its_snapshot),
        with_directory(models_that_belong_together_are_merged_one_by_one),
        with_directory(a_part_of_each_tensor_is_no_model),
        with_directory(directories_of_other_programs_are_known),
        with_directory(what_cannot_be_read_is_said),
        with_directory(any_mixture_has_an_answer),
        with_directory(a_copied_snapshot_has_links_that_lead_nowhere),
    };
    return cmocka_run_group_tests_name("directories", tests, NULL, NULL);
}
