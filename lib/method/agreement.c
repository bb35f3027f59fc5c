/* agreement.c - see agreement.h. The kernel (numeric/votes.h) has the formula; it sees many inputs at once, but not any
 * number of them: then sums wait for the next ones. */
#include "method/agreement.h"

#include "core/bytes.h"
#include "core/memory.h"
#include "method/draw.h"
#include "numeric/kernels.h"

#include <string.h>

enum {
    AT_ONCE = 32,      /* inputs */
    DRAWN_STEP = 2048, /* elements whose bits are kept */
    SUMMED_STEP = 512, /* and whose sums wait */
};

static float weight_of(const emr_method_tensor *tensor, uint32_t input)
{
    return (float)emr_method_value(tensor, input, EMR_AGREEMENT_WEIGHT);
}

/* What the sum of all is divided by. */
static float total_weight(const emr_method_tensor *tensor)
{
    float sum = 0;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        sum += weight_of(tensor, t);
    return sum < 1e-8F && sum > -1e-8F ? 1 : sum;
}

static emr_vote begin_vote(const emr_method_tensor *tensor, bool elects)
{
    return (emr_vote){.elects = elects,
                      .normalizes = emr_method_value(tensor, 0, EMR_AGREEMENT_NORMALIZE) != 0,
                      .divisor = total_weight(tensor),
                      .lambda = (float)emr_method_value(tensor, 0, EMR_AGREEMENT_LAMBDA)};
}

static emr_vote_sums lay_out_sums(float *memory, size_t n)
{
    return (emr_vote_sums){memory, memory + n, memory + 2 * n, memory + 3 * n, memory + 4 * n};
}

static emr_vote_kernels vote_kernels(const emr_method_tensor *tensor)
{
    const emr_kernels *kernels = tensor->library ? tensor->library : emr_kernels_select();
    return kernels->votes.mix ? kernels->votes : emr_votes_c;
}

/* The voters of some of a chunk's inputs, for a step. */
typedef struct mixing {
    const emr_method_chunk *chunk;
    emr_sparsity_fn sparsity;
    emr_vote_kernels votes;
    emr_random_kernels random;
    emr_vote vote;
    uint32_t first_input;
    bool draws; /* any of them */
    emr_sparsity sparsities[AT_ONCE];
    emr_voter voters[AT_ONCE];
    uint16_t kept[AT_ONCE][DRAWN_STEP / 16];
} mixing;

static void take_inputs(mixing *m, uint32_t first)
{
    const emr_method_tensor *tensor = m->chunk->tensor;
    const uint32_t left = tensor->n_inputs - first;
    m->first_input = first;
    m->vote.n_voters = left < AT_ONCE ? left : AT_ONCE;
    m->vote.goes_on = first > 0;
    m->vote.is_open = left > AT_ONCE;
    m->draws = false;
    for (uint32_t v = 0; v < m->vote.n_voters; v++) {
        emr_sparsity *s = &m->sparsities[v];
        *s = m->sparsity ? m->sparsity(tensor, first + v) : (emr_sparsity){.scale = 1};
        m->voters[v] = (emr_voter){.scale = s->scale, .weight = weight_of(tensor, first + v)};
        m->draws = m->draws || s->is_drawn;
    }
}

static void draw_kept(mixing *m, size_t at, size_t n)
{
    for (uint32_t v = 0; v < m->vote.n_voters; v++) {
        const emr_sparsity *s = &m->sparsities[v];
        const emr_random_draw draw = {s->key, s->threshold, m->chunk->first + at, n};
        if (s->is_drawn)
            m->random.choose(&draw, m->kept[v]);
        else
            memset(m->kept[v], 0xff, sizeof m->kept[v]);
        m->voters[v].kept = m->kept[v];
    }
}

/* Returns for how many of n elements, at least one, they are the same. */
static size_t set_bounds(mixing *m, size_t at, size_t n)
{
    for (uint32_t v = 0; v < m->vote.n_voters; v++)
        n = emr_magnitude_bounds(m->chunk, m->sparsities[v].cuts, at, n, &m->voters[v].above,
                                 &m->voters[v].below);
    return n;
}

static void mix_step(mixing *m, size_t at, size_t n)
{
    float *out = m->chunk->out + at;
    for (uint32_t v = 0; v < m->vote.n_voters; v++)
        m->voters[v].values = m->chunk->inputs[m->first_input + v] + at;
    if (m->draws)
        draw_kept(m, at, n);
    for (size_t from = 0, same; from < n; from += same) {
        same = m->draws ? n : set_bounds(m, at + from, n - from);
        m->vote.first = from;
        m->votes.mix(&m->vote, same, out + from);
    }
}

/* Elements of the step at a place of the chunk; the next one begins where it is drawn best. */
static size_t choose_step(const mixing *m, size_t at)
{
    const emr_method_chunk *c = m->chunk;
    const size_t most = c->tensor->n_inputs > AT_ONCE ? SUMMED_STEP : m->draws ? DRAWN_STEP : SIZE_MAX;
    return (size_t)emr_min(c->n - at, most - (c->first + at) % most);
}

void emr_agreement_combine(const emr_method_chunk *c, bool elects, emr_sparsity_fn sparsity)
{
    const uint32_t n_inputs = c->tensor->n_inputs;
    float sums[EMR_AGREEMENT_FLOATS * SUMMED_STEP];
    mixing m = {.chunk = c,
                .sparsity = sparsity,
                .votes = vote_kernels(c->tensor),
                .random = emr_draw_kernels(c->tensor),
                .vote = begin_vote(c->tensor, elects)};
    m.vote.voters = m.voters;
    m.vote.sums = lay_out_sums(sums, SUMMED_STEP);
    take_inputs(&m, 0);
    for (size_t at = 0, n; at < c->n; at += n) {
        n = choose_step(&m, at);
        for (uint32_t first = 0; first < n_inputs; first += AT_ONCE) {
            if (n_inputs > AT_ONCE)
                take_inputs(&m, first);
            mix_step(&m, at, n);
        }
    }
}

void emr_agreement_add(const emr_method_chunk *c, bool elects, uint32_t input, const float *sparse,
                       float scale, float *sums)
{
    const emr_voter voter = {.values = sparse,
                             .above = -1,
                             .below = emr_f32_from_bits(0x7f800000), /* infinity */
                             .scale = scale,
                             .weight = weight_of(c->tensor, input)};
    emr_vote vote = begin_vote(c->tensor, elects);
    vote.voters = &voter;
    vote.n_voters = 1;
    vote.sums = lay_out_sums(sums, c->n);
    vote.goes_on = input > 0;
    vote.is_open = input + 1 < c->tensor->n_inputs;
    vote_kernels(c->tensor).mix(&vote, c->n, c->out);
}
