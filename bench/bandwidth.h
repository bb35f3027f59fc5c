/* bandwidth.h - plain passes over memory: what everything else is measured against. */
#ifndef BENCH_BANDWIDTH_H
#define BENCH_BANDWIDTH_H

#include <stddef.h>
#include <stdint.h>

enum { READ_UNIT = 512 }; /* bytes: what is read is a multiple of it, at an address divisible by 64 */

/* Adds up all words of a buffer from front to back, as fast as vectors go. The sum is returned so that the
 * loop has to be run. */
uint64_t read_through(const void *buffer, size_t bytes);

#endif
