/* recipe_yaml.c - see recipe_yaml.h: libyaml's events as nodes. */
#include "recipe_yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct yaml_block {
    struct yaml_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

void *arena_take(yaml_arena *arena, size_t bytes)
{
    enum { BLOCK = 16 << 10 };
    size_t n = (bytes + 15) & ~(size_t)15;
    struct yaml_block *b = arena->blocks;
    if (!b || b->size - b->used < n) {
        size_t size = n > BLOCK ? n : BLOCK;
        b = calloc(1, sizeof *b + size);
        if (!b)
            return NULL;
        b->size = size;
        b->next = arena->blocks;
        arena->blocks = b;
    }
    b->used += n;
    return b->bytes + b->used - n;
}

char *arena_text(yaml_arena *arena, const char *text, size_t n)
{
    char *copy = arena_take(arena, n + 1);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

/* Room doubles where n is a power of two. */
void *arena_grow(yaml_arena *arena, void *items, size_t n, size_t bytes)
{
    if (n & (n - 1))
        return items;
    void *grown = arena_take(arena, (n ? 2 * n : 1) * bytes);
    if (grown && n)
        memcpy(grown, items, n * bytes);
    return grown;
}

void arena_free(yaml_arena *arena)
{
    while (arena->blocks) {
        struct yaml_block *b = arena->blocks;
        arena->blocks = b->next;
        free(b);
    }
}

typedef struct yaml_anchor {
    const char *name;
    yaml_node *node;
} yaml_anchor;

typedef struct yaml_reader {
    yaml_parser_t parser;
    yaml_arena *arena;
    const char *name;
    yaml_anchor *anchors;
    size_t n_anchors;
    size_t n_nodes;
    emr_error *error;
} yaml_reader;

static emr_status fail_at(const yaml_reader *r, size_t line, const char *format, ...)
{
    char text[300];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return emr_error_format(r->error, EMR_EINVAL, "%F: line %u: %s", r->name, (uint64_t)line + 1, text);
}

static emr_status lack_nodes(const yaml_reader *r)
{
    return emr_error_format(r->error, EMR_ENOMEM, "%F: out of memory", r->name);
}

/* The next event, to be deleted. */
static emr_status next_event(yaml_reader *r, yaml_event_t *event)
{
    const yaml_parser_t *p = &r->parser;
    if (yaml_parser_parse(&r->parser, event))
        return EMR_OK;
    if (p->error == YAML_MEMORY_ERROR)
        return lack_nodes(r);
    return fail_at(r, p->error == YAML_READER_ERROR ? p->mark.line : p->problem_mark.line,
                   "this is no YAML: %s", p->problem ? p->problem : "it cannot be read");
}

/* As if so many nodes stood here. */
static emr_status count_nodes(yaml_reader *r, size_t n, size_t line)
{
    r->n_nodes += n;
    return r->n_nodes <= YAML_NODES_MAX
               ? EMR_OK
               : fail_at(r, line, "this is more than %d nodes, aliases counted as what they stand for",
                         YAML_NODES_MAX);
}

static emr_status new_node(yaml_reader *r, yaml_kind kind, size_t line, yaml_node **node)
{
    *node = arena_take(r->arena, sizeof **node);
    if (!*node)
        return lack_nodes(r);
    **node = (yaml_node){.kind = kind, .line = (unsigned)line + 1, .n_nodes = 1};
    return count_nodes(r, 1, line);
}

static emr_status remember_anchor(yaml_reader *r, const char *name, yaml_node *node)
{
    yaml_anchor *anchors = arena_grow(r->arena, r->anchors, r->n_anchors, sizeof *anchors);
    char *copy = arena_text(r->arena, name, strlen(name));
    if (!anchors || !copy)
        return lack_nodes(r);
    if (r->n_anchors == YAML_ANCHORS_MAX)
        return fail_at(r, node->line - 1, "this is more than %d anchors", YAML_ANCHORS_MAX);
    r->anchors = anchors;
    r->anchors[r->n_anchors++] = (yaml_anchor){copy, node};
    return EMR_OK;
}

/* What an alias stands for; its nodes count once more. */
static emr_status find_anchor(yaml_reader *r, const char *name, size_t line, yaml_node **node)
{
    for (size_t i = r->n_anchors; i > 0; i--) {
        if (strcmp(r->anchors[i - 1].name, name) == 0) {
            *node = r->anchors[i - 1].node;
            return count_nodes(r, (*node)->n_nodes, line);
        }
    }
    return fail_at(r, line, "alias '%.100s' stands for nothing before it", name);
}

static emr_status read_scalar(yaml_reader *r, const yaml_event_t *e, yaml_node **node)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t n = e->data.scalar.length, line = e->start_mark.line;
    emr_status status = new_node(r, YAML_NODE_SCALAR, line, node);
    if (!status && strlen(text) < n)
        status = fail_at(r, line, "a text holds a zero byte");
    if (status)
        return status;
    (*node)->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    (*node)->text = arena_text(r->arena, text, n);
    return (*node)->text ? EMR_OK : lack_nodes(r);
}

static emr_status append_item(yaml_reader *r, yaml_node *list, yaml_node *item)
{
    yaml_node **items = arena_grow(r->arena, list->items, list->n, sizeof *items);
    if (!items)
        return lack_nodes(r);
    list->items = items;
    list->items[list->n++] = item;
    list->n_nodes += item->n_nodes;
    return EMR_OK;
}

/* The key of the item that follows. */
static emr_status append_key(yaml_reader *r, yaml_node *map, yaml_node *key)
{
    yaml_node **keys = arena_grow(r->arena, map->keys, map->n, sizeof *keys);
    if (!keys)
        return lack_nodes(r);
    map->keys = keys;
    if (map->n == YAML_KEYS_MAX)
        return fail_at(r, key->line - 1, "this is more than %d keys", YAML_KEYS_MAX);
    if (key->kind != YAML_NODE_SCALAR)
        return fail_at(r, key->line - 1, "a key is no word");
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->keys[i]->text, key->text) == 0)
            return fail_at(r, key->line - 1, "key '%.100s' is there twice, first in line %u", key->text,
                           map->keys[i]->line);
    map->keys[map->n] = key;
    map->n_nodes += key->n_nodes;
    return EMR_OK;
}

static emr_status read_node(yaml_reader *r, const yaml_event_t *e, unsigned depth, yaml_node **node);

/* What follows the beginning of a list or map, up to its end. */
static emr_status read_items(yaml_reader *r, yaml_node *node, unsigned depth)
{
    emr_status status = EMR_OK;
    bool ends = false;
    for (bool is_key = node->kind == YAML_NODE_MAP; !status && !ends;) {
        yaml_event_t e;
        yaml_node *item = NULL;
        status = next_event(r, &e);
        if (status)
            break;
        ends = e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT;
        if (!ends)
            status = read_node(r, &e, depth + 1, &item);
        yaml_event_delete(&e);
        if (!status && !ends)
            status = is_key ? append_key(r, node, item) : append_item(r, node, item);
        is_key = node->kind == YAML_NODE_MAP && !is_key;
    }
    return status;
}

static bool has_tag(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT           ? e->data.scalar.tag != NULL
           : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag != NULL
                                                  : e->data.mapping_start.tag != NULL;
}

static const yaml_char_t *anchor_of(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT           ? e->data.scalar.anchor
           : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.anchor
                                                  : e->data.mapping_start.anchor;
}

static emr_status read_node(yaml_reader *r, const yaml_event_t *e, unsigned depth, yaml_node **node)
{
    size_t line = e->start_mark.line;
    emr_status status;
    if (e->type == YAML_ALIAS_EVENT)
        return find_anchor(r, (const char *)e->data.alias.anchor, line, node);
    if (depth > YAML_DEPTH_MAX)
        return fail_at(r, line, "this is nested deeper than %d levels", YAML_DEPTH_MAX);
    if (has_tag(e))
        return fail_at(r, line, "a tag ('!...') stands here: recipes have none");
    if (e->type == YAML_SCALAR_EVENT) {
        status = read_scalar(r, e, node);
    } else {
        status =
            new_node(r, e->type == YAML_MAPPING_START_EVENT ? YAML_NODE_MAP : YAML_NODE_LIST, line, node);
        if (!status)
            status = read_items(r, *node, depth);
    }
    const yaml_char_t *anchor = anchor_of(e);
    return status || !anchor ? status : remember_anchor(r, (const char *)anchor, *node);
}

/* The events around the document, and it. */
static emr_status read_document(yaml_reader *r, yaml_node **root)
{
    emr_status status = EMR_OK;
    bool ends = false;
    while (!status && !ends) {
        yaml_event_t e;
        status = next_event(r, &e);
        if (status)
            break;
        bool is_around = e.type == YAML_STREAM_START_EVENT || e.type == YAML_DOCUMENT_START_EVENT ||
                         e.type == YAML_DOCUMENT_END_EVENT;
        ends = e.type == YAML_STREAM_END_EVENT;
        if (e.type == YAML_DOCUMENT_START_EVENT && *root)
            status = fail_at(r, e.start_mark.line, "another document begins here: a recipe is one");
        else if (!is_around && !ends)
            status = read_node(r, &e, 1, root);
        yaml_event_delete(&e);
    }
    return status;
}

emr_status yaml_read(yaml_node **root, yaml_arena *arena, const char *text, size_t n, const char *name,
                     emr_error *error)
{
    yaml_reader r = {.arena = arena, .name = name, .error = error};
    *root = NULL;
    if (!yaml_parser_initialize(&r.parser))
        return lack_nodes(&r);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    emr_status status = read_document(&r, root);
    yaml_parser_delete(&r.parser);
    if (!status && !*root)
        status = emr_error_format(error, EMR_EINVAL, "%F: the recipe is empty", name);
    return status;
}

bool yaml_is_null(const yaml_node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
    for (const char *const *w = words; node->kind == YAML_NODE_SCALAR && node->is_plain && *w; w++)
        if (strcmp(*w, node->text) == 0)
            return true;
    return false;
}
