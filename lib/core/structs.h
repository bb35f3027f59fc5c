/* structs.h - the growable public structs: how large each was in version 1, and the rule by which they come
 * in and go out. Sizes here are frozen with 1.0: a member that is added later does not change them. */
#ifndef EMR_CORE_STRUCTS_H
#define EMR_CORE_STRUCTS_H

#include "emr/status.h"

#include <stdbool.h>

#define EMR_ENDS_WITH(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* The size of a struct in version 1, for the types whose headers the file includes: EMR_V1(emr_io). */
#define EMR_V1(type)                        EMR_V1_##type
#define EMR_V1_emr_agree_options            EMR_ENDS_WITH(emr_agree_options, n_differ)
#define EMR_V1_emr_allocator                EMR_ENDS_WITH(emr_allocator, free)
#define EMR_V1_emr_application              EMR_ENDS_WITH(emr_application, without_base)
#define EMR_V1_emr_base_check_options       EMR_ENDS_WITH(emr_base_check_options, user)
#define EMR_V1_emr_bundle_options           EMR_ENDS_WITH(emr_bundle_options, reserved)
#define EMR_V1_emr_checkpoint_read_options  EMR_ENDS_WITH(emr_checkpoint_read_options, reserved)
#define EMR_V1_emr_checkpoint_write_options EMR_ENDS_WITH(emr_checkpoint_write_options, user)
#define EMR_V1_emr_executor                 EMR_ENDS_WITH(emr_executor, reserved)
#define EMR_V1_emr_file_options             EMR_ENDS_WITH(emr_file_options, replace)
#define EMR_V1_emr_gather                   EMR_ENDS_WITH(emr_gather, reserved)
#define EMR_V1_emr_head_group               EMR_ENDS_WITH(emr_head_group, reserved)
#define EMR_V1_emr_heads_options            EMR_ENDS_WITH(emr_heads_options, n_tasks)
#define EMR_V1_emr_io                       EMR_ENDS_WITH(emr_io, will_need)
#define EMR_V1_emr_merge_options            EMR_ENDS_WITH(emr_merge_options, measure)
#define EMR_V1_emr_model_options            EMR_ENDS_WITH(emr_model_options, prepare)
#define EMR_V1_emr_modulation               EMR_ENDS_WITH(emr_modulation, reserved)
#define EMR_V1_emr_modulation_spec          EMR_ENDS_WITH(emr_modulation_spec, reserved)
#define EMR_V1_emr_policy                   EMR_ENDS_WITH(emr_policy, on_missing)
#define EMR_V1_emr_pool_options             EMR_ENDS_WITH(emr_pool_options, reserved)
#define EMR_V1_emr_product                  EMR_ENDS_WITH(emr_product, reserved)
#define EMR_V1_emr_resources                EMR_ENDS_WITH(emr_resources, memory_bytes)
#define EMR_V1_emr_search_host              EMR_ENDS_WITH(emr_search_host, release)
#define EMR_V1_emr_search_options           EMR_ENDS_WITH(emr_search_options, minimise)
#define EMR_V1_emr_session_options          EMR_ENDS_WITH(emr_session_options, without_base)
#define EMR_V1_emr_source                   EMR_ENDS_WITH(emr_source, list)
#define EMR_V1_emr_sink                     EMR_ENDS_WITH(emr_sink, rescalers)
#define EMR_V1_emr_task_selection           EMR_ENDS_WITH(emr_task_selection, reserved)
#define EMR_V1_emr_tensor_desc              EMR_ENDS_WITH(emr_tensor_desc, reserved)
#define EMR_V1_emr_trials_options           EMR_ENDS_WITH(emr_trials_options, reserved)
#define EMR_V1_emr_view_options             EMR_ENDS_WITH(emr_view_options, reserved)
#define EMR_V1_emr_weights                  EMR_ENDS_WITH(emr_weights, without_base)
#define EMR_V1_emr_weights_part             EMR_ENDS_WITH(emr_weights_part, blocks)
#define EMR_V1_emr_base_difference          EMR_ENDS_WITH(emr_base_difference, why)
#define EMR_V1_emr_bundle_info              EMR_ENDS_WITH(emr_bundle_info, n_elected)
#define EMR_V1_emr_combination_options      EMR_ENDS_WITH(emr_combination_options, on_nonfinite)
#define EMR_V1_emr_combination_plan         EMR_ENDS_WITH(emr_combination_plan, n_combined)
#define EMR_V1_emr_combined_tensor          EMR_ENDS_WITH(emr_combined_tensor, reserved)
#define EMR_V1_emr_method                   EMR_ENDS_WITH(emr_method, whole_model)
#define EMR_V1_emr_method_chunk             EMR_ENDS_WITH(emr_method_chunk, position)
#define EMR_V1_emr_method_stage             EMR_ENDS_WITH(emr_method_stage, settle)
#define EMR_V1_emr_method_tensor            EMR_ENDS_WITH(emr_method_tensor, has_base)
#define EMR_V1_emr_computation              EMR_ENDS_WITH(emr_computation, first)
#define EMR_V1_emr_drop_report              EMR_ENDS_WITH(emr_drop_report, lost_unified)
#define EMR_V1_emr_fidelity                 EMR_ENDS_WITH(emr_fidelity, reserved)
#define EMR_V1_emr_features                 EMR_ENDS_WITH(emr_features, format_minor)
#define EMR_V1_emr_modulator_stats          EMR_ENDS_WITH(emr_modulator_stats, ones)
#define EMR_V1_emr_plan_summary             EMR_ENDS_WITH(emr_plan_summary, n_merged)
#define EMR_V1_emr_plan_tensor              EMR_ENDS_WITH(emr_plan_tensor, n_private)
#define EMR_V1_emr_private_info             EMR_ENDS_WITH(emr_private_info, rank)
#define EMR_V1_emr_progress                 EMR_ENDS_WITH(emr_progress, total)
#define EMR_V1_emr_search_candidate         EMR_ENDS_WITH(emr_search_candidate, second)
#define EMR_V1_emr_search_result            EMR_ENDS_WITH(emr_search_result, reserved)
#define EMR_V1_emr_session_info             EMR_ENDS_WITH(emr_session_info, thread_bytes)
#define EMR_V1_emr_sink_part                EMR_ENDS_WITH(emr_sink_part, task)
#define EMR_V1_emr_kinship_options          EMR_ENDS_WITH(emr_kinship_options, absolute)
#define EMR_V1_emr_statistics_group         EMR_ENDS_WITH(emr_statistics_group, is_rounded)
#define EMR_V1_emr_statistics_options       EMR_ENDS_WITH(emr_statistics_options, reserved)
#define EMR_V1_emr_statistics_plan          EMR_ENDS_WITH(emr_statistics_plan, n_kinds)
#define EMR_V1_emr_task_moments             EMR_ENDS_WITH(emr_task_moments, zero_share)
#define EMR_V1_emr_task_info                EMR_ENDS_WITH(emr_task_info, coded_bytes)
#define EMR_V1_emr_task_report              EMR_ENDS_WITH(emr_task_report, reserved)
#define EMR_V1_emr_trial                    EMR_ENDS_WITH(emr_trial, n_values)
#define EMR_V1_emr_tensor_role              EMR_ENDS_WITH(emr_tensor_role, can_dequantise)
#define EMR_V1_emr_tensor_info              EMR_ENDS_WITH(emr_tensor_info, reserved)

/* A struct that comes in: copies what is known of `given` into *taken, and zeros for what it does not have.
 * `given` NULL gives all zeros. EMR_EINVAL where it is smaller than in version 1; EMR_EVERSION where it is
 * larger than is known here, and what is beyond is not all zero. */
#define EMR_TAKE(taken, given, type, error)                                                                  \
    emr_struct_take((taken), sizeof(type), EMR_V1(type), (given), #type, (error))
emr_status emr_struct_take(void *taken, size_t known_size, size_t v1_size, const void *given,
                           const char *type, emr_error *error);

/* A struct that goes out: fills as much of *out as its size says, zeros for what is not known here.
 * EMR_EINVAL where it is NULL, or smaller than in version 1. */
#define EMR_GIVE(out, known, type) emr_struct_give((out), (known), sizeof(type), EMR_V1(type))
emr_status emr_struct_give(void *out, const void *known, size_t known_size, size_t v1_size);

#endif
