#pragma once

/*
 * Which devices the processes of a cgroup may open and make
 *
 * v1 has files for it; v2 wants a BPF program, which is written here instruction by
 * instruction.  Both start from "nothing" and follow the rules in order.
 */

#include <linux/bpf.h>
#include <stddef.h>

#include "plugins/api/cgroup.h"
#include "cgroup/tree.h"

/*
 * Put @rules into force for @path, replacing what was.  On failure what was stays,
 * as far as the kernel lets us.
 */
int devices_apply(const struct trees *t, const char *path, const struct cringle_device_rule *rules, size_t n,
                  struct cringle_err *err);

/*
 * The v2 program for @rules: *ret (free()) and its length.  Returns 1 from the
 * kernel's view when access is granted, else 0.
 */
int devices_program(const struct cringle_device_rule *rules, size_t n, struct bpf_insn **ret, size_t *ret_n,
                    struct cringle_err *err);
