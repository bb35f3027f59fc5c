/* emr-ggml.c - a small transformer over ggml alone, whose base stays as it is, in any of ggml's types, while every token
 * of a batch is answered by a task of its own.
 *
 *     emr-ggml                                       a model and tasks of its own, drawn at random
 *     emr-ggml BASE.gguf NAME=TASK.gguf ...          checkpoints of llama's architecture, small enough to have in F32
 *
 * Where a plain graph has ggml_mul_mat(W, x), this one has
 * - the change beside it: ggml_mul_mat(W, x) + custom(x), where the custom operation multiplies by what the tasks change
 *   (emr_session_multiply without the base). The session has no base; ggml's may have any type; or
 * - the whole product: custom(x) alone, over the base where ggml has it, for types that libemr reads.
 * Embeddings and norms, of which every token needs its own task's row, come from emr_session_gather likewise.
 *
 * ggml calls a custom operation on all of its threads, as number `ith` of `nth`: each does its share of rows with a
 * session handle of its own.
 *
 * Prints how far logits are from those of the fine-tuned weights run through ggml alone, and checks what must be equal to
 * the bit. Exit status 1 if a check fails. */
#include <emr/emr.h>
#include <ggml-alloc.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gguf.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

enum {
    WIDTH = 256, /* of the model made here: rows are whole blocks of Q4_K */
    HIDDEN = 512,
    HEADS = 4,
    LAYERS = 2,
    VOCABULARY = 96,
    LENGTH = 12, /* tokens of a sequence */
    TASKS = 5,   /* at most */
    SEQUENCES = TASKS + 1,
    TOKENS = LENGTH * SEQUENCES,
    THREADS = 4,
    AS_READ = GGML_TYPE_COUNT /* a type: whatever the file has */
};

/* Sizes that tensors do not tell, and those that they do. */
typedef struct network {
    int64_t width;
    int64_t vocabulary;
    int n_layers;
    int64_t n_heads;
    float epsilon;
    float rope_base;
} network;

/* Everything there is before a type of base is looked at. All weights are in contexts of ggml's, by their names. */
typedef struct world {
    network net;
    struct ggml_context *read; /* the base as its file has it, or NULL */
    struct ggml_context *base; /* F32, of values that F16 has */
    struct ggml_context *base_f16;
    struct ggml_context *tuned[TASKS];   /* F32 */
    struct ggml_context *rebuilt[TASKS]; /* F32: what the bundle makes of them */
    char names[TASKS][64];
    emr_model *models[TASKS];
    emr_model *base_model;
    emr_model *base_f16_model;
    emr_buffer *bytes[2];
    emr_bundle *bundle;     /* of the F32 base */
    emr_bundle *bundle_f16; /* of the F16 one: the same tasks */
    int32_t prompts[SEQUENCES][LENGTH];
    uint32_t n_tasks;
} world;

typedef enum graph_way { WAY_PLAIN, WAY_CHANGE, WAY_WHOLE } graph_way;

typedef struct engine engine;

/* What a node of the graph is told: of which tensor it multiplies or gathers rows. */
typedef struct operation {
    engine *engine;
    const uint64_t *rows; /* gathered; NULL: the only one */
    uint32_t tensor;
} operation;

/* A model that can run. */
struct engine {
    const network *net;
    struct ggml_context *weights;
    const emr_bundle *bundle;
    emr_model *base;               /* over `weights`, for whole products */
    emr_session *callers[THREADS]; /* a handle for each of ggml's threads; the first one is the session */
    operation *operations;
    int n_operations;
    int n_callers;
    graph_way way;
    uint32_t tasks[TOKENS]; /* of the batch, one for each token */
    uint64_t tokens[TOKENS];
    size_t n_tokens;
    emr_status statuses[THREADS]; /* an operation cannot fail: each thread's first failure waits here */
    emr_error errors[THREADS];
};

/* Which sequences run side by side: numbers of prompts, which are those of their tasks; n_tasks: the base's. */
typedef struct company {
    uint32_t who[SEQUENCES];
    int64_t n;
} company;

static struct {
    unsigned done, failed;
} checks;

/* ---- failing ---- */

static void stop_if(bool wrong, const char *format, ...)
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

static void must_work(emr_status status, const emr_error *error)
{
    stop_if(status != EMR_OK, "%s: %s", emr_status_text(status), error->text);
}

static void *allocate_zeroed(size_t n, size_t bytes)
{
    void *memory = calloc(n ? n : 1, bytes);
    stop_if(!memory, "out of memory");
    return memory;
}

static void expect_that(bool holds, const char *format, ...)
{
    va_list arguments;
    checks.done++;
    if (holds)
        return;
    checks.failed++;
    va_start(arguments, format);
    fputs("FAILED: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
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

static struct ggml_tensor *find_weight(struct ggml_context *weights, const char *part, int layer)
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
static struct ggml_context *convert_weights(struct ggml_context *from, int type)
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

static bool has_whole_blocks(struct ggml_context *weights, int type)
{
    for (struct ggml_tensor *t = ggml_get_first_tensor(weights); t; t = ggml_get_next_tensor(weights, t))
        if (t->ne[0] % ggml_blck_size(type_in(t, type)))
            return false;
    return true;
}

/* A model of libemr's over weights that lie in ggml's memory. ggml counts dimensions from the one that varies fastest. */
static emr_model *describe_weights(struct ggml_context *weights)
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

/* Between -1 and 1, the same for the same numbers. */
static float draw_value(uint32_t stream, uint32_t i)
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

static void draw_world(world *w)
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

static void read_world(world *w, char **arguments, int n)
{
    w->read = read_model(arguments[0], &w->net);
    w->base = convert_weights(w->read, GGML_TYPE_F32);
    stop_if(n - 1 > TASKS, "at most %d tasks", TASKS);
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

static void prepare_world(world *w)
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

static void destroy_world(world *w)
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

/* ---- libemr inside ggml's graph ---- */

/* This thread's part of n rows or tokens: false where it has none. Threads without a handle look on. */
static bool take_share(const engine *e, int ith, int nth, int64_t n, int64_t *first, int64_t *n_mine)
{
    int64_t n_shares = nth < e->n_callers ? nth : e->n_callers;
    if (ith >= n_shares)
        return false;
    *first = n * ith / n_shares;
    *n_mine = n * (ith + 1) / n_shares - *first;
    return *n_mine > 0;
}

static void note_failure(engine *e, int ith, emr_status status, const emr_error *error)
{
    if (!status || e->statuses[ith])
        return;
    e->statuses[ith] = status;
    e->errors[ith] = *error;
}

/* dst [rows, tokens]: rows of the tensor times src[0] [columns, tokens], each token's by its own task. */
static void multiply_share(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const operation *o = user;
    engine *e = o->engine;
    int64_t first, n;
    emr_error error;
    if (!take_share(e, ith, nth, dst->ne[0], &first, &n))
        return;
    const emr_product product = {.size = sizeof product,
                                 .tensor = o->tensor,
                                 .x = dst->src[0]->data,
                                 .y = (float *)dst->data + first,
                                 .y_stride = (size_t)dst->ne[0],
                                 .batch = e->n_tokens,
                                 .first_row = (uint64_t)first,
                                 .n_rows = (uint64_t)n,
                                 .without_base = e->way == WAY_CHANGE};
    note_failure(e, ith, emr_session_multiply(e->callers[ith], e->tasks, &product, &error), &error);
}

/* dst [columns, tokens]: for each token a row of the tensor, as its own task has it. */
static void gather_share(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const operation *o = user;
    engine *e = o->engine;
    int64_t first, n;
    emr_error error;
    if (!take_share(e, ith, nth, (int64_t)e->n_tokens, &first, &n))
        return;
    const emr_gather gather = {.size = sizeof gather,
                               .tensor = o->tensor,
                               .tasks = e->tasks + first,
                               .rows = o->rows ? o->rows + first : NULL,
                               .out = (float *)dst->data + first * dst->ne[0],
                               .n = (size_t)n,
                               .dtype = EMR_DTYPE_F32,
                               .without_base = e->way == WAY_CHANGE};
    note_failure(e, ith, emr_session_gather(e->callers[ith], &gather, &error), &error);
}

/* ---- the graph: what llama computes, in sequences of equal length ---- */

static operation *add_operation(engine *e, const struct ggml_tensor *w, const uint64_t *rows)
{
    emr_error error;
    emr_bundle_info info = {.size = sizeof info};
    operation *o = &e->operations[e->n_operations++];
    *o = (operation){.engine = e, .rows = rows};
    must_work(emr_bundle_find_tensor(e->bundle, w->name, &o->tensor, &error), &error);
    must_work(emr_bundle_get_info(e->bundle, &info), &error);
    stop_if(o->tensor >= info.n_merged, "%s is not merged: no task can have it in a mixed batch", w->name);
    return o;
}

/* W x: [columns, length, sequences] becomes [rows, length, sequences]. */
static struct ggml_tensor *multiply_with(engine *e, struct ggml_context *g, struct ggml_tensor *w,
                                         struct ggml_tensor *x)
{
    if (e->way == WAY_PLAIN)
        return ggml_mul_mat(g, w, x);
    struct ggml_tensor *product = ggml_custom_4d(g, GGML_TYPE_F32, w->ne[1], x->ne[1], x->ne[2], 1, &x, 1,
                                                 multiply_share, GGML_N_TASKS_MAX, add_operation(e, w, NULL));
    return e->way == WAY_WHOLE ? product : ggml_add(g, ggml_mul_mat(g, w, x), product);
}

static struct ggml_tensor *multiply_by(engine *e, struct ggml_context *g, const char *part, int layer,
                                       struct ggml_tensor *x)
{
    return multiply_with(e, g, find_weight(e->weights, part, layer), x);
}

/* Each token's row of the embedding. */
static struct ggml_tensor *embed_tokens(engine *e, struct ggml_context *g, struct ggml_tensor *tokens)
{
    struct ggml_tensor *w = find_weight(e->weights, "token_embd", -1);
    if (e->way == WAY_PLAIN)
        return ggml_get_rows(g, w, tokens);
    struct ggml_tensor *rows = ggml_custom_4d(g, GGML_TYPE_F32, w->ne[0], tokens->ne[0], 1, 1, &tokens, 1,
                                              gather_share, GGML_N_TASKS_MAX, add_operation(e, w, e->tokens));
    return e->way == WAY_WHOLE ? rows : ggml_add(g, ggml_get_rows(g, w, tokens), rows);
}

/* x, normed, times the norm's weights: a row for each token. */
static struct ggml_tensor *norm_by(engine *e, struct ggml_context *g, const char *part, int layer,
                                   struct ggml_tensor *x)
{
    struct ggml_tensor *w = find_weight(e->weights, part, layer);
    struct ggml_tensor *normed = ggml_rms_norm(g, x, e->net->epsilon);
    if (e->way == WAY_PLAIN)
        return ggml_mul(g, normed, w);
    struct ggml_tensor *rows = ggml_custom_4d(g, GGML_TYPE_F32, x->ne[0], x->ne[1], x->ne[2], 1, &normed, 1,
                                              gather_share, GGML_N_TASKS_MAX, add_operation(e, w, NULL));
    return ggml_mul(g, normed, e->way == WAY_WHOLE ? rows : ggml_add(g, rows, w));
}

/* Heads [head, heads, length, sequences] with their positions turned into them. */
static struct ggml_tensor *split_heads(const engine *e, struct ggml_context *g, struct ggml_tensor *x,
                                       struct ggml_tensor *positions)
{
    int64_t head = e->net->width / e->net->n_heads, n_heads = x->ne[0] / head;
    struct ggml_tensor *heads = ggml_reshape_3d(g, x, head, n_heads, x->ne[1] * x->ne[2]);
    if (positions)
        heads = ggml_rope_ext(g, heads, positions, NULL, (int)head, GGML_ROPE_TYPE_NORMAL, 0,
                              e->net->rope_base, 1, 0, 1, 0, 0);
    return ggml_reshape_4d(g, heads, head, n_heads, x->ne[1], x->ne[2]);
}

/* Each sequence sees itself alone: its number is the last dimension of everything. */
static struct ggml_tensor *attend(engine *e, struct ggml_context *g, int layer, struct ggml_tensor *x,
                                  struct ggml_tensor *positions)
{
    struct ggml_tensor *q = split_heads(e, g, multiply_by(e, g, "attn_q", layer, x), positions);
    struct ggml_tensor *k = split_heads(e, g, multiply_by(e, g, "attn_k", layer, x), positions);
    struct ggml_tensor *v = split_heads(e, g, multiply_by(e, g, "attn_v", layer, x), NULL);
    struct ggml_tensor *scores =
        ggml_mul_mat(g, ggml_permute(g, k, 0, 2, 1, 3), ggml_permute(g, q, 0, 2, 1, 3));
    scores = ggml_scale(g, scores, 1 / sqrtf((float)q->ne[0]));
    scores = ggml_soft_max(g, ggml_diag_mask_inf(g, scores, 0));
    struct ggml_tensor *seen = ggml_mul_mat(g, ggml_cont(g, ggml_permute(g, v, 1, 2, 0, 3)), scores);
    seen = ggml_cont(g, ggml_permute(g, seen, 0, 2, 1, 3));
    return multiply_by(e, g, "attn_output", layer, ggml_reshape_3d(g, seen, x->ne[0], x->ne[1], x->ne[2]));
}

static struct ggml_tensor *feed_forward(engine *e, struct ggml_context *g, int layer, struct ggml_tensor *x)
{
    struct ggml_tensor *gate = ggml_silu(g, multiply_by(e, g, "ffn_gate", layer, x));
    return multiply_by(e, g, "ffn_down", layer, ggml_mul(g, gate, multiply_by(e, g, "ffn_up", layer, x)));
}

static struct ggml_tensor *run_layers(engine *e, struct ggml_context *g, struct ggml_tensor *tokens,
                                      struct ggml_tensor *positions)
{
    struct ggml_tensor *x = embed_tokens(e, g, tokens);
    x = ggml_reshape_3d(g, x, x->ne[0], LENGTH, tokens->ne[0] / LENGTH);
    for (int layer = 0; layer < e->net->n_layers; layer++) {
        x = ggml_add(g, x, attend(e, g, layer, norm_by(e, g, "attn_norm", layer, x), positions));
        x = ggml_add(g, x, feed_forward(e, g, layer, norm_by(e, g, "ffn_norm", layer, x)));
    }
    return multiply_by(e, g, "output", -1, norm_by(e, g, "output_norm", -1, x));
}

/* ---- running ---- */

static void yield_thread(void *user)
{
    (void)user;
    thrd_yield();
}

/* The number of nodes of a graph, with room to spare. */
static size_t room_for_nodes(const network *net)
{
    return 128 + 64 * (size_t)net->n_layers;
}

/* An engine over weights; mask_bytes 0: all masks may stay in memory. */
static engine open_engine(const world *w, graph_way way, struct ggml_context *weights,
                          const emr_bundle *bundle, uint64_t mask_bytes)
{
    emr_error error;
    engine e = {.net = &w->net, .weights = weights, .bundle = bundle, .way = way};
    if (way == WAY_PLAIN)
        return e;
    e.operations = allocate_zeroed(room_for_nodes(&w->net), sizeof *e.operations);
    const emr_session_options options = {.size = sizeof options,
                                         .without_base = way == WAY_CHANGE,
                                         .check =
                                             EMR_BASE_CHECK_NONE, /* quantised: not the one that was merged */
                                         .mask_bytes = mask_bytes,
                                         .wait = yield_thread};
    if (way == WAY_WHOLE)
        e.base = describe_weights(weights);
    must_work(emr_session_create(&e.callers[0], bundle, e.base, &options, &error), &error);
    for (e.n_callers = 1; e.n_callers < THREADS; e.n_callers++)
        must_work(emr_session_open_thread(&e.callers[e.n_callers], e.callers[0], &error), &error);
    return e;
}

static void close_engine(engine *e)
{
    while (e->n_callers)
        emr_session_destroy(&e->callers[--e->n_callers]);
    emr_model_destroy(&e->base);
    free(e->operations);
}

/* Computes a graph and all that it needs; `threads` of ggml's. */
static void compute_graph(engine *e, struct ggml_cgraph *graph, int threads)
{
    struct ggml_cplan plan = ggml_graph_plan(graph, threads, NULL);
    plan.work_data = allocate_zeroed(plan.work_size, 1);
    stop_if(ggml_graph_compute(graph, &plan) != GGML_STATUS_SUCCESS, "ggml could not compute the graph");
    free(plan.work_data);
    for (int i = 0; i < THREADS; i++)
        must_work(e->statuses[i], &e->errors[i]);
}

/* Memory for a graph's tensors: they are described in `g`, and lie where ggml's allocator puts them. */
static struct ggml_context *begin_graph(const engine *e, struct ggml_cgraph **graph)
{
    size_t nodes = room_for_nodes(e->net);
    struct ggml_context *g = ggml_init((struct ggml_init_params){
        .mem_size = nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(nodes, false),
        .no_alloc = true});
    stop_if(!g, "out of memory");
    *graph = ggml_new_graph_custom(g, nodes, false);
    return g;
}

static ggml_gallocr_t place_graph(struct ggml_cgraph *graph, struct ggml_tensor *result)
{
    ggml_gallocr_t memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
    ggml_set_output(result);
    ggml_build_forward_expand(graph, result);
    stop_if(!memory || !ggml_gallocr_alloc_graph(memory, graph), "out of memory");
    return memory;
}

/* Logits of a batch: [vocabulary, LENGTH] for each sequence of the company. */
static void run_batch(engine *e, const world *w, const company *c, int threads, float *logits)
{
    struct ggml_cgraph *graph;
    struct ggml_context *g = begin_graph(e, &graph);
    struct ggml_tensor *tokens = ggml_new_tensor_1d(g, GGML_TYPE_I32, c->n * LENGTH);
    struct ggml_tensor *positions = ggml_new_tensor_1d(g, GGML_TYPE_I32, c->n * LENGTH);
    ggml_set_input(tokens);
    ggml_set_input(positions);
    e->n_operations = 0;
    struct ggml_tensor *result = run_layers(e, g, tokens, positions);
    ggml_gallocr_t memory = place_graph(graph, result);
    e->n_tokens = (size_t)(c->n * LENGTH);
    for (size_t i = 0; i < e->n_tokens; i++) {
        uint32_t who = c->who[i / LENGTH];
        int32_t token = w->prompts[who][i % LENGTH];
        e->tasks[i] = who < w->n_tasks ? who : EMR_BASE;
        e->tokens[i] = (uint64_t)token;
        ((int32_t *)tokens->data)[i] = token;
        ((int32_t *)positions->data)[i] = (int32_t)(i % LENGTH);
    }
    compute_graph(e, graph, threads);
    memcpy(logits, result->data, ggml_nbytes(result));
    ggml_gallocr_free(memory);
    ggml_free(g);
}

/* ---- a product by itself ---- */

enum { VECTORS = 7 };

/* One tensor, some vectors of as many tasks as there are, and room for results. */
typedef struct trial {
    const char *name;
    int64_t columns, rows;
    float *x;    /* VECTORS vectors of `columns` */
    float *y[3]; /* VECTORS vectors of `rows` */
    float *base; /* the tensor's, and what a task changes */
    float *change;
    uint32_t tasks[VECTORS];
} trial;

static trial begin_trial(const world *w, const struct ggml_tensor *t)
{
    trial r = {.name = t->name, .columns = t->ne[0], .rows = t->ne[1]};
    r.x = allocate_zeroed((size_t)(VECTORS * r.columns), sizeof *r.x);
    for (int i = 0; i < 3; i++)
        r.y[i] = allocate_zeroed((size_t)(VECTORS * r.rows), sizeof *r.y[i]);
    r.base = allocate_zeroed((size_t)(r.rows * r.columns), sizeof *r.base);
    r.change = allocate_zeroed((size_t)(r.rows * r.columns), sizeof *r.change);
    for (uint32_t i = 0; i < VECTORS * r.columns; i++)
        r.x[i] = draw_value(7, i);
    for (uint32_t b = 0; b < VECTORS; b++)
        r.tasks[b] = (b * 5 + 2) % (w->n_tasks + 1) < w->n_tasks ? (b * 5 + 2) % (w->n_tasks + 1) : EMR_BASE;
    return r;
}

static void end_trial(trial *r)
{
    free(r->x);
    for (int i = 0; i < 3; i++)
        free(r->y[i]);
    free(r->base);
    free(r->change);
}

/* As the graph computes it. */
static void multiply_in_graph(engine *e, const trial *r, int threads, float *y)
{
    struct ggml_cgraph *graph;
    struct ggml_context *g = begin_graph(e, &graph);
    struct ggml_tensor *x = ggml_new_tensor_3d(g, GGML_TYPE_F32, r->columns, VECTORS, 1);
    ggml_set_input(x);
    e->n_operations = 0;
    e->n_tokens = VECTORS;
    memcpy(e->tasks, r->tasks, sizeof r->tasks);
    struct ggml_tensor *result = multiply_with(e, g, ggml_get_tensor(e->weights, r->name), x);
    ggml_gallocr_t memory = place_graph(graph, result);
    memcpy(x->data, r->x, ggml_nbytes(x));
    compute_graph(e, graph, threads);
    memcpy(y, result->data, ggml_nbytes(result));
    ggml_gallocr_free(memory);
    ggml_free(g);
}

/* As one call of libemr's computes it, all rows at once. */
static void multiply_in_session(emr_session *session, const trial *r, bool without_base, float *y)
{
    emr_error error;
    const emr_product product = {.size = sizeof product,
                                 .name = r->name,
                                 .x = r->x,
                                 .y = y,
                                 .batch = VECTORS,
                                 .n_rows = (uint64_t)r->rows,
                                 .without_base = without_base};
    must_work(emr_session_multiply(session, r->tasks, &product, &error), &error);
}

static void apply_floats(emr_session *session, const trial *r, uint32_t task, bool without_base,
                         float *values)
{
    emr_error error;
    const emr_weights target = {.size = sizeof target,
                                .name = r->name,
                                .data = values,
                                .dtype = EMR_DTYPE_F32,
                                .without_base = without_base};
    must_work(emr_session_apply(session, task, &target, 1, &error), &error);
}

/* Whether products are as near to those in double as product.h says, of either family of kinds; the weights that are
 * compared with are rounded too, which takes two more units. */
static bool is_within_bound(emr_session *session, trial *r, const float *y)
{
    double unit = (ceil((double)r->columns / 32) + (double)(r->columns / 16384 + 2) + 8 + 2) * ldexp(1, -24);
    bool within = true;
    apply_floats(session, r, EMR_BASE, false, r->base);
    for (size_t b = 0; b < VECTORS; b++) {
        memset(r->change, 0, (size_t)(r->rows * r->columns) * sizeof *r->change);
        if (r->tasks[b] != EMR_BASE)
            apply_floats(session, r, r->tasks[b], true, r->change);
        for (int64_t row = 0; row < r->rows; row++) {
            double exact = 0, size = 0;
            for (int64_t c = 0; c < r->columns; c++) {
                double base = r->base[row * r->columns + c], change = r->change[row * r->columns + c];
                double x = r->x[(int64_t)b * r->columns + c];
                exact += (base + change) * x;
                size += (fabs(base) + fabs(change)) * fabs(x);
            }
            within = within && fabs((double)y[(int64_t)b * r->rows + row] - exact) <= unit * size;
        }
    }
    return within;
}

/* The change beside ggml's own product: to the bit the sum of the two. */
static void check_change(engine *e, engine *plain, const trial *r, const char *type, int threads)
{
    size_t n = (size_t)(VECTORS * r->rows);
    multiply_in_graph(e, r, threads, r->y[0]);
    multiply_in_graph(plain, r, 1, r->y[1]);
    multiply_in_session(e->callers[0], r, true, r->y[2]);
    for (size_t i = 0; i < n; i++)
        r->y[1][i] += r->y[2][i];
    expect_that(!memcmp(r->y[0], r->y[1], n * sizeof(float)),
                "%s: %s, %d threads: not ggml's product and the change, added", type, r->name, threads);
}

/* The whole product over ggml's memory: to the bit that over the same values in F32, which is near to the exact one. */
static void check_whole(engine *e, emr_session *wide, trial *r, const char *type, int threads)
{
    multiply_in_graph(e, r, threads, r->y[0]);
    multiply_in_session(wide, r, false, r->y[1]);
    expect_that(!memcmp(r->y[0], r->y[1], (size_t)(VECTORS * r->rows) * sizeof(float)),
                "%s: %s, %d threads: not the product over the same values in F32", type, r->name, threads);
    expect_that(is_within_bound(wide, r, r->y[0]), "%s: %s: beyond the bound of product.h", type, r->name);
}

static void check_products(const world *w, engine *e, const char *type)
{
    emr_error error;
    emr_session *wide_session;
    struct ggml_context *wide = convert_weights(e->weights, GGML_TYPE_F32);
    emr_model *wide_model = describe_weights(wide);
    engine plain = open_engine(w, WAY_PLAIN, e->weights, NULL, 0);
    const emr_session_options unchecked = {.size = sizeof unchecked, .check = EMR_BASE_CHECK_NONE};
    must_work(emr_session_create(&wide_session, w->bundle, wide_model, &unchecked, &error), &error);
    for (struct ggml_tensor *t = ggml_get_first_tensor(e->weights); t;
         t = ggml_get_next_tensor(e->weights, t)) {
        if (ggml_n_dims(t) != 2)
            continue;
        trial r = begin_trial(w, t);
        for (int threads = 1; threads <= THREADS; threads += THREADS - 1)
            if (e->way == WAY_CHANGE)
                check_change(e, &plain, &r, type, threads);
            else
                check_whole(e, wide_session, &r, type, threads);
        end_trial(&r);
    }
    emr_session_destroy(&wide_session);
    emr_model_destroy(&wide_model);
    ggml_free(wide);
}

/* ---- the table ---- */

/* Logits of all sequences, each [vocabulary, LENGTH]. */
typedef struct logits {
    float *values;
    size_t each;
} logits;

static logits make_logits(const world *w)
{
    size_t each = LENGTH * (size_t)w->net.vocabulary;
    return (logits){allocate_zeroed(each * SEQUENCES, sizeof(float)), each};
}

static float *logits_of(const logits *l, uint32_t sequence)
{
    return l->values + l->each * sequence;
}

static double largest_difference(const logits *a, const logits *b, uint32_t sequence)
{
    double largest = 0;
    for (size_t i = 0; i < a->each; i++) {
        double difference = fabs((double)logits_of(a, sequence)[i] - (double)logits_of(b, sequence)[i]);
        largest = difference <= largest ? largest : difference; /* NaN comes through */
    }
    return largest;
}

static bool are_same(const world *w, const logits *a, const logits *b)
{
    return !memcmp(a->values, b->values, a->each * (w->n_tasks + 1) * sizeof(float));
}

/* Each sequence by itself. */
static void run_alone(engine *e, const world *w, int threads, const logits *l)
{
    for (uint32_t s = 0; s <= w->n_tasks; s++)
        run_batch(e, w, &(company){{s}, 1}, threads, logits_of(l, s));
}

/* All side by side, in one order or the other. */
static void run_mixed(engine *e, const world *w, bool backwards, int threads, const logits *l)
{
    logits side_by_side = make_logits(w);
    company all = {.n = w->n_tasks + 1};
    for (uint32_t i = 0; i <= w->n_tasks; i++)
        all.who[i] = backwards ? w->n_tasks - i : i;
    run_batch(e, w, &all, threads, side_by_side.values);
    for (uint32_t i = 0; i <= w->n_tasks; i++)
        memcpy(logits_of(l, all.who[i]), logits_of(&side_by_side, i), l->each * sizeof(float));
    free(side_by_side.values);
}

/* What plain graphs say, each sequence by a model of its own; the last one by the base. */
static logits run_models(const world *w, struct ggml_context *const *models, struct ggml_context *base)
{
    logits l = make_logits(w);
    for (uint32_t s = 0; s <= w->n_tasks; s++) {
        engine plain = open_engine(w, WAY_PLAIN, s < w->n_tasks && models ? models[s] : base, NULL, 0);
        run_batch(&plain, w, &(company){{s}, 1}, 1, logits_of(&l, s));
    }
    return l;
}

/* What everything is compared with. */
typedef struct references {
    logits tuned;     /* the fine-tuned weights, F32, in a plain graph */
    logits rebuilt;   /* those that the bundle makes of them */
    logits whole_f32; /* whole products over the F32 base, once they are known */
} references;

/* Runs every way; whatever differs in threads, company, order or room for masks must not differ in results. */
static void check_runs(const world *w, engine *e, const char *label, logits results[4])
{
    logits other = make_logits(w);
    /* two blocks of the longest codes for each task: of 16 levels 2 KiB each */
    engine tight = open_engine(w, e->way, e->weights, e->bundle, (uint64_t)w->n_tasks * 2 * 2048);
    for (int i = 0; i < 4; i++) {
        results[i] = make_logits(w);
        if (i < 2)
            run_alone(e, w, i % 2 ? THREADS : 1, &results[i]);
        else
            run_mixed(e, w, false, i % 2 ? THREADS : 1, &results[i]);
        expect_that(are_same(w, &results[i], &results[0]), "%s: %s, %d threads: not the logits of each alone",
                    label, i < 2 ? "alone" : "mixed", i % 2 ? THREADS : 1);
    }
    run_mixed(e, w, true, THREADS, &other);
    expect_that(are_same(w, &other, &results[0]), "%s: logits depend on the order of the batch", label);
    run_mixed(&tight, w, false, THREADS, &other);
    expect_that(are_same(w, &other, &results[0]), "%s: logits depend on the room for masks", label);
    close_engine(&tight);
    free(other.values);
}

static void print_results(const world *w, const references *known, const char *type, const engine *e,
                          const logits *plain, const logits results[4])
{
    for (uint32_t s = 0; s <= w->n_tasks; s++) {
        printf("%-6s %-7s %-10s", type, e->way == WAY_CHANGE ? "change" : "whole",
               s < w->n_tasks ? w->names[s] : "(base)");
        for (int i = 0; i < 4; i++)
            printf(" %9.2e", largest_difference(&results[i], &known->tuned, s));
        printf(" %9.2e %9.2e\n", largest_difference(&results[0], &known->rebuilt, s),
               largest_difference(plain, &known->tuned, s));
    }
}

static void try_way(const world *w, references *known, const char *type, graph_way way,
                    struct ggml_context *weights)
{
    char label[64];
    logits results[4];
    bool f32 = !strcmp(type, "F32"), f16 = !strcmp(type, "F16");
    const emr_bundle *bundle = way == WAY_WHOLE && f16 ? w->bundle_f16 : w->bundle;
    logits plain = run_models(w, NULL, weights);
    engine e = open_engine(w, way, weights, bundle, 0);
    snprintf(label, sizeof label, "%s, %s", type, way == WAY_CHANGE ? "change" : "whole");
    check_products(w, &e, label);
    check_runs(w, &e, label, results);
    if (way == WAY_CHANGE)
        expect_that(largest_difference(&results[0], &plain, w->n_tasks) == 0,
                    "%s: the base is not ggml's own", label);
    if (f32)
        for (uint32_t s = 0; s <= w->n_tasks; s++)
            expect_that(largest_difference(&results[0], &known->rebuilt, s) < 1e-3,
                        "%s: %s: too far from the rebuilt weights, through ggml", label, w->names[s]);
    if (way == WAY_WHOLE && f32) {
        known->whole_f32 = make_logits(w);
        memcpy(known->whole_f32.values, results[0].values, results[0].each * SEQUENCES * sizeof(float));
    }
    if (way == WAY_WHOLE && f16)
        expect_that(are_same(w, &results[0], &known->whole_f32),
                    "%s: not the logits over the same base in F32", label);
    print_results(w, known, type, &e, &plain, results);
    for (int i = 0; i < 4; i++)
        free(results[i].values);
    free(plain.values);
    close_engine(&e);
}

static void try_type(const world *w, references *known, int type)
{
    const char *name = type == AS_READ ? "file" : ggml_type_name((enum ggml_type)type);
    if (!has_whole_blocks(w->base, type)) {
        printf("%-6s rows are no whole blocks of this type\n", name);
        return;
    }
    struct ggml_context *weights = convert_weights(type == AS_READ ? w->read : w->base, type);
    char upper[16] = "";
    for (size_t i = 0; name[i] && i + 1 < sizeof upper; i++)
        upper[i] =
            (char)(name[i] >= 'a' && name[i] <= 'z' && type != AS_READ ? name[i] - 'a' + 'A' : name[i]);
    try_way(w, known, upper, WAY_CHANGE, weights);
    if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_Q8_0)
        try_way(w, known, upper, WAY_WHOLE, weights);
    ggml_free(weights);
}

int main(int argc, char **argv)
{
    static const int types[] = {GGML_TYPE_F32,  GGML_TYPE_F16,  GGML_TYPE_Q8_0,
                                GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, AS_READ};
    static world w;
    ggml_cpu_init();
    if (argc > 1)
        read_world(&w, argv + 1, argc - 1);
    else
        draw_world(&w);
    prepare_world(&w);
    references known = {.tuned = run_models(&w, w.tuned, w.base),
                        .rebuilt = run_models(&w, w.rebuilt, w.base)};
    printf(
        "largest difference of logits to those of      the fine-tuned weights, F32, through ggml |   rebuilt"
        "     tuned\n"
        "of                                    alone               in a mixed batch              | the same "
        "    the base alone\n"
        "base   way     task        1 thread %d threads  1 thread %d threads\n",
        THREADS, THREADS);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] != AS_READ || w.read)
            try_type(&w, &known, types[i]);
    printf("%u checks, %u failed\n", checks.done, checks.failed);
    free(known.tuned.values);
    free(known.rebuilt.values);
    free(known.whole_f32.values);
    destroy_world(&w);
    return checks.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
