/* test_error.c - statuses, and the sentence of a failure: its one line, where it names things, reasons. */
#include "support.h"

#include "core/error.h"

enum { LINE = EMR_ERROR_TEXT_SIZE - 1 }; /* bytes of text that fit */

static const struct {
    emr_status status;
    int number;
    const char *name;
} statuses[] = {
    {EMR_OK, 0, "EMR_OK"},
    {EMR_EINVAL, -1, "EMR_EINVAL"},
    {EMR_ENOMEM, -2, "EMR_ENOMEM"},
    {EMR_EIO, -3, "EMR_EIO"},
    {EMR_EFORMAT, -4, "EMR_EFORMAT"},
    {EMR_ECORRUPT, -5, "EMR_ECORRUPT"},
    {EMR_EVERSION, -6, "EMR_EVERSION"},
    {EMR_EMISMATCH, -7, "EMR_EMISMATCH"},
    {EMR_ENONFINITE, -8, "EMR_ENONFINITE"},
    {EMR_ENOTFOUND, -9, "EMR_ENOTFOUND"},
    {EMR_ECANCELED, -10, "EMR_ECANCELED"},
    {EMR_ESTATE, -11, "EMR_ESTATE"},
    {EMR_EUNSUPPORTED, -12, "EMR_EUNSUPPORTED"},
    {EMR_ELIMIT, -13, "EMR_ELIMIT"},
    {EMR_EEXIST, -14, "EMR_EEXIST"},
};

/* The numbers are part of the interface and of no accident: they never change. */
static void statuses_are_pinned(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        const char *text = emr_status_text(statuses[i].status);
        assert_int_equal(statuses[i].status, statuses[i].number);
        assert_string_equal(emr_status_name(statuses[i].status), statuses[i].name);
        assert_true(strlen(text) > 0);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(text, emr_status_text(statuses[k].status));
    }
}

static void unknown_statuses_have_a_text(void **state)
{
    (void)state;
    assert_string_equal(emr_status_text(-10000), "unknown status");
    assert_string_equal(emr_status_name(-10000), "EMR_?");
    assert_string_equal(emr_status_text(1), "unknown status");
}

static void fail_formats(void **state)
{
    emr_error e;
    (void)state;
    assert_int_equal(emr_fail(&e, EMR_EIO, "%s: %u, %i, %i, 100%%", "a", UINT64_MAX, INT64_MIN, (int64_t)7),
                     EMR_EIO);
    assert_string_equal(e.text, "a: 18446744073709551615, -9223372036854775808, 7, 100%");
    emr_fail(&e, EMR_EIO, "%u", (uint64_t)0);
    assert_string_equal(e.text, "0");
    emr_fail(&e, EMR_EIO, "%F, %K, %T", "a", "b", "c");
    assert_string_equal(e.text, "a, b, c");
    assert_int_equal(emr_fail(NULL, EMR_EFORMAT, "%s", "x"), EMR_EFORMAT);
}

static void fail_makes_one_line(void **state)
{
    emr_error e;
    (void)state;
    for (int c = 1; c < 256; c++) {
        char text[] = {'a', (char)c, 'b', '\0'};
        emr_fail(&e, EMR_EIO, "%s", text);
        text[1] = c < 0x20 || c == 0x7f ? '?' : text[1];
        assert_string_equal(e.text, text);
    }
}

static const char *const characters[] = {"", "x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

/* A text of `ascii` letters and then `n` characters of `length` bytes. */
static void build_text(char *text, size_t ascii, size_t length, size_t n)
{
    memset(text, 'a', ascii);
    for (size_t i = 0; i < n; i++)
        memcpy(text + ascii + i * length, characters[length], length);
    text[ascii + n * length] = '\0';
}

static void long_lines_are_cut_at_a_character(void **state)
{
    (void)state;
    for (size_t length = 1; length <= 4; length++) {
        for (size_t ascii = 0; ascii < 8; ascii++) {
            char text[4 * LINE];
            emr_error e;
            build_text(text, ascii, length, LINE / length + 2);
            emr_fail(&e, EMR_EIO, "%s", text);
            size_t n = strlen(e.text);
            assert_true(n <= LINE && n + length >= LINE);
            assert_memory_equal(e.text, text, n);
            assert_int_equal((n - ascii) % length, 0);
        }
    }
}

static void lines_that_just_fit_are_whole(void **state)
{
    (void)state;
    for (size_t length = 1; length <= 4; length++) {
        char text[LINE + 1];
        emr_error e;
        build_text(text, LINE % length + length, length, LINE / length - 1);
        assert_int_equal(strlen(text), LINE);
        emr_fail(&e, EMR_EIO, "%s", text);
        assert_string_equal(e.text, text);
    }
}

/* A failure fills everything but the bytes past its text; callers need not initialise. */
static void every_failure_fills_the_struct(void **state)
{
    emr_error e;
    (void)state;
    memset(&e, 0xee, sizeof e);
    emr_fail(&e, EMR_EFORMAT, "x");
    assert_int_equal(e.status, EMR_EFORMAT);
    assert_int_equal(e.system, 0);
    assert_int_equal(e.file.length | e.task.length | e.tensor.length, 0);
    for (size_t i = 0; i < sizeof e.reserved; i++)
        assert_int_equal(e.reserved[i], 0);
    assert_int_equal(sizeof e, 512);
}

#define assert_span(error, member, name) check_span((error), (error)->member, (name), __LINE__)
static void check_span(const emr_error *e, emr_error_span span, const char *name, int line)
{
    if (!test_span_is(e, span, name))
        fail_msg("line %d: [%u, +%u) of \"%s\" is not \"%s\"", line, span.offset, span.length, e->text, name);
}

static void spans_say_where_the_names_are(void **state)
{
    emr_error e;
    (void)state;
    emr_fail(&e, EMR_EIO, "%F: task '%K', tensor '%T': %s", "a.emr", "french", "w", "broken");
    assert_string_equal(e.text, "a.emr: task 'french', tensor 'w': broken");
    assert_span(&e, file, "a.emr");
    assert_span(&e, task, "french");
    assert_span(&e, tensor, "w");
    emr_fail(&e, EMR_EIO, "tensor '%T' is not '%s'", "a: b' c", "w");
    assert_span(&e, file, "");
    assert_span(&e, task, "");
    assert_span(&e, tensor, "a: b' c");
    emr_fail(&e, EMR_EIO, "task '%K'", "one\ntwo");
    assert_span(&e, task, "one?two");
}

/* A name that is cut has the span of what is left, whole characters; one that is gone has none. */
static void spans_end_with_the_text(void **state)
{
    (void)state;
    for (size_t length = 1; length <= 4; length++) {
        for (size_t before = LINE - 20; before < LINE + 4; before++) {
            char text[LINE + 5], name[41];
            emr_error e;
            build_text(text, before, 1, 0);
            build_text(name, 0, length, 10);
            emr_fail(&e, EMR_EIO, "%s%T", text, name);
            size_t n = strlen(e.text), left = n > before ? n - before : 0;
            assert_int_equal(e.tensor.length, left);
            assert_int_equal(left % length, 0);
            assert_int_equal(e.tensor.offset, left ? before : 0);
        }
    }
}

/* A name as long as a text keeps its beginning and its end, and the sentence its own. */
static void long_names_lose_their_middle(void **state)
{
    (void)state;
    for (size_t length = 1; length <= 4; length++)
        for (size_t ascii = 0; ascii < 8; ascii++) {
            char name[4 * LINE + 20], head[81];
            emr_error e;
            build_text(name, ascii, length, LINE);
            strcat(name, "/end");
            emr_fail(&e, EMR_EIO, "tensor '%T': broken", name);
            assert_memory_equal(e.text, "tensor 'a", ascii ? 9 : 8);
            assert_string_equal(e.text + strlen(e.text) - 13, "/end': broken");
            assert_true(e.tensor.length <= 200 && e.tensor.length > 200 - 2 * length);
            assert_int_equal(e.tensor.offset + e.tensor.length + strlen("': broken"), strlen(e.text));
            const char *dots = strstr(e.text, "...");
            assert_non_null(dots);
            size_t n = (size_t)(dots - e.text) - e.tensor.offset;
            assert_true(n <= 80);
            memcpy(head, name, n);
            assert_memory_equal(e.text + e.tensor.offset, head, n);
            assert_int_equal((n - ascii) % length, 0);
            build_text(name, 200, 1, 0);
            emr_fail(&e, EMR_EIO, "%F: task '%K'", name, "x");
            assert_span(&e, file, name);
        }
}

static void prefixes_go_before_the_sentence(void **state)
{
    emr_error e;
    char text[LINE + 1];
    (void)state;
    emr_fail(&e, EMR_EIO, "what %s", "failed");
    emr_error_prefix(&e, "file");
    assert_string_equal(e.text, "file: what failed");
    build_text(text, LINE, 1, 0);
    emr_fail(&e, EMR_EIO, "%s", text);
    emr_error_prefix(&e, "file");
    assert_int_equal(strlen(e.text), LINE);
    assert_memory_equal(e.text, "file: aaa", 9);
    emr_error_prefix(NULL, "file");
}

static void prefixes_keep_all_that_was_known(void **state)
{
    emr_error e;
    (void)state;
    emr_error_set(&e, EMR_ECORRUPT, 5, "a.emr", "bad");
    emr_error_prefix(&e, "task '%K'", "french");
    assert_string_equal(e.text, "task 'french': a.emr: bad");
    assert_int_equal(e.status, EMR_ECORRUPT);
    assert_int_equal(e.system, 5);
    assert_span(&e, file, "a.emr");
    assert_span(&e, task, "french");
    emr_error_prefix(&e, "%F", "b.emr"); /* what is said first counts */
    assert_string_equal(e.text, "b.emr: task 'french': a.emr: bad");
    assert_span(&e, file, "b.emr");
    assert_span(&e, task, "french");
}

static void prefixes_move_spans_out_of_the_text(void **state)
{
    char text[LINE + 1];
    (void)state;
    for (size_t before = LINE - 30; before < LINE; before++) {
        emr_error e;
        build_text(text, before, 1, 0);
        emr_fail(&e, EMR_EIO, "tensor '%T'", "weight");
        emr_error_prefix(&e, "%s", text);
        assert_true(e.tensor.offset + e.tensor.length <= strlen(e.text));
        assert_memory_equal(e.text + e.tensor.offset, "weight", e.tensor.length);
        assert_true(e.tensor.length == 6 || before + 2 + 8 + 6 > LINE);
    }
}

static void callbacks_set_errors(void **state)
{
    emr_error e;
    (void)state;
    memset(&e, 0xee, sizeof e);
    assert_int_equal(emr_error_set(&e, EMR_EIO, 104, "weights.bin", "the connection was lost"), EMR_EIO);
    assert_string_equal(e.text, "weights.bin: the connection was lost");
    assert_int_equal(e.status, EMR_EIO);
    assert_int_equal(e.system, 104);
    assert_span(&e, file, "weights.bin");
    assert_span(&e, tensor, "");
    assert_int_equal(emr_error_set(&e, EMR_ENOMEM, 0, NULL, "100%s\tfull"), EMR_ENOMEM);
    assert_string_equal(e.text, "100%s?full");
    assert_int_equal(e.system, 0);
    assert_span(&e, file, "");
    assert_int_equal(emr_error_set(NULL, EMR_ECANCELED, 1, "x", "y"), EMR_ECANCELED);
}

static void reasons_end_the_sentence(void **state)
{
    emr_error e, why;
    (void)state;
    emr_error_set(&why, EMR_ENOTFOUND, 7, NULL, "the connection was lost");
    memset(&e, 0xee, sizeof e);
    assert_int_equal(emr_fail_because(&e, EMR_EIO, &why, "%F: reading %u bytes failed", "a.emr", (uint64_t)3),
                     EMR_EIO);
    assert_string_equal(e.text, "a.emr: reading 3 bytes failed: the connection was lost");
    assert_int_equal(e.status, EMR_EIO); /* its own, not the reason's */
    assert_int_equal(e.system, 7);
    assert_span(&e, file, "a.emr");
    assert_int_equal(emr_fail_because(NULL, EMR_EIO, &why, "x"), EMR_EIO);
    memset(&why, 0, sizeof why); /* who says nothing gets no colon */
    emr_fail_because(&e, EMR_EIO, &why, "%F: reading failed", "a.emr");
    assert_string_equal(e.text, "a.emr: reading failed");
    assert_int_equal(e.system, 0);
}

/* A callback that names its object, as stock files do, has it named once. */
static void a_file_is_named_once(void **state)
{
    emr_error e, why;
    (void)state;
    emr_error_set(&why, EMR_EIO, 5, "a.emr", "lost");
    emr_fail_because(&e, EMR_EIO, &why, "%F: reading failed", "a.emr");
    assert_string_equal(e.text, "a.emr: reading failed: lost");
    assert_span(&e, file, "a.emr");
    emr_fail_because(&e, EMR_EIO, &why, "%F: reading failed", "b.emr");
    assert_string_equal(e.text, "b.emr: reading failed: a.emr: lost");
    assert_span(&e, file, "b.emr");
    emr_fail_because(&e, EMR_EIO, &why, "%F: reading failed", "a");
    assert_string_equal(e.text, "a: reading failed: a.emr: lost");
    emr_fail_because(&e, EMR_EIO, &why, "reading failed");
    assert_string_equal(e.text, "reading failed: a.emr: lost");
    assert_span(&e, file, "a.emr");
    emr_fail(&why, EMR_EIO, "%F ate it", "a.emr"); /* no colon follows: it is part of the sentence */
    emr_fail_because(&e, EMR_EIO, &why, "%F: reading failed", "a.emr");
    assert_string_equal(e.text, "a.emr: reading failed: a.emr ate it");
}

static void reasons_bring_the_names_that_are_missing(void **state)
{
    emr_error e, why;
    (void)state;
    emr_fail(&why, EMR_EIO, "%F: task '%K', tensor '%T': lost", "a.emr", "french", "w");
    emr_fail_because(&e, EMR_EIO, &why, "%F: tensor '%T' failed", "a.emr", "outer");
    assert_string_equal(e.text, "a.emr: tensor 'outer' failed: task 'french', tensor 'w': lost");
    assert_span(&e, file, "a.emr");
    assert_span(&e, task, "french");
    assert_span(&e, tensor, "outer");
}

/* One reason inside another, in place: `why` may be the error that is written. */
static void a_format_that_ends_too_early_is_text(void **state)
{
    (void)state;
    char format[4] = {'a', '%', 0, 's'};
    emr_error e;
    assert_int_equal(emr_error_format(&e, EMR_EIO, format), EMR_EIO);
    assert_string_equal(e.text, "a%");
    assert_int_equal(emr_error_format(&e, EMR_EIO, NULL), EMR_EIO);
    assert_string_equal(e.text, "");
}

static void what_a_callback_wrote_becomes_one_line_with_spans_in_it(void **state)
{
    (void)state;
    emr_error why = {.text = "bad\nline", .system = 7}, e;
    why.file = (emr_error_span){0, 65535};
    why.tensor = (emr_error_span){400, 400};
    why.task = (emr_error_span){0, 3};
    assert_int_equal(emr_fail_as(&e, EMR_EIO, &why), EMR_EIO);
    assert_string_equal(e.text, "bad?line");
    assert_int_equal(e.status, EMR_EIO);
    assert_int_equal(e.system, 7);
    assert_int_equal(e.task.length, 3);
    assert_int_equal(e.tensor.length, 0);
    assert_true((size_t)e.file.offset + e.file.length <= strlen(e.text));
}

static void reasons_nest(void **state)
{
    emr_error e;
    (void)state;
    emr_error_set(&e, EMR_EIO, 5, "disk", "full");
    emr_fail_because(&e, EMR_EIO, &e, "%F: writing failed", "disk");
    assert_string_equal(e.text, "disk: writing failed: full");
    emr_fail_because(&e, EMR_ENOMEM, &e, "task '%K'", "t");
    assert_string_equal(e.text, "task 't': disk: writing failed: full");
    emr_fail_because(&e, EMR_EIO, &e, "merging failed");
    assert_string_equal(e.text, "merging failed: task 't': disk: writing failed: full");
    assert_int_equal(e.status, EMR_EIO);
    assert_int_equal(e.system, 5);
    assert_span(&e, file, "disk");
    assert_span(&e, task, "t");
}

static void long_reasons_are_cut(void **state)
{
    char text[LINE + 1];
    emr_error e, why;
    (void)state;
    build_text(text, 3, 3, (LINE - 3) / 3);
    emr_error_set(&why, EMR_EIO, 5, "file", text);
    emr_fail_because(&e, EMR_EIO, &why, "%F: reading failed", "another");
    size_t n = strlen(e.text);
    assert_true(n > LINE - 3 && n <= LINE);
    assert_int_equal((n - strlen("another: reading failed: file: ")) % 3, 0);
    assert_span(&e, file, "another");
    assert_int_equal(e.system, 5);
}

static void running_out_of_memory_names_the_file(void **state)
{
    emr_error e;
    (void)state;
    assert_int_equal(emr_no_memory(&e, "a.emr"), EMR_ENOMEM);
    assert_string_equal(e.text, "a.emr: out of memory");
    assert_span(&e, file, "a.emr");
    assert_int_equal(emr_no_memory(&e, NULL), EMR_ENOMEM);
    assert_string_equal(e.text, "out of memory");
    assert_int_equal(emr_no_memory(NULL, "a"), EMR_ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_are_pinned),
        cmocka_unit_test(unknown_statuses_have_a_text),
        cmocka_unit_test(fail_formats),
        cmocka_unit_test(fail_makes_one_line),
        cmocka_unit_test(long_names_lose_their_middle),
        cmocka_unit_test(long_lines_are_cut_at_a_character),
        cmocka_unit_test(lines_that_just_fit_are_whole),
        cmocka_unit_test(every_failure_fills_the_struct),
        cmocka_unit_test(spans_say_where_the_names_are),
        cmocka_unit_test(spans_end_with_the_text),
        cmocka_unit_test(prefixes_go_before_the_sentence),
        cmocka_unit_test(prefixes_keep_all_that_was_known),
        cmocka_unit_test(prefixes_move_spans_out_of_the_text),
        cmocka_unit_test(callbacks_set_errors),
        cmocka_unit_test(reasons_end_the_sentence),
        cmocka_unit_test(a_file_is_named_once),
        cmocka_unit_test(reasons_bring_the_names_that_are_missing),
        cmocka_unit_test(a_format_that_ends_too_early_is_text),
        cmocka_unit_test(what_a_callback_wrote_becomes_one_line_with_spans_in_it),
        cmocka_unit_test(reasons_nest),
        cmocka_unit_test(long_reasons_are_cut),
        cmocka_unit_test(running_out_of_memory_names_the_file),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
