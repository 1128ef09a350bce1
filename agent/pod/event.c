/*
 * What a kubelet that does not want to ask all the time is told
 *
 * Each event brings the pod and all its containers as they are then, so who hears the
 * last one knows all.
 */

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/pod/model.h"

void pods_listen(struct pods *pods, pods_message_fn fn, void *data)
{
        pthread_mutex_lock(&pods->tasks.lock);
        pods->event_fn = fn;
        pods->event_data = data;
        pthread_mutex_unlock(&pods->tasks.lock);
}

Cri__ContainerStatus **pod_statuses(const struct pod *pod, size_t *ret_n)
{
        Cri__ContainerStatus **list;
        size_t n = 0;

        for (const struct container *c = pod->containers; c; c = c->next)
                n += c->visible;
        list = calloc(n + 1, sizeof *list);
        if (!list)
                abort();
        n = 0;
        for (const struct container *c = pod->containers; c; c = c->next)
                if (c->visible)
                        list[n++] = c->status;
        *ret_n = n;
        return list;
}

static void emit(const struct pod *pod, const char *id, Cri__ContainerEventType type)
{
        Cri__ContainerEventResponse event = CRI__CONTAINER_EVENT_RESPONSE__INIT;
        auto_free Cri__ContainerStatus **list = NULL;

        if (!pod->pods->event_fn)
                return;
        list = pod_statuses(pod, &event.n_containers_statuses);
        event.containers_statuses = list;
        event.container_id = message_text(id);
        event.container_event_type = type;
        event.created_at = clock_realtime();
        event.pod_sandbox_status = pod->status;
        pod->pods->event_fn(pod->pods->event_data, &event.base);
}

void pod_emit(const struct pod *pod, Cri__ContainerEventType type)
{
        emit(pod, pod->id, type);
}

void container_emit(const struct container *c, Cri__ContainerEventType type)
{
        emit(c->pod, c->id, type);
}
