/* plain_files.h - files read and written plainly: what a merge of files is measured against, and where it
 * writes to. */
#ifndef BENCH_PLAIN_FILES_H
#define BENCH_PLAIN_FILES_H

#include "measure.h"

/* A new file to write, without durability: waiting for the disk would measure the disk. The descriptor is
 * kept by the caller, and closed by it. */
emr_io plain_output(const char *path, int *descriptor);

uint64_t file_bytes(const char *path);

/* A file read and another written, 1 MiB a call, on the calling thread. */
void plain_copy(const char *from, const char *to);

/* Reads all inputs and writes `bytes_out` bytes to `output`, 1 MiB a call, shared out over all threads. */
void plain_pass(const team *t, const char *const *inputs, size_t n_inputs, const char *output,
                uint64_t bytes_out);

#endif
