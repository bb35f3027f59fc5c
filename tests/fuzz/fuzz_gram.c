/* fuzz_gram.c - any bytes as a saved gram: it is refused in a sentence, or it is one, which takes no more memory than is said below, comes
 * back to the bit when it is saved again, and takes more rows. An input is a byte of choices and a safetensors file. */
#include "fuzz.h"

#include <emr/fit/gram.h>

enum { CHOICE_TWO_MODELS = 1, CHOICE_CAP = 2 };

/* What a gram takes: of a site a tile of 24 x 24 numbers at least, which a header says in some 70 bytes, and a block of rows. */
enum { FIXED = 256 << 10, TIMES = 256 };

static emr_gram *opened(const emr_model *file, const emr_gram_options *options)
{
    emr_gram *gram;
    emr_error error = {0};
    emr_status status = fuzz_status(emr_gram_open(&gram, file, options, &error), &error);
    promise((status == EMR_OK) == (gram != NULL));
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EMISMATCH || status == EMR_EINVAL ||
            status == EMR_ELIMIT);
    return gram;
}

static emr_buffer *saved(const emr_gram *gram)
{
    emr_buffer *buffer = fuzz_buffer();
    emr_model *model;
    emr_error error = {0};
    promise(fuzz_status(emr_gram_open_model(gram, &model, &error), &error) == EMR_OK);
    promise(fuzz_status(emr_safetensors_write(model, emr_buffer_io(buffer), NULL, &error), &error) == EMR_OK);
    emr_model_destroy(&model);
    return buffer;
}

static bool same_bytes(const emr_buffer *a, const emr_buffer *b)
{
    return emr_buffer_bytes(a) == emr_buffer_bytes(b) &&
           memcmp(emr_buffer_data(a), emr_buffer_data(b), (size_t)emr_buffer_bytes(a)) == 0;
}

static void check_saved(const emr_gram *gram)
{
    emr_buffer *one = saved(gram);
    emr_error error = {0};
    emr_model *file;
    promise(fuzz_status(emr_safetensors_open(&file, emr_buffer_io(one), "g", NULL, &error), &error) ==
            EMR_OK);
    emr_gram *again = opened(file, NULL);
    promise(again && emr_gram_n_sites(again) == emr_gram_n_sites(gram));
    emr_buffer *other = saved(again);
    promise(same_bytes(one, other));
    if (emr_gram_n_sites(gram)) /* without any, a file does not say of how many models it is */
        promise(fuzz_status(emr_gram_add(again, gram, &error), &error) == EMR_OK);
    emr_gram_destroy(&again);
    emr_model_destroy(&file);
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&other);
}

/* A row of ones: every sum is one more. */
static void feed_site(emr_gram *gram, uint32_t site)
{
    enum { MOST = 2000, MOST_MODELS = 8 };
    static float ones[MOST];
    emr_gram_site info = EMR_INIT(emr_gram_site);
    emr_activations given[MOST_MODELS];
    emr_error error = {0};
    promise(emr_gram_get_site(gram, site, &info) == EMR_OK && info.n_models && info.bytes);
    uint64_t order = 1, rows = info.n_rows;
    for (uint32_t m = 0; m < info.n_models; m++) {
        promise(info.widths[m] > 0);
        order += info.widths[m];
        if (m < MOST_MODELS)
            given[m] = (emr_activations){sizeof *given, ones, 0, EMR_DTYPE_F32, 0};
    }
    promise(emr_gram_bytes(info.widths, info.n_models) == info.bytes);
    if (order > MOST || info.n_models > MOST_MODELS)
        return;
    for (size_t i = 0; i < MOST; i++)
        ones[i] = 1;
    double before = emr_gram_value(gram, site, 0, order - 1);
    promise(emr_gram_value(gram, site, order - 1, 0) == before && before - before == 0);
    promise(fuzz_status(emr_gram_feed(gram, site, given, 1, NULL, &error), &error) == EMR_OK);
    promise(emr_gram_value(gram, site, 0, order - 1) == before + 1);
    promise(emr_gram_get_site(gram, site, &info) == EMR_OK && info.n_rows == rows + 1);
}

static void read_gram(const emr_model *file, uint8_t choices, fuzz_budget *budget)
{
    const emr_allocator allocator = fuzz_allocator(budget);
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator};
    emr_gram_options options = {.size = sizeof options, .resources = &resources};
    options.n_models = choices & CHOICE_TWO_MODELS ? 2 : 0;
    resources.memory_bytes = choices & CHOICE_CAP ? 100000 : 0;
    emr_gram *gram = opened(file, &options);
    budget->cap = SIZE_MAX / 2; /* of saving, too */
    if (gram) {
        check_saved(gram);
        for (uint32_t i = 0; i < emr_gram_n_sites(gram) && i < 20; i++)
            feed_site(gram, i);
    }
    emr_gram_destroy(&gram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    emr_model *file;
    emr_error error = {0};
    if (!size)
        return 0;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    emr_buffer *buffer = fuzz_buffer_of(bytes, size - 1);
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    if (!fuzz_status(emr_safetensors_open(&file, emr_buffer_io(buffer), "g.safetensors", NULL, &error),
                     &error))
        read_gram(file, data[0], &budget);
    emr_model_destroy(&file);
    promise(budget.now == 0);
    emr_buffer_destroy(&buffer);
    free(bytes);
    return 0;
}
