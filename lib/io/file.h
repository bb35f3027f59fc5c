/* file.h - what other layers ask of the stock file backend, beside emr/io.h. */
#ifndef EMR_IO_FILE_H
#define EMR_IO_FILE_H

#include "emr/io.h"

/* Changes with the file's size, time of writing and time of change: whether it is likely to hold what it did.
 */
uint64_t emr_file_stamp(const emr_file *file);

#endif
