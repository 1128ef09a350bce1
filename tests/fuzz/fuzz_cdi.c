/* A CDI file, as JSON and as YAML: of each device that it has, the edits are made to a container. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hooks/adjust.h"
#include "hooks/cdi.h"
#include "tests/fuzz/fuzz.h"

static void try_device(struct cdi *c, const char *name)
{
        static const char spec_text[] = "{\"ociVersion\":\"1.3.0\",\"process\":{\"args\":[\"sh\"],\"env\":[\"A=b\"]},"
                                        "\"linux\":{\"resources\":{\"devices\":[]}}}";
        const char *const names[] = { name, NULL };
        auto_json spec = json_tokener_parse(spec_text);
        struct adjust a = ADJUST_INIT(spec, 10);

        must(adjust_begin(&a, "cdi", false, NULL) == 0);
        cdi_apply(c, &a, names, true, NULL);
        adjust_done(&a);
}

static void try_file(const char *name, const void *data, size_t size)
{
        const char *dirs[] = { fuzz_scratch(), NULL };
        char path[120];
        struct cdi c = { 0 };

        fuzz_write(name, data, size);
        must(cdi_read(dirs, &c, NULL) == 0 && c.n_files == 1);
        must(!c.files[0].spec == !!c.files[0].error);
        for (size_t i = 0; i < c.n_devices && i < 16; i++)
                try_device(&c, c.devices[i].name);
        cdi_done(&c);
        snprintf(path, sizeof path, "%s/%s", fuzz_scratch(), name);
        unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        try_file("vendor.json", data, size);
        try_file("vendor.yaml", data, size);
        return 0;
}
