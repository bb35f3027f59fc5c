/* coding.c - see coding.h. Codes lie one after another in flat space, and an item's may begin within a byte,
 * so bits are carried from one to the next; scales have slots, of which those without a scale are 0. */
#include "merge/coding.h"

#include "bundle/bundle.h"
#include "merge/fidelity.h"
#include "numeric/rescale.h"

#include <string.h>

static const uint8_t zero_bytes[EMR_CHUNK * sizeof(float)]; /* what an item lacks is no longer */

enum { CARRIED_RATE = 8 /* of codes whose items may begin within a byte: less than this */ };

static bool declare_coded(emr_coder *t, emr_writer *w, const emr_merge_plan *plan)
{
    size_t params = plan->store.block_params;
    uint32_t small = emr_coding_small_bytes(params);
    bool wide = t->spec->vectors_dtype == EMR_DTYPE_F32;
    t->codes = emr_writer_stream(w, EMR_STREAM_CODES, t->task, emr_coding_block_bytes(&t->matrix, params),
                                 EMR_TEXTURE_BITS);
    t->scales = emr_writer_stream(w, EMR_STREAM_SCALES, t->task, small, EMR_TEXTURE_WORDS2);
    t->columns = t->vectors = 0;
    if (t->sums)
        t->columns = emr_writer_stream(w, EMR_STREAM_COLUMNS, t->task, small, EMR_TEXTURE_WORDS2);
    if (plan->coded.vector_params)
        t->vectors = emr_writer_stream(w, EMR_STREAM_VECTORS, t->task, small,
                                       wide ? EMR_TEXTURE_WORDS4 : EMR_TEXTURE_WORDS2);
    return t->codes != EMR_NO_MEMORY_STREAM && t->scales != EMR_NO_MEMORY_STREAM &&
           t->columns != EMR_NO_MEMORY_STREAM && t->vectors != EMR_NO_MEMORY_STREAM;
}

static bool create_coder(emr_coder *t, const emr_coders *c, uint32_t task)
{
    const emr_merge_plan *plan = c->plan;
    t->task = task;
    t->spec = &plan->modulations.specs[task];
    t->matrix = emr_coding_of_matrices(t->spec);
    t->vector = emr_coding_of_vectors(t->spec);
    if (emr_coding_has_columns(t->spec) && plan->coded.widest &&
        !(t->sums = emr_allocate_array(&plan->env.allocator, plan->coded.widest, sizeof *t->sums)))
        return false;
    return declare_coded(t, c->writer, plan);
}

/* Padded for whole groups, as emr_encoding wants it. */
enum { TAU_PARAMS = EMR_CHUNK + EMR_GROUP };

uint64_t emr_coders_memory(const emr_merge_plan *plan, const emr_layout *l)
{
    uint64_t n_tasks = plan->modulations.n_coded;
    if (!n_tasks)
        return 0;
    return n_tasks * (sizeof(emr_coder) + plan->coded.widest * sizeof(double)) +
           l->max_items * n_tasks * (sizeof(emr_encoding) + sizeof(emr_nonfinite)) +
           emr_coding_window_bytes(plan, l) + emr_coding_window_sums(plan, l) * sizeof(float) +
           l->n_workers * TAU_PARAMS * sizeof(float) + 2 * plan->coded.widest;
}

static bool allocate_coders(emr_coders *c)
{
    const emr_merge_plan *plan = c->plan;
    const emr_allocator *a = &plan->env.allocator;
    const emr_layout *l = &plan->layout;
    c->tasks = emr_allocate_array(a, c->n_tasks, sizeof *c->tasks);
    c->items = emr_allocate_array(a, l->max_items, c->n_tasks * sizeof *c->items);
    c->found = emr_allocate_array(a, l->max_items, c->n_tasks * sizeof *c->found);
    c->bytes = emr_allocate_array(a, emr_coding_window_bytes(plan, l), 1);
    c->sums = emr_allocate_array(a, emr_coding_window_sums(plan, l), sizeof *c->sums);
    c->tau = emr_allocate_array(a, l->n_workers, TAU_PARAMS * sizeof *c->tau);
    c->columns = emr_allocate_array(a, plan->coded.widest, 2);
    bool there = c->tasks && c->items && c->found && c->bytes && c->sums && c->tau && c->columns;
    for (uint32_t i = 0; there && i < c->n_tasks; i++)
        there = create_coder(&c->tasks[i], c, plan->modulations.coded[i]);
    return there;
}

emr_status emr_coders_create(emr_coders *c, emr_merge_plan *plan, const emr_kernels *kernels,
                             emr_writer *writer, emr_error *error)
{
    *c = (emr_coders){
        .plan = plan, .kernels = kernels, .writer = writer, .n_tasks = plan->modulations.n_coded};
    return !c->n_tasks || allocate_coders(c) ? EMR_OK : emr_no_memory(error, NULL);
}

void emr_coders_destroy(emr_coders *c)
{
    if (!c->plan)
        return;
    const emr_allocator *a = &c->plan->env.allocator;
    for (uint32_t i = 0; c->tasks && i < c->n_tasks; i++)
        emr_release(a, c->tasks[i].sums);
    emr_release(a, c->tasks);
    emr_release(a, c->items);
    emr_release(a, c->found);
    emr_release(a, c->bytes);
    emr_release(a, c->sums);
    emr_release(a, c->tau);
    emr_release(a, c->columns);
}

/* Where one item of one task goes; its length is told by the item, since nothing is read yet. */
static void place_item(const emr_coder *t, const emr_item *item, emr_encoding *e, uint8_t **bytes,
                       float **sums)
{
    const emr_tensor *base = item->entry->base;
    bool vector = emr_coding_is_vector(base);
    *e = (emr_encoding){.n = item->task_dtypes[t->task] == EMR_DTYPE_NONE ? 0 : item->n,
                        .bad = item->n,
                        .base_dtype = base->dtype,
                        .task_dtype = item->task_dtypes[t->task],
                        .flat = item->flat,
                        .first = item->first,
                        .row_length = emr_row_length(base),
                        .kind = vector ? 0 : t->spec->kind,
                        .rescale = t->spec->rescale,
                        .coding = vector ? t->vector : t->matrix,
                        .n_levels = t->spec->n_levels,
                        .has_columns = t->sums && emr_coding_columns(base)};
    if (!e->n)
        return;
    e->codes = *bytes;
    *bytes += emr_encode_bytes(&e->coding, e->n);
    e->scales = *bytes;
    *bytes += vector ? 0 : 2 * emr_encode_stretches(e->first, e->n, e->row_length);
    if (!e->has_columns)
        return;
    e->column_sums = *sums;
    *sums += emr_min(e->n, e->row_length);
}

void emr_coders_begin(emr_coders *c, const emr_item *items, size_t n_items)
{
    uint8_t *bytes = c->bytes;
    float *sums = c->sums;
    for (size_t i = 0; i < n_items; i++)
        for (uint32_t k = 0; k < c->n_tasks; k++)
            place_item(&c->tasks[k], &items[i], &c->items[i * c->n_tasks + k], &bytes, &sums);
}

void emr_coders_encode(emr_coders *c, const emr_item *item, size_t index, size_t worker)
{
    for (uint32_t k = 0; k < c->n_tasks; k++) {
        emr_encoding *e = &c->items[index * c->n_tasks + k];
        if (!e->n)
            continue;
        e->base = item->base;
        e->task = item->tasks[c->tasks[k].task];
        e->zero_nonfinite = c->plan->options.on_nonfinite == EMR_ON_NONFINITE_ZERO;
        e->tau = c->tau + worker * TAU_PARAMS;
        emr_encode_item(c->kernels, e);
        if (e->bad < item->n)
            c->found[index * c->n_tasks + k] = emr_nonfinite_examine(item, c->tasks[k].task, e->bad);
    }
}

static uint32_t first_bad(const emr_coders *c, const emr_item *item, size_t index)
{
    if (!c->n_tasks)
        return 0;
    const emr_encoding *e = &c->items[index * c->n_tasks];
    uint32_t first = 0;
    for (uint32_t k = 1; k < c->n_tasks; k++)
        if (e[k].bad < e[first].bad)
            first = k;
    return e[first].bad < item->n ? first : c->n_tasks;
}

size_t emr_coders_find_bad(const emr_coders *c, const emr_item *item, size_t index, uint32_t *task)
{
    uint32_t first = first_bad(c, item, index);
    if (first == c->n_tasks)
        return item->n;
    *task = c->tasks[first].task;
    return c->items[index * c->n_tasks + first].bad;
}

emr_status emr_coders_fail_bad(const emr_coders *c, const emr_item *item, size_t index, emr_error *error)
{
    size_t first = index * c->n_tasks + first_bad(c, item, index);
    const emr_coder *t = &c->tasks[first_bad(c, item, index)];
    return emr_nonfinite_fail(&c->found[first], item, &c->plan->alignment.tasks[t->task], c->items[first].bad,
                              error);
}

static emr_status append_zeros(emr_writer *w, size_t stream, uint64_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    for (; !status && n; n -= emr_min(n, sizeof zero_bytes))
        status = emr_writer_append(w, stream, zero_bytes, (size_t)emr_min(n, sizeof zero_bytes), error);
    return status;
}

/* Codes that may begin within a byte: what is carried, then they. */
static emr_status append_carried(emr_coder *t, emr_writer *w, const uint8_t *codes, size_t bits,
                                 emr_error *error)
{
    uint8_t shifted[EMR_CHUNK / EMR_GROUP * CARRIED_RATE / 8];
    uint64_t carried = t->state.carried, carry = t->state.carry;
    size_t n = 0;
    for (size_t i = 0; bits; i++) {
        size_t some = bits < 8 ? bits : 8;
        carry |= (uint64_t)codes[i] << carried;
        carried += some;
        bits -= some;
        if (carried < 8)
            break;
        shifted[n++] = (uint8_t)carry;
        carry >>= 8;
        carried -= 8;
    }
    t->state.carried = carried;
    t->state.carry = carry;
    return emr_writer_append(w, t->codes, shifted, n, error);
}

/* `codes` of an item's groups: none of a vector, and of a tensor that the task lacks. */
static emr_status append_codes(emr_coder *t, emr_writer *w, const uint8_t *codes, const emr_item *item,
                               emr_error *error)
{
    size_t bits = (item->n + EMR_GROUP - 1) / EMR_GROUP * t->matrix.rate;
    codes = codes ? codes : zero_bytes;
    return t->matrix.rate < CARRIED_RATE ? append_carried(t, w, codes, bits, error)
                                         : emr_writer_append(w, t->codes, codes, bits / 8, error);
}

/* Up to a slot. */
static emr_status skip_scales(emr_coder *t, emr_writer *w, uint64_t slot, emr_error *error)
{
    emr_status status = append_zeros(w, t->scales, 2 * (slot - t->state.n_scales), error);
    t->state.n_scales = slot;
    return status;
}

/* All of an item's stretches lie in one chunk, so their slots are consecutive. */
static emr_status append_scales(emr_coder *t, emr_writer *w, const emr_item *item, const emr_encoding *e,
                                emr_error *error)
{
    uint64_t slot = item->entry->first_row + item->first / e->row_length + item->flat / EMR_CHUNK;
    emr_status status = skip_scales(t, w, slot, error);
    t->state.n_scales += e->n_stretches;
    return status ? status : emr_writer_append(w, t->scales, e->scales, 2 * e->n_stretches, error);
}

static void add_up(emr_coder *t, const emr_encoding *e)
{
    t->state.tt += e->tt;
    t->state.tq += e->tq;
    t->state.qq += e->qq;
    t->state.rr += e->rr;
    t->state.zeroed += e->zeroed;
    if (e->has_columns)
        emr_encode_fold(t->sums, e);
}

/* Whether a task has scales of a tensor's columns. */
static bool fits_columns(const emr_coder *t, const emr_tensor *base)
{
    return t->sums && emr_coding_columns(base);
}

/* What is before the part: only columns need it. */
static void fold_before(emr_coder *t, const emr_item *item, const emr_encoding *e)
{
    uint64_t zeroed = t->state.zeroed;
    if (e->n && fits_columns(t, item->entry->base))
        add_up(t, e);
    t->state.zeroed = zeroed;
}

/* Scales of the columns of a tensor that has passed. */
static emr_status end_columns(emr_coders *c, emr_coder *t, uint64_t n, bool is_there, emr_error *error)
{
    if (!is_there)
        return append_zeros(c->writer, t->columns, 2 * n, error);
    emr_column_fit fit = {.n_columns = n,
                          .sums = t->sums,
                          .rescale = t->spec->rescale,
                          .tt = t->state.tt,
                          .rr = t->state.rr,
                          .tq = t->state.tq,
                          .qq = t->state.qq,
                          .columns = c->columns};
    emr_encode_columns(&fit);
    t->state.tq = fit.tq;
    t->state.qq = fit.qq;
    memset(t->sums, 0, (size_t)n * sizeof *t->sums);
    return emr_writer_append(c->writer, t->columns, c->columns, 2 * (size_t)n, error);
}

static void add_coded_tensor(emr_coder *t)
{
    t->told = (emr_coded_sums){t->state.tt, t->state.tq, t->state.qq};
    t->state.all_tt += t->state.tt;
    t->state.all_tq += t->state.tq;
    t->state.all_qq += t->state.qq;
    t->state.tt = t->state.tq = t->state.qq = t->state.rr = 0;
}

static emr_status end_coded_tensor(emr_coders *c, emr_coder *t, const emr_item *item, bool is_there,
                                   emr_error *error)
{
    uint64_t n = t->sums ? emr_coding_columns(item->entry->base) : 0;
    emr_status status = n ? end_columns(c, t, n, is_there, error) : EMR_OK;
    add_coded_tensor(t);
    return status;
}

static emr_status fold_coded(emr_coders *c, emr_coder *t, const emr_item *item, const emr_encoding *e,
                             emr_error *error)
{
    if (item->flat < emr_merge_first(c->plan)) {
        fold_before(t, item, e);
        return EMR_OK;
    }
    bool vector = emr_coding_is_vector(item->entry->base);
    size_t bytes = vector ? emr_encode_bytes(&t->vector, item->n) : 0;
    emr_status status = append_codes(t, c->writer, vector ? NULL : e->codes, item, error);
    if (!status && vector)
        status = emr_writer_append(c->writer, t->vectors, e->n ? e->codes : zero_bytes, bytes, error);
    if (!status && !vector && e->n)
        status = append_scales(t, c->writer, item, e, error);
    if (e->n)
        add_up(t, e);
    c->plan->zeroed[item->number] += e->zeroed;
    if (!status && item->first + item->n == item->entry->base->count)
        status = end_coded_tensor(c, t, item, e->n != 0, error);
    return status;
}

emr_status emr_coders_fold(emr_coders *c, const emr_item *item, size_t index, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t k = 0; !status && k < c->n_tasks; k++)
        status = fold_coded(c, &c->tasks[k], item, &c->items[index * c->n_tasks + k], error);
    return status;
}

/* The slot behind the last stretch of a task's that begins before a flat position. */
static uint64_t slots_before(const emr_coders *c, const emr_coder *t, uint64_t flat)
{
    const emr_alignment *a = &c->plan->alignment;
    for (uint32_t i = a->n_merged; i-- > 0;) {
        const emr_entry *entry = &a->entries[i];
        const emr_tensor *base = entry->base;
        if (entry->first_param >= flat || emr_coding_is_vector(base) ||
            !emr_alignment_tensor(a, entry, t->task + 1))
            continue;
        uint64_t last = emr_min(base->count, flat - entry->first_param) - 1;
        return entry->first_row + last / emr_row_length(base) + (entry->first_param + last) / EMR_CHUNK + 1;
    }
    return 0;
}

void emr_coders_skip_to(emr_coders *c, uint64_t flat)
{
    for (uint32_t k = 0; k < c->n_tasks; k++)
        c->tasks[k].state.n_scales = slots_before(c, &c->tasks[k], flat);
}

void emr_coders_begin_at(emr_coders *c, uint64_t flat)
{
    const emr_alignment *a = &c->plan->alignment;
    uint64_t columns = 0, vectors = 0;
    for (uint32_t i = 0; i < a->n_merged && a->entries[i].first_param < flat; i++) {
        const emr_entry *entry = &a->entries[i];
        if (emr_coding_is_vector(entry->base))
            vectors += emr_min(entry->base->count, flat - entry->first_param);
        else if (entry->first_param + entry->base->count <= flat)
            columns += emr_coding_columns(entry->base);
    }
    emr_coders_skip_to(c, flat);
    for (uint32_t k = 0; k < c->n_tasks; k++) {
        emr_coder *t = &c->tasks[k];
        emr_writer_start(c->writer, t->codes, flat / EMR_GROUP * t->matrix.rate / 8);
        emr_writer_start(c->writer, t->scales, 2 * t->state.n_scales);
        if (t->sums)
            emr_writer_start(c->writer, t->columns, 2 * columns);
        if (c->plan->coded.vector_params)
            emr_writer_start(c->writer, t->vectors, vectors * t->vector.rate / EMR_GROUP / 8);
    }
}

void emr_coders_tell(const emr_coders *c, const emr_item *item, size_t index, uint32_t i,
                     emr_coded_sums *told)
{
    const emr_coder *t = &c->tasks[i];
    const emr_encoding *e = &c->items[index * c->n_tasks + i];
    bool split = emr_merge_is_split(c->plan, item->entry), columns = fits_columns(t, item->entry->base);
    bool ends = item->first + item->n == item->entry->base->count;
    *told = (emr_coded_sums){0};
    if (split && !columns && e->n)
        *told = (emr_coded_sums){e->tt, e->tq, e->qq};
    else if ((!split || columns) && ends)
        *told = t->told;
}

void emr_coders_hear(emr_coders *c, uint32_t i, const emr_coded_sums *told, bool ends)
{
    emr_coder *t = &c->tasks[i];
    t->state.tt += told->tt;
    t->state.tq += told->tq;
    t->state.qq += told->qq;
    if (ends)
        add_coded_tensor(t);
}

static emr_status end_coder(emr_coders *c, emr_coder *t, emr_error *error)
{
    const uint8_t last = (uint8_t)t->state.carry;
    emr_status status = EMR_OK;
    if (t->state.carried)
        status = emr_writer_append(c->writer, t->codes, &last, 1, error);
    t->state.carried = t->state.carry = 0;
    if (!status)
        status = skip_scales(t, c->writer, c->plan->coded.n_slots, error);
    if (!status)
        status = emr_writer_end(c->writer, t->codes, error);
    if (!status)
        status = emr_writer_end(c->writer, t->scales, error);
    if (!status && t->sums)
        status = emr_writer_end(c->writer, t->columns, error);
    return !status && c->plan->coded.vector_params ? emr_writer_end(c->writer, t->vectors, error) : status;
}

emr_status emr_coders_end(emr_coders *c, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t k = 0; !status && k < c->n_tasks; k++)
        status = end_coder(c, &c->tasks[k], error);
    return status;
}

emr_fidelity emr_coders_fidelity(const emr_coders *c, uint32_t i)
{
    const struct emr_coder_state *s = &c->tasks[i].state;
    return emr_fidelity_of(s->all_tt, s->all_tq, s->all_qq);
}

uint64_t emr_coders_zeroed(const emr_coders *c, uint32_t i)
{
    return c->tasks[i].state.zeroed;
}

/* Of the tensor that is passing: none, where the next item begins one, but they are 0 then. */
static uint64_t passing_sums(const emr_coders *c, const emr_coder *t, uint32_t entry)
{
    const emr_alignment *a = &c->plan->alignment;
    return t->sums && entry < a->n_merged ? emr_coding_columns(a->entries[entry].base) : 0;
}

void emr_coders_save(const emr_coders *c, uint32_t entry, emr_put_fn put, void *context)
{
    for (uint32_t k = 0; k < c->n_tasks; k++) {
        uint64_t n = passing_sums(c, &c->tasks[k], entry);
        put(context, &c->tasks[k].state, sizeof c->tasks[k].state);
        if (n)
            put(context, c->tasks[k].sums, (size_t)n * sizeof *c->tasks[k].sums);
    }
}

emr_status emr_coders_restore(emr_coders *c, uint32_t entry, emr_get_fn get, void *context, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t k = 0; !status && k < c->n_tasks; k++) {
        emr_coder *t = &c->tasks[k];
        uint64_t n = passing_sums(c, t, entry);
        status = get(context, &t->state, sizeof t->state, error);
        if (!status && (t->state.carried >= 8 || t->state.carry >> t->state.carried ||
                        t->state.n_scales > c->plan->coded.n_slots))
            status = emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
        if (t->sums)
            memset(t->sums, 0, (size_t)c->plan->coded.widest * sizeof *t->sums);
        if (!status && n)
            status = get(context, t->sums, (size_t)n * sizeof *t->sums, error);
    }
    return status;
}
