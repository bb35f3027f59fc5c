/* version.h - the library's version. Programs built against 1.0 run with every 1.x; before 1.0 the soname's
 * number changes with each break. */
#ifndef EMR_VERSION_H
#define EMR_VERSION_H

#include "emr/export.h"

#define EMR_VERSION_MAJOR  0
#define EMR_VERSION_MINOR  1
#define EMR_VERSION_PATCH  0
#define EMR_VERSION_STRING "0.1.0"

EMR_BEGIN_DECLS

/* The version of the library that is running, as "major.minor.patch". A static string. */
EMR_API const char *emr_version(void);

EMR_END_DECLS

#endif
