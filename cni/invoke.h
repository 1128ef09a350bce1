#pragma once

/*
 * Running one CNI plugin
 *
 * A plugin is a program of the node, found by its plain name in the configured
 * directories only.  It gets its configuration on stdin, the CNI_* variables and a
 * fixed PATH as its whole environment, a process group of its own, and as long as
 * the call lasts.
 */

#include "agent/base/call.h"
#include "agent/base/json.h"

struct cni_invocation {
        const char *command;            /* "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION" */
        const char *container, *netns, *ifname, *args;  /* NULL: the variable is not set */
        const char *const *bin_dirs;    /* ended by NULL */
};

/* The program of plugin @type; *ret is the caller's.  Not found: CRINGLE_E_NOT_FOUND. */
int cni_find(const char *const *bin_dirs, const char *type, char **ret, struct cringle_err *err);

/* What cni_invoke() can come to, failures aside. */
enum { CNI_DONE = 0, CNI_UNKNOWN_CONTAINER = 1 };

/*
 * Run plugin @type with @config.  @ret_answer: what it printed, a JSON object that
 * is the caller's; NULL: nothing is expected.  CNI_UNKNOWN_CONTAINER: the plugin says so
 * (code 3), and nothing needs to be undone.  A failure tells the plugin's code and
 * message or, when it gave none, its exit status and the end of its stderr.
 */
int cni_invoke(const struct cni_invocation *inv, const char *type, struct json_object *config,
               const struct cringle_call *call, struct json_object **ret_answer, struct cringle_err *err);
