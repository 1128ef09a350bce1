#pragma once

/*
 * What systemd is to know of a scope's limits
 *
 * The container's own directory has every limit, written by the code that both
 * drivers share.  systemd is told what it has a property for: weights and
 * protections count among the slice's children, which are scopes; and who looks
 * with systemctl sees what is so.  All of this is pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/own.h"
#include "plugins/api/cgroup.h"

struct property {
        const char *name;
        char type;                      /* 't': number; 'y': bytes; 'd': a device and a number */
        uint64_t number;                /* UINT64_MAX: no limit */
        unsigned char *bytes;           /* a bit mask, the lowest bit first; NULL: empty */
        size_t n_bytes;
        char *device;                   /* "/dev/block/8:0" */
};

struct device_allow {
        char *node;                     /* "/dev/char/1:3", "char-136", "block-*" */
        char access[4];
};

struct properties {
        struct property *list;
        size_t n;
        bool devices;                   /* the rest says something */
        bool all_devices;
        struct device_allow *allow;
        size_t n_allow;
};

/*
 * Add what @value in a v2 file @file comes to; nothing for a file that systemd has no
 * property for.  A later one of the same name replaces the former.
 */
int properties_add(struct properties *p, const char *file, const char *value, struct cringle_err *err);

/*
 * Add device rules.  systemd knows no denials: what it is told allows what @rules do,
 * and maybe more.  The container's directory has the exact program.
 */
int properties_add_devices(struct properties *p, const struct cringle_device_rule *rules, size_t n,
                           struct cringle_err *err);

void properties_done(struct properties *p);

static inline void auto_properties_(struct properties *p)
{
        properties_done(p);
}

#define auto_properties auto_cleanup(auto_properties_) struct properties
