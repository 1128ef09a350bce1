#pragma once

/*
 * What a kubelet's collector (cAdvisor) asks CRI-O for, at the socket where it expects it
 *
 *   /info             driver and root of the storage
 *   /containers/<id>  name, process, image, labels, annotations, log, addresses
 *
 * The collector looks into cgroups called crio-<id> and gives their numbers the labels
 * found here.
 */

#include "agent/pod/pods.h"

/* Append the page @path as JSON; CRINGLE_E_NOT_FOUND: there is no such page, or container. */
int inspect_write(struct pods *pods, const char *root, const char *path, struct buf *ret, struct cringle_err *err);
