#pragma once

/*
 * NRI 0.12, the runtime's side: plugins of the Node Resource Interface in the hook pipeline
 *
 * A plugin connects to the socket, or is launched from the plugin directory; it registers, is
 * configured, is told all pods and containers there are, and from then on takes part: what
 * happens is told to all plugins in the order of their indices, and at the creation of a
 * container each may adjust it.  Validators among them see the result and may refuse it.
 *
 * - Nothing is lost: what happens while a plugin is being told what there is waits until it has
 *   been told, so each pod and container reaches it exactly once, in the telling or as an event.
 * - Events of one container come in their order, its end never before the end of its start and
 *   always before its removal and its pod's stop; each of them once.
 * - What a plugin refuses fails the operation; those that had been told are told the removal.  A
 *   plugin that does not answer, or breaks the protocol, is dropped.  `nri.plugins` says otherwise for single ones.
 *
 * No function here may be called with a lock held that nri_host's functions take.
 */

#include "agent/base/own.h"
#include "config/config.h"
#include "hooks/hooks.h"

struct nri;

/* What plugins may ask of containers that exist; called on any thread. */
struct nri_host {
        void *data;

        /*
         * Change limits.  @wait: until it is done, for a while; else what it
         * comes to is logged: who asks from within an event holds up what the container's own tasks may wait for.
         */
        int (*update)(void *data, const char *id, const struct hooks_limits *limits, bool wait,
                      struct cringle_err *err);

        /* Stop the container. */
        void (*evict)(void *data, const char *id, const char *reason);
};

/*
 * Take part in @hooks from here on, also with NRI switched off: what there is has to be known when it is switched on.
 * @config is read during the call only.  Nobody can connect yet.
 */
int nri_new(const struct config *config, struct hooks *hooks, struct nri **ret, struct cringle_err *err);

/*
 * Listen, and launch the plugins of the plugin directory.  What there is must have been told (hooks_adopt()).
 * A socket that cannot be made, or is another runtime's, is logged and does not fail this.  @host is borrowed for good.
 */
int nri_start(struct nri *n, const struct nri_host *host, struct cringle_err *err);

/* New settings that can be taken over. */
struct nri_plan;

/*
 * What @config says, made ready: whatever can fail does so here, and nothing changes.  A socket in a new place
 * is there from here on.  One caller at a time for this, and until the plan is taken over or freed.
 */
int nri_prepare(struct nri *n, const struct config *config, struct nri_plan **ret, struct cringle_err *err);
struct nri_plan *nri_plan_free(struct nri_plan *plan);

/*
 * Take over @plan, which is taken, and the numbers of the same @config.  Waits for events and synchronisations
 * that are under way.  Plugins that are there stay, unless NRI is switched off; launched ones whose program has gone end.
 */
void nri_take_over(struct nri *n, const struct config *config, struct nri_plan *plan);

AUTO_DEFINE(nri_plan, nri_plan_free)

/* Drop all plugins.  Nothing may happen in @hooks any more. */
struct nri *nri_free(struct nri *n);

AUTO_DEFINE(nri, nri_free)
