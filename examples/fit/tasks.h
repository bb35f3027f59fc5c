/* tasks.h - the eight tasks of examples/digits, with images to learn from: what adamerging.c, surgery.c and sesom.c share. */
#ifndef FIT_TASKS_H
#define FIT_TASKS_H

#include "backward.h"

enum { N_TASKS = 8, IMAGES_MAX = 450 };

extern const char *const task_names[N_TASKS];

/* Images as the network's inputs, and a label of each. */
typedef struct images {
    size_t n;
    float inputs[IMAGES_MAX][N_PIXELS]; /* 0 to 1 */
    uint32_t labels[IMAGES_MAX];
} images;

typedef struct tasks {
    emr_model *base, *models[N_TASKS];
    emr_model *learning, *heldout_images; /* the files, for more images than these: */
    network pretrained, individual[N_TASKS];
    images unlabelled[N_TASKS]; /* labels are what the task's own network says */
    images heldout[N_TASKS];    /* labels are what is right */
} tasks;

/* DIGITS is examples/digits, LEARNING the file learning.safetensors. Close it also after a failure. */
emr_status tasks_open(tasks *all, const char *digits, const char *learning, emr_error *error);
void tasks_close(tasks *all);

/* Reads NAME.pixels and, if there are some, NAME.labels. */
emr_status images_read(images *set, const emr_model *model, const char *name, emr_error *error);

/* Samples [first, first + n) as rows; beyond the last it goes on with the first. */
void images_take(const images *set, size_t first, size_t n, rows inputs, uint32_t *labels);

/* All of them in one bundle, in memory; destroy both, the bundle first. */
emr_status tasks_merge(const tasks *all, const emr_modulation_spec *kind, emr_buffer **memory,
                       emr_bundle **bundle, emr_error *error);

/* The number of the largest logit. */
uint32_t answer_of(const float *logits);

/* Per cent of the images on which the network is right. */
double images_accuracy(const network *net, const images *set);

/* A network with the last layer of another: of a merged one, with the task's own head. */
void network_set_head(network *net, const network *head);

double mean_of(const double values[N_TASKS]);

/* What `status` and `error` say, on stderr. */
void complain(const char *program, emr_status status, const emr_error *error);

#endif
