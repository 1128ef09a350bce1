/*
 * What the fuzzers have in common; see fuzz.h.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "tests/fuzz/fuzz.h"

static char scratch[64];
static pid_t owner;

char *fuzz_text(const uint8_t **data, size_t *size)
{
        const uint8_t *end = memchr(*data, '\0', *size);
        size_t n = end ? (size_t) (end - *data) : *size;
        char *text = strndup((const char *) *data, n);

        must(text);
        *data += n + (end != NULL);
        *size -= n + (end != NULL);
        return text;
}

static void remove_scratch(void)
{
        if (getpid() == owner)
                file_remove_tree(scratch, NULL);
}

const char *fuzz_scratch(void)
{
        if (!*scratch) {
                snprintf(scratch, sizeof scratch, "%s/cringle-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
                must(mkdtemp(scratch));
                owner = getpid();
                atexit(remove_scratch);
        }
        return scratch;
}

void fuzz_write(const char *name, const void *data, size_t size)
{
        char path[200];
        int fd;

        snprintf(path, sizeof path, "%s/%s", fuzz_scratch(), name);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        must(fd >= 0 && write(fd, data, size) == (ssize_t) size && ftruncate(fd, (off_t) size) == 0);
        close(fd);
}
