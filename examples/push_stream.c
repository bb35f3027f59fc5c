/* push_stream.c - push mode: weights arrive chunk by chunk from pipes, at whose far ends other processes
 * write, and never form a file; the results go to a sink, and from there, as a modulator over the host's own
 * memory, straight to use. */
#define _POSIX_C_SOURCE 200809L /* pipe, fork */

#include <emr/emr.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 300000, N_TASKS = 2, N_SOURCES = 1 + N_TASKS };

static emr_error error;

static void must(emr_status status)
{
    if (status != EMR_OK) {
        fprintf(stderr, "push_stream: %s: %s\n", emr_status_text(status), error.text);
        exit(EXIT_FAILURE);
    }
}

/* Where weights come from: here a pipe; a socket or a sensor bus looks the same. */
typedef struct stream {
    float weights[COUNT]; /* what is at the far end; looked at here only to check the result */
    pid_t sender;
    int pipe;
    unsigned char packet[1500];
    size_t begin, end; /* the bytes of the packet that are still to be pushed */
} stream;

static void fail_with_errno(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Starts a process that writes the weights into a pipe, in pieces of odd sizes. */
static void start_sender(stream *s)
{
    int ends[2];
    if (pipe(ends) || (s->sender = fork()) < 0)
        fail_with_errno("push_stream");
    if (s->sender == 0) {
        const unsigned char *next = (const unsigned char *)s->weights, *end = next + sizeof s->weights;
        close(ends[0]);
        for (size_t n = 1; next < end; n = n % 4000 + 777) {
            ssize_t wrote = write(ends[1], next, n < (size_t)(end - next) ? n : (size_t)(end - next));
            if (wrote < 0)
                _exit(EXIT_FAILURE);
            next += wrote;
        }
        _exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    s->pipe = ends[0];
}

/* What has arrived next; nothing at the end. */
static void receive_packet(stream *s)
{
    ssize_t n = read(s->pipe, s->packet, sizeof s->packet);
    if (n < 0)
        fail_with_errno("push_stream");
    s->begin = 0;
    s->end = (size_t)n;
}

/* Whether the sender sent all. */
static int finish_sender(stream *s)
{
    int status = -1;
    close(s->pipe);
    return waitpid(s->sender, &status, 0) == s->sender && status == 0;
}

/* Pushes chunks as they come in. What is not taken is ahead of the other sources and waits for them. */
static void push_all(emr_merge *merge, stream *streams)
{
    must(emr_merge_begin(merge, &error));
    for (int open = 1; open;) {
        open = 0;
        for (uint32_t s = 0; s < N_SOURCES; s++) {
            stream *from = &streams[s];
            size_t taken;
            if (from->begin == from->end)
                receive_packet(from);
            must(emr_merge_push(merge, s == 0 ? EMR_BASE : s - 1, from->packet + from->begin,
                                from->end - from->begin, &taken, &error));
            from->begin += taken;
            open |= from->end > 0;
        }
    }
    must(emr_merge_finish(merge, &error));
}

/* What the merge gives: 4 bytes a parameter, and a bit a parameter and task. */
typedef struct result {
    float unified[COUNT];
    uint8_t masks[N_TASKS][(COUNT + 7) / 8];
} result;

/* There is only one tensor. */
static emr_status take_unified(void *user, const emr_sink_part *part, emr_error *reason)
{
    (void)reason;
    memcpy(((result *)user)->unified + part->first, part->values, part->n * sizeof(float));
    return EMR_OK;
}

static emr_status take_mask(void *user, const emr_sink_part *part, emr_error *reason)
{
    (void)reason;
    memcpy(((result *)user)->masks[part->task] + part->first / 8, part->values, (part->n + 7) / 8);
    return EMR_OK;
}

/* The formulas, one parameter at a time. Returns how many weights are wrong. */
static size_t count_wrong(const stream *streams, uint32_t task, float rescaler, const float *weights)
{
    const float *base = streams[0].weights;
    double moved = 0, kept = 0;
    size_t wrong = 0;
    for (size_t i = 0; i < COUNT; i++) {
        float tau[N_TASKS] = {streams[1].weights[i] - base[i], streams[2].weights[i] - base[i]};
        float sum = tau[0] + tau[1], unified = 0;
        if (sum != 0)
            unified = sum > 0 ? fmaxf(tau[0], tau[1]) : fminf(tau[0], tau[1]);
        int elected = (unified > 0 && tau[task] > 0) || (unified < 0 && tau[task] < 0);
        float step = elected ? rescaler * unified : 0;
        moved += fabs((double)tau[task]);
        kept += elected ? fabs((double)unified) : 0;
        wrong += weights[i] != base[i] + step;
    }
    return wrong + (fabs((double)rescaler - moved / kept) > 1e-6);
}

/* A model that says what its tensors are, but not where their bytes come from: those are pushed. */
static emr_model *describe_model(const char *name)
{
    const emr_model_options options = {.size = sizeof options, .name = name};
    const uint64_t shape[] = {COUNT};
    const emr_tensor_desc weight = {
        .size = sizeof weight, .name = "weight", .shape = shape, .rank = 1, .dtype = EMR_DTYPE_F32};
    emr_model *model;
    must(emr_model_create(&model, &options, &error));
    must(emr_model_add(model, &weight, &error));
    return model;
}

int main(void)
{
    static stream streams[N_SOURCES];
    static result merged;
    static float weights[COUNT];
    static const char *const names[N_SOURCES] = {"base", "french", "german"};
    const emr_sink sink = {.size = sizeof sink, .user = &merged, .unified = take_unified, .mask = take_mask};
    /* less than the weights: no source may run far ahead of the others */
    const emr_resources resources = {.size = sizeof resources, .memory_bytes = 4 << 20};
    const emr_merge_options options = {.size = sizeof options, .resources = &resources};
    emr_model *models[N_SOURCES];
    emr_merge *merge;
    size_t wrong = 0;

    must(emr_merge_create(&merge, &options, &error));
    for (size_t s = 0; s < N_SOURCES; s++) {
        for (size_t i = 0; i < COUNT; i++) /* any numbers of both signs */
            streams[s].weights[i] = (float)((i * (17 + 2 * s) + s) % 1009) / 1024 - 0.5f;
        start_sender(&streams[s]);
        models[s] = describe_model(names[s]);
        must(s == 0 ? emr_merge_set_base(merge, models[s], &error)
                    : emr_merge_add_task(merge, names[s], models[s], &error));
    }
    must(emr_merge_set_sink(merge, &sink, &error));
    push_all(merge, streams);
    for (size_t s = 0; s < N_SOURCES; s++)
        wrong += !finish_sender(&streams[s]);

    for (uint32_t t = 0; t < N_TASKS; t++) {
        emr_task_report report = EMR_INIT(emr_task_report);
        must(emr_merge_get_task_report(merge, t, &report));
        const emr_modulation modulation = {.size = sizeof modulation,
                                           .name = "weight",
                                           .count = COUNT,
                                           .unified = merged.unified,
                                           .unified_dtype = EMR_DTYPE_F32,
                                           .mask = merged.masks[t],
                                           .rescalers = &report.rescaler,
                                           .n_rescalers = 1};
        const emr_application all = {.size = sizeof all,
                                     .count = COUNT,
                                     .base = streams[0].weights,
                                     .base_dtype = EMR_DTYPE_F32,
                                     .out = weights,
                                     .out_dtype = EMR_DTYPE_F32};
        emr_modulator *modulator;
        must(emr_modulator_create(&modulator, NULL, &error));
        must(emr_modulator_add(modulator, &modulation, &error));
        must(emr_modulator_apply(modulator, &all, &error));
        emr_modulator_destroy(&modulator);
        wrong += count_wrong(streams, t, report.rescaler, weights);
        printf("%s: rescaler %.4f, density %.3f\n", report.name, (double)report.rescaler,
               (double)report.mask_ones / COUNT);
    }
    emr_merge_destroy(&merge);
    for (size_t s = 0; s < N_SOURCES; s++)
        emr_model_destroy(&models[s]);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
