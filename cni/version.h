#pragma once

/*
 * The versions of the CNI specification that are spoken here
 */

#include <stdint.h>

/* In the order of their age, so that they compare. */
enum cni_version {
        CNI_0_1_0,
        CNI_0_2_0,
        CNI_0_3_0,
        CNI_0_3_1,
        CNI_0_4_0,                      /* CHECK; DEL is told the result of ADD */
        CNI_1_0_0,
        CNI_1_1_0,                      /* GC, STATUS */
        CNI_VERSIONS,
};

/* The version written as @text ("1.0.0"), or -1. */
int cni_version_of(const char *text);

const char *cni_version_text(int version);
