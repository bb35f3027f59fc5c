/* crew.c - see crew.h. All messages are one double; they are few and tiny, so that sending never waits. */
#define _POSIX_C_SOURCE 200809L

#include "crew.h"

#include <mpi.h>

#include <time.h>

enum {
    /* to rank 0 */
    READY = 1, /* for a part; what became of the one before */
    SHARE,     /* of the part that is done */
    FAILED,    /* an exit status */
    GONE,      /* has heard OVER, and says no more */
    /* from rank 0 */
    PART, /* the next one; 0: none is left */
    OVER  /* an exit status */
};

#define TELL_EVERY 0.25 /* seconds */

static void send_to(int rank, int what, double value)
{
    MPI_Send(&value, 1, MPI_DOUBLE, rank, what, MPI_COMM_WORLD);
}

/* The next message, if one is there. */
static bool receive(int *rank, int *what, double *value)
{
    MPI_Status from;
    int there;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &from);
    if (!there)
        return false;
    *rank = from.MPI_SOURCE;
    *what = from.MPI_TAG;
    MPI_Recv(value, 1, MPI_DOUBLE, *rank, *what, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return true;
}

static void sleep_a_little(void)
{
    const struct timespec t = {.tv_nsec = 2000000};
    nanosleep(&t, NULL);
}

void crew_share(int *numbers, int n)
{
    MPI_Request request;
    int done = 0;
    MPI_Ibcast(numbers, n, MPI_INT, 0, MPI_COMM_WORLD, &request);
    for (MPI_Test(&request, &done, MPI_STATUS_IGNORE); !done; MPI_Test(&request, &done, MPI_STATUS_IGNORE))
        sleep_a_little();
}

static void be_over(crew *c, int exit_status)
{
    if (c->is_over)
        return;
    c->is_over = true;
    c->exit_status = exit_status;
    for (int rank = 1; c->rank == 0 && rank < c->size; rank++)
        send_to(rank, OVER, exit_status);
}

/* Rank 0: one of its ranks is ready for a part. */
static uint32_t hand_out(crew *c, int rank, int before)
{
    c->shares[rank] = 0;
    c->n_done += before != CREW_FIRST;
    c->n_found += before == CREW_FOUND;
    return c->is_over || c->next > c->n_parts ? 0 : c->next++;
}

static void answer(crew *c)
{
    int rank, what;
    double value;
    while (receive(&rank, &what, &value)) {
        if (what == READY) {
            uint32_t part = hand_out(c, rank, (int)value);
            if (!c->is_over)
                send_to(rank, PART, part);
        } else if (what == SHARE)
            c->shares[rank] = value;
        else if (what == FAILED)
            be_over(c, (int)value);
        else
            c->n_gone++;
    }
}

/* Another rank hears rank 0. Returns whether that was a part. */
static bool hear(crew *c, uint32_t *part)
{
    int rank, what;
    double value;
    while (receive(&rank, &what, &value)) {
        if (what == PART) {
            *part = (uint32_t)value;
            return true;
        }
        be_over(c, (int)value);
    }
    return false;
}

static emr_status show_whole(const crew *c, emr_error *error)
{
    double parts = c->n_done;
    for (int rank = 0; rank < c->size; rank++)
        parts += c->shares[rank];
    const emr_progress whole = {
        .size = sizeof whole, .done = (uint64_t)((double)c->bytes * (parts / c->n_parts)), .total = c->bytes};
    return show_progress(NULL, &whole, error);
}

uint32_t crew_next_part(crew *c, int before)
{
    uint32_t part = 0;
    if (c->rank == 0) {
        answer(c);
        return hand_out(c, 0, before);
    }
    send_to(0, READY, before);
    while (!hear(c, &part) && !c->is_over && !interrupted)
        sleep_a_little();
    return c->is_over || interrupted ? 0 : part;
}

emr_status crew_progress(void *user, const emr_progress *progress, emr_error *error)
{
    crew *c = user;
    uint32_t none;
    c->share = progress->total ? (double)progress->done / (double)progress->total : 0;
    double now = MPI_Wtime();
    if (c->rank == 0) {
        c->shares[0] = c->share;
        answer(c);
    } else {
        hear(c, &none);
        if (now - c->told >= TELL_EVERY && !c->is_over) {
            send_to(0, SHARE, c->share);
            c->told = now;
        }
    }
    if (c->is_over)
        return EMR_ECANCELED;
    if (c->rank == 0)
        return show_whole(c, error);
    return interrupted ? EMR_ECANCELED : EMR_OK;
}

void crew_fail(crew *c, int exit_status)
{
    if (c->rank == 0)
        be_over(c, exit_status);
    else if (!c->is_over)
        send_to(0, FAILED, exit_status);
}

void crew_wait_for_parts(crew *c)
{
    emr_error error;
    while (c->n_done < c->n_parts && !c->is_over && !interrupted) {
        answer(c);
        show_whole(c, &error);
        sleep_a_little();
    }
}

int crew_end(crew *c, int exit_status)
{
    uint32_t none;
    if (c->rank == 0) {
        be_over(c, exit_status);
        for (answer(c); c->n_gone < c->size - 1 && !interrupted; answer(c))
            sleep_a_little();
        return c->exit_status;
    }
    while (!c->is_over && !interrupted) {
        hear(c, &none);
        sleep_a_little();
    }
    if (!interrupted)
        send_to(0, GONE, 0);
    return c->exit_status;
}
