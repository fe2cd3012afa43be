/* SPDX-License-Identifier: Apache-2.0 */
/* key_test.c - the texts that keys are made of: another step has another text, whatever stands in its names
 */
#include "op/exec_key.h"
#include "op/impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static char *exec_text(Pb__ExecOp *exec, Pb__Platform *platform)
{
    Pb__Op op = PB__OP__INIT;
    Pb__Meta meta = PB__META__INIT;
    struct llb_vertex v = { .op = &op };
    struct buf text = { 0 };

    op.op_case = PB__OP__OP_EXEC;
    op.exec = exec;
    op.platform = platform;
    exec->meta = &meta;
    assert_null(exec_key_text(&v, &text));
    exec->meta = NULL;
    return buf_take(&text);
}

/* A secret whose id holds the line that a device would make. */
static void test_line_in_id(void **state)
{
    Pb__SecretEnv secret = PB__SECRET_ENV__INIT, *secrets[] = { &secret };
    Pb__CdiDevice device = PB__CDI_DEVICE__INIT, *devices[] = { &device };
    Pb__ExecOp forged = PB__EXEC_OP__INIT, honest = PB__EXEC_OP__INIT;

    secret.name = (char *)"A";
    device.name = (char *)"vendor.com.class=one";
    forged.secretenv = honest.secretenv = secrets;
    forged.n_secretenv = honest.n_secretenv = 1;
    honest.cdi_devices = devices;
    honest.n_cdi_devices = 1;
    secret.id = (char *)"b";
    CLEANUP(freep) char *one = exec_text(&honest, NULL);
    secret.id = (char *)"b\ndevice vendor.com.class=one 0";
    CLEANUP(freep) char *other = exec_text(&forged, NULL);
    assert_string_not_equal(one, other);
}

static void test_slash_in_platform(void **state)
{
    Pb__Platform a = PB__PLATFORM__INIT, b = PB__PLATFORM__INIT;
    Pb__ExecOp exec = PB__EXEC_OP__INIT;

    a.os = (char *)"a/b";
    a.architecture = (char *)"c";
    b.os = (char *)"a";
    b.architecture = (char *)"b/c";
    CLEANUP(freep) char *one = exec_text(&exec, &a);
    CLEANUP(freep) char *other = exec_text(&exec, &b);
    assert_string_not_equal(one, other);
}

static char *passthrough_text(const char *id, int64_t *outputs, size_t count)
{
    Pb__PassthroughOp pass = PB__PASSTHROUGH_OP__INIT;
    Pb__Op op = PB__OP__INIT;
    struct llb_vertex v = { .op = &op };
    struct buf text = { 0 };

    pass.id = (char *)id;
    pass.outputs = outputs;
    pass.n_outputs = count;
    op.op_case = PB__OP__OP_PASSTHROUGH;
    op.passthrough = &pass;
    assert_null(passthrough_op.key_text(&v, &text));
    return buf_take(&text);
}

static void test_number_in_id(void **state)
{
    int64_t two[] = { 0, 1 }, last[] = { 1 };
    CLEANUP(freep) char *one = passthrough_text("a", two, 2);
    CLEANUP(freep) char *other = passthrough_text("a 0", last, 1);

    assert_string_not_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_in_id),
        cmocka_unit_test(test_slash_in_platform),
        cmocka_unit_test(test_number_in_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
