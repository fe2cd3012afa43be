// SPDX-License-Identifier: Apache-2.0

// The oracle of the Dockerfile text half: reads cases as compare.py frames them, answers each with a dump that
// dump.c writes in the same form from minke's own parser.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

var out = bufio.NewWriterSize(os.Stdout, 1<<20)

func p(format string, args ...any) { fmt.Fprintf(out, format, args...) }

func list(v []string) string {
	q := make([]string, len(v))
	for i, s := range v {
		q[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(q, " ") + "]"
}

func lines(r []parser.Range) string {
	if len(r) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d-%d", r[0].Start.Line, r[len(r)-1].End.Line)
}

func dumpError(err error) {
	p("error %q", err.Error())
	var el *parser.LocationError
	if errors.As(err, &el) {
		for _, l := range el.Locations {
			p(" %s", lines(l))
		}
	}
	p("\n")
}

func nodeArgs(n *parser.Node) []string {
	var res []string
	for a := n.Next; a != nil; a = a.Next {
		if len(a.Children) == 1 {
			res = append(res, a.Children[0].Value)
			if known(a.Children[0]) {
				res = append(res, nodeArgs(a.Children[0])...)
			}
		} else {
			res = append(res, a.Value)
		}
	}
	return res
}

func known(n *parser.Node) bool {
	_, ok := command.Commands[strings.ToLower(n.Value)]
	return ok
}

func dumpNode(n *parser.Node) {
	args := nodeArgs(n)
	if !known(n) {
		args = nil
	}
	p("node %q original=%q lines=%s flags=%s args=%s json=%v comments=%s\n", n.Value, n.Original, lines(n.Location()),
		list(n.Flags), list(args), n.Attributes["json"], list(n.PrevComment))
	for _, h := range n.Heredocs {
		p("  heredoc %q fd=%d expand=%v chomp=%v content=%q\n", h.Name, uint32(h.FileDescriptor), h.Expand, h.Chomp, h.Content)
	}
}

func dumpCopy(s *instructions.SourcesAndDest, chown, chmod string, link bool, exclude []string) {
	p(" paths=%s dest=%q chown=%q chmod=%q link=%v exclude=%s", list(s.SourcePaths), s.DestPath, chown, chmod, link, list(exclude))
	for _, c := range s.SourceContents {
		p(" content(%q %q %v)", c.Path, c.Data, c.Expand)
	}
}

func dumpLine(l *instructions.ShellDependantCmdLine) {
	p(" args=%s shell=%v", list(l.CmdLine), l.PrependShell)
	for _, f := range l.Files {
		p(" file(%q %q %v)", f.Name, f.Data, f.Chomp)
	}
}

func optBool(b *bool) string {
	if b == nil {
		return "-"
	}
	return strconv.FormatBool(*b)
}

func optUint(u *uint64) string {
	if u == nil {
		return "-"
	}
	return strconv.FormatUint(*u, 10)
}

func dumpMount(m *instructions.Mount, full bool) {
	if !full {
		p(" mount(from=%q)", m.From)
		return
	}
	env := "-"
	if m.Env != nil {
		env = strconv.Quote(*m.Env)
	}
	p(" mount(%s from=%q source=%q target=%q id=%q ro=%v size=%d sharing=%q required=%v env=%s mode=%s uid=%s gid=%s)",
		m.Type, m.From, m.Source, m.Target, m.CacheID, m.ReadOnly, m.SizeLimit, string(m.CacheSharing), m.Required, env,
		optUint(m.Mode), optUint(m.UID), optUint(m.GID))
}

func dumpCommand(cmd instructions.Command, expanded bool) {
	p("  %s %q lines=%s", cmd.Name(), fmt.Sprint(cmd), lines(cmd.Location()))
	switch c := cmd.(type) {
	case *instructions.AddCommand:
		dumpCopy(&c.SourcesAndDest, c.Chown, c.Chmod, c.Link, c.ExcludePatterns)
		p(" checksum=%q keep=%s unpack=%s", c.Checksum, optBool(c.KeepGitDir), optBool(c.Unpack))
	case *instructions.CopyCommand:
		dumpCopy(&c.SourcesAndDest, c.Chown, c.Chmod, c.Link, c.ExcludePatterns)
		p(" from=%q parents=%v", c.From, c.Parents)
	case *instructions.ArgCommand:
		dumpArg(c)
	case *instructions.CmdCommand:
		dumpLine(&c.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		dumpLine(&c.ShellDependantCmdLine)
	case *instructions.EnvCommand:
		dumpPairs(c.Env)
	case *instructions.LabelCommand:
		dumpPairs(c.Labels)
	case *instructions.ExposeCommand:
		p(" words=%s", list(c.Ports))
	case *instructions.VolumeCommand:
		p(" words=%s", list(c.Volumes))
	case *instructions.ShellCommand:
		p(" words=%s", list(c.Shell))
	case *instructions.HealthCheckCommand:
		h := c.Health
		p(" test=%s %d %d %d %d %d", list(h.Test), h.Interval, h.Timeout, h.StartPeriod, h.StartInterval, h.Retries)
	case *instructions.RunCommand:
		dumpLine(&c.ShellDependantCmdLine)
		p(" network=%s security=%s", instructions.GetNetwork(c), instructions.GetSecurity(c))
		for _, m := range instructions.GetMounts(c) {
			dumpMount(m, expanded)
		}
		for _, d := range instructions.GetDevices(c) {
			p(" device(%q %v)", d.Name, d.Required)
		}
	case *instructions.MaintainerCommand:
		p(" text=%q", c.Maintainer)
	case *instructions.OnbuildCommand:
		p(" text=%q", c.Expression)
	case *instructions.StopSignalCommand:
		p(" text=%q", c.Signal)
	case *instructions.UserCommand:
		p(" text=%q", c.User)
	case *instructions.WorkdirCommand:
		p(" text=%q", c.Path)
	}
	p("\n")
}

func dumpArg(c *instructions.ArgCommand) {
	for _, a := range c.Args {
		v := "-"
		if a.Value != nil {
			v = strconv.Quote(*a.Value)
		}
		p(" arg(%q %s %q)", a.Key, v, a.DocComment)
	}
}

func dumpPairs(kvs instructions.KeyValuePairs) {
	for _, kv := range kvs {
		p(" kv(%q %q %v)", kv.Key, kv.Value, kv.NoDelim)
	}
}

var testEnv = []string{"A=1", "B=two words", "EMPTY=", "PATH=/usr/bin:/bin", "TYPE=cache", "N=0755"}

func expandAll(stages []instructions.Stage, escape rune) {
	env := shell.EnvsFromSlice(testEnv)
	lex := shell.NewLex(escape)
	raw := shell.NewLex('\\')
	raw.SkipProcessQuotes = true
	for _, s := range stages {
		for _, c := range s.Commands {
			if ex, ok := c.(instructions.SupportsSingleWordExpansion); ok {
				err := ex.Expand(func(w string) (string, error) {
					r, _, err := lex.ProcessWord(w, env)
					return r, err
				})
				if err != nil {
					p("  expand ")
					dumpError(err)
					continue
				}
			}
			if ex, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
				err := ex.ExpandRaw(func(w string) (string, error) {
					r, _, err := raw.ProcessWord(w, env)
					return r, err
				})
				if err != nil {
					p("  expand-raw ")
					dumpError(err)
					continue
				}
			}
			dumpCommand(c, true)
		}
	}
}

func opParse(text string) {
	res, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		dumpError(err)
		return
	}
	p("escape %q\n", string(res.EscapeToken))
	for _, n := range res.AST.Children {
		dumpNode(n)
	}
	for _, w := range res.Warnings {
		p("warning %q %q %d\n", w.Short, w.URL, w.Location.Start.Line)
	}
	lint := linter.New(&linter.Config{ExperimentalAll: true, Warn: func(name, desc, url, msg string, loc []parser.Range) {
		p("lint %s %q %q %q %s\n", name, desc, url, msg, lines(loc))
	}})
	stages, meta, err := instructions.Parse(res.AST, lint)
	if err != nil {
		dumpError(err)
		return
	}
	for i := range meta {
		dumpCommand(&meta[i], false)
	}
	for _, s := range stages {
		p("stage %q keyword=%q base=%q platform=%q doc=%q code=%q lines=%s comments=%s\n", s.Name, s.OrigCmd, s.BaseName,
			s.Platform, s.DocComment, s.SourceCode, lines(s.Location), list(s.Comments))
		for _, c := range s.Commands {
			dumpCommand(c, false)
		}
	}
	p("expanded\n")
	expandAll(stages, res.EscapeToken)
}

func names(m map[string]struct{}) string {
	var v []string
	for k := range m {
		v = append(v, k)
	}
	sort.Strings(v)
	return list(v)
}

func opWords(f []string) {
	lex := shell.NewLex(rune(f[0][0]))
	lex.RawQuotes = strings.Contains(f[1], "q")
	lex.RawEscapes = strings.Contains(f[1], "e")
	lex.SkipProcessQuotes = strings.Contains(f[1], "s")
	lex.SkipUnsetEnv = strings.Contains(f[1], "u")
	env := shell.EnvsFromSlice(f[3:])
	r, err := lex.ProcessWordWithMatches(f[2], env)
	if err != nil {
		dumpError(err)
	} else {
		p("text %q\nwords %s\n", r.Result, list(r.Words))
	}
	p("matched %s unmatched %s\n", names(r.Matched), names(r.Unmatched))
}

func opIgnore(f []string) {
	patterns, err := ignorefile.ReadAll(strings.NewReader(f[0]))
	if err != nil {
		dumpError(err)
		return
	}
	p("patterns %s\n", list(patterns))
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		dumpError(err)
		return
	}
	for _, pt := range pm.Patterns() {
		p("pattern %q %v\n", pt.String(), pt.Exclusion())
	}
	p("exclusions %v\n", pm.Exclusions())
	for _, path := range f[1:] {
		m, err := pm.MatchesOrParentMatches(path)
		p("%q %v %v", path, m, err)
		info := patternmatcher.MatchInfo{}
		walked := false
		for i := 0; i <= len(path); i++ {
			if i == len(path) || path[i] == '/' {
				walked, info, err = pm.MatchesUsingParentResults(path[:i], info)
				if err != nil {
					break
				}
			}
		}
		p(" %v %v\n", walked, err)
	}
}

func opSyntax(text string) {
	for _, find := range []func() (string, string, []parser.Range, bool){
		func() (string, string, []parser.Range, bool) { return parser.DetectSyntax([]byte(text)) },
		func() (string, string, []parser.Range, bool) { return parser.ParseDirective("check", []byte(text)) },
	} {
		ref, line, loc, ok := find()
		p("%v %q %q %s\n", ok, ref, line, lines(loc))
	}
}

func opLint(text string) {
	c, err := linter.ParseLintOptions(text)
	if err != nil {
		dumpError(err)
		return
	}
	p("%v %v %v %s %s\n", c.SkipAll, c.ExperimentalAll, c.ReturnAsError, list(c.SkipRules), list(c.ExperimentalRules))
}

func readCase(r *bufio.Reader) (string, []string, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	var op string
	var count int
	if _, err := fmt.Sscanf(head, "%s %d", &op, &count); err != nil {
		return "", nil, err
	}
	fields := make([]string, count)
	for i := range fields {
		var n int
		if _, err := fmt.Fscanf(r, "%d\n", &n); err != nil {
			return "", nil, err
		}
		var b bytes.Buffer
		if _, err := io.CopyN(&b, r, int64(n)); err != nil {
			return "", nil, err
		}
		fields[i] = b.String()
	}
	return op, fields, nil
}

func main() {
	defer out.Flush()
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		op, f, err := readCase(in)
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(err)
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					p("panic %v\n", r)
				}
			}()
			switch op {
			case "parse":
				opParse(f[0])
			case "words":
				opWords(f)
			case "ignore":
				opIgnore(f)
			case "syntax":
				opSyntax(f[0])
			case "lint":
				opLint(f[0])
			}
		}()
		p("--\n")
	}
}
