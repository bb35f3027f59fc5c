/* adapter_pattern.c - names of modules by pattern, as rank_pattern and alpha_pattern have them
 * (get_pattern_key in PEFT's src/peft/utils/other.py). A pattern is compiled to a few atoms, and all places
 * in it at which a match may be are followed through the name at once: nothing is tried twice. */
#include "checkpoint/adapter_settings.h"

#include <string.h>

enum { MOST_ATOMS = 256 };

typedef struct atom {
    const char *from;
    uint8_t length; /* bytes of the pattern */
    bool optional, repeats;
} atom;

typedef struct program {
    atom atoms[MOST_ATOMS];
    size_t n;
    bool anchored;
} program;

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* How many bytes an atom takes; 0 where it is none that is known. */
static size_t atom_length(const char *p)
{
    if (*p == '\\')
        return p[1] && (!is_alphanumeric(p[1]) || p[1] == 'd' || p[1] == 'w') && !(p[1] & 0x80) ? 2 : 0;
    if (*p == '[') {
        size_t n = p[1] == '^' ? 3 : 2; /* a "]" that comes first is one of the characters */
        while (p[n - 1] && p[n] && p[n] != ']')
            if (p[n] == '\\' || p[n] == '[' || n++ > 100)
                return 0;
        return p[n - 1] && p[n] && p[1] != '\\' && p[n - 1] != '\\' && p[1] != '[' ? n + 1 : 0;
    }
    return strchr("(){}|*+?^$", *p) || *p & 0x80 ? 0 : 1; /* bytes are characters only in ASCII */
}

static bool compile_pattern(const char *p, program *out)
{
    out->anchored = *p == '^';
    p += out->anchored;
    for (out->n = 0; *p && strcmp(p, "$") != 0; out->n++) {
        size_t n = atom_length(p);
        if (!n || out->n == MOST_ATOMS)
            return false;
        atom *a = &out->atoms[out->n];
        *a = (atom){.from = p, .length = (uint8_t)n};
        p += n;
        a->optional = *p == '*' || *p == '?';
        a->repeats = *p == '*' || *p == '+';
        p += a->optional || a->repeats;
    }
    return true;
}

static bool class_has(const atom *a, char c)
{
    bool negated = a->from[1] == '^', found = false;
    for (size_t i = 1 + negated; i + 1 < a->length; i++) {
        if (i + 3 < a->length && a->from[i + 1] == '-') {
            found = found || (c >= a->from[i] && c <= a->from[i + 2]);
            i += 2;
        } else {
            found = found || c == a->from[i];
        }
    }
    return found != negated;
}

static bool atom_has(const atom *a, char c)
{
    switch (a->from[0]) {
    case '.':
        return c != '\n';
    case '[':
        return class_has(a, c);
    case '\\':
        return a->from[1] == 'd'   ? c >= '0' && c <= '9'
               : a->from[1] == 'w' ? is_alphanumeric(c) || c == '_'
                                   : c == a->from[1];
    default:
        return c == a->from[0];
    }
}

/* Also every place that can be reached from marked ones without a character. */
static void skip_optional(const program *p, bool *at)
{
    for (size_t i = 0; i < p->n; i++)
        at[i + 1] = at[i + 1] || (at[i] && p->atoms[i].optional);
}

emr_status emr_adapter_pattern_match(const char *pattern, const char *module, bool *matches)
{
    program p;
    bool at[MOST_ATOMS + 1] = {true}, next[MOST_ATOMS + 1];
    if (!compile_pattern(pattern, &p))
        return EMR_EUNSUPPORTED;
    skip_optional(&p, at);
    for (const char *c = module; *c; c++) {
        if (*c & 0x80)
            return EMR_EUNSUPPORTED;
        memset(next, 0, sizeof next);
        next[0] = !p.anchored && *c == '.'; /* it may begin behind any dot */
        for (size_t i = 0; i < p.n; i++) {
            if (!at[i] || !atom_has(&p.atoms[i], *c))
                continue;
            next[i + 1] = true;
            next[i] = next[i] || p.atoms[i].repeats;
        }
        skip_optional(&p, next);
        memcpy(at, next, sizeof at);
    }
    *matches = at[p.n];
    return EMR_OK;
}
