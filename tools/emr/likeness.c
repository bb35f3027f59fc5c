/* likeness.c - tasks in an order that shows who is like whom: the leaves of a tree of clusters, of which the two that
 * are nearest on average become one, again and again. */
#include "heatmap.h"

#include <math.h>
#include <stdlib.h>

/* A cluster's leaves are linked in their order, from `first` to `last`. */
typedef struct cluster {
    size_t first, last, n;
    bool is_there;
} cluster;

typedef struct clustering {
    double *distances; /* n x n, of leaves */
    double *between;   /* n x n, of clusters: averages */
    cluster *clusters;
    size_t *next; /* of each leaf */
    size_t n;
} clustering;

/* Of what has no number, the distance is the largest. */
static void take_distances(clustering *c, const double *values, bool is_distance)
{
    double most = is_distance ? 0 : 2;
    for (size_t i = 0; is_distance && i < c->n * c->n; i++)
        most = values[i] > most ? values[i] : most;
    for (size_t i = 0; i < c->n * c->n; i++) {
        double distance = is_distance ? values[i] : 1 - values[i];
        c->distances[i] = c->between[i] = isnan(distance) ? most : distance;
    }
}

static bool find_nearest(const clustering *c, size_t *a, size_t *b)
{
    bool found = false;
    for (size_t i = 0; i < c->n; i++)
        for (size_t j = i + 1; c->clusters[i].is_there && j < c->n; j++)
            if (c->clusters[j].is_there &&
                (!found || c->between[i * c->n + j] < c->between[*a * c->n + *b])) {
                *a = i;
                *b = j;
                found = true;
            }
    return found;
}

static void turn_round(clustering *c, cluster *of)
{
    size_t leaf = of->first, before = of->last;
    for (size_t k = 0; k < of->n; k++) {
        size_t after = c->next[leaf];
        c->next[leaf] = before;
        before = leaf;
        leaf = after;
    }
    leaf = of->first;
    of->first = of->last;
    of->last = leaf;
}

/* Puts b behind a, each turned so that the ends that meet are near. */
static void join_clusters(clustering *c, size_t a, size_t b)
{
    cluster *x = &c->clusters[a], *y = &c->clusters[b];
    const size_t ends[4][2] = {
        {x->last, y->first}, {x->last, y->last}, {x->first, y->first}, {x->first, y->last}};
    size_t best = 0;
    for (size_t k = 1; k < 4; k++)
        if (c->distances[ends[k][0] * c->n + ends[k][1]] < c->distances[ends[best][0] * c->n + ends[best][1]])
            best = k;
    if (best >= 2)
        turn_round(c, x);
    if (best % 2)
        turn_round(c, y);
    for (size_t k = 0; k < c->n; k++) {
        double sum = c->between[a * c->n + k] * (double)x->n + c->between[b * c->n + k] * (double)y->n;
        c->between[a * c->n + k] = c->between[k * c->n + a] = sum / (double)(x->n + y->n);
    }
    c->next[x->last] = y->first;
    x->last = y->last;
    x->n += y->n;
    y->is_there = false;
}

bool order_by_likeness(const double *values, size_t n, bool is_distance, size_t *order)
{
    clustering c = {.distances = calloc(n * n + 1, sizeof(double)),
                    .between = calloc(n * n + 1, sizeof(double)),
                    .clusters = calloc(n + 1, sizeof(cluster)),
                    .next = calloc(n + 1, sizeof(size_t)),
                    .n = n};
    bool complete = c.distances && c.between && c.clusters && c.next;
    size_t a = 0, b = 0;
    if (complete) {
        take_distances(&c, values, is_distance);
        for (size_t i = 0; i < n; i++)
            c.clusters[i] = (cluster){i, i, 1, true};
        while (find_nearest(&c, &a, &b))
            join_clusters(&c, a, b);
        for (size_t k = 0, leaf = n ? c.clusters[0].first : 0; k < n; k++, leaf = c.next[leaf])
            order[k] = leaf;
    }
    free(c.distances);
    free(c.between);
    free(c.clusters);
    free(c.next);
    return complete;
}
