/*
 * The layout of every struct that crosses the plugin border, held against layout.txt
 *
 *      layout FILE             fail when the layout is not what FILE says
 *      layout --update FILE    add to FILE what is new; refused when anything else changed
 *
 * Plugins built long ago are loaded for ever: members never move, and new ones come
 * last, in structs that begin with their size.  This was written for 64-bit x86 and
 * ARM, whose C layouts are the same here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <api/cgroup.h>
#include <api/executor.h>
#include <api/hook.h>
#include <api/image.h>
#include <api/network.h>

struct line {
        const char *of, *member;        /* member NULL: the struct itself */
        size_t offset, size;
};

#define STRUCT(s) { #s, NULL, 0, sizeof(struct s) }
#define MEMBER(s, m) { #s, #m, offsetof(struct s, m), sizeof(((struct s *) 0)->m) }

static const struct line lines[] = {
        STRUCT(cringle_err),
        MEMBER(cringle_err, size),
        MEMBER(cringle_err, code),
        MEMBER(cringle_err, sys),
        MEMBER(cringle_err, text),
        STRUCT(cringle_call),
        MEMBER(cringle_call, size),
        MEMBER(cringle_call, deadline),
        MEMBER(cringle_call, cancel_fd),
        MEMBER(cringle_call, request),
        STRUCT(cringle_host),
        MEMBER(cringle_host, size),
        MEMBER(cringle_host, version),
        MEMBER(cringle_host, state_dir),
        MEMBER(cringle_host, run_dir),
        MEMBER(cringle_host, log),
        MEMBER(cringle_host, count),
        MEMBER(cringle_host, spawn),
        STRUCT(cringle_setting),
        MEMBER(cringle_setting, name),
        MEMBER(cringle_setting, type),
        MEMBER(cringle_setting, fallback),
        MEMBER(cringle_setting, help),
        STRUCT(cringle_pair),
        MEMBER(cringle_pair, key),
        MEMBER(cringle_pair, value),
        STRUCT(cringle_factory),
        MEMBER(cringle_factory, size),
        MEMBER(cringle_factory, kind),
        MEMBER(cringle_factory, name),
        MEMBER(cringle_factory, major),
        MEMBER(cringle_factory, minor),
        MEMBER(cringle_factory, help),
        MEMBER(cringle_factory, settings),
        MEMBER(cringle_factory, probe),
        MEMBER(cringle_factory, create),
        MEMBER(cringle_factory, start),
        MEMBER(cringle_factory, reload),
        MEMBER(cringle_factory, quiesce),
        MEMBER(cringle_factory, destroy),
        MEMBER(cringle_factory, ops),
        STRUCT(cringle_plugin),
        MEMBER(cringle_plugin, size),
        MEMBER(cringle_plugin, magic),
        MEMBER(cringle_plugin, abi),
        MEMBER(cringle_plugin, name),
        MEMBER(cringle_plugin, version),
        MEMBER(cringle_plugin, factories),
        STRUCT(cringle_layer),
        MEMBER(cringle_layer, size),
        MEMBER(cringle_layer, dir_fd),
        MEMBER(cringle_layer, path),
        STRUCT(cringle_rootfs_options),
        MEMBER(cringle_rootfs_options, size),
        MEMBER(cringle_rootfs_options, chain_ids),
        MEMBER(cringle_rootfs_options, readonly),
        MEMBER(cringle_rootfs_options, user_ns),
        MEMBER(cringle_rootfs_options, label),
        STRUCT(cringle_usage),
        MEMBER(cringle_usage, size),
        MEMBER(cringle_usage, bytes),
        MEMBER(cringle_usage, inodes),
        STRUCT(cringle_image_ops),
        MEMBER(cringle_image_ops, size),
        MEMBER(cringle_image_ops, format),
        MEMBER(cringle_image_ops, store_path),
        MEMBER(cringle_image_ops, layer_exists),
        MEMBER(cringle_image_ops, layer_begin),
        MEMBER(cringle_image_ops, layer_commit),
        MEMBER(cringle_image_ops, layer_abort),
        MEMBER(cringle_image_ops, layer_remove),
        MEMBER(cringle_image_ops, layer_usage),
        MEMBER(cringle_image_ops, rootfs_prepare),
        MEMBER(cringle_image_ops, rootfs_mount),
        MEMBER(cringle_image_ops, rootfs_remove),
        MEMBER(cringle_image_ops, rootfs_usage),
        MEMBER(cringle_image_ops, view_mount),
        MEMBER(cringle_image_ops, sweep),
        MEMBER(cringle_image_ops, id_maps),
        MEMBER(cringle_image_ops, writable_path),
        MEMBER(cringle_image_ops, rootfs_changes),
        STRUCT(cringle_device_rule),
        MEMBER(cringle_device_rule, type),
        MEMBER(cringle_device_rule, major),
        MEMBER(cringle_device_rule, minor),
        MEMBER(cringle_device_rule, access),
        MEMBER(cringle_device_rule, allow),
        STRUCT(cringle_hugepage_limit),
        MEMBER(cringle_hugepage_limit, page_size),
        MEMBER(cringle_hugepage_limit, bytes),
        STRUCT(cringle_resources),
        MEMBER(cringle_resources, size),
        MEMBER(cringle_resources, cpu_period),
        MEMBER(cringle_resources, cpu_quota),
        MEMBER(cringle_resources, cpu_shares),
        MEMBER(cringle_resources, memory_limit),
        MEMBER(cringle_resources, memory_swap),
        MEMBER(cringle_resources, pids_limit),
        MEMBER(cringle_resources, cpuset_cpus),
        MEMBER(cringle_resources, cpuset_mems),
        MEMBER(cringle_resources, hugepages),
        MEMBER(cringle_resources, n_hugepages),
        MEMBER(cringle_resources, unified),
        MEMBER(cringle_resources, devices),
        MEMBER(cringle_resources, n_devices),
        STRUCT(cringle_cgroup_dirs),
        MEMBER(cringle_cgroup_dirs, size),
        MEMBER(cringle_cgroup_dirs, oci_path),
        MEMBER(cringle_cgroup_dirs, unified),
        MEMBER(cringle_cgroup_dirs, v1),
        STRUCT(cringle_cgroup_stats),
        MEMBER(cringle_cgroup_stats, size),
        MEMBER(cringle_cgroup_stats, cpu_usage),
        MEMBER(cringle_cgroup_stats, memory_usage),
        MEMBER(cringle_cgroup_stats, memory_working_set),
        MEMBER(cringle_cgroup_stats, memory_rss),
        MEMBER(cringle_cgroup_stats, memory_limit),
        MEMBER(cringle_cgroup_stats, page_faults),
        MEMBER(cringle_cgroup_stats, major_page_faults),
        MEMBER(cringle_cgroup_stats, swap_usage),
        MEMBER(cringle_cgroup_stats, swap_limit),
        MEMBER(cringle_cgroup_stats, pids),
        MEMBER(cringle_cgroup_stats, oom_kills),
        MEMBER(cringle_cgroup_stats, cpu_some),
        MEMBER(cringle_cgroup_stats, cpu_full),
        MEMBER(cringle_cgroup_stats, memory_some),
        MEMBER(cringle_cgroup_stats, memory_full),
        MEMBER(cringle_cgroup_stats, io_some),
        MEMBER(cringle_cgroup_stats, io_full),
        MEMBER(cringle_cgroup_stats, cpu_user),
        MEMBER(cringle_cgroup_stats, cpu_system),
        MEMBER(cringle_cgroup_stats, cpu_periods),
        MEMBER(cringle_cgroup_stats, cpu_throttled),
        MEMBER(cringle_cgroup_stats, cpu_throttled_time),
        MEMBER(cringle_cgroup_stats, memory_cache),
        MEMBER(cringle_cgroup_stats, memory_mapped),
        MEMBER(cringle_cgroup_stats, memory_kernel),
        MEMBER(cringle_cgroup_stats, memory_max_usage),
        MEMBER(cringle_cgroup_stats, memory_failures),
        MEMBER(cringle_cgroup_stats, io_read_bytes),
        MEMBER(cringle_cgroup_stats, io_write_bytes),
        MEMBER(cringle_cgroup_stats, io_reads),
        MEMBER(cringle_cgroup_stats, io_writes),
        MEMBER(cringle_cgroup_stats, hugepages),
        MEMBER(cringle_cgroup_stats, memory_active_file),
        MEMBER(cringle_cgroup_stats, memory_inactive_file),
        STRUCT(cringle_cgroup_ops),
        MEMBER(cringle_cgroup_ops, size),
        MEMBER(cringle_cgroup_ops, layout),
        MEMBER(cringle_cgroup_ops, driver),
        MEMBER(cringle_cgroup_ops, path),
        MEMBER(cringle_cgroup_ops, create),
        MEMBER(cringle_cgroup_ops, update),
        MEMBER(cringle_cgroup_ops, stats),
        MEMBER(cringle_cgroup_ops, kill),
        MEMBER(cringle_cgroup_ops, freeze),
        MEMBER(cringle_cgroup_ops, destroy),
        MEMBER(cringle_cgroup_ops, free_dirs),
        STRUCT(cringle_port_mapping),
        MEMBER(cringle_port_mapping, protocol),
        MEMBER(cringle_port_mapping, container_port),
        MEMBER(cringle_port_mapping, host_port),
        MEMBER(cringle_port_mapping, host_ip),
        STRUCT(cringle_network_pod),
        MEMBER(cringle_network_pod, size),
        MEMBER(cringle_network_pod, id),
        MEMBER(cringle_network_pod, name),
        MEMBER(cringle_network_pod, space),
        MEMBER(cringle_network_pod, uid),
        MEMBER(cringle_network_pod, netns),
        MEMBER(cringle_network_pod, cgroup_parent),
        MEMBER(cringle_network_pod, ports),
        MEMBER(cringle_network_pod, n_ports),
        MEMBER(cringle_network_pod, annotations),
        MEMBER(cringle_network_pod, dns_servers),
        MEMBER(cringle_network_pod, dns_searches),
        MEMBER(cringle_network_pod, dns_options),
        STRUCT(cringle_network_result),
        MEMBER(cringle_network_result, size),
        MEMBER(cringle_network_result, ips),
        MEMBER(cringle_network_result, interface),
        STRUCT(cringle_network_ops),
        MEMBER(cringle_network_ops, size),
        MEMBER(cringle_network_ops, status),
        MEMBER(cringle_network_ops, attach),
        MEMBER(cringle_network_ops, detach),
        MEMBER(cringle_network_ops, check),
        MEMBER(cringle_network_ops, gc),
        MEMBER(cringle_network_ops, set_pod_cidr),
        MEMBER(cringle_network_ops, free_result),
        STRUCT(cringle_id_map),
        MEMBER(cringle_id_map, inside),
        MEMBER(cringle_id_map, outside),
        MEMBER(cringle_id_map, length),
        STRUCT(cringle_pod_launch),
        MEMBER(cringle_pod_launch, size),
        MEMBER(cringle_pod_launch, id),
        MEMBER(cringle_pod_launch, run_dir),
        MEMBER(cringle_pod_launch, namespaces),
        MEMBER(cringle_pod_launch, hostname),
        MEMBER(cringle_pod_launch, sysctls),
        MEMBER(cringle_pod_launch, uids),
        MEMBER(cringle_pod_launch, gids),
        MEMBER(cringle_pod_launch, n_uids),
        MEMBER(cringle_pod_launch, n_gids),
        MEMBER(cringle_pod_launch, cgroup_dirs),
        MEMBER(cringle_pod_launch, selinux_label),
        MEMBER(cringle_pod_launch, mount_label),
        STRUCT(cringle_container_launch),
        MEMBER(cringle_container_launch, size),
        MEMBER(cringle_container_launch, pod),
        MEMBER(cringle_container_launch, id),
        MEMBER(cringle_container_launch, bundle),
        MEMBER(cringle_container_launch, config),
        MEMBER(cringle_container_launch, rootfs_fd),
        MEMBER(cringle_container_launch, log_path),
        MEMBER(cringle_container_launch, log_max_line),
        MEMBER(cringle_container_launch, tty),
        MEMBER(cringle_container_launch, stdin_open),
        MEMBER(cringle_container_launch, stdin_once),
        MEMBER(cringle_container_launch, cgroup_unified),
        MEMBER(cringle_container_launch, cgroup_v1),
        MEMBER(cringle_container_launch, share_pid_with),
        MEMBER(cringle_container_launch, mounts),
        MEMBER(cringle_container_launch, n_mounts),
        MEMBER(cringle_container_launch, restore),
        STRUCT(cringle_container_state),
        MEMBER(cringle_container_state, size),
        MEMBER(cringle_container_state, state),
        MEMBER(cringle_container_state, pid),
        MEMBER(cringle_container_state, exit_code),
        MEMBER(cringle_container_state, signal),
        MEMBER(cringle_container_state, oom),
        MEMBER(cringle_container_state, started_at),
        MEMBER(cringle_container_state, finished_at),
        STRUCT(cringle_exec),
        MEMBER(cringle_exec, size),
        MEMBER(cringle_exec, pod),
        MEMBER(cringle_exec, container),
        MEMBER(cringle_exec, id),
        MEMBER(cringle_exec, argv),
        MEMBER(cringle_exec, tty),
        MEMBER(cringle_exec, stdin_fd),
        MEMBER(cringle_exec, stdout_fd),
        MEMBER(cringle_exec, stderr_fd),
        MEMBER(cringle_exec, timeout),
        STRUCT(cringle_executor_event),
        MEMBER(cringle_executor_event, size),
        MEMBER(cringle_executor_event, type),
        MEMBER(cringle_executor_event, pod),
        MEMBER(cringle_executor_event, container),
        MEMBER(cringle_executor_event, exec),
        MEMBER(cringle_executor_event, state),
        MEMBER(cringle_executor_event, timed_out),
        MEMBER(cringle_executor_event, hook),
        MEMBER(cringle_executor_event, hooks_lost),
        STRUCT(cringle_executor_features),
        MEMBER(cringle_executor_features, size),
        MEMBER(cringle_executor_features, user_namespaces),
        MEMBER(cringle_executor_features, recursive_readonly),
        MEMBER(cringle_executor_features, apparmor),
        MEMBER(cringle_executor_features, selinux),
        MEMBER(cringle_executor_features, seccomp),
        MEMBER(cringle_executor_features, brought_mounts),
        MEMBER(cringle_executor_features, restore),
        STRUCT(cringle_executor_ops),
        MEMBER(cringle_executor_ops, size),
        MEMBER(cringle_executor_ops, features),
        MEMBER(cringle_executor_ops, listen),
        MEMBER(cringle_executor_ops, open_pod),
        MEMBER(cringle_executor_ops, close_pod),
        MEMBER(cringle_executor_ops, create),
        MEMBER(cringle_executor_ops, start),
        MEMBER(cringle_executor_ops, kill),
        MEMBER(cringle_executor_ops, state),
        MEMBER(cringle_executor_ops, destroy),
        MEMBER(cringle_executor_ops, reopen_log),
        MEMBER(cringle_executor_ops, exec),
        MEMBER(cringle_executor_ops, kill_exec),
        MEMBER(cringle_executor_ops, resize),
        MEMBER(cringle_executor_ops, attach),
        STRUCT(cringle_event),
        MEMBER(cringle_event, size),
        MEMBER(cringle_event, point),
        MEMBER(cringle_event, call),
        MEMBER(cringle_event, pod_id),
        MEMBER(cringle_event, pod_name),
        MEMBER(cringle_event, pod_space),
        MEMBER(cringle_event, pod_uid),
        MEMBER(cringle_event, container_id),
        MEMBER(cringle_event, container_name),
        MEMBER(cringle_event, image),
        MEMBER(cringle_event, handler),
        MEMBER(cringle_event, args),
        MEMBER(cringle_event, pid),
        MEMBER(cringle_event, exit_code),
        MEMBER(cringle_event, bundle),
        MEMBER(cringle_event, annotation),
        MEMBER(cringle_event, label),
        MEMBER(cringle_event, env),
        MEMBER(cringle_event, set_env),
        MEMBER(cringle_event, add_mount),
        MEMBER(cringle_event, drop_mount),
        MEMBER(cringle_event, add_device),
        MEMBER(cringle_event, set_annotation),
        MEMBER(cringle_event, set_args),
        MEMBER(cringle_event, set_rlimit),
        MEMBER(cringle_event, add_oci_hook),
        MEMBER(cringle_event, host),
        MEMBER(cringle_event, add_cdi_device),
        STRUCT(cringle_hook_ops),
        MEMBER(cringle_hook_ops, size),
        MEMBER(cringle_hook_ops, points),
        MEMBER(cringle_hook_ops, run),
        STRUCT(cringle_pressure),
        MEMBER(cringle_pressure, total),
        MEMBER(cringle_pressure, avg10),
        MEMBER(cringle_pressure, avg60),
        MEMBER(cringle_pressure, avg300),
        STRUCT(cringle_hugepage_usage),
        MEMBER(cringle_hugepage_usage, page_size),
        MEMBER(cringle_hugepage_usage, usage),
        MEMBER(cringle_hugepage_usage, max_usage),
        STRUCT(cringle_hook_run),
        MEMBER(cringle_hook_run, size),
        MEMBER(cringle_hook_run, stage),
        MEMBER(cringle_hook_run, index),
        MEMBER(cringle_hook_run, exit_code),
        MEMBER(cringle_hook_run, timed_out),
        MEMBER(cringle_hook_run, ignored),
        MEMBER(cringle_hook_run, nanoseconds),
        MEMBER(cringle_hook_run, ended_at),
        MEMBER(cringle_hook_run, source),
        MEMBER(cringle_hook_run, name),
        MEMBER(cringle_hook_run, origin),
        MEMBER(cringle_hook_run, path),
        MEMBER(cringle_hook_run, error),
        STRUCT(cringle_user_ns),
        MEMBER(cringle_user_ns, size),
        MEMBER(cringle_user_ns, fd),
        MEMBER(cringle_user_ns, uids),
        MEMBER(cringle_user_ns, gids),
        STRUCT(cringle_brought_mount),
        MEMBER(cringle_brought_mount, source),
        MEMBER(cringle_brought_mount, fd),
        STRUCT(cringle_restore),
        MEMBER(cringle_restore, size),
        MEMBER(cringle_restore, program),
        MEMBER(cringle_restore, images),
        MEMBER(cringle_restore, work),
        MEMBER(cringle_restore, streams),
};

#define N_LINES (sizeof lines / sizeof *lines)

static void print(const struct line *l, char *text, size_t size)
{
        if (l->member)
                snprintf(text, size, "  %s %zu %zu", l->member, l->offset, l->size);
        else
                snprintf(text, size, "%s %zu", l->of, l->size);
}

/* A hole of eight bytes is no padding but a member that the list above does not have. */
static bool complete(void)
{
        size_t end = 0;

        for (size_t i = 1; i <= N_LINES; i++) {
                const struct line *above = &lines[i - 1];
                bool last = i == N_LINES || !lines[i].member;
                size_t next = last ? 0 : lines[i].offset;

                end = above->member ? above->offset + above->size : 0;
                if (last) {
                        const struct line *top = above;

                        while (top->member)
                                top--;
                        next = top->size;
                }
                if (next < end || next - end >= 8) {
                        printf("%s: something between %zu and %zu is not listed in layout.c\n", above->of, end, next);
                        return false;
                }
        }
        return true;
}

/* May the struct at @i grow?  Only one that says its size first. */
static bool sized(size_t i)
{
        return i + 1 < N_LINES && lines[i + 1].member && strcmp(lines[i + 1].member, "size") == 0;
}

enum { SAME, GROWN, BROKEN };

static int compare(FILE *golden)
{
        char want[256], found[256];
        int result = SAME;
        size_t i = 0;

        while (fgets(want, sizeof want, golden)) {
                want[strcspn(want, "\n")] = '\0';
                /* Members past those of the file are new; then the file's next struct must come. */
                for (; i < N_LINES && want[0] != ' ' && lines[i].member; i++)
                        result = GROWN;
                if (i == N_LINES) {
                        printf("want '%s', found nothing\n", want);
                        return BROKEN;
                }
                print(&lines[i], found, sizeof found);
                if (strcmp(want, found) != 0) {
                        size_t n = strlen(lines[i].of);

                        if (lines[i].member || strncmp(want, lines[i].of, n) != 0 || want[n] != ' ' || !sized(i) ||
                            strtoul(want + n, NULL, 10) > lines[i].size) {
                                printf("%s: want '%s', found '%s'\n", lines[i].of, want, found);
                                return BROKEN;
                        }
                        result = GROWN;
                }
                i++;
        }
        return i < N_LINES ? GROWN : result;
}

static int update(const char *path)
{
        FILE *f = fopen(path, "w");
        char text[256];

        for (size_t i = 0; f && i < N_LINES; i++) {
                print(&lines[i], text, sizeof text);
                fprintf(f, "%s\n", text);
        }
        return f && fclose(f) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
        bool updating = argc > 2 && strcmp(argv[1], "--update") == 0;
        FILE *golden = argc > 1 ? fopen(argv[argc - 1], "r") : NULL;
        int result;

        if (!golden) {
                perror(argc > 1 ? argv[argc - 1] : "no file named");
                return 1;
        }
        result = complete() ? compare(golden) : BROKEN;
        fclose(golden);
        if (result == GROWN && updating)
                return update(argv[argc - 1]);
        if (result == GROWN)
                printf("the layout has grown: run this with --update and commit the file\n");
        return result != SAME;
}
