/* join.c - parts of a merge become its bundle: the plan is made anew from what they say of it, and then the step
 * of that merge takes what they have, one part after another. */
#include "emr/join.h"

#include "core/io.h"
#include "merge/description.h"
#include "merge/part_step.h"
#include "merge/parts.h"

#include <string.h>

struct emr_join {
    emr_env env;
    emr_part_reader **parts; /* by number; NULL: not there yet */
    uint32_t n_parts;        /* 0: none is known */
    emr_hash128 fingerprint;
    emr_io output;
    bool has_output, has_run;
    /* while it runs */
    uint8_t *description, *buffer;
    size_t description_bytes;
    uint64_t room; /* of the buffer */
    emr_described described;
    emr_merge_plan plan;
    bool is_planned;
    emr_workers workers;
    emr_writer *writer;
    emr_merge_step *step;
    uint64_t done, total; /* bytes of the parts */
};

emr_status emr_join_create(emr_join **join, const emr_resources *resources, emr_error *error)
{
    emr_env env;
    if (!join)
        return emr_fail(error, EMR_EINVAL, "emr_join_create: NULL");
    *join = NULL;
    emr_status status = emr_env_take(&env, resources, NULL, error);
    if (status)
        return status;
    emr_join *j = emr_allocate_array(&env.allocator, 1, sizeof *j);
    if (!j)
        return emr_no_memory(error, NULL);
    j->env = env;
    *join = j;
    return EMR_OK;
}

static void destroy_part(emr_part_reader *part, const emr_allocator *a)
{
    if (part)
        emr_release(a, part->name);
    emr_release(a, part);
}

static void release_run(emr_join *j)
{
    const emr_allocator *a = &j->env.allocator;
    emr_merge_step_destroy(&j->step);
    emr_writer_destroy(&j->writer);
    emr_workers_destroy(&j->workers);
    if (j->is_planned)
        emr_merge_plan_free(&j->plan);
    j->is_planned = false;
    emr_policy_free(&j->plan.policy, a);
    if (j->described.base)
        emr_described_free(&j->described);
    emr_release(a, j->description);
    emr_release(a, j->buffer);
    j->description = j->buffer = NULL;
}

void emr_join_destroy(emr_join **join)
{
    if (!join || !*join)
        return;
    emr_join *j = *join;
    emr_allocator a = j->env.allocator;
    release_run(j);
    for (uint32_t i = 0; i < j->n_parts; i++)
        destroy_part(j->parts[i], &a);
    emr_release(&a, j->parts);
    emr_release(&a, j);
    *join = NULL;
}

/* The first part says of what merge all are. */
static emr_status take_first(emr_join *j, const emr_part_reader *part, emr_error *error)
{
    const emr_part_head *head = &part->head;
    if (!head->n_parts || head->n_parts > EMR_PARTS_MAX || head->part >= head->n_parts)
        return emr_fail(error, EMR_EFORMAT, "%F: says that it is part %u of %u", part->name,
                        (uint64_t)head->part + 1, (uint64_t)head->n_parts);
    if (j->n_parts)
        return EMR_OK;
    j->parts = emr_allocate_array(&j->env.allocator, head->n_parts, sizeof *j->parts);
    if (!j->parts)
        return emr_no_memory(error, NULL);
    j->n_parts = head->n_parts;
    j->fingerprint = head->fingerprint;
    return EMR_OK;
}

static emr_status check_is_one_of(const emr_join *j, const emr_part_reader *part, emr_error *error)
{
    const emr_part_head *head = &part->head;
    if (head->fingerprint.low != j->fingerprint.low || head->fingerprint.high != j->fingerprint.high ||
        head->n_parts != j->n_parts || head->part >= j->n_parts)
        return emr_fail(
            error, EMR_EMISMATCH,
            "%F: is a part of another merge than the parts before it: of other models, options, number "
            "of parts or release of libemr or zstd",
            part->name);
    if (j->parts[head->part])
        return emr_fail(error, EMR_EINVAL, "%F: is part %u of %u, as %s is", part->name,
                        (uint64_t)head->part + 1, (uint64_t)j->n_parts, j->parts[head->part]->name);
    return EMR_OK;
}

emr_status emr_join_add_part(emr_join *j, const emr_io *given, const char *name, emr_error *error)
{
    emr_io io;
    if (!j || !given)
        return emr_fail(error, EMR_EINVAL, "emr_join_add_part: NULL");
    if (j->has_run)
        return emr_fail(error, EMR_ESTATE, "parts are added before they are joined");
    emr_status status = emr_io_take(&io, given, error);
    if (!status && (!io.read || !io.length))
        status = emr_fail(error, EMR_EINVAL, "a part's emr_io needs read and length");
    if (status)
        return status;
    const emr_allocator *a = &j->env.allocator;
    emr_part_reader *part = emr_allocate_array(a, 1, sizeof *part);
    if (!part || !(part->name = emr_copy_string(a, name ? name : "part"))) {
        emr_release(a, part);
        return emr_no_memory(error, NULL);
    }
    status = emr_part_open(part, &io, error);
    if (!status)
        status = take_first(j, part, error);
    if (!status)
        status = check_is_one_of(j, part, error);
    if (status)
        destroy_part(part, a);
    else
        j->parts[part->head.part] = part;
    return status;
}

emr_status emr_join_set_output(emr_join *j, const emr_io *io, emr_error *error)
{
    if (!j || !io)
        return emr_fail(error, EMR_EINVAL, "emr_join_set_output: NULL");
    if (j->has_output || j->has_run)
        return emr_fail(error, EMR_ESTATE, "what parts are joined into is set once, before they are joined");
    emr_status status = emr_io_take(&j->output, io, error);
    if (!status && !j->output.write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    j->has_output = !status;
    return status;
}

static emr_status check_is_whole(emr_join *j, emr_error *error)
{
    uint64_t missing = 0, first = 0;
    for (uint32_t i = j->n_parts; i-- > 0;) {
        if (j->parts[i]) {
            j->total += j->parts[i]->length;
            continue;
        }
        first = i;
        missing++;
    }
    if (!j->n_parts)
        return emr_fail(error, EMR_ESTATE, "there is no part to be joined");
    if (missing)
        return emr_fail(error, EMR_ENOTFOUND, "of %u parts %u %s: the first one is part %u",
                        (uint64_t)j->n_parts, missing, missing == 1 ? "is missing" : "are missing",
                        first + 1);
    return EMR_OK;
}

static emr_status count_joined(emr_join *j, uint64_t bytes, emr_error *error)
{
    j->done += bytes;
    return emr_env_progress(&j->env, j->done, j->total, "joining", error);
}

/* What the part says of the merge, which is what all say. */
static emr_status read_description(emr_join *j, emr_part_reader *part, emr_error *error)
{
    emr_part_record r;
    emr_status status = emr_part_next(part, &r, error);
    if (!status && (r.kind != EMR_PART_PLAN || r.size > SIZE_MAX / 2))
        status = emr_fail(error, EMR_EFORMAT, "%F: does not begin with the merge", part->name);
    if (status)
        return status;
    j->description = emr_allocate(&j->env.allocator, (size_t)r.size + EMR_PART_RECORD);
    if (!j->description)
        return emr_no_memory(error, part->name);
    j->description_bytes = (size_t)r.size;
    status = emr_part_get(part, &r, j->description, error);
    if (status)
        return status;
    emr_hash128 found = emr_description_fingerprint(j->description, j->description_bytes, j->n_parts);
    if (found.low != j->fingerprint.low || found.high != j->fingerprint.high)
        return emr_fail(
            error, EMR_EVERSION,
            "%F: was made by another release of libemr or zstd: join with the one that made the parts",
            part->name);
    return EMR_OK;
}

/* The plan of the merge, and room for its largest record. */
static emr_status plan_anew(emr_join *j, emr_error *error)
{
    emr_described *d = &j->described;
    emr_merge_plan *plan = &j->plan;
    emr_status status =
        emr_description_read(d, j->description, j->description_bytes, &j->env.allocator, error);
    if (status)
        return status;
    *plan = (emr_merge_plan){.env = j->env, .options = d->options};
    status = emr_merge_check_options(&plan->options, error);
    for (uint32_t t = 0; !status && t < d->n_tasks; t++) {
        const emr_modulation_spec said = d->specs[t];
        status = emr_modulation_take(&d->specs[t], &said, error);
    }
    if (!status)
        status = emr_policy_take(&plan->policy, &d->policy, &j->env.allocator, error);
    if (!status)
        status = emr_merge_plan_make(plan, d->base, d->tasks, d->n_tasks, d->specs, error);
    j->is_planned = !status;
    if (!status) {
        j->room = emr_join_step_most(plan) + EMR_PART_RECORD;
        status = emr_merge_plan_joining(plan, j->room + 2 * (uint64_t)j->description_bytes, error);
    }
    if (!status && !(j->buffer = emr_allocate(&j->env.allocator, (size_t)j->room)))
        status = emr_no_memory(error, NULL);
    return status;
}

static emr_status start_step(emr_join *j, emr_join_step *step, emr_error *error)
{
    const emr_allocator *a = &j->env.allocator;
    emr_merge_plan *plan = &j->plan;
    plan->store.writer.features = emr_merge_features(plan);
    emr_status status = emr_workers_create(&j->workers, &j->env, plan->layout.n_workers, error);
    if (!status)
        status = emr_writer_create(&j->writer, &j->output, a, &j->workers, &plan->store.writer, error);
    if (!status)
        status =
            emr_merge_step_create(&j->step, plan, emr_kernels_select(), j->writer, &j->output, NULL, error);
    return status ? status : emr_join_step_create(step, j->step, j->writer, error);
}

/* One part, from its description on. */
static emr_status take_part(emr_join *j, emr_join_step *step, emr_part_reader *part, emr_error *error)
{
    emr_part_record r;
    emr_status status = emr_part_next(part, &r, error);
    while (!status && r.kind != EMR_PART_END) {
        uint64_t at = part->offset;
        status = r.size > j->room - EMR_PART_RECORD ? emr_fail(error, EMR_EFORMAT, "a record is too long")
                                                    : emr_part_get(part, &r, j->buffer, error);
        if (!status)
            status = emr_join_step_take(step, &r, j->buffer, error);
        if (status == EMR_EFORMAT)
            emr_error_prefix(error, "%F: at byte %u", part->name, at);
        if (!status)
            status = count_joined(j, r.size, error);
        if (!status)
            status = emr_part_next(part, &r, error);
    }
    if (!status && part->offset != part->length)
        status = emr_fail(error, EMR_EFORMAT, "%F: something follows its end", part->name);
    return status;
}

/* That of another than the first part, which is the same. */
static emr_status skip_description(emr_join *j, emr_part_reader *part, emr_error *error)
{
    emr_part_record r;
    emr_status status = emr_part_next(part, &r, error);
    if (!status && (r.kind != EMR_PART_PLAN || r.size != j->description_bytes))
        status = emr_part_fail_damaged(part, error);
    if (status)
        return status;
    uint8_t *bytes = emr_allocate(&j->env.allocator, j->description_bytes + EMR_PART_RECORD);
    status = bytes ? emr_part_get(part, &r, bytes, error) : emr_no_memory(error, part->name);
    if (!status && memcmp(bytes, j->description, j->description_bytes) != 0)
        status = emr_part_fail_damaged(part, error);
    emr_release(&j->env.allocator, bytes);
    return status;
}

emr_status emr_join_run(emr_join *j, emr_error *error)
{
    emr_join_step step;
    if (!j)
        return emr_fail(error, EMR_EINVAL, "emr_join_run: NULL");
    if (j->has_run || !j->has_output)
        return emr_fail(error, EMR_ESTATE, "%s",
                        j->has_run ? "parts are joined once" : "parts need an output: emr_join_set_output");
    j->has_run = true;
    emr_status status = check_is_whole(j, error);
    if (!status)
        status = read_description(j, j->parts[0], error);
    if (!status)
        status = plan_anew(j, error);
    if (!status)
        status = start_step(j, &step, error);
    for (uint32_t i = 0; !status && i < j->n_parts; i++) {
        status = i ? skip_description(j, j->parts[i], error) : EMR_OK;
        if (!status)
            status = take_part(j, &step, j->parts[i], error);
    }
    if (!status)
        status = emr_join_step_finish(&step, error);
    release_run(j);
    return status;
}
