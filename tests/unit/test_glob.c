/* test_glob.c - globs of names against fnmatch, and the rules that are the library's own. */
#define _POSIX_C_SOURCE 200809L

#include "support.h"

#include <emr/policy.h>

#include <fnmatch.h>

static void rules_hold(void **state)
{
    static const struct {
        const char *glob, *name;
        int matches;
    } cases[] = {
        {"classifier.*", "classifier.weight", 1},
        {"classifier.*", "classifier.", 1},
        {"classifier.*", "my.classifier.weight", 0},
        {"*", "", 1},
        {"", "", 1},
        {"", "a", 0},
        {"*.bias", "a.bias.bias", 1},
        {"*.bias", "a.bias.b", 0},
        {"*/*", "a/b/c", 1},
        {"?.w", ".w", 0},
        {"?.w", "..w", 1},
        {"layers.[0-3].w", "layers.3.w", 1},
        {"layers.[0-3].w", "layers.4.w", 0},
        {"layers.[!0-3].w", "layers.4.w", 1},
        {"layers.[^0-3].w", "layers.3.w", 0},
        {"[]a]", "]", 1},
        {"[!]a]", "]", 0},
        {"[a-]", "-", 1},
        {"[\\]", "\\", 1},
        {"[ab", "[ab", 1},
        {"[ab", "a", 0},
        {"\\*", "*", 1},
        {"\\*", "a", 0},
        {"a\\", "a\\", 1},
        {"?", "\xc3\xa9", 0},
        {"??", "\xc3\xa9", 1},
        {"[\xc2-\xc3]*", "\xc3\xa9", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (emr_glob_matches(cases[i].glob, cases[i].name) != cases[i].matches)
            fail_msg("'%s' and '%s': not %d", cases[i].glob, cases[i].name, cases[i].matches);
    assert_int_equal(emr_glob_matches(NULL, "a"), 0);
    assert_int_equal(emr_glob_matches("*", NULL), 0);
    assert_int_equal(emr_glob_matches(NULL, NULL), 0);
}

/* Joins up to six of these parts. */
static void draw_text(rng *r, const char *const *parts, uint64_t n_parts, char *text)
{
    size_t length = 0;
    for (uint64_t n = rng_below(r, 7); n > 0; n--) {
        const char *part = parts[rng_below(r, n_parts)];
        memcpy(text + length, part, strlen(part));
        length += strlen(part);
    }
    text[length] = 0;
}

static void the_system_finds_the_same(void **state)
{
    static const char *const elements[] = {"a",    "b",    ".",     "*",   "*",  "?",
                                           "[ab]", "[!a]", "[b-z]", "\\a", "\\*"};
    static const char *const letters[] = {"a", "b", "c", ".", "/", "*"};
    char glob[64], name[64];
    uint32_t matches = 0;
    rng r = {7};
    (void)state;
    for (int i = 0; i < 200000; i++) {
        draw_text(&r, elements, sizeof elements / sizeof *elements, glob);
        draw_text(&r, letters, sizeof letters / sizeof *letters, name);
        int found = emr_glob_matches(glob, name);
        if (found != (fnmatch(glob, name, 0) == 0))
            fail_msg("'%s' and '%s': not %d", glob, name, found);
        matches += (uint32_t)found;
    }
    assert_true(matches > 1000);
}

/* Where each star is tried at every place, this would not end. */
static void many_stars_take_no_time(void **state)
{
    char name[2001], glob[101];
    (void)state;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (size_t i = 0; i < 100; i++)
        glob[i] = i % 2 ? 'a' : '*';
    glob[98] = '*';
    glob[99] = 'b';
    glob[100] = 0;
    assert_int_equal(emr_glob_matches(glob, name), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_hold),
        cmocka_unit_test(the_system_finds_the_same),
        cmocka_unit_test(many_stars_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
