/* steps_models.c - models: made, renamed, read, written, opened; adapters; dtypes and blocks. */
#include "steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static emr_status copy_elements(const emr_computation *c, emr_error *error)
{
    const tensor_bytes *from = c->user;
    (void)error;
    memcpy(c->out, from->data + c->first * from->element_bits / 8, c->count * from->element_bits / 8);
    return EMR_OK;
}

static emr_status fail_to_compute(const emr_computation *c, emr_error *error)
{
    const tensor_bytes *from = c->user;
    from->owner->failed_on_purpose = 1;
    return emr_error_set(error, EMR_EIO, 0, NULL, "on purpose");
}

static void decode_hex(const char *hex, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
}

static void fill_with_values(const json_t *values, emr_dtype dtype, tensor_bytes *b)
{
    size_t i;
    json_t *value;
    json_array_foreach(values, i, value)
    {
        double wide = value_of(value);
        float narrow = (float)wide;
        memcpy(b->data + i * b->element_bits / 8, dtype == EMR_DTYPE_F64 ? (void *)&wide : (void *)&narrow,
               b->element_bits / 8);
    }
}

static void fill_with_draws(const json_t *of, emr_dtype dtype, uint64_t count, tensor_bytes *b)
{
    uint64_t every = get_number(of, "every"), seed = get_number(of, "seed");
    draw_elements(dtype, every ? get_number(of, "else") : seed, 0, (size_t)count, b->data);
    for (uint64_t i = 0; every && i < count; i++)
        if ((draw_number(seed, i) & 0xFFFFFFFF) % every == 0)
            draw_elements(dtype, seed, i, 1, b->data + bytes_of_elements(dtype, i));
}

static void fill_tensor(const json_t *of, emr_dtype dtype, uint64_t count, tensor_bytes *b)
{
    const char *hex = get_text(of, "hex"), *text = get_text(of, "text");
    if (json_object_get(of, "values"))
        fill_with_values(need_array(of, "values"), dtype, b);
    else if (hex)
        decode_hex(hex, b->data, b->size);
    else if (text)
        memcpy(b->data, text, b->size);
    else
        fill_with_draws(of, dtype, count, b);
}

static void quantise_tensor(world *w, emr_block_type type, uint64_t count, tensor_bytes *b)
{
    const float *values = (const float *)(const void *)b->data;
    b->size = (size_t)(count / EMR_BLOCK_VALUES * emr_block_bytes(type));
    b->data = new_memory(w, b->size);
    if (emr_quantise(type, b->data, values, (size_t)count))
        give_up("no whole blocks", "");
}

/* Behind 5 other bytes of an object. */
static const emr_io *io_of(world *w, const tensor_bytes *b)
{
    emr_buffer *buffer;
    emr_error error;
    unsigned char *object = new_memory(w, b->size + 5);
    memcpy(object + 5, b->data, b->size);
    if (emr_buffer_open(&buffer, object, b->size + 5, NULL, &error))
        give_up(error.text, "");
    keep_buffer(w, KIND_NONE, NULL, buffer);
    return emr_buffer_io(buffer);
}

static void set_source(world *w, const json_t *of, tensor_bytes *b, uint64_t count, emr_tensor_desc *desc)
{
    static const char *const sources[] = {"memory", "io", "computed", "pushed", "failing", NULL};
    uint32_t source = get_word(of, "from", sources);
    switch (source) {
    case 0:
        desc->data = b->data;
        break;
    case 1:
        desc->io = io_of(w, b);
        desc->offset = 5;
        break;
    case 2:
    case 4:
        desc->compute = source == 2 ? copy_elements : fail_to_compute;
        desc->user = b;
        desc->granule = count < 4 ? 0 : 4;
        desc->max_count = count < 4 ? 0 : 64;
    }
}

static emr_status add_tensor(world *w, emr_model *model, const json_t *of, emr_error *error)
{
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    uint64_t shape[EMR_RANK_MAX], count = 1;
    char name[600];
    allow_keys(of, "name dtype shape seed every else values hex text from blocks");
    json_t *dimensions = need_array(of, "shape");
    desc.name = need_text(of, "name");
    desc.dtype = get_dtype(of, "dtype");
    desc.rank = (uint32_t)json_array_size(dimensions);
    desc.shape = shape;
    for (uint32_t i = 0; i < desc.rank; i++)
        count *= shape[i] = (uint64_t)json_integer_value(json_array_get(dimensions, i));
    tensor_bytes *b = new_memory(w, sizeof *b);
    *b = (tensor_bytes){bytes_of_elements(desc.dtype, count), emr_dtype_bits(desc.dtype), NULL, w};
    b->data = new_memory(w, b->size);
    fill_tensor(of, desc.dtype, count, b);
    desc.blocks = get_word(of, "blocks", block_words);
    if (desc.blocks)
        quantise_tensor(w, desc.blocks, count, b);
    set_source(w, of, b, count, &desc);
    TRY(emr_model_add(model, &desc, error));
    snprintf(name, sizeof name, "%s/%s", emr_model_name(model), desc.name);
    keep_object(w, KIND_BYTES, name, b, NULL);
    return EMR_OK;
}

static emr_status new_model(world *w, const char *name, emr_model **model, emr_error *error)
{
    emr_model_options options = EMR_INIT(emr_model_options);
    options.name = name;
    TRY(emr_model_create(model, &options, error));
    keep_model(w, name, *model);
    return EMR_OK;
}

static emr_status make_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_model *model;
    size_t i;
    const char *key;
    json_t *value;
    (void)result;
    TRY(new_model(w, need_text(step, "model"), &model, error));
    json_array_foreach(need_array(step, "tensors"), i, value) TRY(add_tensor(w, model, value, error));
    json_object_foreach(json_object_get(step, "metadata"), key, value)
        TRY(emr_model_set_metadata(model, key, json_string_value(value), error));
    return EMR_OK;
}

static emr_status make_zeros(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_model *model;
    (void)result;
    TRY(emr_model_create_zeros(&model, need_model(w, step, "like"), NULL, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status make_ones(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_model *model;
    (void)result;
    TRY(emr_adapter_create_ones(&model, need_model(w, step, "like"), NULL, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status rename_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    json_t *pairs = need_array(step, "rules"), *pair;
    emr_rename *rules = new_memory(w, json_array_size(pairs) * sizeof *rules);
    emr_model *model;
    size_t i;
    (void)result;
    json_array_foreach(pairs, i, pair) rules[i] = (emr_rename){text_at(pair, 0), text_at(pair, 1)};
    TRY(emr_model_create_renamed(&model, need_model(w, step, "of"), rules, (uint32_t)json_array_size(pairs),
                                 NULL, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status pick_tensors(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_model *of = need_model(w, step, "of"), *model;
    json_t *name;
    size_t i;
    (void)result;
    TRY(new_model(w, need_text(step, "model"), &model, error));
    json_array_foreach(need_array(step, "tensors"), i, name)
    {
        const emr_tensor *tensor = emr_model_find_tensor(of, text_at(name, 0));
        if (!tensor)
            give_up("no such tensor:", text_at(name, 0));
        TRY(json_array_size(name) > 1 ? emr_model_add_tensor_as(model, tensor, text_at(name, 1), error)
                                      : emr_model_add_tensor(model, tensor, error));
    }
    return emr_model_copy_metadata(model, of, error);
}

static emr_status digest_bytes(const emr_tensor *tensor, size_t chunk, uint64_t *digest, emr_error *error)
{
    uint64_t n = emr_tensor_bytes(tensor);
    if (!chunk)
        chunk = n ? (size_t)n : 1;
    unsigned char *piece = malloc(chunk);
    emr_status status = EMR_OK;
    for (uint64_t at = 0; !status && at < n; at += chunk) {
        size_t length = n - at < chunk ? (size_t)(n - at) : chunk;
        status = emr_tensor_read(tensor, at, piece, length, error);
        *digest = add_to_digest(*digest, piece, length);
    }
    free(piece);
    return status;
}

static emr_status digest_floats(const emr_tensor *tensor, size_t chunk, uint64_t *digest, emr_error *error)
{
    uint64_t n = emr_tensor_count(tensor);
    if (!chunk)
        chunk = n ? (size_t)n : 1;
    float *piece = malloc(chunk * sizeof *piece);
    emr_status status = EMR_OK;
    for (uint64_t at = 0; !status && at < n; at += chunk) {
        size_t length = n - at < chunk ? (size_t)(n - at) : chunk;
        status = emr_tensor_read_floats(tensor, at, length, piece, error);
        *digest = add_to_digest(*digest, piece, length * sizeof *piece);
    }
    free(piece);
    return status;
}

static json_t *line_of(const emr_tensor *tensor, uint64_t digest)
{
    char shape[600] = "";
    size_t length = 0;
    for (uint32_t i = 0; i < emr_tensor_rank(tensor); i++)
        length += (size_t)snprintf(shape + length, sizeof shape - length, "%s%llu", i ? "," : "",
                                   (unsigned long long)emr_tensor_shape(tensor)[i]);
    return json_sprintf("%s %s [%s] %016llx", emr_tensor_name(tensor),
                        emr_dtype_name(emr_tensor_dtype(tensor)), shape, (unsigned long long)digest);
}

static emr_status read_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_model *model = need_model(w, step, "model");
    json_t *tensors = json_array(), *metadata = json_object();
    const char *key, *value;
    json_object_set_new(result, "tensors", tensors);
    json_object_set_new(result, "metadata", metadata);
    TRY(emr_model_prepare(model, &w->resources, error));
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *tensor = emr_model_tensor(model, i);
        uint64_t digest = FNV_START;
        TRY((get_flag(step, "floats") ? digest_floats : digest_bytes)(
            tensor, (size_t)get_number(step, "chunk"), &digest, error));
        json_array_append_new(tensors, line_of(tensor, digest));
    }
    for (uint32_t i = 0; !emr_model_get_metadata(model, i, &key, &value); i++)
        json_object_set_new(metadata, key, json_string(value));
    return EMR_OK;
}

static emr_status tell_roles(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_model *model = need_model(w, step, "model");
    json_t *roles = json_array();
    (void)error;
    json_object_set_new(result, "roles", roles);
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        emr_tensor_role role = EMR_INIT(emr_tensor_role);
        TRY(emr_tensor_get_role(emr_model_tensor(model, i), &role));
        if (role.role != EMR_ROLE_WEIGHT)
            json_array_append_new(roles, json_pack("[ssssi]", emr_tensor_name(emr_model_tensor(model, i)),
                                                   emr_role_name(role.role), role.family,
                                                   role.code ? emr_tensor_name(role.code) : "",
                                                   (int)role.can_dequantise));
    }
    return EMR_OK;
}

static int is_gguf(const json_t *step)
{
    static const char *const formats[] = {"safetensors", "gguf", NULL};
    need_text(step, "format");
    return get_word(step, "format", formats) == 1;
}

static emr_status write_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    emr_buffer *file = new_file(w, need_text(step, "file"));
    options.resources = &w->resources;
    TRY((is_gguf(step) ? emr_gguf_write : emr_safetensors_write)(need_model(w, step, "model"),
                                                                 emr_buffer_io(file), &options, error));
    json_object_set_new(result, "bytes", json_integer((json_int_t)emr_buffer_bytes(file)));
    json_object_set_new(result, "digest", digest_of(emr_buffer_data(file), emr_buffer_bytes(file)));
    return EMR_OK;
}

static const emr_buffer *need_file(const world *w, const json_t *step, const char *key)
{
    const emr_buffer *file = find_object(w, KIND_FILE, need_text(step, key));
    if (!file)
        give_up("no such file:", need_text(step, key));
    return file;
}

static emr_status open_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    const char *name = need_text(step, "model");
    emr_model *model;
    (void)result;
    options.dequantise = get_flag(step, "dequantise");
    TRY((is_gguf(step) ? emr_gguf_open : emr_safetensors_open)(
        &model, emr_buffer_io(need_file(w, step, "file")), name, &options, error));
    keep_model(w, name, model);
    return EMR_OK;
}

static emr_status fill_file(world *w, const char *name, const void *data, size_t n, emr_error *error)
{
    const emr_io *io = emr_buffer_io(new_file(w, name));
    return io->write(io->user, 0, data, n, error);
}

static emr_status make_bytes(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const char *hex = need_text(step, "hex");
    size_t n = strlen(hex) / 2;
    unsigned char *data = new_memory(w, n);
    (void)result;
    decode_hex(hex, data, n);
    return fill_file(w, need_text(step, "file"), data, n, error);
}

static emr_status damage_file(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_buffer *of = need_file(w, step, "of");
    size_t n = json_object_get(step, "cut") ? (size_t)get_number(step, "cut") : emr_buffer_bytes(of);
    int64_t at = (int64_t)get_number(step, "at");
    unsigned char *data = new_memory(w, n);
    (void)result;
    memcpy(data, emr_buffer_data(of), n);
    data[at < 0 ? (size_t)((int64_t)n + at) : (size_t)at] ^= (unsigned char)get_number(step, "xor");
    return fill_file(w, need_text(step, "file"), data, n, error);
}

static emr_status apply_adapter(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_model *model;
    (void)result;
    TRY(emr_adapter_apply(&model, need_model(w, step, "base"), need_model(w, step, "adapter"), &w->resources,
                          error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status compare_adapters(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_agree_options options = EMR_INIT(emr_agree_options);
    uint32_t n, n_differ;
    const char *const *names = get_texts(w, step, "models", &n);
    const emr_model **models = new_memory(w, n * sizeof *models);
    (void)result;
    for (uint32_t i = 0; i < n; i++)
        models[i] = find_object(w, KIND_MODEL, names[i]);
    options.differ = get_texts(w, step, "differ", &n_differ);
    options.n_differ = n_differ;
    return emr_adapters_agree(models, names, n, &options, error);
}

static emr_status convert_elements(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_dtype from = get_dtype(step, "from"), to = get_dtype(step, "to");
    size_t n = (size_t)get_number(step, "count");
    void *out = new_memory(w, bytes_of_elements(to, n));
    (void)error;
    TRY(emr_convert(to, out, from, drawn(w, from, get_number(step, "seed"), n), n));
    json_object_set_new(result, "digest", digest_of(out, bytes_of_elements(to, n)));
    return EMR_OK;
}

static emr_status quantise_values(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_block_type type = get_word(step, "type", block_words);
    size_t n = (size_t)get_number(step, "count"), size = n / EMR_BLOCK_VALUES * emr_block_bytes(type);
    float *values = drawn(w, EMR_DTYPE_F32, get_number(step, "seed"), n);
    void *blocks = new_memory(w, size);
    (void)error;
    TRY(emr_quantise(type, blocks, values, n));
    TRY(emr_dequantise(type, values, blocks, n));
    json_object_set_new(result, "blocks", digest_of(blocks, size));
    json_object_set_new(result, "values", digest_of(values, n * sizeof *values));
    return EMR_OK;
}

static emr_status tell_names(world *w, const json_t *step, json_t *result, emr_error *error)
{
    json_t *told = json_array(), *value;
    size_t i;
    (void)w, (void)error;
    json_array_foreach(need_array(step, "names"), i, value)
    {
        const char *name = json_string_value(value);
        json_array_append_new(told,
                              json_pack("[Isi]", (json_int_t)emr_statistics_layer_of(name),
                                        emr_statistics_kind_of(name), emr_adapter_rank_dimension(name)));
    }
    json_object_set_new(result, "names", told);
    return EMR_OK;
}

static emr_status match_globs(world *w, const json_t *step, json_t *result, emr_error *error)
{
    json_t *matches = json_array(), *pair;
    size_t i;
    (void)w, (void)error;
    json_array_foreach(need_array(step, "globs"), i, pair)
        json_array_append_new(matches, json_integer(emr_glob_matches(text_at(pair, 0), text_at(pair, 1))));
    json_object_set_new(result, "matches", matches);
    return EMR_OK;
}

static emr_status tell_elementary(world *w, const json_t *step, json_t *result, emr_error *error)
{
    json_t *powers = json_array(), *logarithms = json_array(), *value;
    size_t i;
    (void)w, (void)error;
    json_array_foreach(need_array(step, "values"), i, value)
    {
        json_array_append_new(powers, real_of(emr_exp(value_of(value))));
        json_array_append_new(logarithms, real_of(emr_log(value_of(value))));
    }
    json_object_set_new(result, "exp", powers);
    json_object_set_new(result, "log", logarithms);
    return EMR_OK;
}

static emr_status tell_constants(world *w, const json_t *step, json_t *result, emr_error *error)
{
    json_t *dtypes = json_array(), *statuses = json_array(), *blocks = json_array();
    (void)w, (void)step, (void)error;
    for (emr_dtype d = 0; d <= 40; d++)
        if (emr_dtype_bits(d))
            json_array_append_new(
                dtypes, json_pack("[sii]", emr_dtype_name(d), (int)emr_dtype_bits(d), emr_dtype_is_float(d)));
    for (emr_status s = 0; s >= EMR_EEXIST; s--)
        json_array_append_new(statuses, json_string(emr_status_name(s)));
    for (emr_block_type b = 0; b <= EMR_BLOCK_TYPE_Q8_0; b++)
        if (emr_block_bytes(b))
            json_array_append_new(blocks, json_pack("[si]", emr_block_name(b), (int)emr_block_bytes(b)));
    json_object_set_new(result, "dtypes", dtypes);
    json_object_set_new(result, "statuses", statuses);
    json_object_set_new(result, "blocks", blocks);
    return EMR_OK;
}

const step_kind model_steps[] = {
    {"model", "model tensors metadata", make_model},
    {"zeros", "model like", make_zeros},
    {"ones", "model like", make_ones},
    {"rename", "model of rules", rename_model},
    {"pick", "model of tensors", pick_tensors},
    {"read", "model chunk floats", read_model},
    {"roles", "model", tell_roles},
    {"write", "file model format", write_model},
    {"open", "model file format dequantise", open_model},
    {"bytes", "file hex", make_bytes},
    {"damage", "file of at xor cut", damage_file},
    {"adapter", "model base adapter", apply_adapter},
    {"agree", "models differ", compare_adapters},
    {"convert", "from to count seed", convert_elements},
    {"quantise", "type count seed", quantise_values},
    {"names", "names", tell_names},
    {"globs", "globs", match_globs},
    {"elementary", "values", tell_elementary},
    {"constants", "", tell_constants},
    {NULL, NULL, NULL},
};
