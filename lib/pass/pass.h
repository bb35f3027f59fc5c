/* pass.h - moves tensors from models (pull) or from the host (push) through a step, once, in windows of
 * bounded size. No method is known here. */
#ifndef EMR_PASS_PASS_H
#define EMR_PASS_PASS_H

#include "pass/base_hash.h"
#include "pass/layout.h"
#include "pass/range.h"
#include "pass/step.h"

typedef struct emr_pass emr_pass;

/* What a pass works with. Everything is borrowed. */
typedef struct emr_pass_setup {
    emr_alignment *alignment; /* who keeps what is found out on the way */
    const emr_layout *layout;
    const emr_workers *workers;
    const emr_env *env; /* progress */
    const emr_step *step;
    void *state;                 /* the step's */
    emr_base_hashes *hashes;     /* NULL: the base is not hashed */
    const emr_pass_range *range; /* NULL: all of it. Else nothing is pushed, and nothing continues later. */
} emr_pass_setup;

/* EMR_EUNSUPPORTED where a tensor that must be read twice is to be pushed. */
emr_status emr_pass_create(emr_pass **pass, const emr_pass_setup *setup, emr_error *error);
void emr_pass_destroy(emr_pass **pass);

/* A whole pass over tensors that can be read: for steps that take no pushed bytes and do not continue later. */
emr_status emr_pass_run(emr_alignment *alignment, const emr_layout *layout, const emr_env *env,
                        const emr_step *step, void *state, emr_error *error);

/* Working memory, for the layout. */
uint64_t emr_pass_memory(const emr_alignment *alignment, const emr_layout *layout, const emr_step *step);

/* Input bytes of a pass, and those that have passed. */
uint64_t emr_pass_total(const emr_alignment *alignment, const emr_step *step);
uint64_t emr_pass_done(const emr_pass *pass);

/* Does all that can be done without (more) pushed bytes. */
emr_status emr_pass_pump(emr_pass *pass, emr_error *error);

/* The next bytes of a source: *taken of them were used. */
emr_status emr_pass_push(emr_pass *pass, uint32_t source, const void *data, size_t n, size_t *taken,
                         emr_error *error);
/* The tensor whose bytes a source must push next, NULL if none, and how many of them it may push now. */
const emr_tensor *emr_pass_expected(const emr_pass *pass, uint32_t source, uint64_t *bytes);

/* The end: EMR_ESTATE while pushed bytes are missing. */
emr_status emr_pass_finish(emr_pass *pass, emr_error *error);

/* Continuing later (resume.h). Calls `fn` after each window of merged tensors; from within it, settles first,
 * then saves the pass and its step; then that has been kept. */
typedef emr_status (*emr_pass_hook_fn)(void *context, emr_error *error);
void emr_pass_on_window(emr_pass *pass, emr_pass_hook_fn fn, void *context);
bool emr_pass_can_save(const emr_pass *pass);
emr_status emr_pass_settle(emr_pass *pass, emr_error *error);
void emr_pass_save(const emr_pass *pass, emr_put_fn put, void *context);
void emr_pass_saved(emr_pass *pass);
/* Into a new pass and step, save by save; then, once, it checks whether the step's output still holds what
 * was saved, and finds its way back. */
emr_status emr_pass_restore(emr_pass *pass, emr_get_fn get, void *context, emr_error *error);
emr_status emr_pass_continue(emr_pass *pass, bool *right, emr_error *error);

#endif
