/* errors.c - the lines on standard error, and the exit statuses. */
#include "cli.h"

#include <stdarg.h>
#include <string.h>

const char *program_name = "emr";

int complain(int exit_status, const char *format, ...)
{
    char text[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "%s: %s\n", program_name, text);
    return exit_status;
}

/* What each status ends the program with. A status that is missing here does not compile below. */
enum {
    EXIT_OF_OK = EXIT_DONE,
    EXIT_OF_EINVAL = EXIT_USAGE,
    EXIT_OF_ENOMEM = EXIT_SYSTEM,
    EXIT_OF_EIO = EXIT_SYSTEM,
    EXIT_OF_EFORMAT = EXIT_DATA,
    EXIT_OF_ECORRUPT = EXIT_DATA,
    EXIT_OF_EVERSION = EXIT_DATA,
    EXIT_OF_EMISMATCH = EXIT_DATA,
    EXIT_OF_ENONFINITE = EXIT_DATA,
    EXIT_OF_ENOTFOUND = EXIT_USAGE,
    EXIT_OF_ECANCELED = EXIT_INTERRUPTED,
    EXIT_OF_ESTATE = EXIT_USAGE,
    EXIT_OF_EUNSUPPORTED = EXIT_DATA,
    EXIT_OF_ELIMIT = EXIT_USAGE,
    EXIT_OF_EEXIST = EXIT_USAGE
};

static int exit_status_of(emr_status status)
{
    switch (status) {
#define EXIT_CASE(name, number, text)                                                                        \
    case EMR_##name:                                                                                         \
        return EXIT_OF_##name;
        EMR_STATUS_MAP(EXIT_CASE)
#undef EXIT_CASE
    default:
        return EXIT_DATA;
    }
}

/* The sentence, beginning with the file: where that is named by the reason at its end,
 * "writing ... failed: OUT: no space" becomes "OUT: writing ... failed: no space". */
static void file_first(const emr_error *error, char text[EMR_ERROR_TEXT_SIZE])
{
    const char *sentence = error->text, *file = sentence + error->file.offset,
               *after = file + error->file.length;
    int file_length = error->file.length, before = error->file.offset;
    if (file_length && before >= 2 && memcmp(file - 2, ": ", 2) == 0 && strncmp(after, ": ", 2) == 0)
        snprintf(text, EMR_ERROR_TEXT_SIZE, "%.*s: %.*s%s", file_length, file, before, sentence, after + 2);
    else
        snprintf(text, EMR_ERROR_TEXT_SIZE, "%s", sentence);
}

int complain_status(emr_status status, const emr_error *error)
{
    char text[EMR_ERROR_TEXT_SIZE];
    /* two tasks or tensors of one name are another matter */
    bool is_file = error->file.length && !error->task.length && !error->tensor.length;
    if (status == EMR_ECANCELED)
        return complain(EXIT_INTERRUPTED, "interrupted");
    if (!error->text[0])
        return complain(exit_status_of(status), "%s", emr_status_text(status));
    file_first(error, text);
    return complain(exit_status_of(status), "%s%s", text,
                    status == EMR_EEXIST && is_file ? " (--force overwrites it)" : "");
}

emr_status fail_with(emr_error *error, emr_status status, const char *file, const char *format, ...)
{
    char reason[EMR_ERROR_TEXT_SIZE];
    va_list values;
    va_start(values, format);
    vsnprintf(reason, sizeof reason, format, values);
    va_end(values);
    return emr_error_set(error, status, 0, file, reason);
}
