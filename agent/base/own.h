#pragma once

/*
 * Ownership, visible at the declaration
 *
 * A variable declared with auto_free, auto_fd or auto_of(type) is released when it
 * goes out of scope, unless steal() or steal_fd() has handed it on.
 */

#include <stdlib.h>
#include <unistd.h>

#define auto_cleanup(fn) __attribute__((cleanup(fn)))

static inline void auto_free_(void *p)
{
        free(*(void **) p);
}

/* Close @fd if there is one; always -1, to be assigned back. */
static inline int fd_close(int fd)
{
        if (fd >= 0)
                close(fd);
        return -1;
}

static inline void auto_fd_(int *fd)
{
        fd_close(*fd);
}

#define auto_free auto_cleanup(auto_free_)
#define auto_fd auto_cleanup(auto_fd_)

/* auto_of(names) n = NULL;  declares a struct names * that names_free() releases. */
#define auto_of(type) auto_cleanup(auto_##type##_) struct type *

#define AUTO_DEFINE(type, free_fn)                              \
        static inline void auto_##type##_(struct type **p)      \
        {                                                       \
                if (*p)                                         \
                        free_fn(*p);                            \
        }

/* Hand on what *p owns; p is empty afterwards. */
#define steal(p)                                \
        ({                                      \
                typeof(p) steal_at_ = (p);      \
                typeof(*p) steal_value_ = *steal_at_; \
                *steal_at_ = NULL;              \
                steal_value_;                   \
        })

static inline int steal_fd(int *fd)
{
        int value = *fd;

        *fd = -1;
        return value;
}
