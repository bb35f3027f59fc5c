/* side_files.h - the files beside a model's weights as tensors of it (EMR_FILE_PREFIX). */
#ifndef EMR_CHECKPOINT_SIDE_FILES_H
#define EMR_CHECKPOINT_SIDE_FILES_H

#include "emr/checkpoint.h"
#include "model/model.h"

/* What the tensors read from; owned by whoever owns the model's files. */
typedef struct emr_side_file emr_side_file;

/* After all weights of a model were opened, of which the file `weights` is one, or their index: appends the files
 * beside it as the options say, in the order of their names. `found` says that a directory was named, and the
 * weights found in it. *list is to be freed with the model, whatever is returned. */
emr_status emr_side_files_load(emr_side_file **list, emr_model *model, const char *weights, bool found,
                               const emr_checkpoint_read_options *options, emr_error *error);
void emr_side_files_free(emr_side_file *list, const emr_allocator *allocator);

/* A tensor of a weights' file may not have a name that side files have. */
emr_status emr_side_files_check_name(const char *path, const char *tensor, emr_error *error);

/* The model's side files can be written: names are such as are read, and so are sizes and their number. What a
 * model has may come from a bundle, or from a host, that nobody has checked. */
emr_status emr_side_files_check(const emr_model *model, emr_error *error);

/* The file's name in the folder. */
const char *emr_side_file_name(const emr_tensor *tensor);

#endif
