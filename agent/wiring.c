/*
 * What plugins need to know of the agent's own configuration; see wiring.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/wiring.h"

/* Add @key unless it is there; @values ends with NULL. */
static int give(struct config_plugin *plugin, const char *factory, const char *key, const char *const *values,
                struct cringle_err *err)
{
        size_t n = 0, added = strv_count(values);
        struct cringle_pair *grown;

        if (!str_equal(plugin->name, factory))
                return 0;
        for (; plugin->settings && plugin->settings[n].key; n++)
                if (strcmp(plugin->settings[n].key, key) == 0)
                        return 0;

        grown = realloc(plugin->settings, (n + added + 1) * sizeof *grown);
        if (!grown)
                return err_oom(err);
        plugin->settings = grown;
        for (size_t i = 0; i < added; i++) {
                grown[n] = (struct cringle_pair) { strdup(key), strdup(values[i]) };
                if (!grown[n].key || !grown[n].value)
                        abort();
                n++;
        }
        grown[n] = (struct cringle_pair) { 0 };
        return 0;
}

static int give_one(struct config_plugin *plugin, const char *factory, const char *key, const char *value,
                    struct cringle_err *err)
{
        return give(plugin, factory, key, (const char *const[]) { value, NULL }, err);
}

int wire_settings(struct config *c, struct cringle_err *err)
{
        auto_free char *layers = str_printf(err, "%s/images", c->root);

        if (!layers)
                return -1;
        if (give_one(&c->image, "image-overlay", "root", layers, err) < 0 ||
            give_one(&c->executor, "executor-native", "monitor", c->programs.monitor, err) < 0 ||
            give_one(&c->network, "network-cni", "conf_dir", c->cni.conf_dir, err) < 0 ||
            give(&c->network, "network-cni", "bin_dirs", (const char *const *) c->cni.bin_dirs, err) < 0 ||
            give_one(&c->network, "network-cni", "cache_dir", c->cni.cache_dir, err) < 0)
                return -1;
        return 0;
}
