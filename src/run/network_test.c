/* SPDX-License-Identifier: Apache-2.0 */
/* network_test.c - the networks of steps */
#include "run/trial.h"

#include "io/path.h"
#include "run/netlink.h"
#include "run/network.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static void test_network(void **state)
{
    struct run_spec none = { .network = RUN_NET_NONE };

    trial_shell(
        "ip -o -4 addr show eth0 | grep -c 'inet 172'; ip route | grep -c '^default via 172.*dev eth0'; "
        "ip link show lo | grep -c 'LOOPBACK,UP'; ping -c 1 -W 2 -q $(ip route | sed -n 's/^default via "
        "\\([0-9.]*\\).*/\\1/p') "
        "| grep -c ' 0% packet loss'",
        0, "1\n1\n1\n1\n");
    trial_shell_with(&none, "ip link | grep -c eth0; true", 0, "0\n");
    struct run_spec host = { .network = RUN_NET_HOST };
    trial_shell_with(&host, "ip link | grep -c '^[0-9]*: minke0:'", 0, "1\n");
}

struct parallel {
    struct trial_root root;
    struct run_mount shared;
    struct trial_outcome outcome;
};

static struct error *run_parallel(void *arg)
{
    /* All eight are there at the same time. */
    static const char script[] = "ip -o -4 addr show eth0 >/ip; mktemp /shared/XXXXXX >/dev/null; "
                                 "while test $(ls /shared | wc -l) -lt 8; do sleep 0.01; done";
    struct parallel *p = arg;
    struct run_spec s = trial_spec(&p->root, (const char *const[]){ "/bin/sh", "-c", script, NULL });

    s.mounts = &p->shared;
    s.mount_count = 1;
    p->outcome.error = runner_run(trial.runner, &s, &p->outcome.code);
    return NULL;
}

/* More at once than the pool holds: all have a network, and each an address of its own. */
static void test_parallel(void **state)
{
    struct parallel p[8];
    struct buf ips[8] = { { 0 } };
    struct group g;
    char shared[128];

    snprintf(shared, sizeof(shared), "%s/shared", trial.dir);
    assert_int_equal(mkdir(shared, 0755), 0);
    int shared_fd = open(shared, O_PATH | O_CLOEXEC);
    memset(p, 0, sizeof(p));
    group_open(&g, 0);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        trial_root_new(&p[i].root);
        p[i].shared = (struct run_mount){ .dest = "/shared", .source_fd = shared_fd };
        assert_null(group_spawn(&g, "run", run_parallel, &p[i]));
    }
    assert_null(group_join(&g));
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        assert_null(p[i].outcome.error);
        assert_int_equal(p[i].outcome.code, 0);
        assert_int_equal(path_read_file(p[i].root.fd, "ip", &ips[i], 4096), 0);
        assert_non_null(strstr(buf_str(&ips[i]), "inet 172."));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(strstr(buf_str(&ips[i]), "inet"), strstr(buf_str(&ips[k]), "inet"));
        trial_root_drop(&p[i].root);
    }
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        buf_deinit(&ips[i]);
    close(shared_fd);
}

/* Two daemons in one network namespace take different names and subnets, and leave nothing. */
static void test_two_networks(void **state)
{
    struct network *a = NULL, *b = NULL;
    struct network_config c = { .pool_size = 1 };
    char first[32];

    assert_null(network_open(&c, &a));
    assert_null(network_open(&c, &b));
    assert_string_not_equal(network_bridge(a), network_bridge(b));
    assert_string_not_equal(network_subnet(a), network_subnet(b));
    assert_null(network_fill(b));
    snprintf(first, sizeof(first), "%s", network_bridge(a));
    network_close(a);
    /* What went is free again; a name that is asked for and taken is refused. */
    c.bridge_name = network_bridge(b);
    struct error *e = network_open(&c, &a);
    assert_non_null(e);
    err_free(e);
    c.bridge_name = NULL;
    /* So does what a killed daemon left: a bridge whose name nobody claims. */
    struct netlink *nl = NULL;
    assert_int_equal(netlink_open(&nl), 0);
    assert_int_equal(netlink_bridge_add(nl, "minke40", 1500), 0);
    assert_null(network_open(&c, &a));
    assert_string_equal(network_bridge(a), first);
    assert_int_equal(netlink_link_index(nl, "minke40"), -ENODEV);
    netlink_close(nl);
    network_close(a);
    network_close(b);
    CLEANUP(buf_deinit) struct buf links = { 0 };
    assert_int_equal(file_read("/proc/self/net/dev", &links, 1 << 20), 0);
    const char *own = strstr(buf_str(&links), "minke");
    assert_non_null(own); /* the runner's */
    assert_null(strstr(own + 1, "minke"));
}

int main(void)
{
    trial_need();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_two_networks),
    };
    return cmocka_run_group_tests(tests, trial_set_up, trial_tear_down);
}
