/* ggml_engine.c - see ggml_engine.h. */
#include "ggml_engine.h"

#include <ggml-alloc.h>
#include <ggml-cpu.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* What a node of the graph is told: of which tensor it multiplies or gathers rows. */
struct operation {
    engine *engine;
    const uint64_t *rows; /* gathered; NULL: the only one */
    uint32_t tensor;
};

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
                                 .batch = e->batch->n,
                                 .first_row = (uint64_t)first,
                                 .n_rows = (uint64_t)n,
                                 .without_base = e->way == WAY_CHANGE};
    note_failure(e, ith, emr_session_multiply(e->callers[ith], e->batch->tasks, &product, &error), &error);
}

/* dst [columns, tokens]: for each token a row of the tensor, as its own task has it. */
static void gather_share(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const operation *o = user;
    engine *e = o->engine;
    int64_t first, n;
    emr_error error;
    if (!take_share(e, ith, nth, (int64_t)e->batch->n, &first, &n))
        return;
    const emr_gather gather = {.size = sizeof gather,
                               .tensor = o->tensor,
                               .tasks = e->batch->tasks + first,
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
    struct ggml_tensor *rows =
        ggml_custom_4d(g, GGML_TYPE_F32, w->ne[0], tokens->ne[0], 1, 1, &tokens, 1, gather_share,
                       GGML_N_TASKS_MAX, add_operation(e, w, e->batch->tokens));
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
    bool tied = !ggml_get_tensor(e->weights, "output.weight");
    return multiply_by(e, g, tied ? "token_embd" : "output", -1, norm_by(e, g, "output_norm", -1, x));
}

/* ---- running ---- */

static void yield_thread(void *user)
{
    (void)user;
    sched_yield();
}

/* The number of nodes of a graph, with room to spare. */
static size_t room_for_nodes(const network *net)
{
    return 128 + 64 * (size_t)net->n_layers;
}

void open_engine(engine *e, const network *net, struct ggml_context *weights, graph_way way,
                 const emr_bundle *bundle, uint64_t mask_bytes)
{
    emr_error error;
    *e = (engine){.net = net, .weights = weights, .bundle = bundle, .way = way};
    if (way == WAY_PLAIN)
        return;
    emr_session_options options = {.size = sizeof options, .mask_bytes = mask_bytes, .wait = yield_thread};
    options.without_base = way == WAY_CHANGE;
    options.check = EMR_BASE_CHECK_NONE; /* a quantised base is not the one that was merged */
    e->operations = allocate_zeroed(room_for_nodes(net), sizeof *e->operations);
    if (way == WAY_WHOLE)
        e->base = describe_weights(weights);
    must_work(emr_session_create(&e->callers[0], bundle, e->base, &options, &error), &error);
    for (e->n_callers = 1; e->n_callers < THREADS; e->n_callers++)
        must_work(emr_session_open_thread(&e->callers[e->n_callers], e->callers[0], &error), &error);
}

void close_engine(engine *e)
{
    while (e->n_callers)
        emr_session_destroy(&e->callers[--e->n_callers]);
    emr_model_destroy(&e->base);
    free(e->operations);
}

/* The graph in hand: its tensors are described in `about`, and lie where ggml's allocator puts them. */
typedef struct running {
    struct ggml_context *about;
    struct ggml_cgraph *graph;
    ggml_gallocr_t memory;
} running;

static running begin_graph(engine *e, const batch *b)
{
    size_t nodes = room_for_nodes(e->net);
    const struct ggml_init_params room = {.mem_size = nodes * ggml_tensor_overhead() +
                                                      ggml_graph_overhead_custom(nodes, false),
                                          .no_alloc = true};
    running r = {.about = ggml_init(room)};
    stop_if(!r.about, "out of memory");
    r.graph = ggml_new_graph_custom(r.about, nodes, false);
    e->n_operations = 0;
    e->batch = b;
    return r;
}

static struct ggml_tensor *add_input(const running *r, enum ggml_type type, int64_t columns, size_t n)
{
    struct ggml_tensor *input = ggml_new_tensor_2d(r->about, type, columns, (int64_t)n);
    ggml_set_input(input);
    return input;
}

/* Once it is known what is computed, there is memory for inputs too. */
static void place_graph(running *r, struct ggml_tensor *result)
{
    ggml_set_output(result);
    ggml_build_forward_expand(r->graph, result);
    r->memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
    stop_if(!r->memory || !ggml_gallocr_alloc_graph(r->memory, r->graph), "out of memory");
}

static void finish_graph(engine *e, running *r, int threads, const struct ggml_tensor *result, float *values)
{
    struct ggml_cplan plan = ggml_graph_plan(r->graph, threads, NULL);
    plan.work_data = allocate_zeroed(plan.work_size, 1);
    stop_if(ggml_graph_compute(r->graph, &plan) != GGML_STATUS_SUCCESS, "ggml could not compute the graph");
    for (int i = 0; i < THREADS; i++)
        must_work(e->statuses[i], &e->errors[i]);
    memcpy(values, result->data, ggml_nbytes(result));
    free(plan.work_data);
    ggml_gallocr_free(r->memory);
    ggml_free(r->about);
}

void run_batch(engine *e, const batch *b, int threads, float *logits)
{
    running r = begin_graph(e, b);
    struct ggml_tensor *tokens = add_input(&r, GGML_TYPE_I32, (int64_t)b->n, 1);
    struct ggml_tensor *positions = add_input(&r, GGML_TYPE_I32, (int64_t)b->n, 1);
    struct ggml_tensor *result = run_layers(e, r.about, tokens, positions);
    place_graph(&r, result);
    for (size_t i = 0; i < b->n; i++) {
        ((int32_t *)tokens->data)[i] = (int32_t)b->tokens[i];
        ((int32_t *)positions->data)[i] = (int32_t)(i % LENGTH);
    }
    finish_graph(e, &r, threads, result, logits);
}

void run_product(engine *e, const batch *b, struct ggml_tensor *weight, const float *x, int threads, float *y)
{
    running r = begin_graph(e, b);
    struct ggml_tensor *vectors = add_input(&r, GGML_TYPE_F32, weight->ne[0], b->n);
    struct ggml_tensor *result = multiply_with(e, r.about, weight, vectors);
    place_graph(&r, result);
    memcpy(vectors->data, x, ggml_nbytes(vectors));
    finish_graph(e, &r, threads, result, y);
}
