/* scaled.h - weights that a checkpoint stores as codes with scales, as the floats that they stand for. */
#ifndef EMR_CHECKPOINT_SCALED_H
#define EMR_CHECKPOINT_SCALED_H

#include "model/model.h"

/* Of a model whose tensors are all there: every code that can be is F32, computed as it is read, and its
 * side-cars are gone. Other codes stay as they are. After a failure the model may only be destroyed. */
emr_status emr_scaled_dequantise(emr_model *model, emr_error *error);

#endif
