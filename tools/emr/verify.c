/* verify.c - `emr verify`: whether a bundle is whole, and a base its own. */
#include "cli.h"

/* Every tensor of the base that differs is listed on standard output. */
typedef struct differences {
    bool print;
    json_t *list;
} differences;

static void note_difference(void *user, const emr_base_difference *difference)
{
    const differences *d = user;
    if (d->print) {
        printf("differs: ");
        print_name(difference->tensor, 0);
        printf(": %s\n", difference->why);
    }
    json_array_append_new(d->list,
                          json_pack("{s:s, s:s}", "tensor", difference->tensor, "why", difference->why));
}

int command_verify(const arguments *a)
{
    session s;
    emr_bundle *bundle = NULL;
    emr_model *base = NULL;
    emr_error error = {.text = ""};
    int exit_status = check_one_file(a, "BUNDLE");
    if (!exit_status)
        exit_status = session_open(&s, a, "verifying");
    if (exit_status)
        return exit_status;
    differences d = {!a->json && !a->quiet, json_array()};
    const emr_base_check_options check = {
        .size = sizeof check, .resources = &s.resources, .differs = note_difference, .user = &d};
    emr_status status = emr_bundle_open_file(&bundle, a->files[0], NULL, &error);
    if (!status)
        status = emr_bundle_verify(bundle, &s.resources, &error);
    if (!status && a->base)
        status = open_base(&base, a, bundle, NULL, &error);
    if (!status && a->base)
        status = emr_bundle_check_base(bundle, base, &check, &error);
    hint_at_dequantise(a, base, status, &error);
    hide_progress();
    if (a->json)
        exit_status = print_json(json_pack("{s:b, s:o, s:O}", "ok", status == EMR_OK, "why",
                                           text_json(status ? error.text : ""), "differs", d.list));
    else if (!status && !a->quiet)
        printf("%s: every checksum is right%s\n", a->files[0], a->base ? ", and this is its base" : "");
    if (status)
        exit_status = complain_status(status, &error);
    json_decref(d.list);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    session_close(&s);
    return exit_status;
}
