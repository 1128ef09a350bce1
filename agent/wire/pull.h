#pragma once

/*
 * What the agent and cringle-pull say to each other
 *
 * cringle-pull has two halves, each a process of its own, each with a SOCK_SEQPACKET socket on fd
 * PULL_CONTROL_FD.  A message is one of the structs below, which all begin with struct
 * pull_head, and is never longer than PULL_MESSAGE_MAX.  What may be larger (the request, the answer to it)
 * travels in a memfd beside the message; whoever receives one reads it into memory of its own, once.
 *
 * Fetch half:   agent: PULL_RESOLVE + memfd       -> PULL_RESOLVED + memfd, or PULL_FAILED
 *               agent: PULL_LAYER + pipe, socket  -> on that socket: PULL_PROGRESS ..., then PULL_FETCHED or PULL_FAILED
 * Unpack half:  agent: PULL_UNPACK                -> PULL_MARK ..., then PULL_UNPACKED or PULL_FAILED
 *               It reads the blob from stdin and fills the directory at PULL_LAYER_FD.
 *
 * The agent believes neither half: text is NUL-ended by the receiver, every number is checked.
 */

#include <stdint.h>

#define PULL_VERSION 1

#define PULL_CONTROL_FD 3
#define PULL_LAYER_FD 4

#define PULL_MESSAGE_MAX 16384
#define PULL_PATH_MAX 4096              /* bytes of a path in a layer */
#define PULL_LAYERS_MAX 500
#define PULL_MANIFEST_MAX (4 << 20)
#define PULL_CONFIG_MAX (8 << 20)
#define PULL_REQUEST_MAX (16 << 20)     /* CA files are in it */

enum pull_type {
        PULL_FAILED = 1,
        PULL_RESOLVE = 2,
        PULL_RESOLVED = 3,
        PULL_LAYER = 4,
        PULL_PROGRESS = 5,
        PULL_FETCHED = 6,
        PULL_UNPACK = 7,
        PULL_MARK = 8,
        PULL_UNPACKED = 9,
};

struct pull_head {
        uint32_t version;
        uint32_t type;
};

struct pull_failed {
        struct pull_head head;
        int32_t code;                   /* enum cringle_code */
        int32_t sys;                    /* EPIPE from the fetch half: the reader went away, ask the unpack half why */
        char text[2032];
};

/*
 * The request, as JSON in the memfd:
 *   endpoints: [ { url, ns, plain_http, skip_verify, ca (PEM), username, password, identity_token, registry_token } ]
 *   repository, tag, digest, os, architecture, variant, progress_timeout_ms
 * `ns` marks a mirror and is the host it stands in for.
 */
struct pull_resolve {
        struct pull_head head;
        uint32_t uid, gid;              /* to become, before the request is read */
};

struct pull_resolved {
        struct pull_head head;
};

/* In the memfd of PULL_RESOLVED: this, @n_layers layers, @config_size bytes. */
struct pull_image {
        char manifest_digest[72];
        char config_digest[72];
        uint32_t n_layers;
        uint32_t config_size;
};

struct pull_image_layer {
        char digest[72];
        char diff_id[72];
        char media_type[128];
        uint64_t size;
};

struct pull_layer {
        struct pull_head head;
        uint32_t index;
};

struct pull_progress {
        struct pull_head head;
        uint64_t bytes;                 /* of the blob so far; PULL_FETCHED: all, and the digest is right */
};

struct pull_unpack {
        struct pull_head head;
        char diff_id[72];
        uint64_t max_bytes;             /* of the tar */
        uint64_t max_entries;
        uint64_t ratio;                 /* tar bytes per blob byte, enforced ... */
        uint64_t ratio_from;            /* ... once the tar is this long */
};

enum pull_mark_kind {
        PULL_MARK_OPAQUE = 1,           /* hide what lower layers have in directory @path */
        PULL_MARK_DEVICE = 2,           /* make a device node */
        PULL_MARK_IMPLIED = 3,          /* the tar has things in directory @path, but not the directory */
        PULL_MARK_LINK = 4,             /* hard link to @target, which this layer does not have */
};

/* Paths are relative to the layer, without "", "." and ".." components, and lead through no link. */
struct pull_mark {
        struct pull_head head;
        uint32_t kind;
        uint32_t mode;                  /* with the type, S_IFCHR or S_IFBLK */
        uint32_t uid, gid;
        uint32_t major, minor;
        int64_t mtime;                  /* nanoseconds */
        uint32_t path_len;              /* the bytes follow, then the target's */
        uint32_t target_len;
};

struct pull_unpacked {
        struct pull_head head;
        char diff_id[72];               /* as computed; equal to the one asked for */
        uint64_t bytes;                 /* of the tar */
        uint64_t entries;
};
