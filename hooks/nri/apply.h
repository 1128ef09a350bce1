#pragma once

/*
 * What an NRI plugin wants changed, carried out on the specification
 *
 * Each field has one owner, in the same book as those of native hooks: two plugins, or a
 * plugin and a native hook, that set one field are refused with an error that names
 * both.  A key that begins with '-' removes the entry; what was removed belongs to who removed it.
 * What a container is made of but the specification cannot say (a class of block I/O, another cgroup) is refused.
 */

#include "hooks/adjust.h"
#include "nri.pb-c.h"

/* Who set what, in the words of NRI, for validators. */
struct nri_owner {
        Nri__Field field;
        char *key;                      /* NULL: the field has no entries */
        const char *plugin;             /* borrowed */
};

struct nri_owners {
        struct nri_owner *list;
        size_t n;
};

/* adjust_begin() has said who it is.  On failure the specification may be half-edited: adjust_undo(). */
int nri_apply(struct adjust *a, const Nri__ContainerAdjustment *adjustment, struct nri_owners *owners,
              struct cringle_err *err);

/* @owners as a message, the caller's. */
Nri__OwningPlugins *nri_owners_message(const struct nri_owners *owners, const char *container);

/* Forget those from index @n on. */
void nri_owners_cut(struct nri_owners *owners, size_t n);
