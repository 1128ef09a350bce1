#pragma once

/*
 * Operations on a whole network: each of its plugins in turn
 *
 * The order and what a failure means are the specification's.  Which operations
 * may run at the same time is the caller's business: never two for one container,
 * and nothing beside GC.  Errors name network, plugin and operation.
 */

#include "agent/base/call.h"
#include "cni/cache.h"
#include "cni/conf.h"

/* All take the directories of plugins, ended by NULL. */

/*
 * First to last, each told the result of those before it; the first failure ends it.
 * a->result is then what came of it.  On failure some plugins may have done their
 * work: the caller has to run cni_del().
 */
int cni_add(const char *const *bin_dirs, const struct cni_network *net, struct cni_attachment *a,
            const struct cringle_call *call, struct cringle_err *err);

/*
 * Last to first, each told a->result when there is one; the first failure ends it.
 * May be repeated, and works without a namespace.
 */
int cni_del(const char *const *bin_dirs, const struct cni_network *net, const struct cni_attachment *a,
            const struct cringle_call *call, struct cringle_err *err);

/* What cni_check(), cni_gc() and cni_status() can come to, failures aside. */
enum { CNI_OK = 0, CNI_NOT_OFFERED = 1 };

/* First to last.  CNI_NOT_OFFERED: the network's version has no CHECK, or its list turns it off. */
int cni_check(const char *const *bin_dirs, const struct cni_network *net, const struct cni_attachment *a,
              const struct cringle_call *call, struct cringle_err *err);

/*
 * Tell every plugin which attachments are in use: @valid, an array of {"containerID",
 * "ifname"}.  All are told, also after a failure; the first failure is the answer.
 */
int cni_gc(const char *const *bin_dirs, const struct cni_network *net, struct json_object *valid,
           const struct cringle_call *call, struct cringle_err *err);

/* Could ADD work now?  The first plugin that says no is the answer. */
int cni_status(const char *const *bin_dirs, const struct cni_network *net, const struct cringle_call *call,
               struct cringle_err *err);

/*
 * When the network offers several versions: ask the plugins (VERSION) and pin the
 * highest that all of them speak.
 */
int cni_settle(const char *const *bin_dirs, struct cni_network *net, const struct cringle_call *call,
               struct cringle_err *err);

/* That the program of each plugin is there.  What these run in turn is theirs to find. */
int cni_find_all(const char *const *bin_dirs, const struct cni_network *net, struct cringle_err *err);
