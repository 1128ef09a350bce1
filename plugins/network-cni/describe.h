#pragma once

/*
 * A pod as CNI plugins are told of it: capability arguments and CNI_ARGS
 */

#include "cni/cache.h"
#include "plugins/api/network.h"

/* The attachment of @pod to @net as @ifname, not yet made; *ret is the caller's. */
int describe_pod(const struct cringle_network_pod *pod, const struct cni_network *net, const char *ifname,
                 struct cni_attachment **ret, struct cringle_err *err);

/*
 * A quantity as Kubernetes writes it ("10M", "1.5Gi", "1e6"), rounded up to a whole
 * number: bits per second of a bandwidth annotation, 1k to 1P.
 */
int describe_bandwidth(const char *text, int64_t *ret, struct cringle_err *err);
