/* match.c - emr_match: groups in turn. By inner products (Git Re-Basin's algorithm 1) a group is changed where that raises the sum,
 * until a round changes nothing; by correlations (MuDSC) always, and of all rounds the best one is kept. A group is solved again only
 * if what its similarity is made of has moved since: anything else would come out as it is. */
#include "match.h"

#include "draw.h"
#include "options.h"

#include <string.h>

#define PROGRESS 1e-12

/* Of a group: what it reached last, and whether it is to be solved. */
typedef struct group_state {
    double value;
    bool is_due;
} group_state;

typedef struct matching {
    fit_host host;
    emr_match_options o;
    const emr_permutation_spec *spec;
    const emr_model *a, *b;
    emr_permutation *now;        /* that is being made better */
    emr_permutation *best;       /* of all rounds */
    fit_similarity *activations; /* of each group, which do not change */
    bool *is_seen;               /* the group has activations */
    group_state *states;         /* of each group */
    group_state *best_states;
    size_t *order;
    emr_similarity_kind kind;
    double balance;
    uint32_t rounds_max, patience;
    uint64_t state; /* of the random orders */
    uint64_t n_solved;
    emr_match_report report;
} matching;

static emr_status check_match(const emr_match_options *o, emr_error *error)
{
    if (o->space > EMR_MATCH_SPACE_BOTH || o->similarity > EMR_SIMILARITY_KIND_CORRELATION)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_match_options: space or similarity is none that there is");
    if (o->use_balance && !(o->balance >= 0 && o->balance <= 1))
        return emr_error_format(error, EMR_EINVAL, "emr_match_options: balance is from 0 to 1");
    if (o->space == EMR_MATCH_SPACE_BOTH && o->similarity == EMR_SIMILARITY_KIND_INNER)
        return emr_error_format(
            error, EMR_EINVAL,
            "emr_match_options: inner products of weights and of activations cannot be balanced");
    if (o->space != EMR_MATCH_SPACE_WEIGHTS && (!o->gram || emr_gram_n_sites(o->gram) == 0))
        return emr_error_format(error, EMR_EINVAL, "emr_match_options: activations need a gram");
    return EMR_OK;
}

static void order_groups(matching *m)
{
    size_t n = m->spec->n_groups;
    for (size_t i = 0; i < n; i++)
        m->order[i] = i;
    fit_shuffle(m->order, m->o.seed ? n : 0, &m->state);
}

/* balance * weights + (1 - balance) * activations. */
static void blend(const matching *m, const spec_group *g, fit_similarity *weights,
                  const fit_similarity *activations)
{
    for (int part = 0; part < N_PARTS; part++) {
        size_t n = weights->of[part] ? (size_t)spec_part_units(g, (spec_part)part) : 0;
        for (size_t i = 0; i < n * n; i++)
            weights->of[part][i] = m->balance * weights->of[part][i] +
                                   (1 - m->balance) * (activations->of[part] ? activations->of[part][i] : 0);
    }
}

static void swap_units(group_units *a, group_units *b)
{
    group_units held = *a;
    *a = *b;
    *b = held;
}

static bool shares_tensor(const spec_group *g, const spec_group *other)
{
    for (size_t i = 0; i < g->n_axes; i++)
        for (size_t k = 0; g->axes[i].is_matched && k < other->n_axes; k++)
            if (other->axes[k].axis != g->axes[i].axis && !strcmp(other->axes[k].tensor, g->axes[i].tensor))
                return true;
    return false;
}

/* Group i has moved: so have the other axes of the tensors that others, or it itself, are compared by. */
static void note_move(matching *m, size_t i)
{
    for (size_t k = 0; k < m->spec->n_groups; k++)
        if (!m->states[k].is_due)
            m->states[k].is_due = shares_tensor(&m->spec->groups[k], &m->spec->groups[i]);
}

/* Solves a group into `room`, and takes it where it is to be taken. */
static emr_status solve_group(matching *m, size_t i, emr_permutation *room, const fit_similarity *similarity,
                              bool *changed, emr_error *error)
{
    const spec_group *g = &m->spec->groups[i];
    double old = fit_match_value(g, similarity, &m->now->groups[i]), reached;
    emr_status status = fit_match_group(&m->host, g, similarity, &room->groups[i], &reached, error);
    if (status)
        return status;
    *changed = m->kind == EMR_SIMILARITY_KIND_CORRELATION || reached > old + PROGRESS;
    m->states[i] = (group_state){.value = *changed ? reached : old};
    if (m->kind == EMR_SIMILARITY_KIND_CORRELATION)
        m->states[i].value /= (double)fit_match_count(g, similarity);
    if (*changed) {
        swap_units(&m->now->groups[i], &room->groups[i]);
        if (!fit_permutation_same_group(g, &m->now->groups[i], &room->groups[i]))
            note_move(m, i);
    }
    return EMR_OK;
}

static emr_status match_by_weights(matching *m, size_t i, emr_permutation *room, bool *changed,
                                   emr_error *error)
{
    const spec_group *g = &m->spec->groups[i];
    fit_similarity similarity;
    emr_status status = fit_weight_similarity(&similarity, &m->host, m->now, i, m->a, m->b, m->kind, error);
    if (status)
        return status;
    if (m->o.space == EMR_MATCH_SPACE_BOTH && m->is_seen[i])
        blend(m, g, &similarity, &m->activations[i]);
    status = solve_group(m, i, room, &similarity, changed, error);
    fit_similarity_clear(&similarity);
    return status;
}

/* A round over all groups; *progress: whether one changed. */
static emr_status match_round(matching *m, emr_permutation *room, bool *progress, emr_error *error)
{
    emr_status status = EMR_OK;
    *progress = false;
    m->report.n_rounds++;
    order_groups(m);
    for (size_t k = 0; !status && k < m->spec->n_groups; k++) {
        bool changed = false;
        if (m->states[m->order[k]].is_due)
            status = match_by_weights(m, m->order[k], room, &changed, error);
        *progress = *progress || changed;
        if (!status)
            status = fit_progress(&m->host, ++m->n_solved, (uint64_t)m->spec->n_groups * m->rounds_max,
                                  "matching", error);
    }
    return status;
}

static double mean_value(const matching *m)
{
    double sum = 0;
    for (size_t i = 0; i < m->spec->n_groups; i++)
        sum += m->states[i].value;
    return sum / (double)m->spec->n_groups;
}

static emr_status ascend(matching *m, emr_permutation *room, emr_error *error)
{
    emr_status status = EMR_OK;
    bool progress = true;
    while (!status && progress && m->report.n_rounds < m->rounds_max)
        status = match_round(m, room, &progress, error);
    for (size_t i = 0; i < m->spec->n_groups; i++)
        m->report.value += m->states[i].value;
    return status;
}

static emr_status keep_now(matching *m, emr_error *error)
{
    emr_permutation_destroy(&m->best);
    memcpy(m->best_states, m->states, m->spec->n_groups * sizeof *m->states);
    return fit_permutation_copy(m->now, &m->host, &m->best, error);
}

static emr_status go_back_to_best(matching *m, emr_error *error)
{
    emr_permutation_destroy(&m->now);
    memcpy(m->states, m->best_states, m->spec->n_groups * sizeof *m->states);
    return fit_permutation_copy(m->best, &m->host, &m->now, error);
}

static emr_status keep_best_round(matching *m, emr_permutation *room, emr_error *error)
{
    emr_status status = EMR_OK;
    uint32_t stale = 0;
    while (!status && m->report.n_rounds < m->rounds_max && stale < m->patience) {
        bool progress;
        status = match_round(m, room, &progress, error);
        if (status)
            return status;
        double value = mean_value(m);
        if (m->best && value <= m->report.value) {
            stale++;
            status = go_back_to_best(m, error);
        } else {
            stale = 0;
            m->report.value = value;
            status = keep_now(m, error);
        }
    }
    return status ? status : go_back_to_best(m, error);
}

/* Each group's activations, and the permutation that is best for them alone. */
static emr_status match_activations(matching *m, emr_permutation *room, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < m->spec->n_groups; i++) {
        const spec_group *g = &m->spec->groups[i];
        double value = 0;
        status = fit_activation_similarity(&m->activations[i], &m->host, g, m->o.gram, m->a, m->b, m->kind,
                                           &m->is_seen[i], error);
        if (!status && m->is_seen[i] && (!m->o.start || m->o.space == EMR_MATCH_SPACE_ACTIVATIONS)) {
            status = fit_match_group(&m->host, g, &m->activations[i], &room->groups[i], &value, error);
            if (!status)
                swap_units(&m->now->groups[i], &room->groups[i]);
        }
        m->report.n_groups += m->is_seen[i];
        m->report.value += m->kind == EMR_SIMILARITY_KIND_CORRELATION && m->is_seen[i]
                               ? value / (double)fit_match_count(g, &m->activations[i])
                               : value;
        if (m->o.space == EMR_MATCH_SPACE_ACTIVATIONS && !status)
            status = fit_progress(&m->host, i + 1, m->spec->n_groups, "matching", error);
    }
    if (m->kind == EMR_SIMILARITY_KIND_CORRELATION && m->report.n_groups)
        m->report.value /= m->report.n_groups;
    return status;
}

static emr_status run_matching(matching *m, emr_permutation *room, emr_error *error)
{
    emr_status status = EMR_OK;
    if (m->o.space != EMR_MATCH_SPACE_WEIGHTS)
        status = match_activations(m, room, error);
    if (status || m->o.space == EMR_MATCH_SPACE_ACTIVATIONS)
        return status;
    m->report.n_groups = (uint32_t)m->spec->n_groups;
    m->report.value = 0;
    if (!m->spec->n_groups)
        return EMR_OK;
    return m->kind == EMR_SIMILARITY_KIND_CORRELATION ? keep_best_round(m, room, error)
                                                      : ascend(m, room, error);
}

static emr_status make_matching(matching *m, emr_permutation **room, emr_error *error)
{
    size_t n = m->spec->n_groups;
    m->activations = fit_allocate(&m->host, n, sizeof *m->activations);
    m->is_seen = fit_allocate(&m->host, n, sizeof *m->is_seen);
    m->states = fit_allocate(&m->host, n, sizeof *m->states);
    m->best_states = fit_allocate(&m->host, n, sizeof *m->best_states);
    m->order = fit_allocate(&m->host, n, sizeof *m->order);
    if (!m->activations || !m->is_seen || !m->states || !m->best_states || !m->order)
        return fit_no_memory(error);
    for (size_t i = 0; i < n; i++) {
        m->activations[i].host = &m->host;
        m->states[i].is_due = true;
    }
    emr_status status = emr_permutation_create(room, m->spec, &m->host.allocator, error);
    if (status)
        return status;
    return m->o.start ? fit_permutation_copy(m->o.start, &m->host, &m->now, error)
                      : emr_permutation_create(&m->now, m->spec, &m->host.allocator, error);
}

static void free_matching(matching *m)
{
    for (size_t i = 0; m->activations && i < m->spec->n_groups; i++)
        fit_similarity_clear(&m->activations[i]);
    fit_release(&m->host, m->activations);
    fit_release(&m->host, m->is_seen);
    fit_release(&m->host, m->states);
    fit_release(&m->host, m->best_states);
    fit_release(&m->host, m->order);
    emr_permutation_destroy(&m->best);
}

static emr_status check_match_models(const matching *m, emr_error *error)
{
    emr_status status = emr_permutation_spec_check(m->spec, m->a, error);
    if (!status)
        status = emr_permutation_spec_check(m->spec, m->b, error);
    if (!status && m->o.gram && m->o.space != EMR_MATCH_SPACE_WEIGHTS)
        status = fit_check_gram(m->o.gram, 2, "emr_match_options", error);
    if (!status && m->o.start && m->o.start->spec != m->spec)
        status =
            emr_error_format(error, EMR_EINVAL, "emr_match_options: start is a permutation of another spec");
    return status;
}

emr_status emr_match(const emr_permutation_spec *spec, const emr_model *a, const emr_model *b,
                     const emr_match_options *options, emr_permutation **permutation,
                     emr_match_report *report, emr_error *error)
{
    matching m = {.spec = spec, .a = a, .b = b};
    emr_permutation *room = NULL;
    if (permutation)
        *permutation = NULL;
    if (!spec || !a || !b || !permutation)
        return emr_error_format(error, EMR_EINVAL, "emr_match: NULL");
    emr_status status = FIT_TAKE(&m.o, options, emr_match_options, reserved, error);
    if (!status)
        status = check_match(&m.o, error);
    if (!status)
        status = fit_check_report(report, error);
    if (!status)
        status = fit_host_take(&m.host, m.o.resources, error);
    if (!status)
        status = check_match_models(&m, error);
    if (status)
        return status;
    m.kind = m.o.similarity                      ? m.o.similarity
             : m.o.space == EMR_MATCH_SPACE_BOTH ? EMR_SIMILARITY_KIND_CORRELATION
                                                 : EMR_SIMILARITY_KIND_INNER;
    m.balance = m.o.use_balance ? m.o.balance : 0.5;
    m.rounds_max = m.o.max_rounds ? m.o.max_rounds : 100;
    m.patience = m.o.patience ? m.o.patience : 5;
    m.state = m.o.seed;
    m.report.size = sizeof m.report;
    status = make_matching(&m, &room, error);
    if (!status)
        status = run_matching(&m, room, error);
    free_matching(&m);
    emr_permutation_destroy(&room);
    if (!status && report)
        (void)FIT_GIVE(report, &m.report, emr_match_report, n_groups);
    if (status)
        emr_permutation_destroy(&m.now);
    else
        *permutation = m.now;
    return status;
}
