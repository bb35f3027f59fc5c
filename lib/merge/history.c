/* history.c - see history.h. Streams are read front to back by a cursor each, all of them side by side. */
#include "merge/history.h"

#include "bundle/arrangement.h"
#include "model/arranged.h"
#include "merge/streams.h"
#include "modulator/kind.h"

#include <string.h>

enum { PRIVATE_BYTES = 1 << 10 /* a task's model, besides its tensors */ };

/* The patterns of one list of the growth section, without their letters; how many they are. */
static uint32_t list_globs(const emr_bundle *b, const emr_growth_record *g, char letter, const char **globs)
{
    const uint8_t *strings = b->sections[EMR_SECTION_GROWTH].data + EMR_GROWTH_SIZE;
    bool letters = (b->features & EMR_FEATURE_RULES) != 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_globs; i++) {
        const char *text = emr_bundle_string(b, emr_load32(strings + 4 * (size_t)i));
        if (letters ? *text == letter : letter == EMR_GLOB_PRIVATE)
            globs[n++] = text + letters;
    }
    return n;
}

static emr_status take_policy(emr_policy *policy, const emr_bundle *b, const emr_growth_record *g,
                              const emr_allocator *allocator, emr_error *error)
{
    const char **globs = emr_allocate_array(allocator, g->n_globs, sizeof *globs);
    if (!globs)
        return emr_no_memory(error, b->name);
    emr_policy made_with = {
        .size = sizeof made_with, .on_mismatch = g->on_mismatch, .on_missing = g->on_missing};
    made_with.private_globs = globs; /* the lists lie one after another */
    made_with.n_private_globs = list_globs(b, g, EMR_GLOB_PRIVATE, globs);
    made_with.merge_globs = made_with.private_globs + made_with.n_private_globs;
    made_with.n_merge_globs = list_globs(b, g, EMR_GLOB_MERGE, globs + made_with.n_private_globs);
    made_with.absent_globs = made_with.merge_globs + made_with.n_merge_globs;
    made_with.n_absent_globs =
        list_globs(b, g, EMR_GLOB_ABSENT, globs + (made_with.absent_globs - made_with.private_globs));
    made_with.base_globs = made_with.absent_globs + made_with.n_absent_globs;
    made_with.n_base_globs =
        list_globs(b, g, EMR_GLOB_BASE, globs + (made_with.base_globs - made_with.private_globs));
    emr_policy_free(policy, allocator);
    emr_status status = emr_policy_take(policy, &made_with, allocator, error);
    emr_release(allocator, (void *)(uintptr_t)globs);
    return status;
}

emr_status emr_history_options(emr_merge_options *o, emr_policy *policy, const emr_bundle *b,
                               const emr_allocator *allocator, emr_error *error)
{
    const emr_section *section = &b->sections[EMR_SECTION_GROWTH];
    o->rescale = b->summary.rescale + 1u;
    o->rescale_per = b->summary.rescale_per + 1u;
    o->tie = b->summary.tie;
    o->on_nonfinite = b->summary.on_nonfinite;
    o->unified_dtype = b->summary.unified_dtype;
    o->embed_base = b->summary.has_base;
    o->extendable = emr_bundle_is_extendable(b);
    if (!o->extendable)
        return EMR_OK;
    emr_growth_record g = emr_decode_growth(section->data);
    o->compression = g.compression;
    o->block_params = g.block_params;
    return take_policy(policy, b, &g, allocator, error);
}

/* A task's private tensors, read from their stream by one cursor, which opens at the first read. A pass reads
 * them one after another. */
typedef struct settled_task {
    emr_allocator allocator;
    const emr_bundle *bundle;
    emr_cursor cursor;
    size_t stream;
    struct emr_own *owns; /* of tensors that the task has otherwise */
} settled_task;

typedef struct settled_tensor {
    settled_task *task;
    uint64_t offset; /* in the stream */
    uint32_t bits;   /* of an element */
} settled_tensor;

static emr_status read_private(const emr_computation *c, emr_error *error)
{
    const settled_tensor *t = c->user;
    settled_task *task = t->task;
    emr_status status = EMR_OK;
    if (!task->cursor.bundle)
        status = emr_cursor_open(&task->cursor, task->bundle, task->stream, &task->allocator, error);
    return status ? status
                  : emr_cursor_read(&task->cursor, t->offset + c->first * t->bits / 8, c->out,
                                    (size_t)((uint64_t)c->count * t->bits / 8), error);
}

static void destroy_settled_task(void *user)
{
    settled_task *task = user;
    emr_allocator allocator = task->allocator;
    emr_cursor_close(&task->cursor);
    emr_release(&allocator, task->owns);
    emr_release(&allocator, task);
}

/* Says of tensors what they are in the task's own model, so that the new bundle knows, too. Their numbers
 * are those of the section; in the model those that the task does not have are left out. */
static emr_status arrange_settled(emr_model *model, settled_task *task, uint32_t number, emr_error *error)
{
    const emr_bundle *b = task->bundle;
    size_t first, end;
    emr_bundle_arrangements(b, number, &first, &end);
    if (first == end)
        return EMR_OK;
    uint32_t n_tensors = b->summary.n_tensors,
             *places = emr_allocate_array(&task->allocator, n_tensors, sizeof *places);
    task->owns = emr_allocate_array(&task->allocator, 2 * (end - first), sizeof *task->owns);
    uint32_t n = 0;
    for (uint32_t i = 0; places && i < n_tensors; i++)
        places[i] = emr_bundle_task_dtype(b, number, i) == EMR_DTYPE_NONE ? n : n++;
    for (size_t i = first; places && task->owns && i < end; i++) {
        emr_arrangement_record r = emr_bundle_arrangement_record(b, i);
        struct emr_own *own = &task->owns[2 * (i - first)];
        uint32_t at = r.tensor < n_tensors ? places[r.tensor] : n + r.tensor - n_tensors;
        *own = (struct emr_own){.name = emr_bundle_string(b, r.name), .shape = emr_bundle_shape(b, r.shape)};
        model->tensors[at]->own = own;
        if (r.rest == EMR_NO_REST)
            continue;
        emr_tensor *rest = model->tensors[r.rest < n_tensors ? places[r.rest] : n + r.rest - n_tensors];
        own[1] = (struct emr_own){.name = own->name, .shape = own->shape, .is_rest = true};
        rest->own = &own[1];
        own->rest = rest;
    }
    emr_status status = places && task->owns ? EMR_OK : emr_no_memory(error, b->name);
    emr_release(&task->allocator, places);
    return status;
}

/* Without a settled tensor there are no bytes: it is the base's. */
static emr_status add_settled(emr_model *model, const emr_bundle *b, settled_tensor *t, emr_tensor_desc desc,
                              emr_error *error)
{
    desc.size = sizeof desc;
    desc.compute = t ? read_private : NULL;
    desc.user = t;
    desc.max_count = UINT32_MAX;
    emr_status status = emr_model_add(model, &desc, error);
    return status == EMR_EEXIST
               ? emr_fail(error, EMR_EFORMAT, "%F: not a valid bundle: a task has two tensors named '%T'",
                          b->name, desc.name)
               : status;
}

static emr_status fill_settled(emr_model *model, settled_task *task, settled_tensor *tensors, uint32_t number,
                               emr_error *error)
{
    const emr_bundle *b = task->bundle;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < b->summary.n_tensors; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        const emr_tensor_desc desc = {.name = emr_bundle_string(b, r.name),
                                      .shape = emr_bundle_shape(b, r.shape),
                                      .rank = r.rank,
                                      .dtype = emr_bundle_task_dtype(b, number, i)};
        if (desc.dtype != EMR_DTYPE_NONE)
            status = add_settled(model, b, NULL, desc, error);
    }
    for (size_t i = b->first_private[number]; !status && i < b->first_private[number + 1]; i++) {
        emr_private_record p = emr_bundle_private_record(b, i);
        const emr_tensor_desc desc = {.name = emr_bundle_string(b, p.name),
                                      .shape = emr_bundle_shape(b, p.shape),
                                      .rank = p.rank,
                                      .dtype = p.dtype};
        *tensors = (settled_tensor){task, p.offset, emr_dtype_bits(p.dtype)};
        status = add_settled(model, b, tensors++, desc, error);
    }
    if (!status)
        status = arrange_settled(model, task, number, error);
    return status ? status : emr_bundle_add_metadata(model, b, number, error);
}

emr_status emr_history_task(emr_model **model, const emr_bundle *b, uint32_t number,
                            const emr_allocator *allocator, emr_error *error)
{
    size_t n = b->first_private[number + 1] - b->first_private[number];
    /* the task, and behind it its private tensors */
    settled_task *task = n > (SIZE_MAX - sizeof *task) / sizeof(settled_tensor)
                             ? NULL
                             : emr_allocate_array(allocator, 1, sizeof *task + n * sizeof(settled_tensor));
    *model = NULL;
    if (!task)
        return emr_no_memory(error, b->name);
    task->allocator = *allocator;
    task->bundle = b;
    task->stream = b->task_streams[EMR_STREAM_PRIVATE][number];
    const emr_model_options options = {.size = sizeof options,
                                       .name = b->name,
                                       .allocator = allocator,
                                       .user = task,
                                       .destroy = destroy_settled_task};
    emr_status status = emr_model_create(model, &options, error);
    if (status) {
        destroy_settled_task(task);
        return status;
    }
    status = fill_settled(*model, task, (settled_tensor *)(void *)(task + 1), number, error);
    if (status)
        emr_model_destroy(model);
    return status;
}

static emr_status fail_too_late(const emr_alignment *a, const emr_entry *entry, emr_error *error)
{
    const emr_task *task = &a->tasks[entry->misfit];
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' has another shape or kind of dtype than the base's: that makes it "
        "private to every task, which takes a merge from all checkpoints",
        task->name, task->model->name, entry->base->name);
}

/* A tensor that no task of the bundle has is not in it, and would have a place among the merged ones now. */
static emr_status check_places(const emr_alignment *a, const emr_bundle *b, emr_error *error)
{
    for (uint32_t i = 0; i < a->n_merged; i++) {
        const char *name = a->entries[i].base->name;
        uint32_t number;
        if (emr_bundle_find_tensor(b, name, &number, NULL) != EMR_OK)
            return emr_fail(
                error, EMR_EMISMATCH,
                "%F: tensor '%T' is not in %s: another base, or none of its tasks has that tensor "
                "and one to be added has, which takes a merge from all checkpoints",
                a->base->name, name, b->name);
    }
    return EMR_OK;
}

static bool is_bundles_tensor(const emr_entry *entry, const emr_bundle *b, const emr_tensor_record *r)
{
    return entry && entry->base && strcmp(entry->base->name, emr_bundle_string(b, r->name)) == 0 &&
           entry->base->dtype == r->dtype && (entry->action == EMR_ACTION_MERGE) == r->merged &&
           entry->base->rank == r->rank &&
           (!r->rank || memcmp(entry->base->shape, emr_bundle_shape(b, r->shape), r->rank * 8u) == 0);
}

emr_status emr_history_expect_base(emr_base_hashes *hashes, const emr_alignment *a, const emr_bundle *b,
                                   emr_error *error)
{
    emr_hash128 *expected = emr_allocate_array(&a->allocator, a->n_base, sizeof *expected);
    bool *is_expected = emr_allocate_array(&a->allocator, a->n_base, sizeof *is_expected);
    hashes->expected = expected;
    hashes->is_expected = is_expected;
    hashes->whose = b->name;
    emr_status status = expected && is_expected ? check_places(a, b, error) : emr_no_memory(error, NULL);
    if (status)
        return status;
    for (uint32_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        const char *name = emr_bundle_string(b, r.name);
        const emr_entry *named = emr_alignment_find(a, name);
        const emr_entry *entry = r.merged ? (i < a->n_merged ? &a->entries[i] : NULL) : named;
        if (named && named->base && named->misfit != EMR_BASE && !a->tasks[named->misfit].settled)
            return fail_too_late(a, named, error);
        if (!is_bundles_tensor(entry, b, &r))
            return emr_fail(
                error, EMR_EMISMATCH,
                "%F is not the base of %s: tensor '%T' is absent, of another dtype or shape, or in another "
                "place",
                a->base->name, b->name, name);
        expected[entry - a->entries] = (emr_hash128){r.hash_low, r.hash_high};
        is_expected[entry - a->entries] = true;
    }
    if (a->n_merged != b->summary.n_merged)
        return emr_fail(error, EMR_EMISMATCH, "%F is not the base of %s: tensor '%T' is not in it",
                        a->base->name, b->name, a->entries[b->summary.n_merged].base->name);
    return EMR_OK;
}

/* One stream and where a window of it goes. */
typedef struct history_column {
    emr_cursor cursor;
    uint8_t *window;
    size_t bits; /* a parameter */
} history_column;

struct emr_history {
    emr_allocator allocator;
    const emr_bundle *bundle;
    history_column *columns; /* EMR_N_VALUES, then EMR_N_PLANES kinds of n_tasks each */
    size_t n_columns;
    uint8_t *window; /* of all columns */
    size_t plane_bytes;
    emr_cursor *rows;    /* one a task, per row only */
    uint64_t first, end; /* of the window that is loaded */
};

static size_t column_count(const emr_bundle *b)
{
    return EMR_N_VALUES + EMR_N_PLANES * (size_t)b->summary.n_tasks;
}

/* Bits of a parameter in all columns. */
static size_t total_bits(const emr_bundle *b)
{
    return (b->summary.unified_dtype == EMR_DTYPE_F32 ? 32u : 16u) + 3u * 32 +
           EMR_N_PLANES * (size_t)b->summary.n_tasks;
}

static uint64_t stream_memory(const emr_bundle *b, size_t stream)
{
    if (stream == EMR_NO_STREAM)
        return 0;
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    return emr_cursor_memory(&s);
}

uint64_t emr_history_memory(const emr_merge_plan *plan, const emr_layout *l)
{
    const emr_bundle *b = plan->before;
    if (!b || plan->copies)
        return 0;
    uint64_t bytes =
        sizeof(emr_history) + column_count(b) * sizeof(history_column) + l->window_params / 8 * total_bits(b);
    for (size_t i = 0; i < EMR_N_VALUES; i++)
        bytes += stream_memory(b, b->base_streams[emr_value_kinds[i]]);
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        for (size_t i = 0; i < EMR_N_PLANES; i++)
            bytes += stream_memory(b, b->task_streams[emr_plane_kinds[i]][t]);
        bytes += sizeof(emr_cursor) + stream_memory(b, b->task_streams[EMR_STREAM_ROW_NUMERATORS][t]);
        bytes += PRIVATE_BYTES + stream_memory(b, b->task_streams[EMR_STREAM_PRIVATE][t]);
    }
    return bytes;
}

static emr_status open_columns(emr_history *h, emr_error *error)
{
    const emr_bundle *b = h->bundle;
    uint8_t *window = h->window;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < h->n_columns; i++) {
        history_column *c = &h->columns[i];
        size_t plane = i < EMR_N_VALUES ? 0 : i - EMR_N_VALUES, n_tasks = b->summary.n_tasks;
        size_t stream = i < EMR_N_VALUES ? b->base_streams[emr_value_kinds[i]]
                                         : b->task_streams[emr_plane_kinds[plane / n_tasks]][plane % n_tasks];
        c->bits = i >= EMR_N_VALUES ? 1 : i == 0 && b->summary.unified_dtype != EMR_DTYPE_F32 ? 16 : 32;
        c->window = window;
        window += c->bits * h->plane_bytes;
        status = emr_cursor_open(&c->cursor, b, stream, &h->allocator, error);
    }
    for (size_t t = 0; !status && t < b->summary.n_tasks; t++)
        status = emr_cursor_open(&h->rows[t], b, b->task_streams[EMR_STREAM_ROW_NUMERATORS][t], &h->allocator,
                                 error);
    return status;
}

emr_status emr_history_create(emr_history **history, const emr_merge_plan *plan, emr_error *error)
{
    const emr_bundle *b = plan->before;
    emr_history *h = emr_allocate_array(&plan->env.allocator, 1, sizeof *h);
    *history = NULL;
    if (!h)
        return emr_no_memory(error, NULL);
    h->allocator = plan->env.allocator;
    h->bundle = b;
    h->n_columns = column_count(b);
    h->plane_bytes = plan->layout.window_params / 8;
    h->columns = emr_allocate_array(&h->allocator, h->n_columns, sizeof *h->columns);
    h->rows = emr_allocate_array(&h->allocator, b->summary.n_tasks, sizeof *h->rows);
    h->window = emr_allocate_array(&h->allocator, total_bits(b), h->plane_bytes);
    emr_status status =
        h->columns && h->rows && h->window ? open_columns(h, error) : emr_no_memory(error, NULL);
    if (status)
        emr_history_destroy(&h);
    *history = h;
    return status;
}

void emr_history_destroy(emr_history **history)
{
    emr_history *h = *history;
    if (!h)
        return;
    emr_allocator a = h->allocator;
    for (size_t i = 0; h->columns && i < h->n_columns; i++)
        emr_cursor_close(&h->columns[i].cursor);
    for (size_t t = 0; h->rows && t < h->bundle->summary.n_tasks; t++)
        emr_cursor_close(&h->rows[t]);
    emr_release(&a, h->columns);
    emr_release(&a, h->rows);
    emr_release(&a, h->window);
    emr_release(&a, h);
    *history = NULL;
}

static emr_status load_column(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_history *h = context;
    history_column *c = &h->columns[job];
    (void)worker;
    return emr_cursor_read(&c->cursor, h->first / 8 * c->bits, c->window,
                           (size_t)((h->end - h->first) / 8 * c->bits), error);
}

emr_status emr_history_load(emr_history *h, const emr_workers *workers, uint64_t first, uint64_t end,
                            emr_error *error)
{
    h->first = first;
    h->end = end;
    return emr_work(workers, h->n_columns, load_column, h, error);
}

emr_state emr_history_state(const emr_history *h, uint64_t flat)
{
    size_t at = (size_t)(flat - h->first) / 8, n_tasks = h->bundle->summary.n_tasks;
    const history_column *values = h->columns, *planes = h->columns + EMR_N_VALUES;
    return (emr_state){.unified = values[0].window + at * values[0].bits,
                       .sums = values[1].window + at * 32,
                       .opposites = values[2].window + at * 32,
                       .extremes = values[3].window + at * 32,
                       .masks = planes[0].window + at,
                       .nonzeros = planes[n_tasks].window + at,
                       .undecided = planes[2 * n_tasks].window + at,
                       .plane_bytes = h->plane_bytes};
}

double emr_history_numerator(const emr_history *h, uint32_t task, uint32_t tensor)
{
    const emr_bundle *b = h->bundle;
    const uint8_t *section = b->sections[EMR_SECTION_GROWTH].data;
    size_t i =
        b->summary.rescale_per == EMR_PER_TENSOR_BYTE ? (size_t)task * b->summary.n_merged + tensor : task;
    return emr_f64_from_bits(
        emr_load64(section + emr_growth_numerators(emr_decode_growth(section).n_globs) + 8 * i));
}

emr_status emr_history_row_numerators(emr_history *h, uint32_t task, uint64_t first, size_t n,
                                      double *numerators, emr_error *error)
{
    const emr_bundle *b = h->bundle;
    emr_status status = emr_cursor_read(&h->rows[task], first * 8, numerators, n * 8, error);
    for (size_t i = 0; !status && i < n; i++) {
        uint64_t bits = emr_load64(&numerators[i]);
        numerators[i] = emr_f64_from_bits(bits);
        if (bits >= (uint64_t)0x7ff << 52) /* as on opening for the others: finite, not negative */
            status = emr_fail(error, EMR_EFORMAT, "%F: task '%K': a row's numerator is impossible", b->name,
                              emr_bundle_task_name(b, task));
    }
    return status;
}
