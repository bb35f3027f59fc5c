/* elected.h - what AdaMerging++ keeps of task vectors. Of each, the magnitudes at or above a threshold, over the whole model; and of
 * those the ones that have the sign of their sum over the tasks, taken in f64 in order of tasks. A sum of 0 elects the sign
 * that most elements of the model have; if these are as many, the negative one. */
#ifndef EMR_FIT_ELECTED_H
#define EMR_FIT_ELECTED_H

#include "crew.h"
#include "vectors.h"

/* Progress of both readings as that of one. */
typedef struct fit_electing {
    uint64_t done, total; /* of the first, as last told */
    uint64_t more;        /* bytes of the second */
} fit_electing;

/* Thresholds, by which of d elements the int(keep d) + 1 largest stay, more where magnitudes are equal. Reads the tasks, a few
 * times. */
emr_status fit_elect_thresholds(fit_vectors *vectors, const emr_model *const *tasks, double keep,
                                fit_electing *electing, emr_error *error);

/* Then the majority, from one more reading, by a crew whose rooms are fit_room. */
emr_status fit_elect_majority(fit_vectors *vectors, fit_crew *crew, fit_electing *electing, emr_error *error);

/* Sets to 0 in room->tau what is not kept. */
void fit_keep_elected(const fit_vectors *vectors, size_t n, fit_room *room);

#endif
