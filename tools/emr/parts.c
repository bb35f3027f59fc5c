/* parts.c - `emr merge --part I/N` and `emr merge --dry-run --parts N`: what parts of a merge read, write and take. */
#include "cli.h"

/* Seconds that reading takes at the rate that was given, in words. */
static const char *duration_text(uint64_t bytes, uint64_t rate, char text[32])
{
    uint64_t seconds = bytes / rate + (bytes % rate != 0);
    if (seconds < 60)
        snprintf(text, 32, "%llu s", (unsigned long long)seconds);
    else if (seconds < 3600)
        snprintf(text, 32, "%llu min %llu s", (unsigned long long)(seconds / 60),
                 (unsigned long long)(seconds % 60));
    else
        snprintf(text, 32, "%llu h %llu min", (unsigned long long)(seconds / 3600),
                 (unsigned long long)(seconds % 3600 / 60));
    return text;
}

static json_t *part_json(uint32_t part, const emr_plan_summary *s, uint64_t rate)
{
    json_t *json =
        json_pack("{s:I, s:I, s:I, s:I}", "part", (json_int_t)part, "bytes_in", (json_int_t)s->bytes_in,
                  "bytes_out_at_most", (json_int_t)s->bytes_out, "peak_memory", (json_int_t)s->peak_memory);
    if (rate)
        json_object_set_new(json, "seconds", json_real((double)s->bytes_in / (double)rate));
    return json;
}

static void print_part(uint32_t part, uint32_t n, const emr_plan_summary *s, uint64_t rate)
{
    char in[32], out[32], peak[32], duration[32];
    printf("part %u/%u: reads %s, writes at most %s, works in %s", part, n, size_text(s->bytes_in, in),
           size_text(s->bytes_out, out), size_text(s->peak_memory, peak));
    if (rate)
        printf(", takes %s", duration_text(s->bytes_in, rate, duration));
    putchar('\n');
}

emr_status print_parts_plan(const merge_job *j, const arguments *a, json_t *root, emr_error *error)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    emr_status status = EMR_OK;
    json_t *parts = json_array();
    for (uint32_t i = 0; !status && i < a->n_parts; i++) {
        status = emr_merge_set_part(j->merge, i, a->n_parts, error);
        if (!status)
            status = emr_merge_get_plan(j->merge, &s, error);
        if (!status && a->json)
            json_array_append_new(parts, part_json(i + 1, &s, a->rate));
        else if (!status)
            print_part(i + 1, a->n_parts, &s, a->rate);
    }
    if (a->json && a->n_parts && !status)
        json_object_set(root, "parts", parts);
    json_decref(parts);
    return status;
}

int print_part_report(const merge_job *j, const arguments *a)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    char in[32];
    emr_error error = {.text = ""};
    emr_status status = emr_merge_get_plan(j->merge, &s, &error);
    if (status)
        return complain_status(status, &error);
    if (a->json)
        return print_json(json_pack("{s:o, s:I, s:I, s:I}", "output", text_json(a->output), "part",
                                    (json_int_t)a->part, "parts", (json_int_t)a->n_parts, "bytes_in",
                                    (json_int_t)s.bytes_in));
    if (!a->quiet && !to_standard_output(a))
        printf("part %u of %u, from %s (emr join makes the bundle of all)\n", a->part, a->n_parts,
               size_text(s.bytes_in, in));
    return EXIT_DONE;
}
