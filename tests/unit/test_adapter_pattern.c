/* test_adapter_pattern.c - names by pattern as Python's re has them, and the root that scales are computed
 * with. */
#include "support.h"

#include "checkpoint/adapter_settings.h"
#include "numeric/root.h"

#include <math.h>

/* What re.match(rf"(.*\.)?({pattern})$", name) says. */
static const struct {
    const char *pattern, *name;
    bool matches;
} cases[] = {
    {"q_proj", "q_proj", true},
    {"q_proj", "layers.0.q_proj", true},
    {"q_proj", "layers.0.q_proj.x", false},
    {"q_proj", "layers.0.xq_proj", false},
    {"0.q_proj", "layers.0.q_proj", true},
    {"0.q_proj", "layers.10.q_proj", false},
    {"0.q_proj", "layers.0xq_proj", true},
    {"0\\.q_proj", "layers.0xq_proj", false},
    {".*q_proj", "layers.10.q_proj", true},
    {".*\\.q_proj", "q_proj", false},
    {"layers.*", "model.layers.0.mlp", true},
    {"layers.*", "layers", true},
    {"layers.+", "layers", false},
    {"layers.+", "layersx", true},
    {"^layers.0.q", "layers.0.q", true},
    {"^layers.0.q", "model.layers.0.q", false},
    {"q$", "a.q", true},
    {"layers\\.\\d+\\.q", "layers.17.q", true},
    {"layers\\.\\d+\\.q", "layers.x.q", false},
    {"layers\\.[0-9]\\.q", "layers.7.q", true},
    {"layers\\.[0-9]\\.q", "layers.17.q", false},
    {"layers\\.[^0-4]\\.q", "layers.7.q", true},
    {"layers\\.[^0-4]\\.q", "layers.3.q", false},
    {"layers\\.[0-4a-]\\.q", "layers.-.q", true},
    {"[]x]", "]", true},
    {"[^]x]", "]", false},
    {"\\w+", "model.a_B9", true},
    {"\\w+", "model.a-b", false},
    {"a?b?c?", "", true},
    {"a?b?c?", "ac", true},
    {"a?b?c?", "x.", true},
    {"a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaac", false},
    {"a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaab", true},
    {"", "", true},
    {"", "a.", true},
    {"", "a", false},
    {"q\\_proj", "q_proj", true},
    {".", "a.b", true},
    {"..", "a", false},
};

static void names_match_as_in_python(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool matches;
        assert_int_equal(emr_adapter_pattern_match(cases[i].pattern, cases[i].name, &matches), EMR_OK);
        if (matches != cases[i].matches)
            fail_msg("'%s' and '%s': %d", cases[i].pattern, cases[i].name, matches);
    }
}

static void what_is_not_followed_is_said(void **state)
{
    static const char *const unknown[] = {"(q|v)", "q|v", "q{2}",     "q**", "q+?",         "*q",
                                          "\\",    "\\b", "\\1",      "[",   "[a",          "[\\d]",
                                          "q$x",   "a^",  "\xc3\xa9", "\\Z", "[[:alpha:]]", ")"};
    char text[1000] = "";
    bool matches;
    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        if (emr_adapter_pattern_match(unknown[i], "q", &matches) != EMR_EUNSUPPORTED)
            fail_msg("'%s' is taken", unknown[i]);
    assert_int_equal(emr_adapter_pattern_match(".", "\xc3\xa9", &matches), EMR_EUNSUPPORTED);
    memset(text, 'a', 256);
    assert_int_equal(emr_adapter_pattern_match(text, text, &matches), EMR_OK);
    assert_true(matches);
    strcat(text, "a");
    assert_int_equal(emr_adapter_pattern_match(text, text, &matches), EMR_EUNSUPPORTED);
}

/* Within a unit in the last place, and exactly for squares. */
static void roots_are_roots(void **state)
{
    rng r = {7};
    (void)state;
    for (int i = 0; i < 100000; i++) {
        double x = ldexp(1 + (double)rng_below(&r, 1ull << 52) / 0x1p52, (int)rng_below(&r, 2098) - 1074),
               root = emr_square_root(x);
        if (fabs(root - sqrt(x)) > sqrt(x) * 0x1p-52)
            fail_msg("%a: %a, not %a", x, root, sqrt(x));
    }
    for (double k = 0; k < 2000; k++)
        assert_true(emr_square_root(k * k) == k);
    assert_true(emr_square_root(0x1p-1074) == 0x1p-537);
    assert_true(isinf(emr_square_root(INFINITY)) && isnan(emr_square_root(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_match_as_in_python),
        cmocka_unit_test(what_is_not_followed_is_said),
        cmocka_unit_test(roots_are_roots),
    };
    return cmocka_run_group_tests_name("names by pattern", tests, NULL, NULL);
}
