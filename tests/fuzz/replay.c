/*
 * The inputs of a corpus into a harness, once each: what was found stays mended
 *
 *   replay_NAME DIRECTORY...
 *
 * Each input is copied to memory of exactly its size, so that a sanitizer sees a byte too many.
 */

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1 << 20)

static int replay(const char *path)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf input = BUF_INIT;
        auto_free uint8_t *exact = NULL;

        if (file_read(path, INPUT_MAX, &input, &err) < 0) {
                fprintf(stderr, "%s: %s\n", path, err.text);
                return -1;
        }
        exact = malloc(input.len ? input.len : 1);
        must(exact);
        if (input.len)
                memcpy(exact, input.data, input.len);
        fprintf(stderr, "%s\n", path);          /* the last one is who did it */
        LLVMFuzzerTestOneInput(exact, input.len);
        return 0;
}

static int replay_all(const char *dir)
{
        struct dirent **entries;
        int n = scandir(dir, &entries, NULL, alphasort), inputs = 0;

        if (n < 0) {
                perror(dir);
                return -1;
        }
        for (int i = 0; i < n; i++) {
                auto_free char *path = str_printf(NULL, "%s/%s", dir, entries[i]->d_name);

                must(path);
                if (entries[i]->d_name[0] != '.' && inputs >= 0)
                        inputs = replay(path) < 0 ? -1 : inputs + 1;
                free(entries[i]);
        }
        free(entries);
        if (inputs == 0)
                fprintf(stderr, "%s: no inputs\n", dir);
        return inputs > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
        static const uint8_t nothing[1];

        LLVMFuzzerTestOneInput(nothing, 0);
        for (int i = 1; i < argc; i++)
                if (replay_all(argv[i]) < 0)
                        return EXIT_FAILURE;
        return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
