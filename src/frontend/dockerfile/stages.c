/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rune.h"
#include "frontend/dockerfile/instruction.h"

/* Room for one more; grown at powers of two. */
static void *grow(void *array, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return array;
    return xreallocarray(array, count == 0 ? 1 : count * 2, size);
}

/* FROM becomes a stage; its strings move over. */
static void add_stage(struct dockerfile *d, struct instruction *from)
{
    d->stages = grow(d->stages, d->stage_count, sizeof(*d->stages));
    struct stage *s = &d->stages[d->stage_count++];
    *s = (struct stage){
        .name = TAKE(from->from.stage_name),
        .keyword = TAKE(from->name),
        .base = TAKE(from->from.base),
        .platform = TAKE(from->from.platform),
        .description = TAKE(from->from.description),
        .code = TAKE(from->code),
        .lines = from->lines,
        .comments = from->comments,
    };
    from->comments = (struct strv){ 0 };
    instruction_free(from);
}

/* Takes `i`, on failure too. */
static struct error *add_instruction(struct dockerfile *d, struct instruction *i)
{
    if (i->kind == INSTR_FROM) {
        add_stage(d, i);
        return NULL;
    }
    if (d->stage_count == 0 && i->kind == INSTR_ARG) {
        d->meta_args = grow(d->meta_args, d->meta_arg_count, sizeof(i));
        d->meta_args[d->meta_arg_count++] = i;
        return NULL;
    }
    if (d->stage_count == 0) {
        struct error *e = df_error_at(err_new(ERR_INVALID, "no build stage in current context"), i->lines);
        instruction_free(i);
        return e;
    }
    struct stage *s = &d->stages[d->stage_count - 1];
    s->commands = grow(s->commands, s->command_count, sizeof(i));
    s->commands[s->command_count++] = i;
    return NULL;
}

struct error *dockerfile_parse_stages(struct df_ast *ast, struct lint *lint, struct dockerfile *ret)
{
    struct dockerfile d = { 0 };
    struct error *e = NULL;

    for (size_t k = 0; k < ast->count && e == NULL; k++) {
        struct instruction *i = NULL;
        e = err_wrap(instruction_parse(ast->nodes[k], lint, &i), "dockerfile parse error on line %d",
                     ast->nodes[k]->lines.first);
        if (e == NULL)
            e = add_instruction(&d, i);
    }
    if (e != NULL) {
        dockerfile_deinit(&d);
        return e;
    }
    *ret = d;
    return NULL;
}

static void stage_deinit(struct stage *s)
{
    free(s->name);
    free(s->keyword);
    free(s->base);
    free(s->platform);
    free(s->description);
    free(s->code);
    strv_deinit(&s->comments);
    for (size_t k = 0; k < s->command_count; k++)
        instruction_free(s->commands[k]);
    free(s->commands);
}

void dockerfile_deinit(struct dockerfile *d)
{
    for (size_t k = 0; k < d->stage_count; k++)
        stage_deinit(&d->stages[k]);
    free(d->stages);
    for (size_t k = 0; k < d->meta_arg_count; k++)
        instruction_free(d->meta_args[k]);
    free(d->meta_args);
    *d = (struct dockerfile){ 0 };
}

int dockerfile_find_stage(const struct dockerfile *d, const char *name)
{
    for (size_t k = 0; k < d->stage_count; k++) {
        if (str_equal_fold(d->stages[k].name, name))
            return (int)k;
    }
    return -1;
}
