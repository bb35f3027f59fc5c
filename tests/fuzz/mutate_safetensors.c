/* mutate_safetensors.c - the mutator of the targets whose input is a byte of choices and a safetensors file. */
#include "fuzz.h"

/* Changes the header, the data or both; then, mostly, says the header's length as it is. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    enum { PREFIX = 9 }; /* the choices, the length */
    fuzz_random r = fuzz_random_make(seed);
    uint64_t header = 0;
    for (int i = 7; size >= PREFIX && i >= 0; i--)
        header = header << 8 | data[1 + i];
    if (size < PREFIX || header > size - PREFIX || max_size <= size || fuzz_below(&r, 10) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t old = (size_t)header, rest = size - PREFIX - old, now = old;
    uint8_t *tail = fuzz_copy(data + PREFIX + old, rest);
    if (fuzz_below(&r, 10) == 0)
        data[0] = (uint8_t)fuzz_below(&r, 256);
    if (fuzz_below(&r, 8))
        now = LLVMFuzzerMutate(data + PREFIX, old, max_size - PREFIX - rest);
    memcpy(data + PREFIX + now, tail, rest);
    size = PREFIX + now + rest;
    if (fuzz_below(&r, 6) == 0) /* more data, or less */
        size = fuzz_below(&r, 2) && rest ? size - 1 - fuzz_below(&r, rest < 8 ? rest : 8)
               : size < max_size         ? (data[size] = 7, size + 1)
                                         : size;
    for (int i = 0; i < 8; i++)
        data[1 + i] = (uint8_t)(now >> 8 * i);
    free(tail);
    return size;
}
