/* remote.h - checkpoints that are read from where they lie: https://, http:// and s3://, part by part, by
 * libcurl. A library of its own, libemr-remote: libemr neither needs it nor knows of it.
 *
 *     emr_remote_create(&remote, NULL, &error);
 *     emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
 *     options.source = emr_remote_source(remote);
 *     emr_checkpoint_open(&model, "https://example.org/french/", &options, &error); // or a file
 *     ...
 *     emr_model_destroy(&model);
 *     emr_remote_destroy(&remote);
 *
 * Nothing is written to a disk. What will be read soon is fetched ahead, over several connections, into
 * memory that is bounded.
 *
 * - A file is the one that was looked at first, until the remote is destroyed: its length and its ETag, or
 *   time of change, go with every request, and one that changes fails the call that reads it (EMR_EIO).
 * - What fails for a while is tried again, after a wait that doubles: no connection, a connection that
 *   ends early or stalls, and the answers 408, 429, 500, 502, 503 and 504.
 * - Redirects are followed five times at most, from https to https alone, and never for s3. An address may
 *   not hold a user or a password; what stands behind its '?' is not in messages.
 * - The server has to answer ranges of bytes; one that does not is refused.
 * - A folder is an address that ends in '/'. Servers list none, so the names are tried that loaders know:
 *   model.safetensors, its index and the same of adapters and diffusers, config.json and the usual files
 *   of tokenizers. Other weights are named by their own address.
 * - All functions may be called from several threads. Memory is malloc's, as libcurl's is. */
#ifndef EMR_REMOTE_REMOTE_H
#define EMR_REMOTE_REMOTE_H

#include "emr/export.h"
#include "emr/io.h"
#include "emr/status.h"

/* Connections, what was looked at, and what was read ahead. */
typedef struct emr_remote emr_remote;

/* Zero means the default. Strings are copied. */
typedef struct emr_remote_options {
    size_t size;
    uint32_t connections;     /* at a time, each with a thread; 0: 8; at most 64 */
    uint32_t tries;           /* of a request that fails for a while, the first one included; 0: 8 */
    uint32_t stall_seconds;   /* a request that brings less than 1 KiB/s for so long has failed; 0: 30 */
    uint32_t use_environment; /* non-zero: proxies are those that libcurl finds in the environment */
    uint64_t ahead_bytes;     /* memory for what is read ahead, of all files together; 0: 24 MiB */
    int32_t (*is_canceled)(void *user); /* non-zero ends all that waits, with EMR_ECANCELED; unless NULL */
    void *user;                         /* handed to it, from any thread */
    const char *ca_file;                /* certificates to be believed, as PEM; NULL: those of the system */
    const char *s3_endpoint;            /* where s3://BUCKET/KEY lies, as https://HOST: ENDPOINT/BUCKET/KEY */
    const char *s3_region;              /* NULL: us-east-1 */
    const char *s3_key_id; /* requests for s3 are signed (AWS signature version 4); NULL: they are not */
    const char *s3_secret;
    const char *s3_token; /* of credentials for a while; or NULL */
} emr_remote_options;

EMR_BEGIN_DECLS

/* Connects to nothing yet. NULL options: all defaults. The first call in a process initialises libcurl;
 * before its version 7.84 no other thread may use it meanwhile. */
EMR_API emr_status emr_remote_create(emr_remote **remote, const emr_remote_options *options,
                                     emr_error *error);

/* After all that was opened from it. Ends its threads; what they do is given up. */
EMR_API void emr_remote_destroy(emr_remote **remote);

/* The files as an emr_source, which the remote owns. */
EMR_API const emr_source *emr_remote_source(const emr_remote *remote);

/* Whether a path is an address: 1 where it begins with https://, http:// or s3://. */
EMR_API uint32_t emr_remote_is_address(const char *path);

EMR_END_DECLS

#endif
