#pragma once

/*
 * Attachments on record: what ADD was told, and what came of it
 *
 * Files have the form and the names that libcni gives them, so that other tools on
 * the node find what they know:
 *
 *      <cache_dir>/results/<network>-<container>-<ifname>
 *
 * The same form without a result serves as the record of an intent.
 */

#include <stdbool.h>

#include "agent/base/json.h"
#include "agent/base/own.h"
#include "cni/conf.h"

struct cni_attachment {
        char *network;                  /* its name */
        char *container;                /* id */
        char *ifname;
        char *netns;                    /* path; NULL: gone */
        char *config;                   /* the network's, see conf.h */
        struct json_object *args;       /* [["K", "V"], ...]; NULL: none */
        struct json_object *capabilities;       /* {"portMappings": ..., ...}; NULL: none */
        struct json_object *result;     /* in the version of `config`; NULL: none */
};

/* An attachment of @container to @net as @ifname, with neither arguments nor result; the caller's. */
int cni_attachment_new(const struct cni_network *net, const char *container, const char *ifname, const char *netns,
                       struct cni_attachment **ret, struct cringle_err *err);

struct cni_attachment *cni_attachment_free(struct cni_attachment *a);

AUTO_DEFINE(cni_attachment, cni_attachment_free)

/* 1: read, *ret is the caller's; 0: no such file; -1: unreadable, or its content is no attachment. */
int cni_attachment_read(const char *path, struct cni_attachment **ret, struct cringle_err *err);

/* Replace @path.  @durable: it survives a power cut from here on. */
int cni_attachment_write(const char *path, const struct cni_attachment *a, bool durable, struct cringle_err *err);

/* Put @a, with its result, into the cache. */
int cni_cache_put(const char *cache_dir, const struct cni_attachment *a, struct cringle_err *err);

/* The one of (network, container, ifname).  As cni_attachment_read(). */
int cni_cache_get(const char *cache_dir, const char *network, const char *container, const char *ifname,
                  struct cni_attachment **ret, struct cringle_err *err);

/* The one of @container as @ifname, in whatever network.  As cni_attachment_read(). */
int cni_cache_find(const char *cache_dir, const char *container, const char *ifname, struct cni_attachment **ret,
                   struct cringle_err *err);

/* Gone already: success.  @durable: what was done in its file system is synced before this returns. */
int cni_cache_drop(const char *cache_dir, const char *network, const char *container, const char *ifname, bool durable,
                   struct cringle_err *err);

/* @a may be stolen. */
typedef int (*cni_cache_fn)(void *data, struct cni_attachment **a, struct cringle_err *err);

/* Call @fn for each attachment in the cache that can be read; those that cannot are passed over. */
int cni_cache_each(const char *cache_dir, cni_cache_fn fn, void *data, struct cringle_err *err);
