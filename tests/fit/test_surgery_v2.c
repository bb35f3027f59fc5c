/* test_surgery_v2.c - SurgeryV2 in a host with a backward pass of its own: a network of blocks x + tanh(x A), token by token, whose
 * first token is multiplied in the end; an adapter behind each block and one behind the product. */
#include "support.h"

#include "surgery.h"

#include <emr/fit/losses.h>

#include <math.h>
#include <stdio.h>

enum { WIDTH = 8, TOKENS = 3, OUT = 6, BLOCKS = 2, RANK = 3, SAMPLES = 400, FITTED = 300, BATCH = 16 };

typedef struct network {
    float blocks[BLOCKS][WIDTH][WIDTH]; /* [in, out] */
    float out[WIDTH][OUT];
} network;

/* What a forward pass leaves behind; rows of tokens. */
typedef struct trace {
    float t[BLOCKS][SAMPLES * TOKENS * WIDTH]; /* tanh(x A) */
    float x[BLOCKS][SAMPLES * TOKENS * WIDTH]; /* behind the block */
    float y[BLOCKS][SAMPLES * TOKENS * WIDTH]; /* behind its adapter */
    float o[SAMPLES * OUT];
    float y_o[SAMPLES * OUT];
} trace;

typedef struct world {
    network merged;
    network own;
    float inputs[SAMPLES * TOKENS * WIDTH];
    trace wanted; /* of `own` */
    trace now;
    emr_surgery *adapters[BLOCKS + 1];
} world;

static void adapt(const emr_surgery *s, const float *x, float *y, size_t n_rows, size_t width)
{
    emr_error error;
    memcpy(y, x, n_rows * width * sizeof *y);
    if (s)
        assert_ok(emr_surgery_apply(s, y, y, n_rows, &error), &error);
}

static void run_forward(const network *net, emr_surgery *const *adapters, const float *inputs, size_t n,
                        trace *seen)
{
    const float *in = inputs;
    for (size_t b = 0; b < BLOCKS; in = seen->y[b++]) {
        for (size_t row = 0; row < n * TOKENS; row++)
            for (size_t k = 0; k < WIDTH; k++) {
                float sum = 0;
                for (size_t c = 0; c < WIDTH; c++)
                    sum += in[row * WIDTH + c] * net->blocks[b][c][k];
                seen->t[b][row * WIDTH + k] = tanhf(sum);
                seen->x[b][row * WIDTH + k] = in[row * WIDTH + k] + tanhf(sum);
            }
        adapt(adapters ? adapters[b] : NULL, seen->x[b], seen->y[b], n * TOKENS, WIDTH);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < OUT; k++) {
            seen->o[i * OUT + k] = 0;
            for (size_t c = 0; c < WIDTH; c++)
                seen->o[i * OUT + k] += in[i * TOKENS * WIDTH + c] * net->out[c][k];
        }
    adapt(adapters ? adapters[BLOCKS] : NULL, seen->o, seen->y_o, n, OUT);
}

/* dL/d(inputs of block b), from that of its outputs. */
static void through_block(const network *net, size_t b, const float *t, float *d, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++, d += WIDTH, t += WIDTH) {
        float inner[WIDTH];
        for (size_t k = 0; k < WIDTH; k++)
            inner[k] = d[k] * (1 - t[k] * t[k]);
        for (size_t c = 0; c < WIDTH; c++)
            for (size_t k = 0; k < WIDTH; k++)
                d[c] += inner[k] * net->blocks[b][c][k];
    }
}

/* The way back through all places, or, `is_cut`, each place's own term alone. Returns the loss. */
static double run_backward(world *w, const trace *wanted, size_t n, bool is_cut)
{
    const trace *now = &w->now;
    static float d[SAMPLES * TOKENS * WIDTH];
    float d_o[SAMPLES * OUT];
    double loss, sum;
    emr_error error;
    memset(d, 0, sizeof d);
    assert_ok(emr_l1(now->y_o, wanted->y_o, n, 1, OUT, 0, &sum, d_o, &error), &error);
    assert_ok(emr_surgery_backward(w->adapters[BLOCKS], now->o, d_o, n, d_o, &error), &error);
    for (size_t i = 0; !is_cut && i < n; i++)
        for (size_t c = 0; c < WIDTH; c++)
            for (size_t k = 0; k < OUT; k++)
                d[i * TOKENS * WIDTH + c] += d_o[i * OUT + k] * w->merged.out[c][k];
    for (size_t b = BLOCKS; b-- > 0;) {
        assert_ok(emr_l1(now->y[b], wanted->y[b], n, TOKENS, WIDTH, 1, &loss, d, &error), &error);
        assert_ok(emr_surgery_backward(w->adapters[b], now->x[b], d, n * TOKENS, d, &error), &error);
        sum += loss;
        if (is_cut)
            memset(d, 0, sizeof d);
        else
            through_block(&w->merged, b, now->t[b], d, n * TOKENS);
    }
    return sum;
}

static void new_adapters(world *w)
{
    const emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_error error;
    for (size_t i = 0; i <= BLOCKS; i++) {
        emr_surgery_options options = EMR_INIT(emr_surgery_options);
        options.width = i < BLOCKS ? WIDTH : OUT;
        options.rank = RANK;
        options.adam = &adam;
        options.seed = i;
        emr_surgery_destroy(&w->adapters[i]);
        assert_ok(emr_surgery_create(&w->adapters[i], &options, &error), &error);
    }
}

static world *make_world(void)
{
    world *w = calloc(1, sizeof *w);
    rng r = {6};
    for (size_t i = 0; i < BLOCKS * WIDTH * WIDTH; i++) {
        float base = rng_normal(&r) / 3, moved = 0.15f * rng_normal(&r);
        (&w->own.blocks[0][0][0])[i] = base + moved;
        (&w->merged.blocks[0][0][0])[i] = base + 0.3f * moved + 0.05f * rng_normal(&r);
    }
    for (size_t i = 0; i < WIDTH * OUT; i++)
        (&w->own.out[0][0])[i] = (&w->merged.out[0][0])[i] = rng_normal(&r) / 3;
    for (size_t i = 0; i < SAMPLES * TOKENS * WIDTH; i++)
        w->inputs[i] = rng_normal(&r);
    run_forward(&w->own, NULL, w->inputs, SAMPLES, &w->wanted);
    new_adapters(w);
    return w;
}

static void free_world(world *w)
{
    for (size_t i = 0; i <= BLOCKS; i++)
        emr_surgery_destroy(&w->adapters[i]);
    free(w);
}

/* y = x - U relu(D x) in f64. */
static void adapt_plainly(const emr_surgery *s, double *x)
{
    double hidden[RANK];
    for (size_t r = 0; r < RANK; r++) {
        hidden[r] = 0;
        for (size_t k = 0; k < s->width; k++)
            hidden[r] += s->parameters[r * s->width + k] * x[k];
    }
    for (size_t r = 0; r < RANK; r++)
        for (size_t k = 0; k < s->width; k++)
            x[k] -= s->parameters[(RANK + r) * s->width + k] * fmax(hidden[r], 0);
}

/* All of the loss in f64: of each place the mean over features of |mean over tokens|, of n samples. */
static double plain_loss(const world *w, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double x[TOKENS][WIDTH], o[OUT] = {0};
        size_t at = i * TOKENS * WIDTH;
        for (size_t k = 0; k < TOKENS * WIDTH; k++)
            x[k / WIDTH][k % WIDTH] = (double)w->inputs[at + k];
        for (size_t b = 0; b < BLOCKS; b++) {
            double off[WIDTH] = {0};
            for (size_t t = 0; t < TOKENS; t++) {
                double in[WIDTH];
                memcpy(in, x[t], sizeof in);
                for (size_t k = 0; k < WIDTH; k++) {
                    double inner = 0;
                    for (size_t c = 0; c < WIDTH; c++)
                        inner += in[c] * (double)w->merged.blocks[b][c][k];
                    x[t][k] += tanh(inner);
                }
                adapt_plainly(w->adapters[b], x[t]);
                for (size_t k = 0; k < WIDTH; k++)
                    off[k] += (x[t][k] - (double)w->wanted.y[b][at + t * WIDTH + k]) / TOKENS;
            }
            for (size_t k = 0; k < WIDTH; k++)
                sum += fabs(off[k]) / WIDTH;
        }
        for (size_t c = 0; c < WIDTH; c++)
            for (size_t k = 0; k < OUT; k++)
                o[k] += x[0][c] * (double)w->merged.out[c][k];
        adapt_plainly(w->adapters[BLOCKS], o);
        for (size_t k = 0; k < OUT; k++)
            sum += fabs(o[k] - (double)w->wanted.y_o[i * OUT + k]) / OUT;
    }
    return sum / (double)n;
}

static void gradients_go_through_later_blocks(void **state)
{
    enum { FEW = 4 };
    const double h = 1e-6;
    world *w = make_world();
    rng r = {3};
    (void)state;
    for (size_t i = 0; i <= BLOCKS; i++) {
        emr_surgery *s = w->adapters[i];
        for (size_t k = 0; k < 2 * RANK * s->width; k++)
            s->parameters[k] = (double)(0.3f * rng_normal(&r));
        fit_surgery_store(s);
    }
    run_forward(&w->merged, w->adapters, w->inputs, FEW, &w->now);
    double loss = run_backward(w, &w->wanted, FEW, false);
    assert_true(fabs(loss - plain_loss(w, FEW)) < 1e-6);
    for (size_t i = 0; i <= BLOCKS; i++) {
        emr_surgery *s = w->adapters[i];
        for (size_t k = 0; k < 2 * RANK * s->width; k++) {
            double held = s->parameters[k];
            s->parameters[k] = held + h;
            double above = plain_loss(w, FEW);
            s->parameters[k] = held - h;
            double slope = (above - plain_loss(w, FEW)) / (2 * h);
            s->parameters[k] = held;
            if (!(fabs(s->added[k] - slope) < 2e-6))
                fail_msg("place %zu: the gradient is %.9g, the slope %.9g", i, s->added[k], slope);
        }
    }
    free_world(w);
}

/* Batches of the fitted samples, one after the other. */
static void fit_together(world *w, size_t first_place, bool is_cut)
{
    trace *wanted = calloc(1, sizeof *wanted);
    emr_error error;
    new_adapters(w);
    for (size_t step = 0; step < 300; step++) {
        size_t row = step * BATCH % (FITTED - BATCH);
        run_forward(&w->merged, w->adapters, w->inputs + row * TOKENS * WIDTH, BATCH, &w->now);
        for (size_t b = 0; b < BLOCKS; b++)
            memcpy(wanted->y[b], w->wanted.y[b] + row * TOKENS * WIDTH,
                   BATCH * TOKENS * WIDTH * sizeof(float));
        memcpy(wanted->y_o, w->wanted.y_o + row * OUT, BATCH * OUT * sizeof(float));
        run_backward(w, wanted, BATCH, is_cut);
        for (size_t i = first_place; i <= BLOCKS; i++)
            assert_ok(emr_surgery_step(w->adapters[i], &error), &error);
    }
    free(wanted);
}

/* Forward passes alone: each place is fitted to the tokens behind it, and the network is run again. */
static void fit_in_turn(world *w)
{
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    emr_error error;
    options.n_steps = 300;
    options.n_batch = BATCH * TOKENS;
    new_adapters(w);
    for (size_t i = 0; i <= BLOCKS; i++) {
        run_forward(&w->merged, w->adapters, w->inputs, FITTED, &w->now);
        const float *x = i < BLOCKS ? w->now.x[i] : w->now.o,
                    *z = i < BLOCKS ? w->wanted.y[i] : w->wanted.y_o;
        assert_ok(emr_surgery_fit(w->adapters[i], x, z, i < BLOCKS ? FITTED * TOKENS : FITTED, &options, NULL,
                                  &error),
                  &error);
    }
}

/* mean |y - z| at the last place, of samples that were not fitted to. */
static double held_out(world *w)
{
    emr_error error;
    double loss;
    run_forward(&w->merged, w->adapters, w->inputs, SAMPLES, &w->now);
    assert_ok(emr_l1(w->now.y_o + FITTED * OUT, w->wanted.y_o + FITTED * OUT, SAMPLES - FITTED, 1, OUT, 0,
                     &loss, NULL, &error),
              &error);
    return loss;
}

static void all_places_together_do_best(void **state)
{
    world *w = make_world();
    (void)state;
    double none = held_out(w);
    fit_together(w, BLOCKS, false);
    double last = held_out(w);
    fit_together(w, 0, true);
    double cut = held_out(w);
    fit_in_turn(w);
    double turns = held_out(w);
    fit_together(w, 0, false);
    double joint = held_out(w);
    print_message("at the last place: none %.3f, that one alone %.3f, cut %.3f, in turn %.3f, joint %.3f\n",
                  none, last, cut, turns, joint);
    assert_true(last < none && cut < none && turns < none);
    assert_true(joint < last && joint < cut && joint < turns);
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_go_through_later_blocks),
        cmocka_unit_test(all_places_together_do_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
