/*
 * Bytes as what CNI plugins and their installers write
 *
 * As a network list, and as a result: whatever is taken must be given in every version,
 * and taken again from there.
 */

#include <stdint.h>

#include "agent/base/str.h"
#include "cni/conf.h"
#include "cni/result.h"
#include "tests/fuzz/fuzz.h"

static void try_network(const char *text, size_t n)
{
        auto_of(cni_network) net = NULL, *again = NULL;

        if (cni_network_parse(text, n, &net, NULL) < 0)
                return;
        must(net->n_plugins > 0 && !strchr(net->plugins[0].type, '/'));
        must(cni_network_parse(net->config, strlen(net->config), &again, NULL) == 0);
        must(strcmp(net->config, again->config) == 0);
}

static void try_result(const char *text, size_t n)
{
        auto_json answer = NULL, *newest = NULL;
        auto_strv ips = NULL;

        if (json_parse(text, n, &answer, NULL) < 0 || cni_result_take(answer, CNI_1_0_0, &newest, NULL) < 0)
                return;
        cni_result_addresses(newest, "eth0", "/netns", &ips, NULL);
        for (int version = 0; version < CNI_VERSIONS; version++) {
                auto_json given = NULL, *again = NULL;

                must(cni_result_give(newest, version, &given, NULL) == 0);
                must(cni_result_take(given, version, &again, NULL) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        try_network((const char *) data, size);
        try_result((const char *) data, size);
        return 0;
}
