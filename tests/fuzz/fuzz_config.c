/* The configuration: a file, NUL, a drop-in.  What is loaded can be shown, and has no complaints. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "tests/fuzz/fuzz.h"

static char file[120], dir[120], drop_in[120];

static void start(void)
{
        snprintf(file, sizeof file, "%s/config.yaml", fuzz_scratch());
        snprintf(dir, sizeof dir, "%s/conf.d", fuzz_scratch());
        snprintf(drop_in, sizeof drop_in, "%s/conf.d/10.yaml", fuzz_scratch());
        must(mkdir(dir, 0700) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const uint8_t *cut = memchr(data, '\0', size);
        size_t n = cut ? (size_t) (cut - data) : size;
        auto_of(config) c = NULL, *same = NULL;
        auto_buf complaints = BUF_INIT, shown = BUF_INIT, live = BUF_INIT, restart = BUF_INIT;

        if (!*file)
                start();
        fuzz_write("config.yaml", data, n);
        if (cut)
                fuzz_write("conf.d/10.yaml", cut + 1, size - n - 1);
        else
                unlink(drop_in);

        if (config_load(file, dir, &c, NULL) < 0)
                return 0;
        must(config_check(file, dir, &complaints, NULL) == 0 && complaints.len == 0);
        must(config_show(file, dir, true, &shown, NULL) == 0);
        must(config_load(file, dir, &same, NULL) == 0);
        must(config_diff(c, same, &live, &restart, NULL) == 0 && live.len == 0 && restart.len == 0);
        return 0;
}
