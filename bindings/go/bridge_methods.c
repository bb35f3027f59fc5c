/* bridge_methods.c - a stage's functions are not told which stage they are of, so there are some for each. */
#include "_cgo_export.h"

#define STAGE(i)                                                                                             \
    static uint32_t count_found_##i(const emr_method_tensor *tensor)                                         \
    {                                                                                                        \
        return emrGoCountFound(i, (emr_method_tensor *)tensor);                                              \
    }                                                                                                        \
    static void add_sums_##i(const emr_method_chunk *chunk, double *sums)                                    \
    {                                                                                                        \
        emrGoAddSums(i, (emr_method_chunk *)chunk, sums);                                                    \
    }                                                                                                        \
    static void list_keys_##i(const emr_method_chunk *chunk, uint32_t list, float *keys)                     \
    {                                                                                                        \
        emrGoListKeys(i, (emr_method_chunk *)chunk, list, keys);                                             \
    }                                                                                                        \
    static uint64_t place_cut_##i(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list)             \
    {                                                                                                        \
        return emrGoPlaceCut(i, (emr_method_tensor *)tensor, cut, list);                                     \
    }                                                                                                        \
    static emr_status settle_##i(const emr_method_tensor *tensor, double *found, emr_error *error)           \
    {                                                                                                        \
        return emrGoSettle(i, (emr_method_tensor *)tensor, found, error);                                    \
    }

#define STAGE_TABLE(i)                                                                                       \
    {                                                                                                        \
        .size = sizeof(emr_method_stage), .n_found = count_found_##i, .add_sums = add_sums_##i,              \
        .list_keys = list_keys_##i, .place_cut = place_cut_##i, .settle = settle_##i                         \
    }

STAGE(0)
STAGE(1)
STAGE(2)
STAGE(3)

void emr_go_fill_stage(emr_method_stage *stage, uint32_t i, int cuts)
{
    static const emr_method_stage stages[EMR_METHOD_STAGES_MAX] = {STAGE_TABLE(0), STAGE_TABLE(1),
                                                                   STAGE_TABLE(2), STAGE_TABLE(3)};
    *stage = stages[i];
    if (cuts)
        stage->add_sums = NULL;
}
