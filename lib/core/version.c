/* version.c - the version of the library that runs. */
#include "emr/version.h"

const char *emr_version(void)
{
    return EMR_VERSION_STRING;
}

uint32_t emr_version_number(void)
{
    return EMR_VERSION_NUMBER;
}
