/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/stack.h"

#include "base/buf.h"

#include <execinfo.h>
#include <unistd.h>

#define MAX_FRAMES 32

/* "path(function+0x12) [0x...]" or "path(+0x1234) [0x...]" */
static void add_frame(struct buf *out, const char *symbol)
{
    size_t path = strcspn(symbol, "(");
    const char *name = symbol[path] == '(' ? symbol + path + 1 : symbol;

    buf_adds(out, "{\"Name\":");
    buf_add_json_string(out, name, strcspn(name, ")"), true);
    buf_adds(out, ",\"File\":");
    buf_add_json_string(out, symbol, path, true);
    buf_addc(out, '}');
}

void stack_add_detail(struct error *e, const char *version)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };
    void *frames[MAX_FRAMES];
    int n = backtrace(frames, MAX_FRAMES);
    CLEANUP(freep) char **symbols = backtrace_symbols(frames, n);

    buf_adds(&json, "{\"frames\":[");
    for (int i = 1; symbols != NULL && i < n; i++) {
        if (i > 1)
            buf_addc(&json, ',');
        add_frame(&json, symbols[i]);
    }
    buf_addf(&json, "],\"pid\":%d,\"version\":", (int)getpid());
    buf_add_json_string(&json, version, strlen(version), true);
    buf_addc(&json, '}');
    err_add_detail(e, "github.com/moby/buildkit/stack.Stack+json", json.data, json.len);
}
