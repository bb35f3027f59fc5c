/* gram_model.c - a gram as a model, by which it is saved, and out of one. */
#include "gram.h"

#include <string.h>

enum { NUMBER_MAX = 21, VALUES = 4096 };

/* The first number of row i of the packed triangle. */
static uint64_t row_begin(uint64_t order, uint64_t i)
{
    return i * order - (i * i - i) / 2; /* of rows before, order + (order - 1) + ... */
}

/* The row that has number `at`. */
static uint64_t row_of(uint64_t order, uint64_t at)
{
    uint64_t low = 0, high = order; /* row_begin(low) <= at < row_begin(high) */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (row_begin(order, middle) <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Calls for numbers [first, first + n) of the triangle, in order. */
static void walk_triangle(const gram_site *s, uint64_t first, size_t n, double *values, bool writes)
{
    uint64_t i = row_of(s->order, first), j = i + (first - row_begin(s->order, i));
    for (size_t k = 0; k < n; k++) {
        double *element = gram_element(s, (size_t)i, (size_t)j);
        if (writes)
            *element = values[k];
        else
            values[k] = *element;
        if (++j == s->order)
            j = ++i;
    }
}

static emr_status read_sums(const emr_computation *c, emr_error *error)
{
    double values[VALUES];
    (void)error;
    for (size_t done = 0; done < c->count;) {
        size_t n = c->count - done < VALUES ? c->count - done : VALUES;
        walk_triangle(c->user, c->first + done, n, values, false);
        memcpy((char *)c->out + done * sizeof *values, values, n * sizeof *values);
        done += n;
    }
    return EMR_OK;
}

/* "WIDTH,WIDTH,..." */
static char *write_widths(const emr_gram *gram, const gram_site *s)
{
    char *text = fit_allocate(&gram->host, gram->n_models, NUMBER_MAX + 1), *end = text;
    for (uint32_t m = 0; text && m < gram->n_models; m++) {
        char digits[NUMBER_MAX];
        size_t n = 0;
        for (uint64_t w = s->widths[m]; w || !n; w /= 10)
            digits[n++] = (char)('0' + w % 10);
        while (n)
            *end++ = digits[--n];
        *end++ = m + 1 < gram->n_models ? ',' : '\0';
    }
    return text;
}

static emr_status add_sums(const emr_gram *gram, gram_site *s, emr_model *model, emr_error *error)
{
    const uint64_t count = gram_packed(s);
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    char *name = fit_join_strings(&gram->host, s->name, EMR_GRAM_SUFFIX),
         *key = fit_join_strings(&gram->host, "widths.", s->name);
    char *widths = write_widths(gram, s);
    desc.name = name;
    desc.dtype = EMR_DTYPE_F64;
    desc.rank = 1;
    desc.shape = &count;
    desc.compute = read_sums;
    desc.user = s;
    emr_status status = name && key && widths ? emr_model_add(model, &desc, error) : fit_no_memory(error);
    if (!status)
        status = emr_model_set_metadata(model, key, widths, error);
    fit_release(&gram->host, name);
    fit_release(&gram->host, key);
    fit_release(&gram->host, widths);
    return status;
}

emr_status emr_gram_open_model(const emr_gram *gram, emr_model **model, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!gram || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_open_model: NULL");
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &gram->host.allocator;
    options.name = "gram";
    emr_status status = emr_model_create(model, &options, error);
    if (status)
        return status;
    status = emr_model_set_metadata(*model, "format", "emr-gram", error);
    if (!status)
        status = emr_model_set_metadata(*model, "version", "1", error);
    for (size_t i = 0; !status && i < gram->n_sites; i++)
        status = add_sums(gram, gram->sites[i], *model, error);
    if (status)
        emr_model_destroy(model);
    return status;
}

/* Reads "WIDTH,WIDTH" into n widths; how many there are, or 0 where it is none. */
static uint32_t read_widths(const char *text, uint64_t *widths, uint32_t n)
{
    uint32_t found = 0;
    for (const char *at = text;; at++) {
        uint64_t width = 0;
        size_t digits = 0;
        for (; *at >= '0' && *at <= '9' && digits < 9; at++, digits++)
            width = width * 10 + (uint64_t)(*at - '0');
        if (!digits || (*at && *at != ','))
            return 0;
        if (found < n)
            widths[found] = width;
        found++;
        if (!*at)
            return found;
    }
}

static bool is_sums(const char *name)
{
    size_t n = strlen(name), suffix = strlen(EMR_GRAM_SUFFIX);
    return n > suffix && strcmp(name + n - suffix, EMR_GRAM_SUFFIX) == 0;
}

/* The name of a tensor's site; free it. */
static char *site_name(const fit_host *host, const emr_tensor *tensor)
{
    char *name = fit_copy_string(host, emr_tensor_name(tensor));
    if (name)
        name[strlen(name) - strlen(EMR_GRAM_SUFFIX)] = '\0';
    return name;
}

static emr_status bad_tensor(const emr_model *model, const emr_tensor *tensor, const char *why,
                             emr_error *error)
{
    return emr_error_format(error, EMR_EFORMAT, "%F: tensor '%T': %s", emr_model_name(model),
                            emr_tensor_name(tensor), why);
}

static emr_status take_sums(gram_site *s, const emr_model *model, const emr_tensor *tensor, emr_error *error)
{
    double values[VALUES];
    uint64_t count = emr_tensor_count(tensor);
    for (uint64_t at = 0; at < count;) {
        size_t n = count - at < VALUES ? (size_t)(count - at) : VALUES;
        emr_status status = emr_tensor_read(tensor, at * sizeof *values, values, n * sizeof *values, error);
        if (status)
            return status;
        for (size_t i = 0; i < n; i++)
            if (values[i] - values[i] != 0)
                return bad_tensor(model, tensor, "a sum is NaN or infinite", error);
        walk_triangle(s, at, n, values, true);
        at += n;
    }
    for (size_t d = 0; d < s->order; d++) /* both halves of the tiles on the diagonal are used */
        for (size_t e = d - d % FIT_TILE; e < d; e++)
            s->tiles[d / FIT_TILE][d / FIT_TILE * FIT_TILE + e % FIT_TILE][d % FIT_TILE] =
                *gram_element(s, d, e);
    double rows = *gram_element(s, s->order - 1, s->order - 1);
    if (!(rows >= 0) || rows > 9007199254740992.0 || rows != (double)(uint64_t)rows)
        return bad_tensor(model, tensor, "its last number, that of rows, is none", error);
    s->n_rows = (uint64_t)rows;
    return EMR_OK;
}

static emr_status take_site(emr_gram *gram, const emr_model *model, const emr_tensor *tensor,
                            const char *name, uint64_t *widths, emr_error *error)
{
    uint32_t site;
    uint64_t order = 1;
    char *key = fit_join_strings(&gram->host, "widths.", name);
    const char *text = key ? emr_model_find_metadata(model, key) : NULL;
    uint32_t n = text ? read_widths(text, widths, gram->n_models) : 0;
    fit_release(&gram->host, key);
    if (!key)
        return fit_no_memory(error);
    if (!n)
        return bad_tensor(model, tensor, "no metadata 'widths.SITE' tell its widths", error);
    if (n != gram->n_models)
        return emr_error_format(error, EMR_EMISMATCH, "%F: site '%s' is of %u models, not of %u",
                                emr_model_name(model), name, (uint64_t)n, (uint64_t)gram->n_models);
    for (uint32_t m = 0; m < n; m++)
        order += widths[m];
    if (emr_tensor_dtype(tensor) != EMR_DTYPE_F64 || emr_tensor_rank(tensor) != 1 ||
        emr_tensor_count(tensor) != order * (order + 1) / 2) /* before there is memory for it */
        return bad_tensor(model, tensor, "its dtype or shape does not fit its widths", error);
    emr_status status = emr_gram_add_site(gram, name, widths, &site, error);
    return status ? status : take_sums(gram->sites[site], model, tensor, error);
}

/* Of the first site's widths. */
static uint32_t count_models(const emr_model *model)
{
    for (uint32_t i = 0; i < emr_model_n_metadata(model); i++) {
        const char *key, *value;
        if (emr_model_get_metadata(model, i, &key, &value) == EMR_OK && strncmp(key, "widths.", 7) == 0)
            return read_widths(value, NULL, 0);
    }
    return 0;
}

static emr_status take_sites(emr_gram *gram, const emr_model *model, uint64_t *widths, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(model); i++) {
        const emr_tensor *tensor = emr_model_tensor(model, i);
        if (!is_sums(emr_tensor_name(tensor)))
            return bad_tensor(model, tensor, "it is no sum of a gram", error);
        char *name = site_name(&gram->host, tensor);
        status = name ? take_site(gram, model, tensor, name, widths, error) : fit_no_memory(error);
        fit_release(&gram->host, name);
    }
    return status;
}

emr_status emr_gram_open(emr_gram **gram, const emr_model *model, const emr_gram_options *options,
                         emr_error *error)
{
    if (gram)
        *gram = NULL;
    if (!gram || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_open: NULL");
    const char *format = emr_model_find_metadata(model, "format"),
               *version = emr_model_find_metadata(model, "version");
    if (!format || strcmp(format, "emr-gram") != 0 || !version || strcmp(version, "1") != 0)
        return emr_error_format(error, EMR_EFORMAT,
                                "%F: no gram: its metadata lack format 'emr-gram', version '1'",
                                emr_model_name(model));
    emr_gram *made;
    emr_status status = emr_gram_create(&made, options, error);
    if (status)
        return status;
    if ((!options || !options->n_models) && count_models(model))
        made->n_models = count_models(model);
    uint64_t *widths = fit_allocate(&made->host, made->n_models, sizeof *widths);
    status = widths ? take_sites(made, model, widths, error) : fit_no_memory(error);
    fit_release(&made->host, widths);
    if (status)
        emr_gram_destroy(&made);
    *gram = made;
    return status;
}
