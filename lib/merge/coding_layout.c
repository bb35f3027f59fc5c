/* coding_layout.c - see coding_layout.h. */
#include "merge/coding_layout.h"

#include "bundle/bundle.h"
#include "merge/plan.h"

enum { N_STREAMS = 4 /* of a task: codes, scales, columns, vectors */ };

bool emr_coding_is_vector(const emr_tensor *base)
{
    return emr_is_vector(base->rank, base->shape);
}

uint64_t emr_coding_columns(const emr_tensor *base)
{
    return emr_matrix_columns(base->rank, base->shape);
}

emr_coding_sizes emr_coding_measure(const emr_alignment *a)
{
    emr_coding_sizes s = {.shortest_row = UINT64_MAX,
                          .n_slots = a->flat_params ? a->n_rows + a->flat_params / EMR_CHUNK + 1 : 0};
    for (uint32_t i = 0; i < a->n_merged; i++) {
        const emr_tensor *base = a->entries[i].base;
        uint64_t columns = emr_coding_columns(base);
        if (emr_coding_is_vector(base)) {
            s.vector_params += base->count;
        } else {
            s.matrix_params += base->count;
            s.shortest_row = emr_min(s.shortest_row, emr_row_length(base));
        }
        s.n_columns += columns;
        s.widest = columns > s.widest ? columns : s.widest;
    }
    return s;
}

emr_coding emr_coding_of_matrices(const emr_modulation_spec *s)
{
    emr_modulator_record m = emr_modulation_record(s);
    return (emr_coding){.rate = emr_code_rate(&m), .seed = s->seed, .levels = emr_kind_levels(s->n_levels)};
}

emr_coding emr_coding_of_vectors(const emr_modulation_spec *s)
{
    return (emr_coding){.rate = EMR_GROUP * (s->vectors_dtype == EMR_DTYPE_F32 ? 32 : 16)};
}

bool emr_coding_has_columns(const emr_modulation_spec *s)
{
    return s->kind == EMR_MODULATOR_KIND_SIGN && !s->without_columns;
}

uint32_t emr_coding_block_bytes(const emr_coding *coding, size_t block_params)
{
    size_t bytes = block_params / EMR_CODE_UNIT * coding->rate;
    return (uint32_t)(bytes > EMR_BLOCK_BYTES_MIN ? bytes : EMR_BLOCK_BYTES_MIN);
}

/* Of VECTORS, EMR_CODE_UNIT numbers lie in one. */
uint32_t emr_coding_small_bytes(size_t block_params)
{
    size_t bytes = block_params / 8, least = EMR_CODE_UNIT * sizeof(float);
    return (uint32_t)(bytes > least ? bytes : least);
}

static uint64_t codes_bytes(const emr_merge_plan *plan, const emr_coding *coding)
{
    return (plan->alignment.flat_params / EMR_GROUP * coding->rate + 7) / 8;
}

/* Of scales, columns and vectors. */
static uint64_t rest_bytes(const emr_merge_plan *plan, const emr_modulation_spec *s)
{
    const emr_coding_sizes *sizes = &plan->coded;
    return 2 * sizes->n_slots + (emr_coding_has_columns(s) ? 2 * sizes->n_columns : 0) +
           sizes->vector_params * (s->vectors_dtype == EMR_DTYPE_F32 ? 4 : 2);
}

static const emr_modulation_spec *coded_spec(const emr_merge_plan *plan, uint32_t i)
{
    return &plan->modulations.specs[plan->modulations.coded[i]];
}

uint64_t emr_coding_stream_bytes(const emr_merge_plan *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->modulations.n_coded; i++) {
        const emr_modulation_spec *s = coded_spec(plan, i);
        emr_coding coding = emr_coding_of_matrices(s);
        bytes += codes_bytes(plan, &coding) + rest_bytes(plan, s);
    }
    return bytes;
}

uint64_t emr_coding_tensor_bytes(const emr_merge_plan *plan, const emr_tensor *base, uint64_t params)
{
    bool vector = emr_coding_is_vector(base);
    uint64_t bytes = 0, groups = params / EMR_GROUP + 1, stretches = params / EMR_CHUNK + 2;
    if (!vector)
        stretches += params / emr_row_length(base) + 1;
    for (uint32_t i = 0; params && i < plan->modulations.n_coded; i++) {
        const emr_modulation_spec *s = coded_spec(plan, i);
        bytes += groups * emr_coding_of_matrices(s).rate / 8 + 1 + 2 * stretches +
                 (vector ? params * (s->vectors_dtype == EMR_DTYPE_F32 ? 4 : 2) : 0) +
                 (emr_coding_has_columns(s) ? 2 * emr_coding_columns(base) : 0);
    }
    return bytes;
}

uint64_t emr_coding_blocks(const emr_merge_plan *plan, size_t block_params)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->modulations.n_coded; i++) {
        const emr_modulation_spec *s = coded_spec(plan, i);
        emr_coding coding = emr_coding_of_matrices(s);
        n += codes_bytes(plan, &coding) / emr_coding_block_bytes(&coding, block_params) +
             rest_bytes(plan, s) / emr_coding_small_bytes(block_params) + N_STREAMS;
    }
    return n;
}

/* Each item may begin and end within a byte, and within a row. */
uint64_t emr_coding_window_bytes(const emr_merge_plan *plan, const emr_layout *l)
{
    const emr_coding_sizes *sizes = &plan->coded;
    uint64_t bytes = 0, matrix = emr_min(l->window_params, sizes->matrix_params + EMR_GROUP * l->max_items),
             vector = emr_min(l->window_params, sizes->vector_params),
             stretches = l->window_params / sizes->shortest_row + 2 * l->max_items;
    for (uint32_t i = 0; i < plan->modulations.n_coded; i++) {
        const emr_modulation_spec *s = coded_spec(plan, i);
        bytes += matrix / EMR_GROUP * emr_coding_of_matrices(s).rate / 8 + l->max_items +
                 vector * (s->vectors_dtype == EMR_DTYPE_F32 ? 4 : 2) + 2 * stretches;
    }
    return bytes;
}

uint64_t emr_coding_window_sums(const emr_merge_plan *plan, const emr_layout *l)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->modulations.n_coded; i++)
        if (emr_coding_has_columns(coded_spec(plan, i)))
            n += emr_min(l->window_params, l->max_items * plan->coded.widest);
    return n;
}
