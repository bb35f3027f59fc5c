/* results.c - the demo's tables, and the promises that they must keep. */
#include "results.h"

#include <stdio.h>

#define CLEAR_MARGIN 5.0 /* points of mean accuracy */

static double mean(const double values[N_TASKS])
{
    double sum = 0;
    for (size_t t = 0; t < N_TASKS; t++)
        sum += values[t];
    return sum / N_TASKS;
}

static void print_accuracy(const results *r)
{
    printf("Accuracy on held-out samples, %%\n\n");
    printf("%-10s %11s %11s %11s %11s %11s\n", "task", "pretrained", "individual", "averaging", "arithmetic",
           "EMR");
    for (size_t t = 0; t <= N_TASKS; t++) {
        printf("%-10s", t < N_TASKS ? task_names[t] : "mean");
        for (size_t m = 0; m < N_METHODS; m++)
            printf(" %11.2f", t < N_TASKS ? r->accuracy[m][t] : mean(r->accuracy[m]));
        printf("\n");
    }
    printf("\naveraging   W0 + %g * (sum of the task vectors)\n", r->scale[AVERAGING]);
    printf("arithmetic  W0 + %g * (sum of the task vectors)\n", r->scale[ARITHMETIC]);
    printf("EMR         W0 + lambda * (mask ? unified task vector : 0), lambda and mask being the task's\n");
}

static void print_modulators(const results *r)
{
    printf("\nWhat the bundle keeps of each task\n\n");
    printf("%-10s %11s %11s %11s\n", "task", "lambda", "density", "mask bytes");
    for (size_t t = 0; t < N_TASKS; t++)
        printf("%-10s %11.4f %11.4f %11llu\n", task_names[t], r->rescaler[t], r->density[t],
               (unsigned long long)r->mask_bytes[t]);
}

static void print_size(const char *what, uint64_t bytes, uint64_t of)
{
    printf("%-22s %11llu %10.1f %%\n", what, (unsigned long long)bytes, 100.0 * (double)bytes / (double)of);
}

static void print_kinds(const results *r)
{
    printf("\nOther kinds of modulators: mean accuracy, and bits of the whole bundle for each parameter and "
           "task\n\n");
    printf("%-28s %11s %11s\n", "kind", "accuracy", "bits");
    for (size_t k = 0; k < N_KINDS; k++)
        printf("%-28s %11.2f %11.3f\n", r->kinds[k].name, r->kinds[k].accuracy, r->kinds[k].bits);
}

static void print_sizes(const results *r)
{
    printf("\nBytes on disk, and as a share of the %d checkpoints\n\n", N_TASKS);
    print_size("checkpoints", r->checkpoint_bytes, r->checkpoint_bytes);
    print_size("base + checkpoints", r->base_bytes + r->checkpoint_bytes, r->checkpoint_bytes);
    print_size("bundle", r->bundle_bytes, r->checkpoint_bytes);
    print_size("base + bundle", r->base_bytes + r->bundle_bytes, r->checkpoint_bytes);
}

static void print_individual(const results *r)
{
    double sum = 0, max = 0;
    printf("\nAccuracy of each individual network (row) on each task (column), %%\n\n%-10s", "");
    for (size_t t = 0; t < N_TASKS; t++)
        printf(" %9s", task_names[t]);
    for (size_t n = 0; n < N_TASKS; n++) {
        printf("\n%-10s", task_names[n]);
        for (size_t t = 0; t < N_TASKS; t++) {
            double accuracy = r->individual[n][t];
            printf(" %9.2f", accuracy);
            sum += n == t ? 0 : accuracy;
            max = n != t && accuracy > max ? accuracy : max;
        }
    }
    printf("\n\non a task that is not its own: mean %.2f, at most %.2f\n", sum / (N_TASKS * (N_TASKS - 1)),
           max);
}

static void print_notes(const results *r)
{
    uint64_t masks = 0;
    for (size_t t = 0; t < N_TASKS; t++)
        masks += r->mask_bytes[t];
    printf(
        "\nThe bundle holds a unified task vector, which has a number in %s for every parameter, and of "
        "each\n"
        "task a mask of one bit a parameter and one number, lambda; blocks are compressed where that helps.\n"
        "A task's mask is about %llu bytes, its checkpoint %llu. The bundle does not hold the base,\n"
        "without which it gives no weights back, while a checkpoint is complete in itself: base + bundle is\n"
        "what takes the place of the %d checkpoints. The weights that come back are not the checkpoints':\n"
        "here that costs %.2f points of mean accuracy.\n",
        r->unified_dtype, (unsigned long long)(masks / N_TASKS),
        (unsigned long long)(r->checkpoint_bytes / N_TASKS), N_TASKS,
        mean(r->accuracy[INDIVIDUAL]) - mean(r->accuracy[EMR]));
}

void results_print(const results *r)
{
    print_accuracy(r);
    print_modulators(r);
    print_kinds(r);
    print_sizes(r);
    print_individual(r);
    print_notes(r);
}

const char *results_check(const results *r)
{
    double emr = mean(r->accuracy[EMR]);
    if (!(emr > mean(r->accuracy[AVERAGING]) + CLEAR_MARGIN))
        return "EMR-Merging is not clearly better than weight averaging";
    if (!(emr > mean(r->accuracy[ARITHMETIC]) + CLEAR_MARGIN))
        return "EMR-Merging is not clearly better than task arithmetic";
    if (!(emr > mean(r->accuracy[PRETRAINED]) + CLEAR_MARGIN))
        return "EMR-Merging is not clearly better than the pretrained network";
    for (size_t k = 0; k < N_KINDS; k++)
        if (!(r->kinds[k].accuracy > mean(r->accuracy[PRETRAINED]) + CLEAR_MARGIN))
            return "a kind of modulator is not clearly better than the pretrained network";
    if (r->base_bytes + r->bundle_bytes >= r->checkpoint_bytes)
        return "base and bundle together are not smaller than the checkpoints";
    return NULL;
}
