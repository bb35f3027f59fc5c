/* transfer.c - one request, by libcurl: what is sent, what may be followed, and what the answer is worth. */
#include "remote.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct transfer {
    remote_job *part; /* of the chain, which is filled now */
    remote_file *file;
    const emr_remote *remote;
    uint64_t first, last; /* what is asked for */
    bool is_look, is_judged;
    uint64_t got, expected;
    size_t passed_over; /* bytes of an answer that tells of an error */
    remote_answer answer;
    remote_outcome *outcome;
} transfer;

static void decide(remote_outcome *o, remote_verdict verdict, emr_status status, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    o->verdict = verdict;
    o->status = status;
    vsnprintf(o->reason, sizeof o->reason, format, values);
    va_end(values);
}

static bool is_same(const remote_identity *a, const remote_identity *b)
{
    return a->bytes == b->bytes && strcmp(a->tag, b->tag) == 0 &&
           (*a->tag || strcmp(a->modified, b->modified) == 0);
}

static void judge_range(transfer *t)
{
    const remote_answer *a = &t->answer;
    remote_outcome *o = t->outcome;
    if (!a->has_range || a->first != t->first || a->last < a->first || a->last > t->last)
        decide(o, REMOTE_NEVER, EMR_EIO, "the server answered with other bytes than it was asked for");
    else if (a->is_encoded)
        decide(o, REMOTE_NEVER, EMR_EUNSUPPORTED,
               "the server compresses what it sends: parts of that cannot be read");
    else if (!t->is_look && !is_same(&a->identity, &t->file->identity))
        decide(o, REMOTE_NEVER, EMR_EIO, "it has changed since it was looked at first");
    else
        t->expected = a->last - a->first + 1;
    if (o->verdict == REMOTE_DONE && t->is_look)
        t->file->identity = a->identity;
}

static void judge_whole(transfer *t)
{
    const remote_answer *a = &t->answer;
    if (t->is_look && a->has_length && !a->length)
        t->file->identity = a->identity; /* an empty file has no first byte */
    else
        decide(t->outcome, REMOTE_NEVER, t->is_look ? EMR_EUNSUPPORTED : EMR_EIO,
               t->is_look ? "the server does not serve parts of a file (ranges), which is needed"
                          : "the server sent the whole file for a part: it has changed, or parts are not "
                            "served any more");
}

/* After the header: whether the body is what was asked for; t->expected says how much is to come. */
static void judge(transfer *t)
{
    const remote_answer *a = &t->answer;
    remote_outcome *o = t->outcome;
    t->is_judged = true;
    o->retry_after = a->retry_after;
    switch (a->code) {
    case 206:
        judge_range(t);
        return;
    case 200:
        judge_whole(t);
        return;
    case 412:
        decide(o, REMOTE_NEVER, EMR_EIO, "it has changed since it was looked at first");
        return;
    case 416:
        if (t->is_look && a->has_range && !a->identity.bytes)
            t->file->identity = a->identity;
        else
            decide(o, REMOTE_NEVER, EMR_EIO,
                   t->is_look ? "the server refuses to serve its first bytes (416)"
                              : "it has changed since it was looked at first (416)");
        return;
    case 401:
    case 403:
        decide(o, REMOTE_DENIED, EMR_EIO, "the server refuses access (%ld)", a->code);
        return;
    case 404:
    case 410:
        decide(o, REMOTE_GONE, EMR_EIO, "there is no such file (%ld)", a->code);
        return;
    case 301:
    case 302:
    case 307:
    case 308:
        decide(o, REMOTE_NEVER, EMR_EIO,
               t->file->is_s3 ? "the bucket lies in another region, or at another endpoint (%ld)"
                              : "the server leads elsewhere without saying where (%ld)",
               a->code);
        return;
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        decide(o, REMOTE_LATER, EMR_EIO, "the server answered %ld", a->code);
        return;
    default:
        decide(o, REMOTE_NEVER, EMR_EIO, "the server answered %ld", a->code);
    }
}

static size_t take_header(char *line, size_t size, size_t n, void *user)
{
    transfer *t = user;
    (void)size;
    remote_answer_line(&t->answer, line, n);
    return n;
}

/* Into the chain, a job after the other; what is full can be read from then on. */
static void fill(transfer *t, const char *bytes, size_t n)
{
    while (n) {
        remote_job *j = t->part;
        size_t room = j->n - j->done, some = n < room ? n : room;
        memcpy(j->into + j->done, bytes, some);
        j->done += some;
        t->got += some;
        bytes += some;
        n -= some;
        if (j->done == j->n) {
            t->part = j->more;
            if (!t->is_look)
                remote_finish(j, EMR_OK, "");
        }
    }
}

static size_t take_body(char *bytes, size_t size, size_t n, void *user)
{
    enum { PASSED_OVER_MAX = 1 << 16 };
    transfer *t = user;
    (void)size;
    if (!t->is_judged)
        judge(t);
    if (!t->expected) { /* an error's page, so that the connection stays; but not the whole of a file */
        t->passed_over += n;
        return t->answer.code >= 400 && t->passed_over < PASSED_OVER_MAX ? n : 0;
    }
    if (n > t->expected - t->got) {
        decide(t->outcome, REMOTE_NEVER, EMR_EIO, "the server sent more than it said");
        return 0;
    }
    fill(t, bytes, n);
    return n;
}

static int look_around(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return remote_is_canceled(user);
}

/* What libcurl says, where the answer itself says nothing. */
static void judge_failure(transfer *t, CURLcode code)
{
    remote_outcome *o = t->outcome;
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        decide(o, REMOTE_NEVER, EMR_ECANCELED, "canceled");
        return;
    case CURLE_OUT_OF_MEMORY:
        decide(o, REMOTE_NEVER, EMR_ENOMEM, "out of memory");
        return;
    case CURLE_TOO_MANY_REDIRECTS:
        decide(o, REMOTE_NEVER, EMR_EIO, "the server leads from one address to another more than %d times",
               REMOTE_REDIRECTS);
        return;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        decide(o, REMOTE_NEVER, EMR_EIO,
               t->answer.code
                   ? "the server leads to an address that is not followed (from https to https alone)"
                   : "it is no valid address");
        return;
    case CURLE_OPERATION_TIMEDOUT:
        decide(o, REMOTE_LATER, EMR_EIO, "no answer, or bytes that came too slowly");
        return;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        decide(o, REMOTE_LATER, EMR_EIO, "the connection ended early");
        return;
    case CURLE_COULDNT_RESOLVE_HOST: /* a name that was never there is misspelt */
    case CURLE_COULDNT_RESOLVE_PROXY:
        decide(o, t->is_look ? REMOTE_NEVER : REMOTE_LATER, EMR_EIO, "no connection: %s",
               curl_easy_strerror(code));
        return;
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        decide(o, REMOTE_LATER, EMR_EIO, "no connection: %s", curl_easy_strerror(code));
        return;
    default:
        decide(o, REMOTE_NEVER, EMR_EIO, "%s", curl_easy_strerror(code));
    }
}

/* An ETag that is weak promises nothing about bytes. */
static struct curl_slist *hold_fixed(struct curl_slist *list, const transfer *t)
{
    const remote_identity *i = &t->file->identity;
    char line[REMOTE_TAG_MAX + 40] = "";
    if (t->is_look)
        return list;
    if (*i->tag == '"')
        snprintf(line, sizeof line, "If-Match: %s", i->tag);
    else if (*i->modified)
        snprintf(line, sizeof line, "If-Unmodified-Since: %s", i->modified);
    return *line ? curl_slist_append(list, line) : list;
}

static struct curl_slist *sign(CURL *curl, struct curl_slist *list, const emr_remote_options *o)
{
    char text[1200];
    snprintf(text, sizeof text, "aws:amz:%s:s3", o->s3_region ? o->s3_region : "us-east-1");
    curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, text);
    curl_easy_setopt(curl, CURLOPT_USERNAME, o->s3_key_id);
    curl_easy_setopt(curl, CURLOPT_PASSWORD, o->s3_secret);
    list = curl_slist_append(list, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    if (o->s3_token &&
        snprintf(text, sizeof text, "x-amz-security-token: %s", o->s3_token) < (int)sizeof text)
        list = curl_slist_append(list, text);
    return list;
}

static void limit(CURL *curl, const transfer *t)
{
    const emr_remote_options *o = &t->remote->options;
    bool is_https = strncmp(t->file->url, "https://", 8) == 0;
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, is_https ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, t->file->is_s3 ? 0L : 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REMOTE_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)o->stall_seconds);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)o->stall_seconds);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
    if (!o->use_environment)
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (o->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, o->ca_file);
}

static void take_answer(CURL *curl, transfer *t)
{
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_around);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)t->remote);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

void remote_transfer(void *curl, remote_job **rest, remote_outcome *outcome)
{
    remote_job *chain = *rest;
    char range[64];
    remote_file *f = chain->file;
    transfer t = {.part = chain,
                  .file = f,
                  .remote = f->remote,
                  .first = chain->offset + chain->done,
                  .is_look = chain == &f->first,
                  .outcome = outcome};
    for (const remote_job *j = chain; j; j = j->more)
        t.last = j->offset + j->n - 1;
    *outcome = (remote_outcome){.verdict = REMOTE_DONE};
    curl_easy_reset(curl);
    snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, t.first, t.last);
    curl_easy_setopt(curl, CURLOPT_URL, f->url);
    curl_easy_setopt(curl, CURLOPT_RANGE, range);
    limit(curl, &t);
    take_answer(curl, &t);
    struct curl_slist *list = hold_fixed(NULL, &t);
    if (f->is_s3 && f->remote->options.s3_key_id)
        list = sign(curl, list, &f->remote->options);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK && outcome->verdict == REMOTE_DONE)
        judge_failure(&t, code);
    else if (code == CURLE_OK && !t.is_judged)
        judge(&t);
    if (outcome->verdict == REMOTE_DONE && t.got < t.expected)
        decide(outcome, REMOTE_LATER, EMR_EIO, "the connection ended early");
    outcome->got = t.got;
    *rest = t.part;
    curl_slist_free_all(list);
}
