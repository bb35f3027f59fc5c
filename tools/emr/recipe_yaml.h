/* recipe_yaml.h - a YAML text as nodes: strict, and bounded. */
#ifndef EMR_TOOLS_RECIPE_YAML_H
#define EMR_TOOLS_RECIPE_YAML_H

#include <emr/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that is freed as a whole. */
typedef struct yaml_arena {
    struct yaml_block *blocks;
} yaml_arena;

/* Zeroed; NULL: no memory. */
void *arena_take(yaml_arena *arena, size_t bytes);
char *arena_text(yaml_arena *arena, const char *text, size_t n);
/* Room for one more of `n` items of so many bytes. The new array, or NULL. */
void *arena_grow(yaml_arena *arena, void *items, size_t n, size_t bytes);
void arena_free(yaml_arena *arena);

typedef enum yaml_kind { YAML_NODE_SCALAR, YAML_NODE_LIST, YAML_NODE_MAP } yaml_kind;

typedef struct yaml_node yaml_node;
struct yaml_node {
    yaml_kind kind;
    unsigned line;     /* from 1 */
    const char *text;  /* a scalar's */
    bool is_plain;     /* without quotes */
    yaml_node **keys;  /* a map's: scalars, each once */
    yaml_node **items; /* a list's, or a map's values */
    size_t n;
    size_t n_nodes; /* with all below it, each alias counted as what it stands for */
};

enum { YAML_DEPTH_MAX = 16, YAML_NODES_MAX = 100000, YAML_KEYS_MAX = 1000, YAML_ANCHORS_MAX = 1000 };

/* One document. EMR_EINVAL, and a sentence with the line, for what is no YAML, has tags, keys that are no words or come
 * twice, is deeper than YAML_DEPTH_MAX or has more than YAML_NODES_MAX nodes, YAML_KEYS_MAX keys in a map or
 * YAML_ANCHORS_MAX anchors. `name` is what messages call it. */
emr_status yaml_read(yaml_node **root, yaml_arena *arena, const char *text, size_t n, const char *name,
                     emr_error *error);

/* null, ~ or nothing. */
bool yaml_is_null(const yaml_node *node);

#endif
