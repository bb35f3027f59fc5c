/* test_sort.c - the sort of checkpoints: any order in, that order out, nothing lost. */
#include "checkpoint/sort.h"
#include "support.h"

typedef struct element {
    unsigned char padding[3]; /* an odd size */
    unsigned char key;
    unsigned char number;
} element;

static int by_key(const void *a, const void *b)
{
    return ((const element *)a)->key - ((const element *)b)->key;
}

static void every_length_is_sorted(void **state)
{
    rng r = {31};
    (void)state;
    for (size_t n = 0; n <= 200; n++)
        for (size_t kinds = 1; kinds < 256; kinds *= 3) {
            element list[200];
            unsigned char keys[200];
            bool seen[200] = {false};
            for (size_t i = 0; i < n; i++) {
                keys[i] = (unsigned char)rng_below(&r, kinds);
                list[i] = (element){{1, 2, 3}, keys[i], (unsigned char)i};
            }
            emr_sort(list, n, sizeof list[0], by_key);
            for (size_t i = 0; i < n; i++) {
                assert_true(i == 0 || list[i - 1].key <= list[i].key);
                assert_int_equal(list[i].key, keys[list[i].number]);
                assert_false(seen[list[i].number]);
                seen[list[i].number] = true;
            }
        }
}

static size_t comparisons;

static int counted(const void *a, const void *b)
{
    comparisons++;
    return by_key(a, b);
}

static void what_is_sorted_is_looked_at_once(void **state)
{
    element list[100] = {0};
    (void)state;
    for (size_t i = 0; i < 100; i++)
        list[i].key = (unsigned char)i;
    emr_sort(list, 100, sizeof list[0], counted);
    assert_int_equal(comparisons, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_is_sorted),
        cmocka_unit_test(what_is_sorted_is_looked_at_once),
    };
    return cmocka_run_group_tests_name("sort", tests, NULL, NULL);
}
