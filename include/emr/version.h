/* version.h - which libemr this is, and what it was built with.
 *
 * Programs built against 1.0 run with every 1.x. Before 1.0 the soname changes with each break. */
#ifndef EMR_VERSION_H
#define EMR_VERSION_H

#include "emr/export.h"
#include "emr/status.h"

#define EMR_VERSION_MAJOR  0
#define EMR_VERSION_MINOR  2
#define EMR_VERSION_PATCH  0
#define EMR_VERSION_STRING "0.2.0"
/* One number that can be compared: 1.2.3 is 1002003. */
#define EMR_VERSION_NUMBER (EMR_VERSION_MAJOR * 1000000 + EMR_VERSION_MINOR * 1000 + EMR_VERSION_PATCH)

/* What the running library can do. */
typedef struct emr_features {
    size_t size;
    const char *kernels;   /* the kernels that this processor gets: "c", "avx2", "avx512", "neon". Static. */
    uint32_t zstd_version; /* 10504 is 1.5.4; 0: built without, so compressed bundles cannot be read */
    uint32_t hosted;       /* 1: with files, threads and malloc; 0: the freestanding part alone */
    uint32_t format_major; /* the newest bundle format that is read and written: */
    uint32_t format_minor; /* major.minor */
} emr_features;

EMR_BEGIN_DECLS

/* The version of the running library: a static string, and as EMR_VERSION_NUMBER. */
EMR_API const char *emr_version(void);
EMR_API uint32_t emr_version_number(void);

/* Set features->size first. */
EMR_API emr_status emr_get_features(emr_features *features);

EMR_END_DECLS

#endif
