/* side_names.c - see side_names.h. Names are compared as file systems that ignore case would: none of the files
 * that are left out can be had by writing it otherwise. */
#include "checkpoint/side_names.h"

#include <string.h>

enum { NAME_MAX_BYTES = 128 };

bool emr_begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

bool emr_ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), k = strlen(ending);
    return n >= k && strcmp(text + n - k, ending) == 0;
}

static char lower_letter(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word_letter(char c)
{
    return is_digit(c) || (lower_letter(c) >= 'a' && lower_letter(c) <= 'z') || c == '_' || c == '-';
}

/* Whether the first bytes are those of `word`, which is lower case, in any case. */
static bool begins_in_any_case(const char *text, const char *word)
{
    while (*word && lower_letter(*text) == *word)
        text++, word++;
    return *word == '\0';
}

/* Printable ASCII, but for what some system takes for more than a letter of a name. */
static bool is_plain_text(const char *name)
{
    for (const char *c = name; *c; c++)
        if (*c < 0x20 || *c > 0x7e || strchr("/\\:*?\"<>|", *c))
            return false;
    return *name && *name != '.' && *name != ' ' && strlen(name) <= NAME_MAX_BYTES;
}

static bool is_left_behind(const char *name)
{
    static const char *const beginnings[] = {
        "readme", "license", "notice", "requirements", "adapter_config.json", "trainer_state.json"};
    static const char *const endings[] = {".index.json", "_results.json"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (begins_in_any_case(name, beginnings[i]))
            return true;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (n >= strlen(endings[i]) && begins_in_any_case(name + n - strlen(endings[i]), endings[i]))
            return true;
    return false;
}

bool emr_is_side_folder(const char *name)
{
    const char *c = name;
    while (is_digit(*c))
        c++;
    bool is_module = c > name && *c == '_' && c[1]; /* 1_Pooling */
    while (is_word_letter(*c))
        c++;
    return (is_module && !*c && strlen(name) <= NAME_MAX_BYTES) ||
           strcmp(name, "additional_chat_templates") == 0;
}

bool emr_is_side_name(const char *name)
{
    static const char *const endings[] = {".json", ".txt", ".jinja", ".model", ".tiktoken", ".spm", ".codes"};
    char folder[NAME_MAX_BYTES + 1];
    const char *slash = strchr(name, '/');
    if (slash) {
        size_t n = (size_t)(slash - name);
        if (n > NAME_MAX_BYTES)
            return false;
        memcpy(folder, name, n);
        folder[n] = '\0';
        if (!emr_is_side_folder(folder))
            return false;
        name = slash + 1;
    }
    if (!is_plain_text(name) || is_left_behind(name))
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (emr_ends_with(name, endings[i]) && strlen(name) > strlen(endings[i]))
            return true;
    return false;
}
