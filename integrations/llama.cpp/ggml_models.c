/* ggml_models.c - see ggml_models.h. */
#include "ggml_models.h"

#include <gguf.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 256, /* of the model drawn here: rows are whole blocks of Q4_K */
    HIDDEN = 512,
    HEADS = 4,
    LAYERS = 2,
    VOCABULARY = 96
};

/* ---- failing ---- */

void stop_if(bool wrong, const char *format, ...)
{
    va_list arguments;
    if (!wrong)
        return;
    va_start(arguments, format);
    fputs("emr-ggml: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

void must_work(emr_status status, const emr_error *error)
{
    stop_if(status != EMR_OK, "%s: %s", emr_status_text(status), error->text);
}

void *allocate_zeroed(size_t n, size_t bytes)
{
    void *memory = calloc(n ? n : 1, bytes);
    stop_if(!memory, "out of memory");
    return memory;
}

/* ---- weights, in contexts of ggml's ---- */

/* "output.weight", "blk.1.attn_q.weight" */
static const char *weight_name(char name[GGML_MAX_NAME], const char *part, int layer)
{
    if (layer < 0)
        snprintf(name, GGML_MAX_NAME, "%s.weight", part);
    else
        snprintf(name, GGML_MAX_NAME, "blk.%d.%s.weight", layer, part);
    return name;
}

struct ggml_tensor *find_weight(struct ggml_context *weights, const char *part, int layer)
{
    char name[GGML_MAX_NAME];
    struct ggml_tensor *w = ggml_get_tensor(weights, weight_name(name, part, layer));
    stop_if(!w, "the model has no tensor %s", name);
    return w;
}

static bool is_weight(const struct ggml_tensor *t)
{
    return t->type == GGML_TYPE_F32 || ggml_get_type_traits(t->type)->to_float;
}

static void read_floats(const struct ggml_tensor *t, float *values)
{
    if (t->type == GGML_TYPE_F32)
        memcpy(values, t->data, ggml_nbytes(t));
    else
        ggml_get_type_traits(t->type)->to_float(t->data, values, ggml_nelements(t));
}

/* The type in which a tensor of a model lies whose matrices are to have `type`. */
static enum ggml_type type_in(const struct ggml_tensor *t, int type)
{
    return ggml_n_dims(t) < 2 ? GGML_TYPE_F32 : type == AS_READ ? t->type : (enum ggml_type)type;
}

/* All weights of a model once more, matrices in another type. */
struct ggml_context *convert_weights(struct ggml_context *from, int type)
{
    size_t bytes = 0;
    for (struct ggml_tensor *t = ggml_get_first_tensor(from); t; t = ggml_get_next_tensor(from, t)) {
        if (!is_weight(t))
            continue;
        stop_if(t->ne[0] % ggml_blck_size(type_in(t, type)), "%s: its rows are no whole blocks of %s",
                t->name, ggml_type_name(type_in(t, type)));
        bytes += ggml_tensor_overhead() + 64 +
                 (size_t)(ggml_nelements(t) / t->ne[0]) * ggml_row_size(type_in(t, type), t->ne[0]);
    }
    struct ggml_context *to = ggml_init((struct ggml_init_params){.mem_size = bytes + 1024});
    stop_if(!to, "out of memory");
    for (struct ggml_tensor *t = ggml_get_first_tensor(from); t; t = ggml_get_next_tensor(from, t)) {
        if (!is_weight(t))
            continue;
        struct ggml_tensor *copy = ggml_new_tensor(to, type_in(t, type), ggml_n_dims(t), t->ne);
        ggml_set_name(copy, t->name);
        if (copy->type == t->type) {
            memcpy(copy->data, t->data, ggml_nbytes(t));
            continue;
        }
        float *values = allocate_zeroed((size_t)ggml_nelements(t), sizeof *values);
        read_floats(t, values);
        ggml_quantize_chunk(copy->type, values, copy->data, 0, ggml_nelements(t) / t->ne[0], t->ne[0], NULL);
        free(values);
    }
    return to;
}

bool has_whole_blocks(struct ggml_context *weights, int type)
{
    for (struct ggml_tensor *t = ggml_get_first_tensor(weights); t; t = ggml_get_next_tensor(weights, t))
        if (t->ne[0] % ggml_blck_size(type_in(t, type)))
            return false;
    return true;
}

/* ggml counts dimensions from the one that varies fastest. */
emr_model *describe_weights(struct ggml_context *weights)
{
    emr_error error;
    emr_model *model;
    must_work(emr_model_create(&model, NULL, &error), &error);
    for (struct ggml_tensor *t = ggml_get_first_tensor(weights); t; t = ggml_get_next_tensor(weights, t)) {
        uint64_t shape[GGML_MAX_DIMS];
        emr_tensor_desc d = {.size = sizeof d, .name = t->name, .shape = shape, .data = t->data};
        d.rank = (uint32_t)ggml_n_dims(t);
        for (uint32_t i = 0; i < d.rank; i++)
            shape[i] = (uint64_t)t->ne[d.rank - 1 - i];
        d.dtype = t->type == GGML_TYPE_F16 ? EMR_DTYPE_F16 : EMR_DTYPE_F32;
        d.blocks = ggml_is_quantized(t->type) ? (emr_block_type)t->type : EMR_BLOCK_TYPE_NONE;
        must_work(emr_model_add(model, &d, &error), &error);
    }
    return model;
}

/* ---- a model drawn at random ---- */

float draw_value(uint32_t stream, uint32_t i)
{
    uint32_t x = stream * 0x9e3779b9u + i * 0x85ebca6bu + 1;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return (float)((x ^ x >> 16) >> 8) / (float)(1 << 23) - 1;
}

/* A weight of the base; a task moves in a direction that all share, and in one of its own. */
static void draw_weight(struct ggml_context *weights, const char *part, int layer, const int64_t shape[2],
                        uint32_t task)
{
    char name[GGML_MAX_NAME];
    struct ggml_tensor *t = shape[1] ? ggml_new_tensor_2d(weights, GGML_TYPE_F32, shape[0], shape[1])
                                     : ggml_new_tensor_1d(weights, GGML_TYPE_F32, shape[0]);
    ggml_set_name(t, weight_name(name, part, layer));
    uint32_t stream = 0;
    for (const char *c = name; *c; c++)
        stream = stream * 31 + (uint32_t)*c;
    float scale = shape[1] ? 1.7f / sqrtf((float)shape[0]) : 0.2f, *values = t->data;
    for (uint32_t i = 0; i < (uint32_t)ggml_nelements(t); i++) {
        values[i] = (shape[1] ? 0 : 1) + scale * draw_value(stream, i);
        if (task != EMR_BASE)
            values[i] += 0.15f * scale * (draw_value(stream + 1, i) + draw_value(stream + 2 + task, i));
    }
}

static struct ggml_context *draw_model(uint32_t task)
{
    static const struct {
        const char *part;
        int64_t shape[2];
    } ends[] = {{"token_embd", {WIDTH, VOCABULARY}},
                {"output_norm", {WIDTH}},
                {"output", {WIDTH, VOCABULARY}}},
      layers[] = {
          {"attn_norm", {WIDTH}},         {"attn_q", {WIDTH, WIDTH}},      {"attn_k", {WIDTH, WIDTH / 2}},
          {"attn_v", {WIDTH, WIDTH / 2}}, {"attn_output", {WIDTH, WIDTH}}, {"ffn_norm", {WIDTH}},
          {"ffn_gate", {WIDTH, HIDDEN}},  {"ffn_up", {WIDTH, HIDDEN}},     {"ffn_down", {HIDDEN, WIDTH}}};
    struct ggml_context *weights = ggml_init((struct ggml_init_params){.mem_size = 16 << 20});
    stop_if(!weights, "out of memory");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        draw_weight(weights, ends[i].part, -1, ends[i].shape, task);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
            draw_weight(weights, layers[i].part, layer, layers[i].shape, task);
    return weights;
}

void draw_world(world *w)
{
    static const char *const names[TASKS] = {"mask", "two-sided", "sign", "thin", "levels"};
    w->net = (network){.n_heads = HEADS, .epsilon = 1e-5f, .rope_base = 10000};
    w->base = draw_model(EMR_BASE);
    w->n_tasks = TASKS;
    for (uint32_t i = 0; i < TASKS; i++) {
        w->tuned[i] = draw_model(i);
        strcpy(w->names[i], names[i]);
    }
}

/* ---- a model from files ---- */

/* A number of the header under the architecture's name; `missing` where there is none. */
static double header_number(const struct gguf_context *file, const char *key, double missing)
{
    char whole[256];
    int64_t architecture = gguf_find_key(file, "general.architecture");
    if (architecture < 0 || gguf_get_kv_type(file, architecture) != GGUF_TYPE_STRING)
        return missing;
    snprintf(whole, sizeof whole, "%s.%s", gguf_get_val_str(file, architecture), key);
    int64_t at = gguf_find_key(file, whole);
    return at < 0                                            ? missing
           : gguf_get_kv_type(file, at) == GGUF_TYPE_UINT32  ? gguf_get_val_u32(file, at)
           : gguf_get_kv_type(file, at) == GGUF_TYPE_FLOAT32 ? (double)gguf_get_val_f32(file, at)
                                                             : missing;
}

static struct ggml_context *read_model(const char *path, network *net)
{
    struct ggml_context *weights = NULL;
    struct gguf_context *file =
        gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = false, .ctx = &weights});
    stop_if(!file || !weights, "%s: cannot be read as GGUF", path);
    if (net) {
        net->n_heads = (int64_t)header_number(file, "attention.head_count", 0);
        net->epsilon = (float)header_number(file, "attention.layer_norm_rms_epsilon", 1e-5);
        net->rope_base = (float)header_number(file, "rope.freq_base", 10000);
    }
    gguf_free(file);
    return weights;
}

void read_world(world *w, char **arguments, int n)
{
    w->read = read_model(arguments[0], &w->net);
    w->base = convert_weights(w->read, GGML_TYPE_F32);
    stop_if(n < 2 || n - 1 > TASKS, "usage: emr-ggml [BASE.gguf NAME=TASK.gguf ...], at most %d tasks",
            TASKS);
    for (int i = 1; i < n; i++) {
        const char *path = strchr(arguments[i], '=');
        stop_if(!path || path == arguments[i], "%s: NAME=FILE is wanted", arguments[i]);
        struct ggml_context *file = read_model(path + 1, NULL);
        w->tuned[w->n_tasks] = convert_weights(file, GGML_TYPE_F32);
        ggml_free(file);
        snprintf(w->names[w->n_tasks++], sizeof *w->names, "%.*s", (int)(path - arguments[i]), arguments[i]);
    }
}

/* Of a stranger's file, whatever the graph below takes for granted. */
static void expect_shape(const world *w, const char *part, int layer, int64_t columns, int64_t rows)
{
    const struct ggml_tensor *t = find_weight(w->base, part, layer);
    stop_if(t->ne[0] != columns || (rows && t->ne[1] != rows) || t->ne[2] != 1 || t->ne[3] != 1,
            "%s: [%d, %d] is not the shape that the others ask for", t->name, (int)t->ne[1], (int)t->ne[0]);
}

static void measure_network(world *w)
{
    char name[GGML_MAX_NAME];
    const struct ggml_tensor *embedding = find_weight(w->base, "token_embd", -1);
    network *net = &w->net;
    net->width = embedding->ne[0];
    net->vocabulary = embedding->ne[1];
    while (ggml_get_tensor(w->base, weight_name(name, "attn_norm", net->n_layers)))
        net->n_layers++;
    stop_if(net->n_heads < 1 || net->width % net->n_heads || net->width / net->n_heads % 2,
            "a width of %d cannot be shared out to %d heads", (int)net->width, (int)net->n_heads);
    expect_shape(w, "token_embd", -1, net->width, 0);
    expect_shape(w, "output_norm", -1, net->width, 1);
    if (ggml_get_tensor(w->base, "output.weight"))
        expect_shape(w, "output", -1, net->width, net->vocabulary);
    for (int i = 0; i < net->n_layers; i++) {
        int64_t keys = find_weight(w->base, "attn_k", i)->ne[1],
                hidden = find_weight(w->base, "ffn_up", i)->ne[1];
        int64_t head = net->width / net->n_heads;
        stop_if(keys < head || keys % head || net->n_heads % (keys / head),
                "blk.%d.attn_k: its %d rows are no heads", i, (int)keys);
        expect_shape(w, "attn_norm", i, net->width, 1);
        expect_shape(w, "attn_q", i, net->width, net->width);
        expect_shape(w, "attn_k", i, net->width, keys);
        expect_shape(w, "attn_v", i, net->width, keys);
        expect_shape(w, "attn_output", i, net->width, net->width);
        expect_shape(w, "ffn_norm", i, net->width, 1);
        expect_shape(w, "ffn_gate", i, net->width, hidden);
        expect_shape(w, "ffn_up", i, net->width, hidden);
        expect_shape(w, "ffn_down", i, hidden, net->width);
    }
}

/* ---- the bundle, and what it makes of the tasks ---- */

/* Merges, each task by a kind of its own. Blocks are small and compressed, so that masks come and go. */
static emr_bundle *merge_tasks(const world *w, const emr_model *base, emr_buffer **bytes)
{
    static const emr_modulation_spec kinds[TASKS] = {
        {.size = sizeof *kinds, .kind = EMR_MODULATOR_KIND_MASK, .mask_rule = EMR_MASK_RULE_NEAREST},
        {.size = sizeof *kinds, .kind = EMR_MODULATOR_KIND_TWO_SIDED, .mask_rule = EMR_MASK_RULE_NEAREST},
        {.size = sizeof *kinds, .kind = EMR_MODULATOR_KIND_SIGN},
        {.size = sizeof *kinds, .kind = EMR_MODULATOR_KIND_THIN, .thinning = 2},
        {.size = sizeof *kinds, .kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 16},
    };
    const emr_merge_options options = {.size = sizeof options, .block_params = 4096};
    emr_merge *merge;
    emr_bundle *bundle;
    emr_error error;
    must_work(emr_merge_create(&merge, &options, &error), &error);
    must_work(emr_merge_set_base(merge, base, &error), &error);
    for (uint32_t i = 0; i < w->n_tasks; i++) {
        must_work(emr_merge_add_task(merge, w->names[i], w->models[i], &error), &error);
        must_work(emr_merge_set_modulation(merge, i, &kinds[i], &error), &error);
    }
    must_work(emr_buffer_create(bytes, NULL, &error), &error);
    must_work(emr_merge_set_output(merge, emr_buffer_io(*bytes), &error), &error);
    must_work(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    must_work(emr_bundle_open(&bundle, emr_buffer_io(*bytes), "tasks.emr", NULL, &error), &error);
    return bundle;
}

/* A task's weights in F32. */
static struct ggml_context *rebuild_task(const world *w, emr_session *session, uint32_t task)
{
    emr_error error;
    struct ggml_context *weights = convert_weights(w->base, GGML_TYPE_F32);
    for (struct ggml_tensor *t = ggml_get_first_tensor(weights); t; t = ggml_get_next_tensor(weights, t)) {
        const emr_weights target = {
            .size = sizeof target, .name = t->name, .data = t->data, .dtype = EMR_DTYPE_F32};
        must_work(emr_session_apply(session, task, &target, 1, &error), &error);
    }
    return weights;
}

void prepare_world(world *w)
{
    emr_error error;
    emr_session *session;
    struct ggml_context *wide = w->base;
    w->base_f16 = convert_weights(wide, GGML_TYPE_F16);
    w->base = convert_weights(w->base_f16, GGML_TYPE_F32);
    ggml_free(wide);
    measure_network(w);
    w->base_model = describe_weights(w->base);
    w->base_f16_model = describe_weights(w->base_f16);
    for (uint32_t i = 0; i < w->n_tasks; i++)
        w->models[i] = describe_weights(w->tuned[i]);
    w->bundle = merge_tasks(w, w->base_model, &w->bytes[0]);
    w->bundle_f16 = merge_tasks(w, w->base_f16_model, &w->bytes[1]);
    must_work(emr_session_create(&session, w->bundle, w->base_model, NULL, &error), &error);
    for (uint32_t i = 0; i < w->n_tasks; i++)
        w->rebuilt[i] = rebuild_task(w, session, i);
    emr_session_destroy(&session);
    for (uint32_t s = 0; s < SEQUENCES; s++)
        for (uint32_t i = 0; i < LENGTH; i++)
            w->prompts[s][i] =
                (int32_t)((draw_value(1000 + s, i) + 1) / 2 * 0.999f * (float)w->net.vocabulary);
}

void destroy_world(world *w)
{
    emr_bundle_destroy(&w->bundle);
    emr_bundle_destroy(&w->bundle_f16);
    emr_buffer_destroy(&w->bytes[0]);
    emr_buffer_destroy(&w->bytes[1]);
    emr_model_destroy(&w->base_model);
    emr_model_destroy(&w->base_f16_model);
    for (uint32_t i = 0; i < w->n_tasks; i++) {
        emr_model_destroy(&w->models[i]);
        ggml_free(w->tuned[i]);
        ggml_free(w->rebuilt[i]);
    }
    ggml_free(w->base);
    ggml_free(w->base_f16);
    if (w->read)
        ggml_free(w->read);
    ggml_quantize_free();
}
