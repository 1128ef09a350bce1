/*
 * Leases of host-local; see lease.h.
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/base/own.h"
#include "agent/base/str.h"
#include "cni/lease.h"

#define HOST_LOCAL "host-local"
#define DEFAULT_DATA_DIR "/var/lib/cni/networks"        /* of host-local itself */
#define LOCK_NAME "lock"

/*
 * Where the plugin @config lets host-local keep its leases, borrowed; NULL: it does not use it.  A plugin that delegates,
 * such as flannel, may leave it to its delegate, or to both, to say so; what nobody says is host-local, in its usual place.
 */
static const char *data_dir(struct json_object *config)
{
        struct json_object *ipam = NULL, *delegate = NULL;
        const char *type = HOST_LOCAL, *dir = DEFAULT_DATA_DIR;

        json_get_object(config, "delegate", &delegate, NULL);
        if (json_get_object(config, "ipam", &ipam, NULL) < 1 && delegate)
                json_get_object(delegate, "ipam", &ipam, NULL);
        if (!ipam)
                return delegate ? dir : NULL;
        json_get_string(ipam, "type", &type, NULL);
        json_get_string(ipam, "dataDir", &dir, NULL);
        if (strcmp(type, HOST_LOCAL) != 0)
                return NULL;
        return *dir ? dir : DEFAULT_DATA_DIR;
}

static bool is_address(const char *name)
{
        struct in6_addr address;

        return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

/* 1: a file in which no id is, but at most what file systems put where data was lost. */
static int names_nobody(int dir, const char *name, struct cringle_err *err)
{
        auto_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        char text[256];
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);

        if (n < 0)
                return err_sys(err, "read lease %s", name);
        for (ssize_t i = 0; i < n; i++)
                if ((unsigned char) text[i] > ' ')
                        return 0;
        return 1;
}

/* With the lock.  An address that cannot be looked at does not keep others. */
static int sweep(DIR *dir, char ***ret_freed, struct cringle_err *err)
{
        int failed = 0;

        for (struct dirent *e; (e = readdir(dir));) {
                struct cringle_err why = CRINGLE_ERR_INIT;
                int r = is_address(e->d_name) ? names_nobody(dirfd(dir), e->d_name, &why) : 0;

                if (r == 1 && unlinkat(dirfd(dir), e->d_name, 0) < 0)
                        r = err_sys(&why, "remove lease %s", e->d_name);
                if (r == 1)
                        r = strv_add(ret_freed, e->d_name, &why);
                if (r < 0 && !failed)
                        failed = err_set(err, why.code, "%s", why.text);
        }
        return failed;
}

static int sweep_directory(const char *path, char ***ret_freed, struct cringle_err *err)
{
        auto_fd int lock = -1;
        DIR *dir = opendir(path);
        int r;

        if (!dir)
                return errno == ENOENT ? CNI_LEASES_SWEPT : err_sys(err, "open %s", path);
        lock = openat(dirfd(dir), LOCK_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (lock < 0)
                r = errno == ENOENT ? CNI_LEASES_SWEPT : err_sys(err, "open %s/" LOCK_NAME, path);
        else if (flock(lock, LOCK_EX | LOCK_NB) < 0)
                r = errno == EWOULDBLOCK ? CNI_LEASES_BUSY : err_sys(err, "lock %s", path);
        else
                r = sweep(dir, ret_freed, err);
        closedir(dir);
        return r < 0 ? err_wrap(err, "leases in %s", path) : r;
}

int cni_lease_sweep(const struct cni_network *net, char ***ret_freed, struct cringle_err *err)
{
        int worst = CNI_LEASES_SWEPT;

        for (size_t i = 0; i < net->n_plugins; i++) {
                const char *dir = data_dir(net->plugins[i].config);
                auto_free char *path = dir ? str_printf(err, "%s/%s", dir, net->name) : NULL;
                int r = 0;

                if (dir)
                        r = path ? sweep_directory(path, ret_freed, err) : -1;
                if (r < 0)
                        return -1;
                if (r == CNI_LEASES_BUSY)
                        worst = r;
        }
        return worst;
}
