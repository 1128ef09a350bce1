/*
 * What a reload may change for pods
 *
 * A policy never changes: a reload brings another.  Who needs one for longer than the lock is held has a reference.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/pod/model.h"

int pods_prepare(const struct config *config, struct policy **ret, struct cringle_err *err)
{
        auto_of(policy) p = calloc(1, sizeof *p);

        if (!p)
                return err_oom(err);
        p->refs = 1;
        p->max_line = config->containers.max_line;
        p->exec_limit = config->containers.exec_limit;
        if (str_copy(&p->default_parent, config->cgroups.default_parent, err) < 0 ||
            str_copy(&p->pull_program, config->programs.pull, err) < 0 ||
            str_copy(&p->criu_program, config->programs.criu, err) < 0 ||
            str_copy(&p->seccomp_profile, config->seccomp_profile, err) < 0)
                return -1;
        *ret = steal(&p);
        return 0;
}

struct policy *policy_hold(struct pods *pods)
{
        struct policy *p;

        pthread_mutex_lock(&pods->tasks.lock);
        p = pods->policy;
        __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&pods->tasks.lock);
        return p;
}

struct policy *policy_unref(struct policy *p)
{
        if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;

        free(p->default_parent);
        free(p->pull_program);
        free(p->criu_program);
        free(p->seccomp_profile);
        free(p);
        return NULL;
}

void pods_take_over(struct pods *pods, struct policy *fresh)
{
        struct policy *former;

        pthread_mutex_lock(&pods->tasks.lock);
        former = pods->policy;
        pods->policy = fresh;
        pthread_mutex_unlock(&pods->tasks.lock);
        policy_unref(former);
}
