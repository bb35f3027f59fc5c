/* address.c - what stands in an address: which scheme, where it leads, and what of it may be shown. */
#include "remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char https[] = "https://", http[] = "http://", s3[] = "s3://";

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

uint32_t emr_remote_is_address(const char *path)
{
    return path && (begins(path, https) || begins(path, http) || begins(path, s3));
}

char *remote_copy(const char *text, size_t n)
{
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~/", c);
}

/* ENDPOINT/BUCKET/KEY, with what is no letter, digit or one of -._~/ as %XX: so it is signed. */
static char *s3_url(const char *endpoint, const char *place)
{
    size_t n = strlen(endpoint);
    char *url = malloc(n + 3 * strlen(place) + 2);
    if (!url)
        return NULL;
    while (n && endpoint[n - 1] == '/')
        n--;
    memcpy(url, endpoint, n);
    char *end = url + n;
    *end++ = '/';
    for (const char *p = place; *p; p++) {
        if (is_plain(*p))
            *end++ = *p;
        else
            end += snprintf(end, 4, "%%%02X", (unsigned char)*p);
    }
    *end = '\0';
    return url;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return true;
    return false;
}

/* Whether "user@" stands before the host. */
static bool has_user(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return memchr(host, '@', strcspn(host, "/?#")) != NULL;
}

static const char *refused_because(const remote_file *f, const char *endpoint)
{
    if (!emr_remote_is_address(f->name))
        return "is no address: one begins with https://, http:// or s3://";
    if (f->is_s3)
        return !endpoint                            ? "s3 needs the address of the server (AWS_ENDPOINT_URL)"
               : !strchr(f->name + strlen(s3), '/') ? "s3 addresses are s3://BUCKET/KEY"
                                                    : NULL;
    return has_user(f->name)      ? "an address may not hold a user's name or password"
           : has_control(f->name) ? "an address holds no white space: write %20"
           : strchr(f->name, '#') ? "an address of a file has no '#'"
                                  : NULL;
}

emr_status remote_address(remote_file *f, emr_error *error)
{
    const char *endpoint = f->remote->options.s3_endpoint;
    f->is_s3 = begins(f->name, s3);
    size_t shown = f->is_s3 ? strlen(f->name) : strcspn(f->name, "?");
    const char *at = strchr(f->name, '@'); /* before it, there may be a password */
    const char *wrong = refused_because(f, endpoint);
    if (wrong)
        return emr_error_set(error, EMR_EINVAL, 0, at ? NULL : f->name, wrong);
    f->shown = remote_copy(f->name, shown);
    f->url = f->is_s3 ? s3_url(endpoint, f->name + strlen(s3)) : remote_copy(f->name, strlen(f->name));
    return f->shown && f->url ? EMR_OK : emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
}
