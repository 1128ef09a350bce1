#pragma once

/*
 * What NRI plugins are told of pods and containers: NRI's messages from ours
 *
 * A container is told as its specification is now, so that each plugin sees what
 * those before it did.  Messages own all they hold (protobuf_c_message_free_unpacked()); memory that runs
 * out while one is made ends the agent, as everywhere with messages.
 */

#include "agent/base/json.h"
#include "hooks/hooks.h"
#include "nri.pb-c.h"

Nri__PodSandbox *nri_pod_of(const struct hooks_subject *s);

/* @spec may be NULL: then there is only what the kubelet asked for. */
Nri__Container *nri_container_of(const struct hooks_subject *s, struct json_object *spec);

/* Of one that has a bundle: as its config.json says, or without one that can be read as the kubelet asked. */
Nri__Container *nri_container_kept(const struct hooks_subject *s);

/* Limits that CRI names. */
Nri__LinuxResources *nri_resources_of(const Cri__LinuxContainerResources *from);

/* What changes with time: state, process, times, exit code. */
void nri_container_set_state(Nri__Container *c, const struct hooks_subject *s, Nri__ContainerState state);

/* Helpers for those who make messages: they abort when memory is out. */
void *nri_alloc(size_t size);
char *nri_text(const char *s);          /* NULL becomes "", what is no UTF-8 becomes '?': receivers refuse it */

/* Append @item to the list at @list of @n pointers. */
void nri_add(void *list, size_t *n, void *item);
void nri_add_pair(Nri__Pair ***list, size_t *n, const char *key, const char *value);

/* A new message, initialized. */
#define NRI_NEW(type, ...) ({ type *nri_new_ = nri_alloc(sizeof *nri_new_); *nri_new_ = (type) __VA_ARGS__; nri_new_; })
