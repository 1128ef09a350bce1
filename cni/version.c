/*
 * Versions of the CNI specification; see version.h.
 */

#include <string.h>

#include "cni/version.h"

static const char *const texts[CNI_VERSIONS] = {
        [CNI_0_1_0] = "0.1.0", [CNI_0_2_0] = "0.2.0", [CNI_0_3_0] = "0.3.0", [CNI_0_3_1] = "0.3.1",
        [CNI_0_4_0] = "0.4.0", [CNI_1_0_0] = "1.0.0", [CNI_1_1_0] = "1.1.0",
};

int cni_version_of(const char *text)
{
        for (int v = 0; v < CNI_VERSIONS; v++)
                if (strcmp(texts[v], text) == 0)
                        return v;

        return -1;
}

const char *cni_version_text(int version)
{
        return texts[version];
}
