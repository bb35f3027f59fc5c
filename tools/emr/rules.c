/* rules.c - the rules behind --rename: [TASK:]OLD=NEW, or @FILE with one a line. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"

#include <stdlib.h>
#include <string.h>

enum { RULES_MAX = 10000 };

static int append_rule(arguments *a, const rename_rule *rule)
{
    if (a->n_rules == a->rules_capacity) {
        size_t capacity = a->rules_capacity ? 2 * a->rules_capacity : 16;
        rename_rule *rules = realloc(a->rules, capacity * sizeof *rules);
        if (!rules)
            return complain(EXIT_SYSTEM, "out of memory");
        a->rules = rules;
        a->rules_capacity = capacity;
    }
    a->rules[a->n_rules++] = *rule;
    return EXIT_DONE;
}

static bool begins_with(const char *text, const char *end, const char *name)
{
    size_t n = strlen(name);
    return (size_t)(end - text) > n && strncmp(text, name, n) == 0 && text[n] == ':';
}

/* "base:" or the name of a task and ':', before `equals`: what the rule is for. Returns what follows. A ':'
 * behind anything else belongs to the tensor's name. */
static const char *read_scope(const arguments *a, const char *word, const char *equals, rename_rule *rule)
{
    size_t longest = 0;
    rule->of = RENAME_TASKS;
    if (begins_with(word, equals, "base")) {
        rule->of = RENAME_BASE;
        return word + strlen("base:");
    }
    for (size_t i = 0; i < a->n_tasks; i++) {
        size_t n = strlen(a->tasks[i].name) + 1;
        if (n > longest && begins_with(word, equals, a->tasks[i].name)) {
            longest = n;
            rule->of = (long)i;
        }
    }
    return word + longest;
}

static size_t count_stars(const char *text)
{
    size_t n = 0;
    while ((text = strchr(text, '*'))) {
        text++;
        n++;
    }
    return n;
}

/* One rule. `where` begins the error line. */
static int read_rule(arguments *a, const char *where, const char *word)
{
    rename_rule rule = {.word = strdup(word)};
    if (!rule.word)
        return complain(EXIT_SYSTEM, "out of memory");
    char *equals = strchr(rule.word, '=');
    const char *wrong = NULL;
    if (a->n_rules == RULES_MAX) {
        wrong = "comes after 10000 others, which is too many";
    } else if (!equals) {
        wrong = "must be [TASK:]OLD=NEW";
    } else {
        size_t from = (size_t)(read_scope(a, rule.word, equals, &rule) - rule.word);
        rule.from = strndup(rule.word + from, (size_t)(equals - rule.word) - from);
        rule.to = equals + 1;
        size_t stars = rule.from ? count_stars(rule.from) : 0;
        if (!rule.from)
            wrong = "does not fit in memory";
        else if (!*rule.from && !*rule.to)
            wrong = "renames nothing: OLD or NEW must be there";
        else if (stars > 1 || stars != count_stars(rule.to))
            wrong = "must have one '*' in OLD and one in NEW, or none";
    }
    int status = wrong ? complain(EXIT_USAGE, "%s: '%s' %s", where, word, wrong) : append_rule(a, &rule);
    if (status) {
        free(rule.from);
        free(rule.word);
    }
    return status;
}

typedef struct rule_list {
    arguments *a;
    const char *path;
} rule_list;

static int read_rule_line(void *user, char *line, unsigned number)
{
    const rule_list *l = user;
    char where[300];
    snprintf(where, sizeof where, "--rename: %.250s, line %u", l->path, number);
    return read_rule(l->a, where, line);
}

int take_rules(arguments *a)
{
    int status = EXIT_DONE;
    for (size_t i = 0; !status && i < a->n_rename_words; i++) {
        const char *word = a->rename_words[i];
        rule_list l = {a, word + 1};
        status =
            *word == '@' ? each_line("--rename", l.path, read_rule_line, &l) : read_rule(a, "--rename", word);
    }
    return status;
}

void free_rules(arguments *a)
{
    for (size_t i = 0; i < a->n_rules; i++) {
        free(a->rules[i].from);
        free(a->rules[i].word);
    }
    free(a->rules);
    free(a->rename_words);
}
