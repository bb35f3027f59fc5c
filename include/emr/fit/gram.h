/* gram.h - second moments of activations: what merging with a few samples needs to know of them. A host runs its models
 * and feeds the inputs of linear layers, batch by batch; no sample is kept.
 *
 *     emr_gram_options options = EMR_INIT(emr_gram_options);
 *     options.resources = &resources;
 *     emr_gram_create(&gram, &options, &error);
 *     uint64_t width = 768;
 *     emr_gram_add_site(gram, "encoder.layer.0.output.dense", &width, &site, &error);
 *     while (next_batch(&batch)) {
 *         emr_activations inputs = EMR_INIT(emr_activations);
 *         inputs.data = batch.hidden;            // [n_rows, 768]
 *         inputs.dtype = EMR_DTYPE_F32;
 *         emr_gram_feed(gram, site, &inputs, batch.n_rows, batch.is_token, &error);
 *     }
 *     emr_gram_open_model(gram, &model, &error); // to save it: emr_checkpoint_write
 *
 * A site is the input of one or more linear layers. Of M models that run on the same samples in the same order, with
 * inputs x_1 ... x_M, the sum is
 *
 *     S = sum over rows of z z^T,   z = [x_1; ...; x_M; 1]                      D = sum of widths + 1
 *
 * in f64: its blocks are the models' own and mutual products, its last row the sums and the number of rows. A row is a token,
 * a pixel, or of a convolution that is to be solved, a patch [channels, height, width].
 *
 * Every element of S is added up over rows in the order in which they come; of F32, F16 and BF16 values each product is exact,
 * of F64 ones it is rounded. So the bits depend neither on how rows are cut into batches, nor on threads, memory and processor. emr_gram_add
 * adds sum to sum: there, what was cut how shows in the last bits.
 *
 * Which method needs which: RegMean one gram a model, on that model's own data; matching and PLeaS one of both models on the
 * data of both. docs/fitting.md. */
#ifndef EMR_FIT_GRAM_H
#define EMR_FIT_GRAM_H

#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/merge.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"
#include "emr/tensor.h"

typedef struct emr_gram emr_gram;

/* Zero means the default. */
typedef struct emr_gram_options {
    size_t size;
    const emr_resources
        *resources;    /* memory_bytes caps the sums of all sites and the work on a batch; 0: no cap.
                                       Progress is not used */
    uint32_t n_models; /* whose rows belong together; 0: 1 */
    emr_on_nonfinite
        on_nonfinite; /* ERROR: EMR_ENONFINITE, and the batch counts nowhere. ZERO: the row is left out, of all
                                       models, and counted */
} emr_gram_options;

/* One model's rows: n_rows of a site's width, each without gaps. */
typedef struct emr_activations {
    size_t size;       /* the same for all in an array */
    const void *data;  /* any alignment */
    size_t row_stride; /* bytes from one row to the next; 0: a row's */
    emr_dtype dtype;   /* F32, F16, BF16 or F64 */
    uint32_t reserved;
} emr_activations;

/* A site. Strings and widths are the handle's. */
typedef struct emr_gram_site {
    size_t size;
    const char *name;
    const uint64_t *widths; /* n_models of them */
    uint64_t n_rows;        /* that were summed */
    uint64_t n_dropped;     /* left out under EMR_ON_NONFINITE_ZERO */
    uint64_t bytes;         /* of memory for its sums */
    uint32_t n_models;
    uint32_t reserved;
} emr_gram_site;

/* Tensors of a gram as a model: "SITE" EMR_GRAM_SUFFIX, F64, rank 1: the upper triangle of S, row by row, D (D + 1) / 2
 * numbers. Metadata say "format": "emr-gram", "version": "1", and "widths.SITE": the widths, "768,768". */
#define EMR_GRAM_SUFFIX ".gram"

EMR_BEGIN_DECLS

/* Memory that the sums of a site of these widths take. */
EMR_API uint64_t emr_gram_bytes(const uint64_t *widths, uint32_t n_models);

EMR_API emr_status emr_gram_create(emr_gram **gram, const emr_gram_options *options, emr_error *error);

/* Models and what else was opened from it must be destroyed before. */
EMR_API void emr_gram_destroy(emr_gram **gram);

/* A site and its widths, one a model, each at least 1. *site is its number: sites are numbered from 0. Sums begin at 0.
 * - EMR_EEXIST: the name is taken. EMR_EINVAL: it is empty, or of more than 255 bytes.
 * - EMR_ELIMIT: memory_bytes has no room for it; the sentence says how much is needed. */
EMR_API emr_status emr_gram_add_site(emr_gram *gram, const char *name, const uint64_t *widths, uint32_t *site,
                                     emr_error *error);

EMR_API uint32_t emr_gram_n_sites(const emr_gram *gram);

/* Set info->size first. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_gram_get_site(const emr_gram *gram, uint32_t site, emr_gram_site *info);

/* The number of the site of that name, or EMR_ENOTFOUND. */
EMR_API emr_status emr_gram_find_site(const emr_gram *gram, const char *name, uint32_t *site,
                                      emr_error *error);

/* Adds n_rows to a site: activations[m] are model m's. `keep`, n_rows bytes, says with 0 which rows do not count, padding
 * say; NULL: all count. After a failure the sums are as before. */
EMR_API emr_status emr_gram_feed(emr_gram *gram, uint32_t site, const emr_activations *activations,
                                 size_t n_rows, const uint8_t *keep, emr_error *error);

/* Adds all sums of another gram, of other samples: of as many models, and with the same sites or some of them.
 * EMR_EMISMATCH, with nothing added, names the site that does not fit. */
EMR_API emr_status emr_gram_add(emr_gram *gram, const emr_gram *other, emr_error *error);

/* The sums as a model, whose tensors read what the gram has at that time. */
EMR_API emr_status emr_gram_open_model(const emr_gram *gram, emr_model **model, emr_error *error);

/* A gram out of such a model, which is not needed afterwards. options.n_models is that of the file where it is 0.
 * - EMR_EFORMAT: it is none. EMR_EMISMATCH: of another number of models. */
EMR_API emr_status emr_gram_open(emr_gram **gram, const emr_model *model, const emr_gram_options *options,
                                 emr_error *error);

/* Mean and variance (biased) of each output of a linear layer of model `model`, weight [out, in...] and bias (NULL: none), behind the
 * site: what a BatchNorm there would measure on the same rows. `mean` and `variance` have as many numbers as there are outputs.
 * EMR_EMISMATCH: the weight's inputs are not the site's, the bias has another length, or the site has no rows. */
EMR_API emr_status emr_gram_output_moments(const emr_gram *gram, uint32_t site, uint32_t model,
                                           const emr_tensor *weight, const emr_tensor *bias, double *mean,
                                           double *variance, emr_error *error);

/* Element (i, j) of S of a site, 0 <= i, j < D. NaN where there is none. */
EMR_API double emr_gram_value(const emr_gram *gram, uint32_t site, uint64_t i, uint64_t j);

EMR_END_DECLS

#endif
