/* bandwidth.c - see bandwidth.h. The loop is plain: vectors as wide as the processor has, added up in eight
 * accumulators, so that no addition waits for another. It is compiled once for each width. */
#include "bandwidth.h"

#define READ_LOOP(name, attributes, width)                                                                   \
    typedef uint64_t name##_vector __attribute__((vector_size(width), may_alias));                           \
    attributes static uint64_t name(const void *buffer, size_t bytes)                                        \
    {                                                                                                        \
        enum { ACCUMULATORS = 8, WORDS = width / 8 };                                                        \
        const name##_vector *from = buffer;                                                                  \
        name##_vector sums[ACCUMULATORS] = {{0}};                                                            \
        uint64_t sum = 0;                                                                                    \
        for (size_t i = 0; i < bytes / width; i += ACCUMULATORS)                                             \
            for (size_t j = 0; j < ACCUMULATORS; j++)                                                        \
                sums[j] += from[i + j];                                                                      \
        for (size_t j = 1; j < ACCUMULATORS; j++)                                                            \
            sums[0] += sums[j];                                                                              \
        for (size_t k = 0; k < WORDS; k++)                                                                   \
            sum += sums[0][k];                                                                               \
        return sum;                                                                                          \
    }

READ_LOOP(read_16, , 16)
#ifdef __x86_64__
READ_LOOP(read_32, __attribute__((target("avx2"))), 32)
READ_LOOP(read_64, __attribute__((target("avx512f"))), 64)
#endif

uint64_t read_through(const void *buffer, size_t bytes)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return read_64(buffer, bytes);
    if (__builtin_cpu_supports("avx2"))
        return read_32(buffer, bytes);
#endif
    return read_16(buffer, bytes);
}
