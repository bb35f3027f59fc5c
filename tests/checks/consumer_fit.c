/* consumer_fit.c - a host of libemr-fit: a gram that is saved, and a spec that is read; so that everything it needs is linked. */
#include <emr/emr.h>
#include <emr/fit/fit.h>

#include <stdio.h>
#include <string.h>

static const char json[] =
    "{\"format\": \"emr-permutation-spec\", \"version\": 1, \"groups\": [{\"name\": \"g\", \"size\": 2,"
    " \"axes\": [{\"tensor\": \"w\", \"axis\": 0}]}]}";

int main(void)
{
    const double nearness[] = {1, 2, 4, 1};
    const float rows[] = {1, 2, 3, 4};
    const uint64_t width = 2;
    const emr_activations given = {.size = sizeof given, .data = rows, .dtype = EMR_DTYPE_F32};
    uint32_t columns[2], site;
    emr_permutation_spec *spec;
    emr_buffer *buffer;
    emr_model *model;
    emr_gram *gram;
    emr_error error;
    if (emr_permutation_spec_parse(&spec, json, strlen(json), NULL, &error) ||
        emr_assign(nearness, 2, columns, NULL, &error) || emr_gram_create(&gram, NULL, &error) ||
        emr_gram_add_site(gram, "x", &width, &site, &error) ||
        emr_gram_feed(gram, site, &given, 2, NULL, &error) || emr_gram_open_model(gram, &model, &error) ||
        emr_buffer_create(&buffer, NULL, &error) ||
        emr_safetensors_write(model, emr_buffer_io(buffer), NULL, &error))
        return fprintf(stderr, "%s\n", error.text), 1;
    int right = columns[0] == 1 && columns[1] == 0 && emr_gram_value(gram, site, 0, 1) == 14;
    emr_buffer_destroy(&buffer);
    emr_model_destroy(&model);
    emr_gram_destroy(&gram);
    emr_permutation_spec_destroy(&spec);
    return right ? 0 : 1;
}
