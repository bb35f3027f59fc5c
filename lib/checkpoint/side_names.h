/* side_names.h - which files beside a model's weights go along with it. The rule is asked on the way in, and
 * once more on the way out: names then come from a bundle that nobody vouches for. */
#ifndef EMR_CHECKPOINT_SIDE_NAMES_H
#define EMR_CHECKPOINT_SIDE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a file of that name is carried: "config.json", "1_Pooling/config.json". Such a name leads nowhere but
 * into the folder, or a folder in it for which emr_is_side_folder() holds; it hides nothing, is no weights' and
 * no code. */
bool emr_is_side_name(const char *name);
bool emr_is_side_folder(const char *name);

/* Whether a text begins or ends with another. */
bool emr_begins_with(const char *text, const char *beginning);
bool emr_ends_with(const char *text, const char *ending);

#endif
