/* crew.h - the ranks of an MPI job that make the parts of a merge. Rank 0 hands parts out, one at a time, and makes
 * some itself; so a rank that is slow gets fewer. It answers whenever its own work comes round to crew_progress.
 * Who waits sleeps, and takes no processor from those who work. */
#ifndef EMR_CREW_H
#define EMR_CREW_H

#include "cli.h"

typedef struct crew {
    int rank, size;
    uint32_t n_parts;
    bool is_over;    /* somebody failed, or all is done: */
    int exit_status; /* with this */
    double share;    /* of the part at hand that is done */
    double told;     /* when rank 0 was told of it, in seconds */
    /* of rank 0 alone */
    uint32_t next, n_done, n_found; /* the part to hand out next, from 1; done, of them found done */
    double *shares;                 /* of the part that each rank is at */
    uint64_t bytes;                 /* that all parts read, for the progress of the whole */
    int n_gone;                     /* ranks that have heard that it is over */
} crew;

/* Rank 0's numbers become those of all, who wait for them. */
void crew_share(int *numbers, int n);

enum { CREW_FIRST, CREW_MADE, CREW_FOUND }; /* what became of the part before */

/* The next part for this rank, from 1; 0: there is none, or it is over. */
uint32_t crew_next_part(crew *c, int before);

/* An emr_progress_fn, `user` is the crew: for calls while a part is made. */
emr_status crew_progress(void *user, const emr_progress *progress, emr_error *error);

/* This rank's part failed: everybody stops. */
void crew_fail(crew *c, int exit_status);

/* Rank 0: until all parts are done, or it is over. */
void crew_wait_for_parts(crew *c);

/* Rank 0 says that it is over, and waits until all know; the others wait for that. Returns the exit status of
 * all. */
int crew_end(crew *c, int exit_status);

#endif
