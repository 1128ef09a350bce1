#pragma once

/*
 * Leases of host-local that name nobody
 *
 * The IPAM plugin host-local keeps a file for each address that is taken,
 * <dataDir>/<network>/<address>, with the container's id in it: made first, then written, and never synced.  For
 * half a minute after that a power cut can leave the file without what was in it.  DEL looks for the id and does not find
 * it, so nobody can give that address back, however well attachments are on record.  Whoever
 * runs the plugins after the boot is the one who can.
 *
 * host-local makes and writes the file under a lock: found empty under that lock, it belongs to nobody, whatever
 * else runs on the node.
 */

#include "cni/conf.h"

/* What cni_lease_sweep() can come to, failures aside. */
enum { CNI_LEASES_SWEPT = 0, CNI_LEASES_BUSY = 1 };

/*
 * Remove those of @net, wherever its plugins let host-local keep them; nothing is there, or another IPAM plugin
 * is: nothing to do.  The addresses are appended to the list *ret_freed, also when not all of it was done.
 * CNI_LEASES_BUSY: host-local holds its lock somewhere; to be tried again.
 */
int cni_lease_sweep(const struct cni_network *net, char ***ret_freed, struct cringle_err *err);
