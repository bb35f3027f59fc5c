/* fit_absent.c - `emr fit` in a build without libemr-fit. */
#include "cli.h"

int command_fit(const arguments *a)
{
    return complain(EXIT_DATA, "%s: this emr was built without libemr-fit (meson setup -Dfit=true)",
                    a->command);
}
