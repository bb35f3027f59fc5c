/* pleas_solve.c - one layer. With z = [z_A; z_B; 1], S = sum z z^T from the gram, u = T z the new inputs, M z the targets, and W_0 the
 * merged weights, the change of the weights solves
 *
 *     (T S T^T) D = T S E,      E = M^T - T^T W_0^T
 *
 * for each of three blocks of outputs: merged ones read all inputs, A's own all but B's, B's own all but A's. For SEPARATE both
 * sides are sums over the models, of whose T and M the other's columns are 0. */
#include "pleas.h"

#include "solve.h"
#include "weights.h"

#include <string.h>

enum { SEGMENT = 256, BLOCKS = 3 };

/* Which model a new unit is of. */
typedef enum kind { OF_BOTH, OF_A, OF_B } kind;

static kind kind_of(pleas_unit unit)
{
    if (unit.b == FIT_NOWHERE)
        return OF_A;
    return unit.a == FIT_NOWHERE ? OF_B : OF_BOTH;
}

typedef struct work {
    const fit_pleas *pleas;
    const fit_host *host;
    const pleas_layer *layer;
    size_t order;       /* of S */
    size_t n_all;       /* inputs, with the constant where there is a bias */
    fit_solved *result; /* W_0, in the end W */
    uint32_t *used;     /* inputs that the block reads */
    uint32_t *outputs;  /* its outputs */
    size_t n_used, n_block, n_panels, n_sides;
    fit_solved *errors; /* E, `order` rows */
    fit_solved *rights; /* T S E, n_used rows */
    fit_panel *moments; /* a panel of T S */
    fit_system system;
    size_t p;
    int pass; /* SEPARATE: the model that takes part; ENSEMBLE: -1, both */
    fit_failure failure;
} work;

static double *result_element(const work *w, size_t input, size_t output)
{
    return &w->result->sides[output / FIT_TILE][input][output % FIT_TILE];
}

/* How much of model m a new unit is, in the pass that is made. */
static double part_of(const work *w, pleas_unit unit, int m)
{
    if ((m ? unit.b : unit.a) == FIT_NOWHERE || (w->pass >= 0 && w->pass != m))
        return 0;
    return w->pass < 0 && kind_of(unit) == OF_BOTH ? 0.5 : 1;
}

/* W_0: output by output, or input by input. */
static void read_merged(void *arg, size_t i)
{
    work *w = arg;
    const pleas_layer *l = w->layer;
    double values[SEGMENT];
    emr_error error;
    size_t n = l->is_transposed ? l->n_outputs : l->n_inputs;
    for (size_t at = 0; at < n; at += SEGMENT) {
        size_t some = n - at < SEGMENT ? n - at : SEGMENT;
        emr_status status = fit_mix_read(&l->weight, (uint64_t)i * n + at, some, values, &error);
        if (status) {
            fit_note_failure(&w->failure, status, &error);
            return;
        }
        for (size_t k = 0; k < some; k++)
            *(l->is_transposed ? result_element(w, i, at + k) : result_element(w, at + k, i)) = values[k];
    }
}

static void read_merged_bias(work *w)
{
    double value;
    emr_error error;
    for (size_t o = 0; w->layer->bias.a && o < w->layer->n_outputs; o++) {
        emr_status status = fit_mix_read(&w->layer->bias, o, 1, &value, &error);
        if (status)
            fit_note_failure(&w->failure, status, &error);
        else
            *result_element(w, w->layer->n_inputs, o) = value;
    }
}

/* Number `k` of a model's old output, k from `at` on: one of its inputs each. */
static emr_status read_output(const work *w, int m, size_t output, size_t at, size_t n, double *values,
                              emr_error *error)
{
    const pleas_layer *l = w->layer;
    const emr_tensor *tensor = m ? l->weight.b : l->weight.a;
    uint64_t outputs = emr_tensor_count(tensor) / l->width;
    if (!l->is_transposed)
        return fit_read(tensor, (uint64_t)output * l->width + at, n, values, error);
    emr_status status = EMR_OK;
    for (size_t k = 0; !status && k < n; k++)
        status = fit_read(tensor, (uint64_t)(at + k) * outputs + output, 1, values + k, error);
    return status;
}

/* The targets of one output that are of model m: its own outputs. */
static emr_status add_targets(const work *w, int m, size_t output, fit_panel *to, size_t lane,
                              emr_error *error)
{
    double values[SEGMENT];
    pleas_unit unit = w->layer->outputs[output];
    double part = part_of(w, unit, m);
    size_t width = w->layer->width, old = m ? unit.b : unit.a;
    emr_status status = EMR_OK;
    for (size_t at = 0; !status && part > 0 && at < width; at += SEGMENT) {
        size_t n = width - at < SEGMENT ? width - at : SEGMENT;
        status = read_output(w, m, old, at, n, values, error);
        for (size_t k = 0; !status && k < n; k++)
            to[m ? width + w->layer->b_inputs[at + k] : at + k][lane] += part * values[k];
    }
    if (!status && part > 0 && w->layer->bias.a) {
        status = fit_read(m ? w->layer->bias.b : w->layer->bias.a, old, 1, values, error);
        if (!status)
            to[w->order - 1][lane] += part * values[0];
    }
    return status;
}

/* E of the block's outputs that share a side. */
static void fill_errors(void *arg, size_t side)
{
    work *w = arg;
    const pleas_layer *l = w->layer;
    emr_error error;
    fit_panel *to = w->errors->sides[side];
    memset(to, 0, w->order * sizeof *to);
    for (size_t i = side * FIT_TILE; i < (side + 1) * FIT_TILE && i < w->n_block; i++) {
        size_t lane = i % FIT_TILE, output = w->outputs[i];
        emr_status status = add_targets(w, 0, output, to, lane, &error);
        if (!status)
            status = add_targets(w, 1, output, to, lane, &error);
        if (status) {
            fit_note_failure(&w->failure, status, &error);
            return;
        }
        for (size_t u = 0; u < l->n_inputs; u++) {
            double merged = *result_element(w, u, output);
            if (part_of(w, l->inputs[u], 0) > 0)
                to[l->inputs[u].a][lane] -= part_of(w, l->inputs[u], 0) * merged;
            if (part_of(w, l->inputs[u], 1) > 0)
                to[l->width + l->inputs[u].b][lane] -= part_of(w, l->inputs[u], 1) * merged;
        }
        if (l->bias.a)
            to[w->order - 1][lane] -= *result_element(w, l->n_inputs, output);
    }
}

/* (T S)[u][k] */
static double input_moment(const work *w, size_t u, size_t k)
{
    const pleas_layer *l = w->layer;
    if (u == l->n_inputs)
        return *gram_element(l->site, w->order - 1, k);
    double sum = 0, of_a = part_of(w, l->inputs[u], 0), of_b = part_of(w, l->inputs[u], 1);
    if (of_a > 0)
        sum += of_a * *gram_element(l->site, l->inputs[u].a, k);
    if (of_b > 0)
        sum += of_b * *gram_element(l->site, l->width + l->inputs[u].b, k);
    return sum;
}

static void fill_pleas_moments(void *arg, size_t q)
{
    const work *w = arg;
    for (size_t k = q * FIT_TILE; k < (q + 1) * FIT_TILE && k < w->order; k++)
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = w->p * FIT_TILE + r;
            w->moments[k][r] = i < w->n_used ? input_moment(w, w->used[i], k) : 0;
        }
}

static void multiply_pleas_side(void *arg, size_t side)
{
    const work *w = arg;
    w->system.kernels->add(w->rights->sides[side] + w->p * FIT_TILE, (const fit_panel *)w->moments,
                           (const fit_panel *)w->errors->sides[side], w->order);
}

static void add_pleas_rights(work *w)
{
    fit_for(w->host, w->n_sides, fill_errors, w);
    for (w->p = 0; !w->failure.status && w->p < w->n_panels; w->p++) {
        fit_for(w->host, fit_n_panels(w->order), fill_pleas_moments, w);
        fit_for(w->host, w->n_sides, multiply_pleas_side, w);
    }
}

/* (T S T^T)[u][v], of one pass. */
static double pleas_moment(const work *w, size_t u, size_t v)
{
    const pleas_layer *l = w->layer;
    if (v == l->n_inputs)
        return input_moment(w, u, w->order - 1);
    double sum = 0, of_a = part_of(w, l->inputs[v], 0), of_b = part_of(w, l->inputs[v], 1);
    if (of_a > 0)
        sum += of_a * input_moment(w, u, l->inputs[v].a);
    if (of_b > 0)
        sum += of_b * input_moment(w, u, l->width + l->inputs[v].b);
    return sum;
}

static void fill_pleas_system(void *user, size_t p, fit_panel *row)
{
    work pass = *(const work *)user;
    const bool is_separate = pass.pleas->target == EMR_PLEAS_TARGET_SEPARATE;
    for (size_t k = 0; k < (p + 1) * FIT_TILE; k++)
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = p * FIT_TILE + r;
            double sum = 0;
            for (pass.pass = is_separate ? 0 : -1;
                 i < pass.n_used && k < pass.n_used && pass.pass <= (is_separate ? 1 : -1); pass.pass++)
                sum += pleas_moment(&pass, pass.used[i], pass.used[k]);
            row[k][r] = sum;
        }
}

static void choose_block(work *w, kind block)
{
    const pleas_layer *l = w->layer;
    w->n_used = w->n_block = 0;
    for (size_t u = 0; u < l->n_inputs; u++)
        if (block == OF_BOTH || kind_of(l->inputs[u]) == OF_BOTH || kind_of(l->inputs[u]) == block)
            w->used[w->n_used++] = (uint32_t)u;
    if (l->bias.a)
        w->used[w->n_used++] = (uint32_t)l->n_inputs;
    for (size_t o = 0; o < l->n_outputs; o++)
        if (kind_of(l->outputs[o]) == block)
            w->outputs[w->n_block++] = (uint32_t)o;
    w->n_panels = fit_n_panels(w->n_used);
    w->n_sides = fit_n_panels(w->n_block);
}

static void free_block(work *w)
{
    fit_system_destroy(&w->system);
    fit_solved_release(w->errors);
    fit_solved_release(w->rights);
    fit_release(w->host, w->moments);
    w->errors = w->rights = NULL;
    w->moments = NULL;
}

static emr_status make_block(work *w, emr_error *error)
{
    size_t rows = fit_n_panels(w->order) * FIT_TILE;
    emr_status status = fit_system_create(&w->system, w->host, w->n_used, error);
    if (status)
        return status;
    w->errors = fit_solved_create(w->host, 0, w->n_sides, rows);
    w->rights = fit_solved_create(w->host, 0, w->n_sides, w->n_panels * FIT_TILE);
    w->moments = fit_allocate(w->host, rows, sizeof *w->moments);
    return w->errors && w->rights && w->moments ? EMR_OK : fit_no_memory(error);
}

static emr_status run_block(work *w, emr_error *error)
{
    const bool is_separate = w->pleas->target == EMR_PLEAS_TARGET_SEPARATE;
    for (w->pass = is_separate ? 0 : -1; !w->failure.status && w->pass <= (is_separate ? 1 : -1); w->pass++)
        add_pleas_rights(w);
    if (w->failure.status)
        return w->failure.status;
    if (!fit_system_factor(&w->system, fill_pleas_system, w, w->pleas->ridge))
        return emr_error_format(error, EMR_ENONFINITE, "the sums of site '%s' are beyond what a number holds",
                                w->layer->site->name);
    fit_system_solve(&w->system, w->rights->sides, w->n_sides);
    for (size_t i = 0; i < w->n_block; i++)
        for (size_t k = 0; k < w->n_used; k++)
            *result_element(w, w->used[k], w->outputs[i]) += w->rights->sides[i / FIT_TILE][k][i % FIT_TILE];
    return EMR_OK;
}

static emr_status check_pleas_memory(const work *w, emr_error *error)
{
    uint64_t rows = fit_n_panels(w->order) * FIT_TILE + w->n_panels * FIT_TILE,
             side = rows * sizeof(fit_panel);
    uint64_t needed =
        fit_system_bytes(w->n_used) + w->n_sides * side + rows * sizeof(fit_panel) + w->result->bytes;
    uint64_t cap = w->host->memory_bytes;
    if (!cap || needed <= cap)
        return EMR_OK;
    return emr_error_format(error, EMR_ELIMIT,
                            "solving %u outputs of %u inputs takes %u bytes, and memory_bytes is %u",
                            (uint64_t)w->n_block, (uint64_t)w->n_used, needed, cap);
}

static emr_status solve_blocks(work *w, emr_error *error)
{
    const pleas_layer *l = w->layer;
    fit_for(w->host, l->is_transposed ? l->n_inputs : l->n_outputs, read_merged, w);
    read_merged_bias(w);
    emr_status status = w->failure.status;
    for (int block = OF_BOTH; !status && block < BLOCKS; block++) {
        choose_block(w, (kind)block);
        if (!w->n_block)
            continue;
        status = check_pleas_memory(w, error);
        if (!status)
            status = make_block(w, error);
        if (!status)
            status = run_block(w, error);
        free_block(w);
    }
    if (w->failure.status && error)
        *error = w->failure.error;
    return status;
}

emr_status fit_pleas_solve(void *user, const fit_host *host, size_t layer, fit_solved **solved,
                           emr_error *error)
{
    const fit_pleas *pleas = user;
    const pleas_layer *l = &pleas->layers[layer];
    work w = {.pleas = pleas,
              .host = host,
              .layer = l,
              .order = l->site->order,
              .failure = {.is_noted = ATOMIC_FLAG_INIT}};
    w.n_all = l->n_inputs + (l->bias.a ? 1 : 0);
    w.result =
        fit_solved_create(&pleas->host, layer, fit_n_panels(l->n_outputs), fit_n_panels(w.n_all) * FIT_TILE);
    w.used = fit_allocate(host, w.n_all, sizeof *w.used);
    w.outputs = fit_allocate(host, l->n_outputs, sizeof *w.outputs);
    emr_status status = w.result && w.used && w.outputs ? solve_blocks(&w, error) : fit_no_memory(error);
    fit_release(host, w.used);
    fit_release(host, w.outputs);
    if (status)
        fit_solved_release(w.result);
    else
        *solved = w.result;
    return status;
}
