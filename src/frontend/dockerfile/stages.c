/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rune.h"
#include "frontend/dockerfile/instruction.h"

/* FROM becomes a stage. */
static void add_stage(struct arena *mem, struct dockerfile *d, const struct instruction *from)
{
    d->stages = arena_grow(mem, d->stages, d->stage_count, sizeof(*d->stages));
    d->stages[d->stage_count++] = (struct stage){
        .name = from->from.stage_name,
        .keyword = from->name,
        .base = from->from.base,
        .platform = from->from.platform,
        .description = from->from.description,
        .code = from->code,
        .lines = from->lines,
        .comments = from->comments,
    };
}

static struct error *add_instruction(struct arena *mem, struct dockerfile *d, struct instruction *i)
{
    if (i->kind == INSTR_FROM) {
        add_stage(mem, d, i);
        return NULL;
    }
    if (d->stage_count == 0 && i->kind == INSTR_ARG) {
        d->meta_args = arena_grow(mem, d->meta_args, d->meta_arg_count, sizeof(i));
        d->meta_args[d->meta_arg_count++] = i;
        return NULL;
    }
    if (d->stage_count == 0)
        return df_error_at(err_new(ERR_INVALID, "no build stage in current context"), i->lines);
    struct stage *s = &d->stages[d->stage_count - 1];
    s->commands = arena_grow(mem, s->commands, s->command_count, sizeof(i));
    s->commands[s->command_count++] = i;
    return NULL;
}

struct error *dockerfile_parse_stages(struct arena *mem, const struct df_ast *ast, struct lint *lint,
                                      struct dockerfile *ret)
{
    struct dockerfile d = { 0 };

    for (size_t k = 0; k < ast->count; k++) {
        struct instruction *i = NULL;

        TRY(err_wrap(instruction_parse(mem, ast->nodes[k], lint, &i), "dockerfile parse error on line %d",
                     ast->nodes[k]->lines.first));
        TRY(add_instruction(mem, &d, i));
    }
    *ret = d;
    return NULL;
}

int dockerfile_find_stage(const struct dockerfile *d, const char *name)
{
    for (size_t k = 0; k < d->stage_count; k++) {
        if (str_equal_fold(d->stages[k].name, name))
            return (int)k;
    }
    return -1;
}
