/* fit_ensemble_split.c - which samples are held out: of each label its share, drawn at random. */
#include "ensemble.h"

#include "draw.h"

/* How many of each label: of m of them the share, what the labels before owe or are owed included; one at least of three or more;
 * never all. */
static void share_out(double share, size_t *counts, size_t n_labels)
{
    double owed = 0;
    for (size_t label = 0; label < n_labels; label++) {
        const size_t m = counts[label];
        owed += share * (double)m;
        size_t n = owed > 0 ? (size_t)owed : 0;
        n = n < 1 && m >= 3 && share > 0 ? 1 : n;
        n = m && n > m - 1 ? m - 1 : n;
        counts[label] = m ? n : 0;
        owed -= (double)counts[label];
    }
}

static size_t split_labels(const ensemble_samples *all, double share, uint64_t *seed, size_t *counts,
                           size_t n_labels, size_t *order, bool *is_held_out, size_t *rows)
{
    const uint32_t *labels = all->batch.labels;
    size_t n_held_out = 0, n_fitted = 0;
    for (size_t i = 0; i < all->n; i++) {
        counts[labels[i]]++;
        order[i] = i;
    }
    share_out(share, counts, n_labels);
    fit_shuffle(order, all->n, seed);
    for (size_t i = 0; i < all->n; i++)
        if (counts[labels[order[i]]]) {
            counts[labels[order[i]]]--;
            is_held_out[order[i]] = true;
            n_held_out++;
        }
    for (size_t i = 0, k = all->n - n_held_out; i < all->n; i++)
        rows[is_held_out[i] ? k++ : n_fitted++] = i;
    return n_held_out;
}

emr_status fit_ensemble_split(const ensemble_samples *all, const fit_host *host, double share, uint64_t *seed,
                              size_t *rows, size_t *n_held_out, emr_error *error)
{
    const size_t n_labels = all->batch.n_columns == 1 ? 2 : all->batch.n_columns;
    size_t *counts = fit_allocate(host, n_labels, sizeof *counts),
           *order = fit_allocate(host, all->n, sizeof *order);
    bool *is_held_out = fit_allocate(host, all->n, sizeof *is_held_out);
    bool has_room = counts && order && is_held_out;
    if (has_room)
        *n_held_out = split_labels(all, share, seed, counts, n_labels, order, is_held_out, rows);
    fit_release(host, counts);
    fit_release(host, order);
    fit_release(host, is_held_out);
    return has_room ? EMR_OK : fit_no_memory(error);
}
