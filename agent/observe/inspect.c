/*
 * CRI-O's inspection pages; see inspect.h.
 */

#include <string.h>

#include "agent/base/json.h"
#include "agent/observe/inspect.h"

#define CONTAINERS "/containers/"

/* The driver's name is none that the collector knows: it would walk layers to measure them. */
static int add_info(const char *root, struct json_object *o, struct cringle_err *err)
{
        if (json_set_string(o, "storage_driver", "cringle", err) < 0 || json_set_string(o, "storage_root", root, err) < 0)
                return -1;
        return json_set_string(o, "storage_image", "", err);
}

struct container_page {
        struct json_object *o;
        struct cringle_err *err;
        int r;
};

static int set_pairs(struct json_object *o, const char *name, Cri__Pair *const *pairs, size_t n, struct cringle_err *err)
{
        struct json_object *map = json_need_object(o, name, err);

        for (size_t i = 0; map && i < n; i++)
                if (json_set_string(map, pairs[i]->key, pairs[i]->value, err) < 0)
                        return -1;
        return map ? 0 : -1;
}

static int set_addresses(struct json_object *o, const Cri__PodSandboxNetworkStatus *network, struct cringle_err *err)
{
        struct json_object *list = json_need_array(o, "ip_addresses", err);

        if (!list)
                return -1;
        if (!network || !*network->ip)
                return 0;
        if (json_add_string(list, network->ip, err) < 0)
                return -1;
        for (size_t i = 0; i < network->n_additional_ips; i++)
                if (json_add_string(list, network->additional_ips[i]->ip, err) < 0)
                        return -1;
        return 0;
}

static int add_container(struct json_object *o, const struct pods_inspection *from, struct cringle_err *err)
{
        const Cri__ContainerStatus *c = from->container;

        if (json_set_string(o, "name", c->metadata->name, err) < 0 || json_set_int(o, "pid", from->pid, err) < 0 ||
            json_set_string(o, "image", c->image ? c->image->image : "", err) < 0 ||
            json_set_string(o, "image_ref", c->image_ref, err) < 0 ||
            json_set_int(o, "created_time", c->created_at, err) < 0 ||
            json_set_string(o, "log_path", c->log_path, err) < 0 ||
            json_set_string(o, "sandbox", from->pod->id, err) < 0)
                return -1;
        if (set_pairs(o, "labels", c->labels, c->n_labels, err) < 0 ||
            set_pairs(o, "annotations", c->annotations, c->n_annotations, err) < 0)
                return -1;
        return set_addresses(o, from->pod->network, err);
}

static void take_container(void *data, const struct pods_inspection *from)
{
        struct container_page *p = data;

        p->r = add_container(p->o, from, p->err);
}

int inspect_write(struct pods *pods, const char *root, const char *path, struct buf *ret, struct cringle_err *err)
{
        auto_json o = json_object_new_object();
        struct container_page page = { .o = o, .err = err };

        if (!o)
                return err_oom(err);
        if (strcmp(path, "/info") == 0) {
                if (add_info(root, o, err) < 0)
                        return -1;
        } else if (strncmp(path, CONTAINERS, strlen(CONTAINERS)) == 0) {
                if (pods_inspect(pods, path + strlen(CONTAINERS), take_container, &page, err) < 0 || page.r < 0)
                        return -1;
        } else {
                return err_set(err, CRINGLE_E_NOT_FOUND, "not found");
        }
        return json_write(o, ret, err);
}
