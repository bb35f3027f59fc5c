/* remote.c - checkpoints by their address. Credentials for s3 are found as its other programs find them:
 * in the environment, then in a profile of ~/.aws/credentials and ~/.aws/config. They go to libemr-remote
 * and nowhere else. */
#define _POSIX_C_SOURCE 200809L

#include "remote.h"

#include "cli.h"

#include <emr/remote/remote.h>

#include <stdlib.h>
#include <string.h>

static emr_remote *remote; /* of the process; opened when the first address is */

bool is_address(const char *path)
{
    return emr_remote_is_address(path);
}

static int32_t is_interrupted(void *user)
{
    (void)user;
    return interrupted;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static const char *first_of(const char *a, const char *b)
{
    return a ? a : b;
}

/* What a profile says; strings are the heap's. */
typedef struct profile {
    char *key_id, *secret, *token, *region, *endpoint;
} profile;

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        text[--n] = '\0';
    return text;
}

static void keep_setting(profile *p, const char *key, const char *value)
{
    const struct {
        const char *key;
        char **value;
    } known[] = {{"aws_access_key_id", &p->key_id},
                 {"aws_secret_access_key", &p->secret},
                 {"aws_session_token", &p->token},
                 {"region", &p->region},
                 {"endpoint_url", &p->endpoint}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(key, known[i].key) == 0 && !*known[i].value)
            *known[i].value = strdup(value);
}

/* Sections are [NAME], in the other file [profile NAME]. Lines that belong to a setting above are
 * indented, and passed over. */
static void read_profile(profile *p, const char *path, const char *name)
{
    FILE *file = path ? fopen(path, "re") : NULL;
    char *line = NULL;
    size_t size = 0;
    bool is_ours = false;
    while (file && getline(&line, &size, file) >= 0) {
        bool is_indented = *line == ' ' || *line == '\t';
        char *text = trim(line), *equals = strchr(text, '=');
        size_t n = strlen(text);
        if (*text == '[' && n > 1 && text[n - 1] == ']') {
            text[n - 1] = '\0';
            text = trim(text + 1);
            is_ours = strcmp(strncmp(text, "profile ", 8) == 0 ? trim(text + 8) : text, name) == 0;
        } else if (is_ours && equals && !is_indented && *text != '#' && *text != ';') {
            *equals = '\0';
            keep_setting(p, trim(text), trim(equals + 1));
        }
    }
    if (line)
        memset(line, 0, size);
    free(line);
    if (file)
        fclose(file);
}

static char *home_file(const char *name)
{
    const char *home = variable("HOME");
    size_t size = (home ? strlen(home) : 0) + strlen(name) + 2;
    char *path = home ? malloc(size) : NULL;
    if (path)
        snprintf(path, size, "%s/%s", home, name);
    return path;
}

static void find_profile(profile *p)
{
    const char *name = first_of(variable("AWS_PROFILE"), "default");
    char *credentials = home_file(".aws/credentials"), *config = home_file(".aws/config");
    read_profile(p, first_of(variable("AWS_SHARED_CREDENTIALS_FILE"), credentials), name);
    read_profile(p, first_of(variable("AWS_CONFIG_FILE"), config), name);
    free(credentials);
    free(config);
}

static void free_profile(profile *p)
{
    char *const all[] = {p->key_id, p->secret, p->token, p->region, p->endpoint};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i])
            memset(all[i], 0, strlen(all[i]));
        free(all[i]);
    }
}

static emr_status open_remote(emr_error *error)
{
    profile p = {.key_id = NULL};
    emr_remote_options o = EMR_INIT(emr_remote_options);
    find_profile(&p);
    o.use_environment = 1;
    o.is_canceled = is_interrupted;
    o.ca_file = first_of(variable("CURL_CA_BUNDLE"), variable("SSL_CERT_FILE"));
    o.s3_endpoint =
        first_of(first_of(variable("AWS_ENDPOINT_URL_S3"), variable("AWS_ENDPOINT_URL")), p.endpoint);
    o.s3_region = first_of(first_of(variable("AWS_REGION"), variable("AWS_DEFAULT_REGION")), p.region);
    o.s3_key_id = variable("AWS_ACCESS_KEY_ID");
    if (o.s3_key_id) { /* all of them from one place */
        o.s3_secret = variable("AWS_SECRET_ACCESS_KEY");
        o.s3_token = variable("AWS_SESSION_TOKEN");
    } else {
        o.s3_key_id = p.key_id;
        o.s3_secret = p.secret;
        o.s3_token = p.token;
    }
    emr_status status = emr_remote_create(&remote, &o, error);
    free_profile(&p);
    return status;
}

emr_status remote_source(const emr_source **source, const char *path, emr_error *error)
{
    (void)path;
    emr_status status = remote ? EMR_OK : open_remote(error);
    *source = status ? NULL : emr_remote_source(remote);
    return status;
}

int shown_length(const char *path)
{
    return (int)(is_address(path) ? strcspn(path, "?") : strlen(path));
}

void close_remote(void)
{
    emr_remote_destroy(&remote);
}
