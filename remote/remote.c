/* remote.c - a remote's life. */
#include "remote.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

static void remote_close(void *user, emr_io *io)
{
    (void)user, (void)io; /* what was looked at stays */
}

/* As much of the host's struct as it has. */
static emr_status take_options(emr_remote_options *taken, const emr_remote_options *given, emr_error *error)
{
    const size_t least = offsetof(emr_remote_options, s3_token) + sizeof taken->s3_token;
    memset(taken, 0, sizeof *taken);
    if (!given)
        return EMR_OK;
    if (given->size < least)
        return emr_error_set(error, EMR_EINVAL, 0, NULL, "emr_remote_options: its size is not set");
    for (size_t i = sizeof *taken; i < given->size; i++)
        if (((const char *)given)[i])
            return emr_error_set(error, EMR_EVERSION, 0, NULL,
                                 "emr_remote_options: made for a newer libemr-remote");
    memcpy(taken, given, given->size < sizeof *taken ? given->size : sizeof *taken);
    return EMR_OK;
}

static const char **strings_of(emr_remote_options *o, size_t i)
{
    const char **const strings[] = {&o->ca_file,   &o->s3_endpoint, &o->s3_region,
                                    &o->s3_key_id, &o->s3_secret,   &o->s3_token};
    return i < sizeof strings / sizeof strings[0] ? strings[i] : NULL;
}

static emr_status keep_strings(emr_remote_options *o, const emr_remote_options *given, emr_error *error)
{
    emr_remote_options from = *given;
    bool no_memory = false;
    for (size_t i = 0; strings_of(o, i); i++) {
        const char *text = *strings_of(&from, i);
        *strings_of(o, i) = text ? remote_copy(text, strlen(text)) : NULL;
        no_memory = no_memory || (text && !*strings_of(o, i));
    }
    return no_memory ? emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory") : EMR_OK;
}

static emr_status check(const emr_remote_options *o, emr_error *error)
{
    const char *e = o->s3_endpoint;
    if (o->connections > REMOTE_CONNECTIONS_MAX)
        return emr_error_set(error, EMR_EINVAL, 0, NULL, "emr_remote_options: at most 64 connections");
    if (e && strncmp(e, "https://", 8) != 0 && strncmp(e, "http://", 7) != 0)
        return emr_error_set(error, EMR_EINVAL, 0, NULL,
                             "the endpoint of s3 has to begin with https:// or http://");
    if (e && (strchr(e, '@') || strchr(e, '?') || strchr(e, '#')))
        return emr_error_set(error, EMR_EINVAL, 0, NULL,
                             "the endpoint of s3 is an address without user, '?' and '#'");
    if (!o->s3_key_id != !o->s3_secret)
        return emr_error_set(error, EMR_EINVAL, 0, NULL,
                             "credentials of s3 are a key's id and its secret: one is missing");
    if (o->s3_region && strlen(o->s3_region) > 64)
        return emr_error_set(error, EMR_EINVAL, 0, NULL, "the region of s3 has a name of at most 64 bytes");
    if (o->s3_token && (strlen(o->s3_token) > 16000 || strpbrk(o->s3_token, "\r\n")))
        return emr_error_set(error, EMR_EINVAL, 0, NULL,
                             "the token of s3 is too long, or has more than one line");
    return EMR_OK;
}

static void set_defaults(emr_remote_options *o)
{
    o->connections = o->connections ? o->connections : 8;
    o->tries = o->tries ? o->tries : 8;
    o->stall_seconds = o->stall_seconds ? o->stall_seconds : 30;
    o->ahead_bytes = o->ahead_bytes ? o->ahead_bytes : 24u << 20;
}

static emr_status begin(emr_remote *r, emr_error *error)
{
    r->n_blocks = (size_t)(r->options.ahead_bytes / REMOTE_BLOCK);
    r->n_blocks += !r->n_blocks;
    r->source = (emr_source){.size = sizeof r->source,
                             .user = r,
                             .open = remote_open,
                             .close = remote_close,
                             .kind = remote_kind,
                             .list = remote_list};
    r->blocks = calloc(r->n_blocks, sizeof *r->blocks);
    if (!r->blocks)
        return emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
    return remote_start(r, error);
}

emr_status emr_remote_create(emr_remote **remote, const emr_remote_options *given, emr_error *error)
{
    emr_remote_options options;
    if (!remote)
        return emr_error_set(error, EMR_EINVAL, 0, NULL, "emr_remote_create: NULL");
    *remote = NULL;
    emr_status status = take_options(&options, given, error);
    if (!status)
        status = check(&options, error);
    if (status)
        return status;
    emr_remote *r = calloc(1, sizeof *r);
    if (!r)
        return emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(r);
        return emr_error_set(error, EMR_EIO, 0, NULL, "libcurl cannot be started");
    }
    r->options = options;
    set_defaults(&r->options);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->done, NULL);
    status = keep_strings(&r->options, &options, error);
    if (!status)
        status = begin(r, error);
    *remote = r;
    if (status)
        emr_remote_destroy(remote);
    return status;
}

/* Secrets do not stay in memory that is given back. */
static void wipe(const char *text)
{
    volatile char *p = (volatile char *)text;
    while (p && *p)
        *p++ = '\0';
}

void emr_remote_destroy(emr_remote **remote)
{
    emr_remote *r = remote ? *remote : NULL;
    if (!r)
        return;
    remote_stop(r);
    for (remote_file *f = r->files, *next; f; f = next) {
        next = f->next;
        remote_free_file(f);
    }
    for (size_t i = 0; r->blocks && i < r->n_blocks; i++)
        free(r->blocks[i].job.into);
    free(r->blocks);
    wipe(r->options.s3_secret);
    wipe(r->options.s3_token);
    for (size_t i = 0; strings_of(&r->options, i); i++)
        free((void *)*strings_of(&r->options, i));
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->mutex);
    curl_global_cleanup();
    free(r);
    *remote = NULL;
}

const emr_source *emr_remote_source(const emr_remote *r)
{
    return &r->source;
}
