/* test_elementary.c - the exponential, the logarithm, sine and arc cosine against the system's, in long double, and
 * where they are known exactly. */
#include "numeric/elementary.h"

#include "support.h"

#include <float.h>
#include <math.h>

enum { N_DRAWS = 200000 };

typedef double (*own_function)(double);
typedef long double (*system_function)(long double);

/* A number of [low, high), the same each run. */
static double draw_between(uint64_t *state, double low, double high)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * ((double)(*state >> 11) * 0x1p-53);
}

static double units_apart(double value, long double truth)
{
    int exponent;
    frexp((double)truth, &exponent);
    long double unit = ldexpl(1, exponent - DBL_MANT_DIG), smallest = 0x1p-1074L;
    return (double)(fabsl(value - truth) / (unit < smallest ? smallest : unit));
}

static void assert_near(own_function own, system_function system, double x)
{
    double distance = units_apart(own(x), system(x));
    if (!(distance <= 2))
        fail_msg("%.17g: %.17g, not %.17Lg: %g units", x, own(x), system(x), distance);
}

static void assert_near_between(own_function own, system_function system, double low, double high)
{
    uint64_t state = 5;
    for (int i = 0; i < N_DRAWS; i++)
        assert_near(own, system, draw_between(&state, low, high));
    assert_near(own, system, low);
    assert_near(own, system, high);
}

static void test_exponential(void **unused)
{
    (void)unused;
    assert_near_between(emr_exp, expl, -1, 1);
    assert_near_between(emr_exp, expl, -708, 709.7);
    assert_near_between(emr_exp, expl, -745, -708); /* subnormal */
    assert_near_between(emr_exp, expl, -1e-300, 1e-300);
    assert_true(emr_exp(0) == 1);
    assert_true(emr_exp(-INFINITY) == 0 && emr_exp(-1e300) == 0);
    assert_true(emr_exp(INFINITY) == INFINITY && emr_exp(709.8) == INFINITY);
    assert_true(isnan(emr_exp(NAN)));
}

static void test_logarithm(void **unused)
{
    (void)unused;
    assert_near_between(emr_log, logl, 0.5, 2);
    assert_near_between(emr_log, logl, 0.999999, 1.000001);
    assert_near_between(emr_log, logl, 1e-300, 1e300);
    assert_near_between(emr_log, logl, 1e-3, 1e3);
    assert_near_between(emr_log, logl, 0x1p-1074, 0x1p-1022);
    assert_true(emr_log(1) == 0);
    assert_true(emr_log(0) == -INFINITY && emr_log(INFINITY) == INFINITY);
    assert_true(isnan(emr_log(-1)) && isnan(emr_log(NAN)));
}

static void test_sine(void **unused)
{
    (void)unused;
    assert_near_between(emr_sin, sinl, -4, 4);
    assert_near_between(emr_sin, sinl, -1e-5, 1e-5);
    assert_near_between(emr_sin, sinl, -0x1p20, 0x1p20);
    for (int n = -2000; n <= 2000; n++) /* next to where it is 0 or 1 */
        assert_near(emr_sin, sinl, n * 1.5707963267948966);
    assert_true(emr_sin(0) == 0 && emr_sin(5e-324) == 5e-324);
    assert_true(isnan(emr_sin(0x1p21)) && isnan(emr_sin(INFINITY)) && isnan(emr_sin(NAN)));
}

static void test_arc_cosine(void **unused)
{
    (void)unused;
    assert_near_between(emr_acos, acosl, -1, 1);
    assert_near_between(emr_acos, acosl, 0.9999, 1);
    assert_near_between(emr_acos, acosl, -1, -0.9999);
    assert_near_between(emr_acos, acosl, -1e-10, 1e-10);
    assert_near(emr_acos, acosl, nextafter(1, 0));
    assert_true(emr_acos(1) == 0 && emr_acos(-1) == 3.141592653589793 && emr_acos(0) == 1.5707963267948966);
    assert_true(isnan(emr_acos(1.0000001)) && isnan(emr_acos(-2)) && isnan(emr_acos(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exponential),
        cmocka_unit_test(test_logarithm),
        cmocka_unit_test(test_sine),
        cmocka_unit_test(test_arc_cosine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
