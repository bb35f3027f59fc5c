/* ggml_models.h - the models that emr-ggml runs: a base and tasks, drawn at random or read from GGUF files,
 * and the bundle that they are merged into. Weights are in contexts of ggml's, by llama.cpp's names. What
 * fails ends the program. */
#ifndef EMR_GGML_MODELS_H
#define EMR_GGML_MODELS_H

#include <emr/emr.h>
#include <ggml.h>

enum {
    LENGTH = 12, /* tokens of a sequence */
    TASKS = 5,   /* at most */
    SEQUENCES = TASKS + 1,
    AS_READ = GGML_TYPE_COUNT /* a type: whatever the file has */
};

/* Sizes, and what tensors do not tell. */
typedef struct network {
    int64_t width;
    int64_t vocabulary;
    int n_layers;
    int64_t n_heads;
    float epsilon;
    float rope_base;
} network;

/* All there is before a type of base is looked at. */
typedef struct world {
    network net;
    struct ggml_context *read; /* the base as its file has it, or NULL */
    struct ggml_context *base; /* F32, of values that F16 has */
    struct ggml_context *base_f16;
    struct ggml_context *tuned[TASKS];   /* F32 */
    struct ggml_context *rebuilt[TASKS]; /* F32: what the bundle makes of them */
    char names[TASKS][64];
    emr_model *models[TASKS];
    emr_model *base_model;
    emr_model *base_f16_model;
    emr_buffer *bytes[2];
    emr_bundle *bundle;     /* of the F32 base */
    emr_bundle *bundle_f16; /* of the F16 one: the same tasks */
    int32_t prompts[SEQUENCES][LENGTH];
    uint32_t n_tasks;
} world;

void stop_if(bool wrong, const char *format, ...);
void must_work(emr_status status, const emr_error *error);
void *allocate_zeroed(size_t n, size_t bytes);

/* Between -1 and 1, the same for the same numbers. */
float draw_value(uint32_t stream, uint32_t i);

/* A model and tasks of its own; or BASE.gguf NAME=TASK.gguf ... Then what both have. */
void draw_world(world *w);
void read_world(world *w, char **arguments, int n);
void prepare_world(world *w);
void destroy_world(world *w);

/* "output" or, in a layer, "attn_q"; layer -1: in none. */
struct ggml_tensor *find_weight(struct ggml_context *weights, const char *part, int layer);

/* All weights of a model once more, matrices in another type; and whether their rows are whole blocks of it.
 */
struct ggml_context *convert_weights(struct ggml_context *from, int type);
bool has_whole_blocks(struct ggml_context *weights, int type);

/* A model of libemr's over weights where they lie, in ggml's memory. */
emr_model *describe_weights(struct ggml_context *weights);

#endif
