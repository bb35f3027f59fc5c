/* elementary.c - see elementary.h. Each function brings its argument to where a power series is short, and keeps
 * what rounding lost on the way. */
#include "numeric/elementary.h"

#include "core/bytes.h"
#include "numeric/root.h"

/* Constants in parts; a part of 32 bits or so times a whole number is exact. */
#define LN2_HIGH     0x1.62e42fee00000p-1
#define LN2_LOW      0x1.a39ef35793c76p-33
#define HALF_PI_HIGH 0x1.921fb54400000p+0
#define HALF_PI_MID  0x1.0b4611a600000p-34
#define HALF_PI_LOW  0x1.3198a2e037073p-69
/* pi / 2 as f64, and what that lacks. */
#define HALF_PI      0x1.921fb54442d18p+0
#define HALF_PI_REST 0x1.1a62633145c07p-54

#define LENGTH_OF(a) (sizeof(a) / sizeof(a)[0])

/* c[0] + c[1] x + c[2] x^2 + ... */
static double sum_powers(const double *c, size_t n, double x)
{
    double sum = 0;
    while (n-- > 0)
        sum = sum * x + c[n];
    return sum;
}

static double not_a_number(void)
{
    return emr_f64_from_bits((uint64_t)0x7ff8 << 48);
}

/* The whole number nearest to x, |x| < 2^31. */
static int nearest_whole(double x)
{
    return (int)(x < 0 ? x - 0.5 : x + 0.5);
}

/* 2^n, -1022 <= n <= 1023. */
static double power_of_two(int n)
{
    return emr_f64_from_bits((uint64_t)(n + 1023) << 52);
}

/* (e^r - 1 - r) / r^2 for |r| < 0.35: 1/2! + r/3! + ... */
static double exp_rest(double r)
{
    static const double c[] = {0.5,
                               0.16666666666666666,
                               0.041666666666666664,
                               0.008333333333333333,
                               0.001388888888888889,
                               0.0001984126984126984,
                               2.48015873015873e-05,
                               2.7557319223985893e-06,
                               2.755731922398589e-07,
                               2.505210838544172e-08,
                               2.08767569878681e-09,
                               1.6059043836821613e-10};
    return sum_powers(c, LENGTH_OF(c), r);
}

double emr_exp(double x)
{
    if (x != x)
        return x;
    if (x > 710)
        return power_of_two(1023) * 2;
    if (x < -746)
        return 0;
    int k = nearest_whole(x * 0x1.71547652b82fep+0);
    double high = x - k * LN2_HIGH, low = k * LN2_LOW, r = high - low;
    low = (high - r) - low;
    double value = 1 + (r + (low + r * r * exp_rest(r)));
    return value * power_of_two(k / 2) * power_of_two(k - k / 2);
}

/* log(m) for m in [sqrt(1/2), sqrt(2)], by f = m - 1, s = f / (2 + f): 2 artanh(s) = 2s + s R = f - s (f - R). */
static double log_near_one(double f)
{
    static const double c[] = {2 / 3.0,  2 / 5.0,  2 / 7.0,  2 / 9.0,  2 / 11.0, 2 / 13.0,
                               2 / 15.0, 2 / 17.0, 2 / 19.0, 2 / 21.0, 2 / 23.0};
    double s = f / (2 + f), square = s * s;
    return s * (f - square * sum_powers(c, LENGTH_OF(c), square));
}

double emr_log(double x)
{
    if (x == 0)
        return -power_of_two(1023) * 2;
    if (!(x > 0))
        return not_a_number();
    if (x > 1.7976931348623157e308)
        return x;
    int k = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    uint64_t bits = emr_f64_bits(x), fraction = bits & (((uint64_t)1 << 52) - 1);
    bool is_upper = fraction > 0x6a09e667f3bcdu; /* that of sqrt(2) */
    k += (int)(bits >> 52) - 1023 + is_upper;
    double f = emr_f64_from_bits(fraction | (uint64_t)(1023 - is_upper) << 52) - 1;
    return k * LN2_HIGH - ((log_near_one(f) - k * LN2_LOW) - f);
}

/* sin(r + low) for |r| <= pi / 4 and a tiny low. */
static double sin_near_zero(double r, double low)
{
    static const double c[] = {-0.16666666666666666,   0.008333333333333333,   -0.0001984126984126984,
                               2.7557319223985893e-06, -2.505210838544172e-08, 1.6059043836821613e-10,
                               -7.647163731819816e-13, 2.8114572543455206e-15};
    double square = r * r;
    return r + (low * (1 - square / 2) + r * square * sum_powers(c, LENGTH_OF(c), square));
}

/* cos(r + low), likewise. */
static double cos_near_zero(double r, double low)
{
    static const double c[] = {0.041666666666666664,   -0.001388888888888889, 2.48015873015873e-05,
                               -2.755731922398589e-07, 2.08767569878681e-09,  -1.1470745597729725e-11,
                               4.779477332387385e-14};
    double square = r * r, half = square / 2, top = 1 - half;
    double rest = (1 - top) - half;
    return top + (rest + (square * square * sum_powers(c, LENGTH_OF(c), square) - r * low));
}

double emr_sin(double x)
{
    if (!(x >= -0x1p20 && x <= 0x1p20))
        return not_a_number();
    int n = nearest_whole(x * 0x1.45f306dc9c883p-1);
    if (n == 0)
        return sin_near_zero(x, 0);
    double high = x - n * HALF_PI_HIGH, mid = n * HALF_PI_MID, low = n * HALF_PI_LOW;
    double first = high - mid, r = first - low;
    low = ((first - r) - low) + ((high - first) - mid);
    double value = n & 1 ? cos_near_zero(r, low) : sin_near_zero(r, low);
    return n & 2 ? -value : value;
}

/* (asin(s) / s - 1) for s^2 = square <= 1/4. */
static double asin_rest(double square)
{
    static const double c[] = {
        0,
        0.16666666666666666,
        0.075,
        0.044642857142857144,
        0.030381944444444444,
        0.022372159090909092,
        0.017352764423076924,
        0.01396484375,
        0.011551800896139705,
        0.009761609529194078,
        0.008390335809616815,
        0.0073125258735988454,
        0.006447210311889649,
        0.005740037670841924,
        0.005153309682319905,
        0.004660143486915096,
        0.004240907093679363,
        0.003880964558837669,
        0.0035692053938259347,
        0.003297059503473485,
        0.0030578216492580306,
        0.002846178401108942,
        0.00265787063820729,
        0.0024894486782468836,
        0.002338091892111975,
    };
    return sum_powers(c, LENGTH_OF(c), square);
}

double emr_acos(double x)
{
    if (!(x >= -1 && x <= 1))
        return not_a_number();
    if (x >= -0.5 && x <= 0.5)
        return HALF_PI - (x - (HALF_PI_REST - x * asin_rest(x * x)));
    double square = (x < 0 ? 1 + x : 1 - x) / 2; /* that of the sine of half the angle, exactly */
    double sine = emr_square_root(square), half = sine + sine * asin_rest(square);
    return x < 0 ? 2 * (HALF_PI - (half - HALF_PI_REST)) : 2 * half;
}
