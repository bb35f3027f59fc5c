/* replay.c - runs a fuzz target over the files of directories, without libFuzzer, so that every build tests
 * what fuzzing has found: replay [--mutations N] CORPUS [MORE ...]. The first directory may not be empty. A
 * target that brings a mutator also gets N mutations of every file, the same each time. */
#define _POSIX_C_SOURCE 200809L

#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>

enum { MOST_BYTES = 1 << 20 };

/* Part of the program only where the target has one. */
#ifdef FUZZ_MUTATOR
static fuzz_random mutations = {1};

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    if (size < max_size && fuzz_below(&mutations, 8) == 0)
        data[size++] = (uint8_t)fuzz_below(&mutations, 256);
    for (size_t n = size ? 1 + fuzz_below(&mutations, 4) : 0; n; n--)
        data[fuzz_below(&mutations, size)] ^= (uint8_t)(1u << fuzz_below(&mutations, 8));
    return size;
}

static void run_mutations(const uint8_t *data, size_t size, unsigned n)
{
    uint8_t *changed = malloc(MOST_BYTES);
    promise(changed != NULL);
    mutations = fuzz_random_make(size);
    for (unsigned seed = 0; seed < n; seed++) {
        memcpy(changed, data, size);
        size_t changed_size = LLVMFuzzerCustomMutator(changed, size, MOST_BYTES, seed);
        LLVMFuzzerTestOneInput(changed, changed_size);
    }
    free(changed);
}
#else
static void run_mutations(const uint8_t *data, size_t size, unsigned n)
{
    (void)data, (void)size, (void)n;
}
#endif

static void run_file(const char *path, unsigned n_mutations)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = malloc(MOST_BYTES);
    if (!f || !bytes) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    size_t size = fread(bytes, 1, MOST_BYTES, f);
    fclose(f);
    uint8_t *exact = fuzz_copy(bytes, size);
    free(bytes);
    LLVMFuzzerTestOneInput(exact, size);
    run_mutations(exact, size, n_mutations);
    free(exact);
}

static size_t run_directory(const char *path, unsigned n_mutations)
{
    struct dirent **entries;
    size_t run = 0;
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        char file[4096];
        if (name[0] != '.' && strcmp(name, "README.md") != 0) {
            snprintf(file, sizeof file, "%s/%s", path, name);
            run_file(file, n_mutations);
            run++;
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return run;
}

int main(int argc, char **argv)
{
    int first = 1;
    unsigned n_mutations = 0;
    if (argc > 2 && strcmp(argv[1], "--mutations") == 0) {
        n_mutations = (unsigned)atoi(argv[2]);
        first = 3;
    }
    for (int i = first; i < argc; i++) {
        size_t n = run_directory(argv[i], n_mutations);
        printf("%s: %zu inputs, %u mutations of each\n", argv[i], n, n_mutations);
        if (n == 0 && i == first) {
            fprintf(stderr, "%s: there is nothing to replay\n", argv[i]);
            return 1;
        }
    }
    return first < argc ? 0 : 2;
}
