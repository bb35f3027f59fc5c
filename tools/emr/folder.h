/* folder.h - names of files and folders: what lies in a folder, and what names of checkpoints tell. */
#ifndef EMR_TOOLS_FOLDER_H
#define EMR_TOOLS_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* The names in a folder, without "." and "..", in the order of their bytes. */
typedef struct folder {
    char **names;
    size_t n, capacity;
} folder;

/* 0, or an errno. Free it in either case. */
int read_folder(folder *f, const char *path);
void free_folder(folder *f);

/* "a/b" from "a" and "b"; "b" where it begins with '/' or `place` is empty. NULL: no memory. */
char *join_path(const char *place, const char *name);
/* What stands before the last part of a path: "a/" of "a/b", "" of "b". NULL: no memory. */
char *path_folder(const char *path);
/* The last part of a path, slashes behind it included. */
const char *path_name(const char *path);

bool is_folder(const char *path);
/* An address is taken to be there. */
bool path_exists(const char *path);
/* Whether both paths are there and name one file or folder, by whatever way. */
bool is_same_file(const char *a, const char *b);

/* The length of a file's name without the ending that checkpoints have; 0: it has none of these endings. */
size_t checkpoint_stem(const char *name);
/* The length of the model's name in a shard's: "chat" of chat-00001-of-00002.gguf; else checkpoint_stem(). */
size_t model_stem(const char *name);
bool is_shard(const char *name);
/* Whether it is one that files have in every model's folder, such as model.safetensors. */
bool has_usual_name(const char *name);
/* Whether a folder holds models in folders of it. */
bool is_collection(const char *path);
/* Whether a folder holds what a checkpoint's would. */
bool is_checkpoint_folder(const char *path);

/* What a task is called after its checkpoint: the file without its ending, or the folder where the file has
 * the name that every model's has. "" where nothing is left. NULL: no memory. */
char *name_after_path(const char *path);

#endif
