/*
 * What a checkpoint of a pod says of itself: 'p' pod.json, 's' descriptors.json, 'd' deleted.files
 *
 * What is taken names files inside, and nothing else.
 */

#include <string.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/criu/contents.h"
#include "tests/fuzz/fuzz.h"

static void pod(const char *text, size_t n)
{
        auto_contents c = { 0 };

        if (contents_parse(text, n, &c, NULL) < 0)
                return;
        must(c.network && c.pid && c.ipc && c.containers && c.containers[0]);
        for (size_t i = 0; c.containers[i]; i++) {
                must(i < CONTENTS_CONTAINERS_MAX && *c.containers[i] && !strchr(c.containers[i], '/') && c.containers[i][0] != '.');
                for (size_t j = 0; j < i; j++)
                        must(strcmp(c.containers[i], c.containers[j]) != 0);
        }
}

static void streams(const char *text, size_t n)
{
        char *list[3];
        int r = contents_parse_streams(text, n, list, NULL);

        for (int i = 0; i < 3; i++) {
                must(r == 0 || !list[i]);
                must(!list[i] || (str_starts(list[i], "pipe:[") && !strpbrk(list[i], ",/ ") && str_ends(list[i], "]")));
                free(list[i]);
        }
}

static void deleted(const char *text, size_t n)
{
        auto_strv paths = NULL;

        if (contents_parse_deleted(text, n, &paths, NULL) < 0)
                return;
        for (size_t i = 0; paths[i]; i++)
                must(path_is_clean(paths[i]) && paths[i][1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t kind = fuzz_byte(&data, &size);

        if (kind == 'p')
                pod((const char *) data, size);
        else if (kind == 's')
                streams((const char *) data, size);
        else if (kind == 'd')
                deleted((const char *) data, size);
        return 0;
}
