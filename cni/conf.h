#pragma once

/*
 * Network configurations: which plugins make a network, in which order
 *
 * A directory holds files *.conflist, *.conf and *.json; the first by name is the
 * network.  (Names that begin with a dot are files somebody is still writing.)  A
 * list may take more plugins from a folder beside it that has the network's name.
 *
 * `config` is the network as one list that needs no other file: recorded with an
 * attachment, it is enough to undo it, whatever becomes of the directory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/own.h"
#include "cni/version.h"

struct cni_plugin {
        const char *type;               /* borrowed from `config`; a plain file name */
        struct json_object *config;     /* as it stands in the list */
};

/* Not shared between threads: JSON counts its references without locks. */
struct cni_network {
        char *name;
        int version;                    /* enum cni_version */
        uint32_t offered;               /* bit 1 << version for each that the file offers and we speak */
        bool disable_check;
        bool disable_gc;
        struct cni_plugin *plugins;
        size_t n_plugins;
        struct json_object *list;       /* all of it */
        char *config;                   /* `list` as text */
};

/*
 * The network of @dir, with the highest version that its file offers and we speak.
 * CRINGLE_E_NOT_FOUND: there is no directory, or no configuration in it.  Other
 * errors name the file.  *ret is the caller's.
 */
int cni_network_load(const char *dir, struct cni_network **ret, struct cringle_err *err);

/* The same from @n bytes of a list, such as were recorded as `config`. */
int cni_network_parse(const char *text, size_t n, struct cni_network **ret, struct cringle_err *err);

/* Decide for @version, one of those offered; `config` then offers no other. */
int cni_network_pin(struct cni_network *net, int version, struct cringle_err *err);

struct cni_network *cni_network_free(struct cni_network *net);

AUTO_DEFINE(cni_network, cni_network_free)
