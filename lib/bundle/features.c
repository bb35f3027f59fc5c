/* features.c - what the running library can do. Freestanding. */
#include "emr/version.h"

#include "bundle/codec.h"
#include "bundle/format.h"
#include "core/structs.h"
#include "numeric/kernels.h"

emr_status emr_get_features(emr_features *features)
{
    const emr_features known = {
        .kernels = emr_kernels_select()->name,
        .zstd_version = emr_codec_version(),
#ifndef EMR_FREESTANDING
        .hosted = 1,
#endif
        .format_major = EMR_FORMAT_MAJOR,
        .format_minor = EMR_FORMAT_MINOR,
    };
    return EMR_GIVE(features, &known, emr_features);
}
