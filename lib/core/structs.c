/* structs.c - see structs.h. Freestanding. */
#include "core/structs.h"

#include "core/error.h"

#include <string.h>

emr_status emr_struct_take(void *taken, size_t known_size, size_t v1_size, const void *given,
                           const char *type, emr_error *error)
{
    size_t size = known_size;
    memset(taken, 0, known_size);
    if (given)
        memcpy(&size, given, sizeof size);
    if (size < v1_size)
        return emr_fail(error, EMR_EINVAL, "%s.size is %u, at least %u is needed (EMR_INIT sets it)", type,
                        (uint64_t)size, (uint64_t)v1_size);
    for (size_t i = known_size; i < size; i++)
        if (((const unsigned char *)given)[i])
            return emr_fail(error, EMR_EVERSION, "%s sets members that this version of libemr does not know",
                            type);
    if (given)
        memcpy(taken, given, size < known_size ? size : known_size);
    memcpy(taken, &known_size, sizeof known_size); /* what was taken is as large as it is known */
    return EMR_OK;
}

emr_status emr_struct_give(void *out, const void *known, size_t known_size, size_t v1_size)
{
    size_t size;
    if (!out)
        return EMR_EINVAL;
    memcpy(&size, out, sizeof size);
    if (size < v1_size)
        return EMR_EINVAL;
    memset((unsigned char *)out + sizeof size, 0, size - sizeof size);
    size_t filled = size < known_size ? size : known_size;
    memcpy((unsigned char *)out + sizeof size, (const unsigned char *)known + sizeof size,
           filled - sizeof size);
    return EMR_OK;
}
