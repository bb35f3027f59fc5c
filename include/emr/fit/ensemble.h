/* ensemble.h - SESoM (Peng and others, "Model Ensemble Instead of Prompt Fusion: a Sample-specific Knowledge Transfer Method for
 * Few-shot Prompt Tuning", arXiv 2210.12587): for a task with few labelled samples, source models answer together, and a small network
 * tells for each sample how much each counts. Of a sample, x is what represents it, l_j the logits of source j:
 *
 *     h_x = N(U_x f(D_x x))      h_j = N(U_l f(D_l l_j))
 *     a_j = softmax over j of h_x . h_j / temperature           l = sum over j of a_j l_j
 *
 * D and U (and N's scale and shift) are learned; sources are frozen. A source is known by its logits alone, so their order does not
 * matter, and others can be added later. Where the target's label words are few, `keys` are better apart: logits over the
 * whole vocabulary say which source speaks, `values`, those of the label words, what it says.
 *
 *     emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
 *     options.x_width = 64;
 *     options.key_width = 10;
 *     emr_ensemble_create(&ensemble, &options, &error);
 *     emr_ensemble_batch batch = EMR_INIT(emr_ensemble_batch);
 *     batch.x = x;                // [32, 64]
 *     batch.values = logits;      // [32, 8, 10]
 *     batch.labels = labels;
 *     batch.n = 32;
 *     batch.n_sources = 8;
 *     batch.n_columns = 10;
 *     emr_ensemble_fit(ensemble, &batch, NULL, &report, &error);
 *     emr_ensemble_combine(ensemble, &test, weights, out, &error);
 *
 * The sources may be the tasks of a bundle: one session runs a batch under all of them (session.h). What is certain of the paper, and
 * what is a choice of ours (f, N, widths, rates), docs/fitting.md tells. In f64 from f32 inputs; the same bits everywhere. */
#ifndef EMR_FIT_ENSEMBLE_H
#define EMR_FIT_ENSEMBLE_H

#include "emr/export.h"
#include "emr/fit/adam.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

/* One thread at a time, but emr_ensemble_combine: concurrent with itself. */
typedef struct emr_ensemble emr_ensemble;

/* f: SILU a / (1 + exp(-a)), RELU max(a, 0). */
typedef uint32_t emr_ensemble_activation;
enum { EMR_ENSEMBLE_ACTIVATION_SILU = 0, EMR_ENSEMBLE_ACTIVATION_RELU = 1 };

/* What is mixed, and so what comes out: logits, where one loud source wins; or each source's softmax of its values: probabilities. */
typedef uint32_t emr_ensemble_mix;
enum { EMR_ENSEMBLE_MIX_LOGITS = 0, EMR_ENSEMBLE_MIX_PROBABILITIES = 1 };

/* Zero means the default. Copied. */
typedef struct emr_ensemble_options {
    size_t size;
    const emr_resources
        *resources;        /* allocator; executor: of combining and fitting; progress: of emr_ensemble_fit */
    const emr_adam *adam;  /* NULL: all defaults */
    uint64_t seed;         /* of D and U: uniform in +-1/sqrt(columns), drawn as docs/fitting.md has it */
    double temperature;    /* above 0; 0: 1 */
    uint32_t x_width;      /* of x, 1 to 2^24 */
    uint32_t key_width;    /* of a source's key, 1 to 2^24 */
    uint32_t x_hidden;     /* rows of D_x; 0: 32; at most 65,536, as the others */
    uint32_t key_hidden;   /* rows of D_l; 0: 32 */
    uint32_t shared_width; /* rows of U_x and U_l; 0: 64 */
    uint32_t
        use_norm; /* non-zero: N is a layer normalisation (epsilon 1e-5) with scale, and on the side of x shift; else nothing */
    emr_ensemble_activation activation;
    emr_ensemble_mix mix;
} emr_ensemble_options;

/* Samples. Arrays without gaps; borrowed for the call. */
typedef struct emr_ensemble_batch {
    size_t size;
    const float *x;         /* [n, x_width] */
    const float *keys;      /* [n, n_sources, key_width]; NULL: the values, n_columns is key_width then */
    const float *values;    /* [n, n_sources, n_columns]: logits */
    const uint32_t *labels; /* n, below n_columns (of one column: 0 or 1); NULL where none are needed */
    size_t n;               /* at least 1 */
    size_t n_sources;       /* at least 1 */
    size_t n_columns;       /* at least 1; a single one is the logit of a yes */
} emr_ensemble_batch;

/* How emr_ensemble_fit goes through samples. Zero means the default. */
typedef struct emr_ensemble_fit_options {
    size_t size;
    uint64_t n_steps; /* at most; 0: 500 */
    size_t n_batch;   /* samples in a step; 0: all */
    uint64_t seed;    /* of which samples are held out, and of the others' order */
    double
        held_out; /* share of each label's samples on which it is decided when to stop, up to 0.9, at least one of three or more, and
                     never all; 0 without use_held_out: 0.25 */
    uint32_t
        patience; /* stops after as many steps without a smaller loss there, and goes back to the best; 0: 50 */
    uint32_t use_held_out; /* non-zero: a held_out of 0 is meant: none, and all steps are taken */
} emr_ensemble_fit_options;

typedef struct emr_ensemble_report {
    size_t size;
    double loss_before; /* cross-entropy of the samples that were fitted, */
    double loss_after;
    double held_out_before; /* and of those held out; NaN: none */
    double held_out_after;
    uint64_t n_steps; /* taken, */
    uint64_t n_best;  /* and of them those that were kept */
    uint64_t n_held_out;
} emr_ensemble_report;

/* The network as a model, and so as a file: F64 tensors "x.down.weight", "x.up.weight", "l.down.weight", "l.up.weight", as linear layers
 * of PyTorch, and with a norm "x.norm.weight", "x.norm.bias", "l.norm.weight". Metadata: "emr.kind": "ensemble", "emr.activation": "silu" or
 * "relu", "emr.temperature", "emr.mix": "logits" or "probabilities". */

EMR_BEGIN_DECLS

/* EMR_EINVAL: a value out of its range. */
EMR_API emr_status emr_ensemble_create(emr_ensemble **ensemble, const emr_ensemble_options *options,
                                       emr_error *error);

/* One that was saved. Of options, resources and adam are used, and may be NULL. EMR_EFORMAT: it is none. */
EMR_API emr_status emr_ensemble_open(emr_ensemble **ensemble, const emr_model *model,
                                     const emr_ensemble_options *options, emr_error *error);
EMR_API void emr_ensemble_destroy(emr_ensemble **ensemble);

/* With a copy of its weights of that moment. */
EMR_API emr_status emr_ensemble_open_model(const emr_ensemble *ensemble, emr_model **model, emr_error *error);

/* `weights` [n, n_sources]: a; `out` [n, n_columns]: what they make of the values. Either may be NULL.
 * - ensemble NULL: all sources weigh the same, the uniform ensemble; logits are mixed.
 * - EMR_EINVAL: widths are not those of the ensemble; a size of 0. EMR_ENONFINITE: a value is not finite, and the sentence names sample and
 *   source; or the network's own numbers overflow. Nothing is written then. */
EMR_API emr_status emr_ensemble_combine(const emr_ensemble *ensemble, const emr_ensemble_batch *batch,
                                        float *weights, float *out, emr_error *error);

/* One step of Adam on the mean cross-entropy of a batch with labels. `loss` is that before the step; may be NULL. Fails as
 * emr_ensemble_combine, and changes nothing then. */
EMR_API emr_status emr_ensemble_train(emr_ensemble *ensemble, const emr_ensemble_batch *batch, double *loss,
                                      emr_error *error);

/* Many of them, until what was held out gets no better. `options` and `report` may be NULL. After EMR_ECANCELED, and EMR_ENONFINITE
 * where steps were so long that the network's numbers overflow, the best so far is kept (with nothing held out: the last step). */
EMR_API emr_status emr_ensemble_fit(emr_ensemble *ensemble, const emr_ensemble_batch *batch,
                                    const emr_ensemble_fit_options *options, emr_ensemble_report *report,
                                    emr_error *error);

/* What one compares with: answers[i] is the column that most sources have as their largest, the lowest of several. */
EMR_API emr_status emr_ensemble_vote(const emr_ensemble_batch *batch, uint32_t *answers, emr_error *error);

/* The source that is right on most of the labelled samples, the first of several, and on how many. */
EMR_API emr_status emr_ensemble_best_source(const emr_ensemble_batch *batch, size_t *source, size_t *n_right,
                                            emr_error *error);

/* What represents an input of many tokens: x [n, width], the largest over tokens of each feature of `embeddings` [n, n_tokens, width].
 * `keep`, n * n_tokens bytes, says with 0 which are padding; NULL: none. EMR_EINVAL: an input of padding alone. */
EMR_API emr_status emr_ensemble_pool(const float *embeddings, size_t n, size_t n_tokens, size_t width,
                                     const uint8_t *keep, float *x, emr_error *error);

EMR_END_DECLS

#endif
