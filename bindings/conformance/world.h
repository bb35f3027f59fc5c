/* world.h - what the steps of a case share: named objects that live to its end, options read from JSON, drawn values and
 * digests. README.md has the format; what is not of it ends the program. */
#ifndef EMR_CONFORMANCE_WORLD_H
#define EMR_CONFORMANCE_WORLD_H

#include <emr/emr.h>

#include <jansson.h>

typedef enum object_kind {
    KIND_NONE,
    KIND_MODEL,
    KIND_FILE,
    KIND_BUNDLE,
    KIND_SESSION,
    KIND_BYTES
} object_kind;

typedef struct world {
    struct named_object *objects; /* the newest first */
    emr_resources resources;
    char *folder;          /* for files, once one was asked for */
    int failed_on_purpose; /* the runner's own callback has failed */
} world;

/* The bytes of a tensor, under "MODEL/TENSOR". */
typedef struct tensor_bytes {
    size_t size;
    size_t element_bits;
    unsigned char *data;
    world *owner;
} tensor_bytes;

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        emr_status status_ = (call);                                                                         \
        if (status_)                                                                                         \
            return status_;                                                                                  \
    } while (0)

/* Prints where the runner is and what is wrong, and exits. */
void set_place(const char *name, size_t step);
_Noreturn void give_up(const char *what, const char *which);

/* Takes a handle over; clear_world destroys all, the newest first. NULL `destroy`: it is not the world's. */
void *keep_object(world *w, object_kind kind, const char *name, void *handle, void (*destroy)(void *handle));
void *find_object(const world *w, object_kind kind, const char *name);
void *new_memory(world *w, size_t size);
void keep_model(world *w, const char *name, emr_model *model);
void keep_bundle(world *w, const char *name, emr_bundle *bundle);
emr_buffer *new_file(world *w, const char *name);
void keep_buffer(world *w, object_kind kind, const char *name, emr_buffer *buffer);
/* Opens the bundle that a file holds, under the file's name or another one. */
emr_status open_bundle(world *w, const char *name, const emr_buffer *file, emr_error *error);
/* A path in the case's folder, which goes with the world. */
const char *path_in_folder(world *w, const char *name);
void clear_world(world *w);

/* Options. An absent key gives 0 or NULL, but what is needed must be there. */
void allow_keys(const json_t *object, const char *keys);
const char *need_text(const json_t *object, const char *key);
const char *get_text(const json_t *object, const char *key);
json_t *need_array(const json_t *object, const char *key);
uint64_t get_number(const json_t *object, const char *key);
uint32_t get_count(const json_t *object, const char *key);
double get_real(const json_t *object, const char *key);
uint32_t get_flag(const json_t *object, const char *key);
emr_dtype get_dtype(const json_t *object, const char *key);
/* The place of a word in a list that ends with NULL. */
uint32_t get_word(const json_t *object, const char *key, const char *const *words);
const char *const *get_texts(world *w, const json_t *object, const char *key, uint32_t *n);
const emr_policy *get_policy(world *w, const json_t *object);
emr_model *need_model(const world *w, const json_t *object, const char *key);
emr_bundle *need_bundle(const world *w, const json_t *object, const char *key);
const char *text_at(const json_t *array, size_t i);
/* Of one of `tasks`, [name, model]. */
const char *need_task_name(const json_t *task);
emr_model *need_task_model(const world *w, const json_t *task);
extern const char *const nonfinite_words[],
    *const check_words[], *const block_words[], *const rescale_words[], *const rescale_per_words[],
                                                                            *const kind_words[];

/* A finite number, or "nan", "inf", "-inf"; and back. */
json_t *real_of(double value);
double value_of(const json_t *number);

#define FNV_START UINT64_C(0xcbf29ce484222325)
uint64_t add_to_digest(uint64_t digest, const void *data, size_t n);
json_t *text_of_digest(uint64_t digest);
json_t *digest_of(const void *data, size_t n);

/* Draws and elements as README.md has them. */
uint64_t draw_number(uint64_t seed, uint64_t i);
void draw_elements(emr_dtype dtype, uint64_t seed, uint64_t first, size_t n, void *out);
void *drawn(world *w, emr_dtype dtype, uint64_t seed, size_t n);
size_t bytes_of_elements(emr_dtype dtype, uint64_t n);

#endif
