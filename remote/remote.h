/* remote.h - what the files of libemr-remote share.
 *
 *     source.c    emr_source: names, folders
 *     file.c      emr_io of one file: what is there is copied, what is not is asked for
 *     ahead.c     blocks of files, fetched before they are read
 *     queue.c     jobs, and the threads that do them
 *     request.c   one job: tries, waits
 *     transfer.c  one try, by libcurl
 *     answer.c    what a server's headers say
 *     address.c   https://, http://, s3://
 *
 * One mutex guards what is not said to be of one thread. */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include "emr/remote/remote.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    REMOTE_BLOCK = 1 << 20, /* bytes of what is read ahead */
    REMOTE_CHAIN = 8,       /* blocks that one request brings, at most */
    REMOTE_HEAD = 1 << 14,  /* bytes that the first look at a file brings */
    REMOTE_CONNECTIONS_MAX = 64,
    REMOTE_TAG_MAX = 256,
    REMOTE_REDIRECTS = 5
};

typedef struct remote_file remote_file;

/* Bytes of a file to be fetched: one request for a chain of jobs that follow each other in the file. */
typedef struct remote_job {
    struct remote_job *next; /* in the queue */
    struct remote_job *more; /* of the chain */
    remote_file *file;
    uint64_t offset;
    size_t n, done; /* done: only its thread's, until it is finished */
    char *into;
    bool finished;
    emr_status status;
    emr_error error;
} remote_job;

/* What an answer says of the file. */
typedef struct remote_identity {
    uint64_t bytes;
    char tag[REMOTE_TAG_MAX], modified[REMOTE_TAG_MAX]; /* "" where the server does not say */
} remote_identity;

typedef enum remote_look {
    REMOTE_UNSEEN,
    REMOTE_LOOKING,
    REMOTE_PRESENT,
    REMOTE_ABSENT,
    REMOTE_REFUSED,
    REMOTE_FAILED
} remote_look;

/* An address. It stays until the remote is destroyed; what comes first is set once, before others see it. */
struct remote_file {
    emr_remote *remote;
    remote_file *next;
    char *name;  /* as it was given */
    char *url;   /* as it is asked for */
    char *shown; /* as messages call it */
    bool is_s3;
    remote_look look, seen;   /* seen: what becomes of it when the first job is finished */
    remote_identity identity; /* once it is present */
    remote_job first;         /* the look: the file's first bytes */
    char *head;
    size_t head_bytes;
    uint64_t next_offset; /* after the last read */
    size_t run_bytes;     /* of it */
    uint64_t last_read;   /* the remote's clock then */
};

typedef struct remote_block {
    remote_job job;
    bool is_used; /* a file's */
    unsigned n_readers;
    uint64_t made; /* the clock then */
} remote_block;

struct emr_remote {
    emr_remote_options options; /* its strings are the remote's */
    emr_source source;
    pthread_mutex_t mutex;
    pthread_cond_t work, done; /* jobs have come; have been finished */
    remote_file *files;
    remote_job *urgent, *urgent_last, *ahead, *ahead_last;
    remote_block *blocks;
    size_t n_blocks;
    uint64_t clock; /* reads so far */
    pthread_t *threads;
    uint32_t n_threads;
    atomic_bool closing;
};

/* address.c: fills name, url, shown and is_s3. */
emr_status remote_address(remote_file *file, emr_error *error);
char *remote_copy(const char *text, size_t n);

/* answer.c */
typedef struct remote_answer {
    long code;
    bool has_range, is_encoded;
    uint64_t first, last; /* of the range; of one without bytes, first is after last */
    uint64_t length;      /* Content-Length */
    bool has_length;
    long retry_after; /* seconds */
    remote_identity identity;
} remote_answer;
void remote_answer_line(remote_answer *answer, const char *line, size_t n);

/* transfer.c: one request for what a chain lacks; *chain becomes the first job that is not full. */
typedef enum remote_verdict {
    REMOTE_DONE,
    REMOTE_LATER, /* it may go better in a while */
    REMOTE_GONE,  /* there is no such file */
    REMOTE_DENIED,
    REMOTE_NEVER
} remote_verdict;
typedef struct remote_outcome {
    remote_verdict verdict;
    long retry_after;
    uint64_t got; /* bytes */
    emr_status status;
    char reason[200];
} remote_outcome;
void remote_transfer(void *curl, remote_job **chain, remote_outcome *outcome);

/* request.c: fetches a chain and finishes all its jobs. */
void remote_request(emr_remote *remote, void *curl, remote_job *chain);
bool remote_is_canceled(const emr_remote *remote);

/* queue.c; all with the mutex held, but start and stop. */
emr_status remote_start(emr_remote *remote, emr_error *error);
void remote_stop(emr_remote *remote);
void remote_push(emr_remote *remote, remote_job *chain, bool is_urgent);
void remote_finish(remote_job *job, emr_status status, const char *reason); /* without the mutex */
void remote_wait(emr_remote *remote, const remote_job *job);
/* For a time that is not long, or until the remote is closing; false: it is to stop. Without the mutex. */
bool remote_pause(emr_remote *remote, unsigned milliseconds);

/* ahead.c; with the mutex held. */
void remote_ahead(remote_file *file, uint64_t offset, uint64_t end);
/* The same as far as there is room. */
void remote_ahead_far(remote_file *file, uint64_t offset);
/* A block of the file that is or will be there, and holds the byte at `offset`; or NULL. */
remote_block *remote_find_block(const remote_file *file, uint64_t offset);
/* The last place in (begin, end] where one ends, or `begin`. */
uint64_t remote_gap_begin(const remote_file *file, uint64_t begin, uint64_t end);
/* Fetches one block at once, for a read that is small; false: there is no room. */
bool remote_block_now(remote_file *file, uint64_t offset);

/* file.c */
remote_file *remote_find_file(emr_remote *remote, const char *name, emr_error *error);
void remote_free_file(remote_file *file);
void remote_begin_look(remote_file *file);
/* Waits. Then the first job says why it is not present, if it is not. */
void remote_end_look(remote_file *file);
emr_status remote_open(void *user, const char *name, emr_io *io, uint64_t *stamp, emr_error *error);

/* source.c */
emr_status remote_list(void *user, const char *folder, emr_found_fn found, void *found_user,
                       emr_error *error);
emr_source_kind remote_kind(void *user, const char *name);

#endif
