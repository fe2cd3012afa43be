/* SPDX-License-Identifier: Apache-2.0 */
/* usage.h - what a container uses, by its cgroup and its network namespace; on v1, hybrid and v2 hosts */
#ifndef MINKE_RUN_USAGE_H
#define MINKE_RUN_USAGE_H

#include "base/vec.h"
#include "run/process.h"

struct net_usage {
    char name[16];
    uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped;
};
struct process_usage {
    uint64_t cpu_ns, cpu_user_ns, cpu_kernel_ns, periods, throttled_periods, throttled_ns;
    uint64_t memory, memory_max, memory_limit, memory_failures; /* bytes; limit 0: none */
    struct map memory_stat;                                     /* string map: "cache" -> "4096" */
    uint64_t pids, pids_limit;                                  /* limit 0: none */
    struct net_usage *nets;
    size_t net_count;
};
void process_usage_deinit(struct process_usage *u);
/* What cannot be read is 0. ERR_NOT_FOUND when the process has ended. */
struct error *process_usage(const struct process *p, struct process_usage *ret) MUST_CHECK;
/* Ids of all its processes, as the daemon sees them; *ret malloc'd. */
struct error *process_pids(const struct process *p, pid_t **ret, size_t *ret_count) MUST_CHECK;

/* CPU time of the whole host in ns, and its processors. */
uint64_t host_cpu_ns(unsigned *ret_online);
uint64_t host_memory(void); /* bytes */

#endif
