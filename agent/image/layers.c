/*
 * Who uses which layer; see layers.h.
 *
 * Waiting cannot lock up: whoever is busy with a layer waits for lower ones at most.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/log.h"
#include "agent/base/own.h"
#include "agent/image/layers.h"

void layers_init(struct layers *all, const struct cringle_image_ops *ops, void *self, pthread_mutex_t *lock)
{
        *all = (struct layers) { .ops = ops, .self = self, .lock = lock };
        pthread_cond_init(&all->changed, NULL);
}

static void layer_free(void *data)
{
        struct layer *l = data;

        free(l->chain_id);
        free(l);
}

void layers_done(struct layers *all)
{
        map_done(&all->all, layer_free);
        pthread_cond_destroy(&all->changed);
}

int layers_claim(struct layers *all, const char *chain_id, struct layer **ret, struct cringle_err *err)
{
        struct layer *l = map_get(&all->all, chain_id);

        if (!l) {
                l = calloc(1, sizeof *l);
                if (!l)
                        return err_oom(err);
                l->chain_id = strdup(chain_id);
                if (!l->chain_id) {
                        layer_free(l);
                        return err_oom(err);
                }
                if (map_put(&all->all, chain_id, l, err) < 0) {
                        layer_free(l);
                        return -1;
                }
        }
        l->users++;
        *ret = l;
        return 0;
}

static void forget(struct layers *all, struct layer *l)
{
        map_take(&all->all, l->chain_id);
        layer_free(l);
}

static void remove_from_backend(struct layers *all, struct layer *l)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (all->ops->layer_remove(all->self, l->chain_id, &err) < 0)
                log_warning("remove layer %s: %s, left for the next start", l->chain_id, err.text);

        pthread_mutex_lock(all->lock);
        l->state = LAYER_ABSENT;
        if (l->users == 0)
                forget(all, l);
        layers_wake(all);
        pthread_mutex_unlock(all->lock);
}

void layers_drop(struct layers *all, struct layer **list, size_t n)
{
        /* The highest first: what is left after a crash is then a lower part of a stack, never one with a hole. */
        while (n-- > 0) {
                struct layer *l = list[n];
                bool last;

                pthread_mutex_lock(all->lock);
                l->users--;
                last = l->users == 0 && l->state == LAYER_PRESENT;
                if (last)
                        l->state = LAYER_BUSY;
                else if (l->users == 0 && l->state == LAYER_ABSENT)
                        forget(all, l);
                pthread_mutex_unlock(all->lock);

                if (last)
                        remove_from_backend(all, l);
        }
}

static int cancelled_here(struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_CANCELLED, "cancelled");
}

int layers_take(struct layers *all, struct layer *l, const bool *cancelled, struct cringle_err *err)
{
        int r;

        pthread_mutex_lock(all->lock);
        while (l->state == LAYER_BUSY && !*cancelled)
                pthread_cond_wait(&all->changed, all->lock);

        if (*cancelled) {
                r = cancelled_here(err);
        } else if (l->state == LAYER_PRESENT) {
                r = LAYERS_THERE;
        } else {
                l->state = LAYER_BUSY;
                r = LAYERS_MISSING;
        }
        pthread_mutex_unlock(all->lock);
        return r;
}

static void settle(struct layers *all, struct layer *l, enum layer_state state, uint64_t bytes, uint64_t inodes)
{
        pthread_mutex_lock(all->lock);
        l->state = state;
        l->bytes = bytes;
        l->inodes = inodes;
        layers_wake(all);
        pthread_mutex_unlock(all->lock);
}

void layers_filled(struct layers *all, struct layer *l, uint64_t bytes, uint64_t inodes)
{
        settle(all, l, LAYER_PRESENT, bytes, inodes);
}

void layers_not_filled(struct layers *all, struct layer *l)
{
        settle(all, l, LAYER_ABSENT, 0, 0);
}

int layers_wait(struct layers *all, struct layer **list, size_t n, const bool *cancelled, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(all->lock);
        for (size_t i = 0; i < n && r == 0; i++) {
                while (list[i]->state != LAYER_PRESENT && !*cancelled)
                        pthread_cond_wait(&all->changed, all->lock);
                if (*cancelled)
                        r = cancelled_here(err);
        }
        pthread_mutex_unlock(all->lock);
        return r;
}

void layers_wake(struct layers *all)
{
        pthread_cond_broadcast(&all->changed);
}
