/* own_directory.h - for a test program whose tests, each or all together, have a directory of their own: `directory`
 * lies between set_up and tear_down. To be included once, after the program's own headers. */
#ifndef EMR_TESTS_OWN_DIRECTORY_H
#define EMR_TESTS_OWN_DIRECTORY_H

#include "support.h"

#include <sys/stat.h>

static char *directory;

static int set_up(void **state)
{
    (void)state;
    directory = test_directory_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_directory_remove(directory);
    return 0;
}

/* Whether there is anything of that name in it, a link that leads nowhere too. */
static inline bool exists(const char *name)
{
    struct stat about;
    char *path = test_path(directory, name);
    bool there = lstat(path, &about) == 0;
    free(path);
    return there;
}

#endif
