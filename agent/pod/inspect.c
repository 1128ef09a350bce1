/*
 * A container and its pod at one moment, for collectors
 */

#include "agent/pod/model.h"

int pods_inspect(struct pods *pods, const char *id, pods_inspect_fn fn, void *data, struct cringle_err *err)
{
        struct container *c;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_container(pods, id, &c, err);
        if (r == 0)
                fn(data, &(struct pods_inspection) { .container = c->status, .pod = c->pod->status, .pid = c->pid });
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}
