// SPDX-License-Identifier: Apache-2.0

// What each LLB op makes of odd requests, as text: the files of the result with all that a tar says of them, or the error.
//
//	ops -socket S [PATTERN]      every case whose name has PATTERN in it
//	ops -definition NAME         the definition of a case, for buildctl
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
)

var (
	socket     = flag.String("socket", "", "the engine's socket")
	definition = flag.String("definition", "", "write the definition of this case to stdout")
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

type request struct {
	st     llb.State
	change func(*pb.Op)    // of the result's op, before it is sent
	caps   []apicaps.CapID // that the result's op declares to need
	allow  []string        // entitlements
	base   bool            // files of busybox are in the result: they are not shown
	index  int             // output of the result's op
}

var old = time.Unix(1000000000, 0)

// a tree with all kinds of files
func tree() llb.State {
	return llb.Scratch().
		File(llb.Mkdir("/d", 0o755, llb.WithCreatedTime(old)).
			Mkdir("/d/sub", 0o700, llb.WithCreatedTime(old), llb.WithUIDGID(3, 4)).
			Mkfile("/d/a.txt", 0o640, []byte("a"), llb.WithCreatedTime(old), llb.WithUIDGID(1, 2)).
			Mkfile("/d/b.go", 0o755, []byte("bb"), llb.WithCreatedTime(old)).
			Mkfile("/d/sub/c.txt", 0o600, []byte("ccc"), llb.WithCreatedTime(old)).
			Mkdir("/d/empty", 0o711, llb.WithCreatedTime(old)).
			Symlink("a.txt", "/d/link", llb.WithCreatedTime(old)).
			Symlink("/d/sub", "/d/dirlink", llb.WithCreatedTime(old)).
			Symlink("/none", "/d/dangling", llb.WithCreatedTime(old)).
			Symlink("../../../../d", "/up", llb.WithCreatedTime(old)).
			Mkfile("/top", 0o644, []byte("top"), llb.WithCreatedTime(old)))
}

func users() llb.State {
	return llb.Scratch().File(llb.Mkdir("/etc", 0o755).
		Mkfile("/etc/passwd", 0o644, []byte("root:x:0:0::/:\nann:x:501:600::/:\nbob:x:502:601::/:\nbad\n:x:9:9::/:\n")).
		Mkfile("/etc/group", 0o644, []byte("root:x:0:\nstaff:x:700:ann\n")))
}

func bb() llb.State { return llb.Image("docker.io/library/busybox:latest") }

func run(script string, o ...llb.RunOption) llb.ExecState {
	return bb().Run(append([]llb.RunOption{llb.Args([]string{"/bin/sh", "-c", script})}, o...)...)
}

// what a script writes to /out/r
func says(script string, o ...llb.RunOption) llb.State {
	return run("{ "+script+"\n} > /out/r 2>&1", o...).AddMount("/out", llb.Scratch())
}

func info(f func(*llb.CopyInfo)) *llb.CopyInfo {
	i := &llb.CopyInfo{}
	f(i)
	return i
}

func normal(text string) string {
	for _, r := range []struct{ re, to string }{
		{`/\S*/(buildkit-mount|snapshots/snapshots/|cachemounts?/|buildkit-metadata|mounts/)[^\s/:"]*(/fs)?`, "MOUNT"},
		{`sha256:[0-9a-f]{64}`, "DIGEST"},
		{`checksum of ref [0-9a-z:]+:`, "checksum of ref ID:"},
		{`\b[0-9a-z]{25}\b`, "ID"},
		{`127\.0\.0\.1:\d+`, "REGISTRY"},
		{`\.tmp-mkfile\d+`, "TEMP"},
	} {
		text = regexp.MustCompile(r.re).ReplaceAllString(text, r.to)
	}
	return text
}

func show(data []byte, base bool, files map[string]bool) string {
	var lines []string
	t := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		must(err)
		if files != nil {
			files[h.Name] = true
			continue
		}
		at := "now"
		if time.Since(h.ModTime) > 24*time.Hour {
			at = fmt.Sprint(h.ModTime.Unix())
		}
		text, err := io.ReadAll(t)
		must(err)
		line := fmt.Sprintf("  %c %04o %d:%d %s %s", h.Typeflag, h.Mode, h.Uid, h.Gid, at, h.Name)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if h.Devmajor != 0 || h.Devminor != 0 {
			line += fmt.Sprintf(" %d,%d", h.Devmajor, h.Devminor)
		}
		var more []string
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, "SCHILY.xattr.") {
				more = append(more, fmt.Sprintf(" %s=%q", strings.TrimPrefix(k, "SCHILY.xattr."), v))
			}
		}
		sort.Strings(more)
		line += strings.Join(more, "")
		if h.Typeflag == tar.TypeReg {
			line += fmt.Sprintf(" %q", text)
		}
		if !base || !baseFiles[h.Name] {
			lines = append(lines, line+"\n")
		}
	}
	return strings.Join(lines, "")
}

var baseFiles map[string]bool

func changed(def *llb.Definition, r request) {
	if r.change == nil && r.caps == nil && r.index == 0 {
		return
	}
	var end pb.Op
	last := len(def.Def) - 1
	must(end.UnmarshalVT(def.Def[last]))
	head := end.Inputs[0].Digest
	for i := range def.Def[:last] {
		if d := digest.FromBytes(def.Def[i]); string(d) == head {
			var op pb.Op
			must(op.UnmarshalVT(def.Def[i]))
			if r.change != nil {
				r.change(&op)
			}
			text, err := op.MarshalVT()
			must(err)
			m := def.Metadata[d]
			for _, c := range r.caps {
				if m.Caps == nil {
					m.Caps = map[apicaps.CapID]bool{}
				}
				m.Caps[c] = true
			}
			delete(def.Metadata, d)
			def.Def[i] = text
			now := digest.FromBytes(text)
			def.Metadata[now] = m
			end.Inputs[0].Digest = string(now)
			if r.index != 0 {
				end.Inputs[0].Index = int64(r.index)
			}
			def.Def[last], err = end.MarshalVT()
			must(err)
			return
		}
	}
	panic("no such op")
}

func solve(ctx context.Context, c *client.Client, r request) (data []byte, err error) {
	def, err := r.st.Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	changed(def, r)
	var b bytes.Buffer
	opt := client.SolveOpt{
		Exports:             []client.ExportEntry{{Type: client.ExporterTar, Output: func(map[string]string) (io.WriteCloser, error) { return closer{&b}, nil }}},
		Session:             []session.Attachable{secretsprovider.FromMap(map[string][]byte{"key": []byte("sesame"), "empty": {}, "bin": []byte("a\nb\n")})},
		AllowedEntitlements: r.allow,
	}
	_, err = c.Solve(ctx, def, opt, nil)
	return b.Bytes(), err
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func answer(ctx context.Context, c *client.Client, r request) (text string) {
	defer func() {
		if e := recover(); e != nil {
			text = fmt.Sprintf("  panic: %v\n", e)
		}
	}()
	data, err := solve(ctx, c, r)
	if err != nil {
		return "  error: " + strings.ReplaceAll(normal(err.Error()), "\n", "\n  ") + "\n"
	}
	return show(data, r.base, nil)
}

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("too long"))
	defer cancel()
	if *definition != "" {
		def, err := cases[*definition]().st.Marshal(ctx, llb.LinuxAmd64)
		must(err)
		must(llb.WriteTo(def, os.Stdout))
		return
	}
	c, err := client.New(ctx, "unix://"+*socket)
	must(err)
	defer c.Close()
	data, err := solve(ctx, c, request{st: bb()})
	must(err)
	baseFiles = map[string]bool{}
	show(data, false, baseFiles)
	var names []string
	for n := range cases {
		if strings.Contains(n, flag.Arg(0)) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Fprintf(os.Stdout, "%s\n%s", n, answer(ctx, c, cases[n]()))
	}
}
