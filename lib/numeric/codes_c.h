/* codes_c.h - what codes_c.c has for the table of kernels_c.c. */
#ifndef EMR_NUMERIC_CODES_C_H
#define EMR_NUMERIC_CODES_C_H

#include "numeric/kernels.h"

void emr_c_apply_mask(const emr_run *run);
void emr_c_apply_two_sided(const emr_run *run);
void emr_c_apply_sign(const emr_run *run);
void emr_c_apply_thin(const emr_run *run);
void emr_c_apply_levels(const emr_run *run);
void emr_c_apply_differences(const emr_run *run);

void emr_c_dot_mask(const emr_dot *dot);
void emr_c_dot_two_sided(const emr_dot *dot);
void emr_c_dot_base(const emr_dot *dot);

void emr_c_dot_signs(const emr_step_dot *dot);  /* of all columns, or of those that are kept */
void emr_c_dot_values(const emr_step_dot *dot); /* levels, and differences */

void emr_c_draw(const emr_run *run, size_t first, size_t n, uint32_t *kept, uint32_t *signs);

#endif
