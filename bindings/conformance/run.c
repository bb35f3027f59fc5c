/* run.c - the runner in C: does what cases.json says, with one thread and with three, and compares.
 *
 *     run [--write] cases.json */
#include "steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    size_t cases;
    size_t checks;
    size_t failed;
    int write;
} counts;

/* As few digits as give the number back. */
static void print_real(FILE *out, double value)
{
    char text[40];
    int precision = 14;
    do
        snprintf(text, sizeof text, "%.*g", ++precision, value);
    while (precision < 17 && strtod(text, NULL) != value);
    fprintf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void print_json(FILE *out, const json_t *value)
{
    const char *key, *separator = "";
    json_t *member;
    size_t i;
    if (json_is_real(value)) {
        print_real(out, json_real_value(value));
    } else if (json_is_array(value)) {
        fputc('[', out);
        json_array_foreach(value, i, member)
        {
            fputs(separator, out);
            print_json(out, member);
            separator = ", ";
        }
        fputc(']', out);
    } else if (json_is_object(value)) {
        fputc('{', out);
        json_object_foreach((json_t *)value, key, member)
        {
            fprintf(out, "%s\"%s\": ", separator, key);
            print_json(out, member);
            separator = ", ";
        }
        fputc('}', out);
    } else {
        json_dumpf(value, out, JSON_ENCODE_ANY);
    }
}

static void report_difference(const json_t *step, const char *key, const json_t *expected,
                              const json_t *found)
{
    counts.failed++;
    printf("  %s: %s is ", json_string_value(json_object_get(step, "do")), key);
    print_json(stdout, found ? found : json_null());
    printf("\n    and should be ");
    print_json(stdout, expected ? expected : json_null());
    putchar('\n');
}

/* What is expected, or, to write, what came out. */
static void settle(json_t *step, const char *part, json_t *found)
{
    json_t *expected = json_object_get(step, part);
    const char *key;
    json_t *value;
    if (counts.write) {
        json_object_set(step, part, found);
        return;
    }
    json_object_foreach(expected, key, value)
    {
        counts.checks++;
        if (!json_equal(value, json_object_get(found, key)))
            report_difference(step, key, value, json_object_get(found, key));
    }
    json_object_foreach(found, key, value) if (!json_object_get(expected, key))
        report_difference(step, key, NULL, value);
}

static void add_span(json_t *object, const char *key, const emr_error *error, emr_error_span span)
{
    if (span.length)
        json_object_set_new(object, key, json_stringn(error->text + span.offset, span.length));
}

static json_t *error_of(const world *w, const json_t *expected, emr_status status, const emr_error *error)
{
    json_t *found = json_object();
    json_object_set_new(found, "status", json_string(w->failed_on_purpose ? "own" : emr_status_name(status)));
    if (w->failed_on_purpose)
        return found;
    if (json_object_size(expected) == 1 && json_object_get(expected, "status"))
        return found;
    json_object_set_new(found, "text", json_string(error->text));
    add_span(found, "file", error, error->file);
    add_span(found, "task", error, error->task);
    add_span(found, "tensor", error, error->tensor);
    return found;
}

static const step_kind *find_step(const char *name)
{
    const step_kind *const tables[] = {model_steps,  file_steps,    merge_steps,
                                       bundle_steps, session_steps, method_steps};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const step_kind *kind = tables[i]; kind->name; kind++)
            if (!strcmp(kind->name, name))
                return kind;
    give_up("unknown step", name);
}

static void run_step(world *w, json_t *step)
{
    const step_kind *kind = find_step(need_text(step, "do"));
    json_t *result = json_object(), *expected = json_object_get(step, "error");
    emr_error error = {0};
    char keys[300];
    snprintf(keys, sizeof keys, "do expect error %s", kind->keys);
    allow_keys(step, keys);
    w->failed_on_purpose = 0;
    emr_status status = kind->run(w, step, result, &error);
    if (expected && !status)
        give_up("this did not fail:", kind->name);
    if (expected) {
        json_t *found = error_of(w, expected, status, &error);
        settle(step, "error", found);
        json_decref(found);
    } else if (status) {
        give_up(emr_status_name(status), error.text);
    } else if (json_object_get(step, "expect")) {
        settle(step, "expect", result);
    }
    json_decref(result);
}

static void run_case(json_t *what, const json_t *given, const emr_executor *executor)
{
    world w = {.resources = EMR_INIT(emr_resources)};
    size_t i, failed = counts.failed;
    json_t *step;
    w.resources.executor = executor;
    allow_keys(what, "name given steps");
    set_place(need_text(what, "name"), 0);
    if (get_text(what, "given"))
        json_array_foreach(need_array(given, need_text(what, "given")), i, step) run_step(&w, step);
    json_array_foreach(need_array(what, "steps"), i, step)
    {
        set_place(need_text(what, "name"), i + 1);
        run_step(&w, step);
    }
    if (counts.failed > failed)
        printf("FAIL %s, %s\n", need_text(what, "name"), executor ? "three threads" : "one thread");
    clear_world(&w);
}

static void run_cases(const json_t *file)
{
    const json_t *given = json_object_get(file, "given");
    emr_pool *pool;
    emr_pool_options options = EMR_INIT(emr_pool_options);
    emr_error error;
    size_t i;
    json_t *what;
    options.threads = 3;
    if (emr_pool_create(&pool, &options, &error))
        give_up(error.text, "");
    json_array_foreach(need_array(file, "cases"), i, what)
    {
        counts.cases++;
        run_case(what, given, NULL);
        if (!counts.write)
            run_case(what, given, emr_pool_executor(pool));
    }
    emr_pool_destroy(&pool);
}

static void print_steps(FILE *out, const json_t *steps)
{
    size_t i;
    json_t *step;
    json_array_foreach(steps, i, step)
    {
        fputs(i ? ",\n  " : "\n  ", out);
        print_json(out, step);
    }
}

static int write_cases(const char *path, const json_t *file)
{
    FILE *out = fopen(path, "w");
    const char *key, *separator = "";
    size_t i;
    json_t *what, *steps;
    if (!out)
        return perror(path), 2;
    fputs("{\"given\": {", out);
    json_object_foreach(json_object_get(file, "given"), key, steps)
    {
        fprintf(out, "%s\n\"%s\": [", separator, key);
        print_steps(out, steps);
        separator = "],";
    }
    fputs("]},\n\"cases\": [", out);
    json_array_foreach(need_array(file, "cases"), i, what)
    {
        fprintf(out, "%s\n{\"name\": \"%s\", ", i ? "," : "", need_text(what, "name"));
        if (get_text(what, "given"))
            fprintf(out, "\"given\": \"%s\", ", get_text(what, "given"));
        fputs("\"steps\": [", out);
        print_steps(out, need_array(what, "steps"));
        fputs("]}", out);
    }
    fputs("\n]}\n", out);
    return fclose(out) ? perror(path), 2 : 0;
}

int main(int argc, char **argv)
{
    counts.write = argc == 3 && !strcmp(argv[1], "--write");
    if (argc != 2 + counts.write)
        return fprintf(stderr, "usage: run [--write] cases.json\n"), 2;
    json_error_t why;
    json_t *file = json_load_file(argv[argc - 1], JSON_REJECT_DUPLICATES, &why);
    if (!file)
        return fprintf(stderr, "%s, line %d: %s\n", argv[argc - 1], why.line, why.text), 2;
    allow_keys(file, "given cases");
    run_cases(file);
    int status = counts.write ? write_cases(argv[2], file) : 0;
    json_decref(file);
    printf("%zu cases, %zu checks, %zu failed\n", counts.cases, counts.checks, counts.failed);
    return status ? status : counts.failed || !counts.cases;
}
