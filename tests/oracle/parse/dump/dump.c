/* SPDX-License-Identifier: Apache-2.0 */
/* minke's side of the comparison: the same dump as main.go, from our own parser. */
#include <stdio.h>

#include "base/rune.h"
#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/ignore.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/words.h"
#include "io/pattern.h"

static struct buf out;

static void p(const char *fmt, ...) PRINTF(1, 2);
static void p(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&out, fmt, ap);
    va_end(ap);
}

static void q(const char *before, const char *s)
{
    buf_adds(&out, before);
    buf_add_quoted(&out, s, strlen(s));
}

static void list(const char *before, const struct strv *v)
{
    p("%s[", before);
    for (size_t i = 0; i < v->len; i++)
        q(i > 0 ? " " : "", v->v[i]);
    p("]");
}

static void lines(const char *before, struct df_lines at)
{
    if (at.first < 0)
        p("%s-", before);
    else
        p("%s%d-%d", before, at.first, at.last);
}

static const char *yes(bool b)
{
    return b ? "true" : "false";
}

static void dump_error(struct error *e)
{
    struct df_lines at[8];
    size_t count = df_error_lines(e, at, 8);

    q("error ", e->message);
    for (size_t i = 0; i < count; i++)
        lines(" ", at[i]);
    p("\n");
    err_free(e);
}

static void dump_node(const struct df_node *n)
{
    q("node ", n->value);
    q(" original=", n->original);
    lines(" lines=", n->lines);
    list(" flags=", &n->flags);
    list(" args=", &n->args);
    p(" json=%s", yes(n->json));
    list(" comments=", &n->comments);
    p("\n");
    for (size_t i = 0; i < n->heredoc_count; i++) {
        const struct df_heredoc *h = &n->heredocs[i];
        q("  heredoc ", h->name);
        p(" fd=%u expand=%s chomp=%s", h->fd, yes(h->expand), yes(h->chomp));
        q(" content=", h->content);
        p("\n");
    }
}

static void dump_copy(const struct copy_args *c, bool add)
{
    list(" paths=", &c->paths);
    q(" dest=", c->dest);
    q(" chown=", c->chown);
    q(" chmod=", c->chmod);
    p(" link=%s", yes(c->link));
    list(" exclude=", &c->exclude);
    for (size_t i = 0; i < c->content_count; i++) {
        q(" content(", c->contents[i].path);
        q(" ", c->contents[i].data);
        p(" %s)", yes(c->contents[i].expand));
    }
    if (add) {
        q(" checksum=", c->checksum);
        p(" keep=%s unpack=%s", c->keep_git_dir_set ? yes(c->keep_git_dir) : "-",
          c->unpack_set ? yes(c->unpack) : "-");
    } else {
        q(" from=", c->from);
        p(" parents=%s", yes(c->parents));
    }
}

static void dump_line(const struct command_line *l)
{
    list(" args=", &l->args);
    p(" shell=%s", yes(l->prepend_shell));
    for (size_t i = 0; i < l->file_count; i++) {
        q(" file(", l->files[i].name);
        q(" ", l->files[i].data);
        p(" %s)", yes(l->files[i].chomp));
    }
}

static void dump_number(const char *before, bool set, uint32_t n)
{
    if (set)
        p("%s%u", before, n);
    else
        p("%s-", before);
}

static void dump_mount(const struct mount_flag *m, bool full)
{
    static const char *const types[] = { "bind", "cache", "tmpfs", "secret", "ssh" };
    static const char *const sharings[] = { "", "shared", "private", "locked" };

    if (!full) {
        q(" mount(from=", m->from);
        p(")");
        return;
    }
    p(" mount(%s", types[m->type]);
    q(" from=", m->from);
    q(" source=", m->source);
    q(" target=", m->target);
    q(" id=", m->id);
    p(" ro=%s size=%lld", yes(m->read_only), (long long)m->size_limit);
    q(" sharing=", sharings[m->sharing]);
    p(" required=%s env=", yes(m->required));
    q("", m->env != NULL ? m->env : "");
    if (m->env == NULL) {
        buf_truncate(&out, out.len - 2);
        p("-");
    }
    dump_number(" mode=", m->mode_set, m->mode);
    dump_number(" uid=", m->uid_set, m->uid);
    dump_number(" gid=", m->gid_set, m->gid);
    p(")");
}

static void dump_run(const struct run_args *r, bool expanded)
{
    dump_line(&r->line);
    p(" network=%s security=%s", r->network, r->security);
    for (size_t i = 0; i < r->mount_count; i++)
        dump_mount(&r->mounts[i], expanded);
    for (size_t i = 0; i < r->device_count; i++) {
        q(" device(", r->devices[i].name);
        p(" %s)", yes(r->devices[i].required));
    }
}

static void dump_args(const struct arg_list *a)
{
    for (size_t i = 0; i < a->len; i++) {
        q(" arg(", a->v[i].key);
        if (a->v[i].value != NULL)
            q(" ", a->v[i].value);
        else
            p(" -");
        q(" ", a->v[i].description);
        p(")");
    }
}

static void dump_instruction(const struct instruction *i, bool expanded)
{
    p("  %s", i->name);
    q(" ", i->code);
    lines(" lines=", i->lines);
    switch (i->kind) {
    case INSTR_ADD:
    case INSTR_COPY:
        dump_copy(&i->copy, i->kind == INSTR_ADD);
        break;
    case INSTR_ARG:
        dump_args(&i->arg);
        break;
    case INSTR_CMD:
    case INSTR_ENTRYPOINT:
        dump_line(&i->line);
        break;
    case INSTR_ENV:
    case INSTR_LABEL:
        for (size_t k = 0; k < i->kv.len; k++) {
            q(" kv(", i->kv.v[k].key);
            q(" ", i->kv.v[k].value);
            p(" %s)", yes(i->kv.v[k].no_delim));
        }
        break;
    case INSTR_EXPOSE:
    case INSTR_VOLUME:
    case INSTR_SHELL:
        list(" words=", &i->words);
        break;
    case INSTR_HEALTHCHECK:
        list(" test=", &i->health.test);
        p(" %lld %lld %lld %lld %d", (long long)i->health.interval, (long long)i->health.timeout,
          (long long)i->health.start_period, (long long)i->health.start_interval, i->health.retries);
        break;
    case INSTR_RUN:
        dump_run(&i->run, expanded);
        break;
    case INSTR_FROM:
        break;
    default:
        q(" text=", i->text);
    }
    p("\n");
}

static const char *const test_env[] = { "A=1",        "B=two words", "EMPTY=", "PATH=/usr/bin:/bin",
                                        "TYPE=cache", "N=0755" };

struct expansion {
    struct words_options o;
    struct words_env env;
};

static struct error *expand_word(void *ctx, struct arena *mem, const char *word, const char **ret)
{
    struct expansion *x = ctx;
    struct words_expansion in = { &x->o, &x->env };

    return words_expand_in(&in, mem, word, ret);
}

static void expand_instruction(struct arena *mem, struct instruction *i, char escape)
{
    CLEANUP(strv_deinit) struct strv env = { 0 };
    struct expansion x = { .o = { .escape = escape } };

    for (size_t k = 0; k < ARRAY_LEN(test_env); k++)
        strv_add(&env, test_env[k]);
    x.env = words_env_strv(&env);
    struct error *e = instruction_expand(mem, i, expand_word, &x);
    if (e != NULL) {
        p("  expand ");
        dump_error(e);
        return;
    }
    x.o = (struct words_options){ .escape = '\\', .skip_quotes = true };
    e = instruction_expand_raw(mem, i, expand_word, &x);
    if (e != NULL) {
        p("  expand-raw ");
        dump_error(e);
        return;
    }
    dump_instruction(i, true);
}

static void dump_warning(void *ctx, const struct lint_warning *w)
{
    p("lint %s", w->info->name);
    q(" ", w->info->description);
    q(" ", w->info->url);
    q(" ", w->text);
    lines(" ", w->lines);
    p("\n");
}

static void dump_stages(struct arena *mem, struct dockerfile *d, char escape)
{
    for (size_t i = 0; i < d->meta_arg_count; i++)
        dump_instruction(d->meta_args[i], false);
    for (size_t i = 0; i < d->stage_count; i++) {
        const struct stage *s = &d->stages[i];
        q("stage ", s->name);
        q(" keyword=", s->keyword);
        q(" base=", s->base);
        q(" platform=", s->platform);
        q(" doc=", s->description);
        q(" code=", s->code);
        lines(" lines=", s->lines);
        list(" comments=", &s->comments);
        p("\n");
        for (size_t k = 0; k < s->command_count; k++)
            dump_instruction(s->commands[k], false);
    }
    p("expanded\n");
    for (size_t i = 0; i < d->stage_count; i++) {
        for (size_t k = 0; k < d->stages[i].command_count; k++)
            expand_instruction(mem, d->stages[i].commands[k], escape);
    }
}

static void op_parse(const struct buf *text)
{
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    struct df_ast ast = { 0 };
    struct dockerfile d = { 0 };
    struct lint lint;
    struct lint_config config = { .experimental_all = true };
    struct error *e = df_ast_parse(&mem, buf_str(text), text->len, &ast);

    if (e != NULL) {
        dump_error(e);
        return;
    }
    q("escape ", (char[]){ ast.escape, '\0' });
    p("\n");
    for (size_t i = 0; i < ast.count; i++)
        dump_node(ast.nodes[i]);
    for (size_t i = 0; i < ast.warning_count; i++) {
        q("warning ", ast.warnings[i].text);
        q(" ", ast.warnings[i].url);
        p(" %d\n", ast.warnings[i].lines.first);
    }
    lint_init(&lint, &config, dump_warning, NULL);
    e = dockerfile_parse_stages(&mem, &ast, &lint, &d);
    if (e != NULL)
        dump_error(e);
    else
        dump_stages(&mem, &d, ast.escape);
    lint_deinit(&lint);
}

static void op_words(const struct buf *f, size_t count)
{
    CLEANUP(strv_deinit) struct strv env = { 0 };
    struct words_result r;
    const char *flags = buf_str(&f[1]);
    struct words_options o = {
        .escape = f[0].data[0],
        .raw_quotes = strchr(flags, 'q') != NULL,
        .raw_escapes = strchr(flags, 'e') != NULL,
        .skip_quotes = strchr(flags, 's') != NULL,
        .skip_unset = strchr(flags, 'u') != NULL,
    };

    for (size_t i = 3; i < count; i++)
        strv_add(&env, buf_str(&f[i]));
    struct words_env vars = words_env_strv(&env);
    struct error *e = words_process(&o, buf_str(&f[2]), &vars, &r);
    if (e != NULL) {
        dump_error(e);
    } else {
        q("text ", r.text);
        list("\nwords ", &r.words);
        p("\n");
    }
    strv_sort(&r.matched);
    strv_sort(&r.unmatched);
    list("matched ", &r.matched);
    list(" unmatched ", &r.unmatched);
    p("\n");
    words_result_deinit(&r);
}

static void dump_match(struct error *e, bool matched)
{
    p(" %s %s", e == NULL ? yes(matched) : "false", e == NULL ? "<nil>" : e->message);
    err_free(e);
}

static void match_path(const struct pattern_set *s, const char *path)
{
    bool *info[2] = { xcalloc(s->count, sizeof(bool)), xcalloc(s->count, sizeof(bool)) };
    bool matched = false, have = false;
    struct error *e = pattern_set_match(s, path, &matched);

    q("", path);
    dump_match(e, matched);
    e = NULL;
    for (size_t i = 0; e == NULL && i <= strlen(path); i++) {
        if (path[i] != '\0' && path[i] != '/')
            continue;
        CLEANUP(freep) char *part = xstrndup(path, i);
        e = pattern_set_match_walk(s, part, have ? info[0] : NULL, info[1], &matched);
        bool *t = info[0];
        info[0] = info[1];
        info[1] = t;
        have = s->count > 0;
    }
    dump_match(e, matched);
    p("\n");
    free(info[0]);
    free(info[1]);
}

static void op_ignore(const struct buf *f, size_t count)
{
    CLEANUP(strv_deinit) struct strv patterns = { 0 };
    struct pattern_set s = { 0 };
    struct error *e = ignore_parse(buf_str(&f[0]), f[0].len, &patterns);

    if (e != NULL) {
        dump_error(e);
        return;
    }
    list("patterns ", &patterns);
    p("\n");
    e = pattern_set_init(&s, (const char *const *)patterns.v, patterns.len);
    if (e != NULL) {
        dump_error(e);
        return;
    }
    for (size_t i = 0; i < s.count; i++) {
        q("pattern ", pattern_text(&s, i));
        p(" %s\n", yes(pattern_is_exclusion(&s, i)));
    }
    p("exclusions %s\n", yes(s.exclusions));
    for (size_t i = 1; i < count; i++)
        match_path(&s, buf_str(&f[i]));
    pattern_set_deinit(&s);
}

static void dump_directive(bool found, char *first, struct directive *d)
{
    p("%s", yes(found));
    q(" ", found ? first : "");
    q(" ", found ? d->value : "");
    lines(" ", found ? d->lines : DF_NOWHERE);
    p("\n");
    if (found) {
        free(first);
        directive_deinit(d);
    }
}

static void op_syntax(const struct buf *text)
{
    struct directive d;
    char *first;
    bool found = directive_detect_syntax(buf_str(text), text->len, &first, &d);

    dump_directive(found, first, &d);
    found = directive_find("check", buf_str(text), text->len, &first, &d);
    dump_directive(found, first, &d);
}

static void op_lint(const struct buf *text)
{
    struct lint_config c;
    struct error *e = lint_config_parse(buf_str(text), &c);

    if (e != NULL) {
        dump_error(e);
        return;
    }
    p("%s %s %s", yes(c.skip_all), yes(c.experimental_all), yes(c.return_as_error));
    list(" ", &c.skip);
    list(" ", &c.experimental);
    p("\n");
    lint_config_deinit(&c);
}

static void run_case(const char *op, const struct buf *f, size_t count)
{
    if (streq(op, "parse"))
        op_parse(&f[0]);
    else if (streq(op, "words"))
        op_words(f, count);
    else if (streq(op, "ignore"))
        op_ignore(f, count);
    else if (streq(op, "syntax"))
        op_syntax(&f[0]);
    else if (streq(op, "lint"))
        op_lint(&f[0]);
    p("--\n");
}

int main(void)
{
    char op[32];
    size_t count;

    while (scanf("%31s %zu", op, &count) == 2) {
        struct buf *f = xcalloc(count, sizeof(*f));
        for (size_t i = 0; i < count; i++) {
            size_t n;
            if (scanf("%zu", &n) != 1 || getchar() != '\n')
                return 2;
            buf_reserve(&f[i], n);
            if (fread(f[i].data, 1, n, stdin) != n)
                return 2;
            f[i].len = n;
            f[i].data[n] = '\0';
        }
        run_case(op, f, count);
        fwrite(buf_str(&out), 1, out.len, stdout);
        buf_clear(&out);
        for (size_t i = 0; i < count; i++)
            buf_deinit(&f[i]);
        free(f);
    }
    buf_deinit(&out);
    return 0;
}
