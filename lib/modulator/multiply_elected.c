/* multiply_elected.c - multiplies by the weights of tasks with unified values: see tile.h. Freestanding. */
#include "modulator/tile.h"

#include "numeric/convert.h"

static uint32_t *vector_codes(emr_tile *t, size_t v)
{
    return t->work.elected.codes + v * EMR_DOT_WORDS;
}

/* Unified values of the first vector's window from its parameter number `i` on. */
static const void *unified_at(const emr_tile *t, size_t i)
{
    const emr_code_window *w = &t->reached[0].w;
    return (const uint8_t *)w->unified + i * emr_float_size(w->unified_dtype);
}

static emr_status reach_elected(emr_tile *t, size_t v, uint64_t at, emr_error *error)
{
    return emr_tile_reach(t, v, &t->reached[v], at, v == 0 ? EMR_WINDOW_ALL : EMR_WINDOW_SCALED, NULL, error);
}

/* Words of a vector's codes of n columns. */
static size_t words_of(size_t n)
{
    return (n + EMR_LANES - 1) / EMR_LANES;
}

/* A vector's codes of parameters [at, at + n), and for the first one the unified values, when they do not lie
 * in one piece or are no whole number of words. What is missing to whole words is 0. */
static emr_status gather_parts(emr_tile *t, size_t v, uint64_t at, size_t n, emr_error *error)
{
    memset(vector_codes(t, v), 0, words_of(n) * sizeof(uint32_t));
    if (v == 0)
        memset(t->work.elected.unified, 0, sizeof t->work.elected.unified);
    for (size_t done = 0, part; done < n; done += part) {
        emr_status status = reach_elected(t, v, at + done, error);
        if (status)
            return status;
        const emr_reach *r = &t->reached[v];
        size_t from = (size_t)(at + done - r->first), size = emr_float_size(r->w.unified_dtype);
        part = (size_t)emr_min(n - done, r->end - (at + done));
        if (r->w.codes)
            emr_copy_bits(vector_codes(t, v), done, r->w.codes, r->w.first_code + from, part);
        if (v == 0)
            memcpy(t->work.elected.unified + done * size, unified_at(t, from), part * size);
    }
    return EMR_OK;
}

/* The same where they lie in one piece of whole words: unified values are left there. */
static void copy_codes(emr_tile *t, size_t v, uint64_t at, size_t n)
{
    const emr_reach *r = &t->reached[v];
    size_t first = r->w.first_code + (size_t)(at - r->first);
    if (r->w.codes)
        emr_copy_words(vector_codes(t, v), r->w.codes, first, words_of(n));
    else
        memset(vector_codes(t, v), 0, words_of(n) * sizeof(uint32_t));
}

/* Codes and scales of one vector for parameters [at, at + n); for the first, *unified is where the unified
 * values of all lie. */
static emr_status prepare_vector(emr_tile *t, size_t v, uint64_t at, size_t n, const void **unified,
                                 emr_error *error)
{
    size_t n_scales = t->kind->n_scales;
    emr_status status = reach_elected(t, v, at, error);
    if (status)
        return status;
    const emr_reach *r = &t->reached[v];
    for (size_t k = 0; k < n_scales; k++) /* a row's, whatever comes after this reach */
        t->work.elected.scales[v * n_scales + k] = r->w.scales[k];
    bool whole = n % EMR_LANES == 0 && r->end - at >= n;
    if (v == 0)
        *unified = whole ? unified_at(t, (size_t)(at - r->first)) : t->work.elected.unified;
    if (!whole)
        return gather_parts(t, v, at, n, error);
    copy_codes(t, v, at, n);
    return EMR_OK;
}

/* What an earlier vector of the same task has. */
static void repeat_vector(emr_tile *t, size_t v, size_t same)
{
    size_t n_scales = t->kind->n_scales;
    float *scales = t->work.elected.scales;
    memcpy(vector_codes(t, v), vector_codes(t, same), EMR_DOT_WORDS * sizeof(uint32_t));
    for (size_t k = 0; k < n_scales; k++)
        scales[v * n_scales + k] = scales[same * n_scales + k];
}

static emr_status multiply_elected_stripe(emr_tile *t, const emr_stripe *s, emr_error *error)
{
    const void *unified = NULL;
    bool shared = true;
    for (size_t v = 0; v < t->n; v++)
        shared = shared && t->same[v] == 0;
    for (size_t v = 0; v < (shared ? 1 : t->n); v++) {
        emr_status status = EMR_OK;
        if (t->same[v] < v)
            repeat_vector(t, v, t->same[v]);
        else
            status = prepare_vector(t, v, s->at, s->n, &unified, error);
        if (status)
            return status;
    }
    emr_dot d = emr_tile_dot(t, s);
    d.unified = unified;
    d.unified_dtype = t->reached[0].w.unified_dtype;
    d.codes = t->work.elected.codes;
    d.scales = t->work.elected.scales;
    d.shared = shared;
    t->kernels[0].dot(&d);
    return EMR_OK;
}

emr_status emr_multiply_elected(emr_tile *t, uint64_t row, emr_error *error)
{
    emr_status status = EMR_OK;
    for (emr_stripe s = emr_first_stripe(t, row); !status && s.n; emr_next_stripe(t, &s))
        status = multiply_elected_stripe(t, &s, error);
    return status;
}
