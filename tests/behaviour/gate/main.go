// SPDX-License-Identifier: Apache-2.0

// Both ends of the gateway: a client that drives containers of a build, and a frontend image's program.
//
//	gate -socket S CASE          CASE is a name of cases, or "list"
//
// Started by a builder as a frontend (BUILDKIT_WORKERS is set) it does what its option "mode" says.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	pb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/errdefs"
	opspb "github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/opencontainers/go-digest"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

var engine *client.Client

var socket = flag.String("socket", "", "the engine's socket")

func expect(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Errorf(format, args...))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func solve(ctx context.Context, g gateway.Client, st llb.State, evaluate bool) (*gateway.Result, error) {
	def, err := st.Marshal(ctx, llb.LinuxAmd64)
	must(err)
	return g.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: evaluate})
}

func busybox(ctx context.Context, g gateway.Client) gateway.Reference {
	r, err := solve(ctx, g, llb.Image("busybox"), false)
	must(err)
	return r.Ref
}

func container(ctx context.Context, g gateway.Client, more ...gateway.Mount) gateway.Container {
	root := gateway.Mount{Dest: "/", MountType: opspb.MountType_BIND, Ref: busybox(ctx, g)}
	c, err := g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: append([]gateway.Mount{root}, more...), Hostname: "gatehost",
		ExtraHosts: []*opspb.HostIP{{Host: "elsewhere", IP: "10.9.8.7"}}})
	must(err)
	return c
}

type writer struct{ *bytes.Buffer }

func (writer) Close() error { return nil }

func sh(script string) gateway.StartRequest {
	return gateway.StartRequest{Args: []string{"/bin/sh", "-c", script}, Cwd: "/"}
}

// run one process to its end -> what it wrote, its exit code
func run(ctx context.Context, c gateway.Container, r gateway.StartRequest) (string, string, uint32) {
	out, errs := writer{&bytes.Buffer{}}, writer{&bytes.Buffer{}}
	r.Stdout, r.Stderr = out, errs
	p, err := c.Start(ctx, r)
	must(err)
	err = p.Wait()
	var exit *pb.ExitError
	if errors.As(err, &exit) {
		return out.String(), errs.String(), exit.ExitCode
	}
	must(err)
	return out.String(), errs.String(), 0
}

// the first process, which keeps a container
func keep(ctx context.Context, c gateway.Container) gateway.ContainerProcess {
	p, err := c.Start(ctx, sh("exec sleep 1000"))
	must(err)
	return p
}

// a terminal: what is written to `in` is typed, `until` waits for a text
type terminal struct {
	gateway.ContainerProcess
	in  io.WriteCloser
	out *io.PipeReader
	had string
}

func openTerminal(ctx context.Context, c gateway.Container, args ...string) *terminal {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p, err := c.Start(ctx, gateway.StartRequest{Args: args, Tty: true, Stdin: inR, Stdout: outW})
	must(err)
	return &terminal{p, inW, outR, ""}
}

func (t *terminal) until(text string) {
	chunk := make([]byte, 4096)
	for !strings.Contains(t.had, text) {
		n, err := t.out.Read(chunk)
		t.had += string(chunk[:n])
		expect(err == nil, "%v; the terminal has %q, not %q", err, t.had, text)
	}
	t.had = ""
}

// A step that builds the definition which lies in a file.
func nested(ctx context.Context, st llb.State, opts ...llbbuild.BuildOption) llb.State {
	def, err := st.Marshal(ctx, llb.LinuxAmd64)
	must(err)
	var text bytes.Buffer
	must(llb.WriteTo(def, &text))
	return llb.Scratch().File(llb.Mkfile("/"+opspb.LLBDefaultDefinitionFile, 0o644, text.Bytes())).
		File(llb.Mkfile("/other", 0o644, text.Bytes())).With(llbbuild.Build(opts...))
}

var cases = map[string]func(context.Context, gateway.Client){
	"services": func(ctx context.Context, g gateway.Client) { // health, and the spans of a client that traces itself
		conn, err := grpc.NewClient("unix:"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(err)
		defer conn.Close()
		h, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		must(err)
		expect(h.Status == healthpb.HealthCheckResponse_SERVING, "it is %v", h.Status)
		span := &tracepb.Span{Name: "a client's", TraceId: make([]byte, 16), SpanId: make([]byte, 8)}
		r, err := coltracepb.NewTraceServiceClient(conn).Export(ctx, &coltracepb.ExportTraceServiceRequest{
			ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{span}}}}}})
		must(err)
		expect(r.GetPartialSuccess().GetRejectedSpans() == 0, "%v was rejected", r)
	},
	"buildop": func(ctx context.Context, g gateway.Client) {
		file := func(st llb.State) string {
			r, err := solve(ctx, g, st, true)
			must(err)
			ref, err := r.SingleRef()
			must(err)
			data, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: "/out/x"})
			must(err)
			return string(data)
		}
		fails := func(st llb.State, text string) {
			_, err := solve(ctx, g, st, true)
			expect(err != nil && strings.Contains(err.Error(), text), "%v, not %s", err, text)
		}
		busybox := llb.Image("docker.io/library/busybox:latest")
		made := busybox.Run(llb.Shlex("sh -c 'echo made > /out/x'")).AddMount("/out", llb.Scratch())
		inner := llb.Scratch().File(llb.Copy(made, "/x", "/out/x", &llb.CopyInfo{CreateDestPath: true}))
		expect(file(nested(ctx, inner)) == "made\n", "the default file")
		expect(file(nested(ctx, nested(ctx, inner), llbbuild.WithFilename("other"))) == "made\n", "within another")
		fails(nested(ctx, inner, llbbuild.WithFilename("none")), "open none: no such file or directory")
		fails(nested(ctx, busybox.Run(llb.Shlex("true"), llb.Network(opspb.NetMode_HOST)).Root()), "network.host is not allowed")
		fails(nested(ctx, llb.Image("docker.io/denied/image:latest")), "denied by policy")
		fails(nested(ctx, busybox.Run(llb.Shlex("false")).Root()), "did not complete successfully: exit code: 1")
	},
	"exec": func(ctx context.Context, g gateway.Client) {
		c := container(ctx, g)
		defer c.Release(ctx)
		keep(ctx, c)
		r := sh("cat; echo err >&2; hostname; grep elsewhere /etc/hosts; exit 7")
		r.Stdin = io.NopCloser(strings.NewReader("typed\n"))
		out, errs, code := run(ctx, c, r)
		expect(out == "typed\ngatehost\n10.9.8.7\telsewhere\n" && errs == "err\n" && code == 7, "%q %q %d", out, errs, code)
		r = sh("echo $A $PATH; pwd; id -u")
		r.Env, r.Cwd, r.User = []string{"A=b"}, "/tmp", "nobody"
		out, _, _ = run(ctx, c, r)
		expect(out == "b /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/tmp\n65534\n", "%q", out)
		big := strings.Repeat("0123456789abcdef", 1<<16)
		r = sh("cat")
		r.Stdin = io.NopCloser(strings.NewReader(big))
		out, _, _ = run(ctx, c, r)
		expect(out == big, "%d bytes came back", len(out))
		p, err := c.Start(ctx, gateway.StartRequest{Args: []string{"/no/such/program"}})
		must(err)
		err = p.Wait()
		expect(err != nil && strings.Contains(err.Error(), "/no/such/program"), "%v", err)
	},
	"many": func(ctx context.Context, g gateway.Client) {
		c := container(ctx, g)
		defer c.Release(ctx)
		keep(ctx, c)
		done := make(chan string)
		for i := range 20 {
			go func() {
				defer func() {
					if e := recover(); e != nil {
						done <- fmt.Sprint(e)
					}
				}()
				out, _, code := run(ctx, c, sh(fmt.Sprintf("echo %d; exit %d", i, i)))
				expect(out == fmt.Sprintf("%d\n", i) && code == uint32(i), "%q %d", out, code)
				done <- ""
			}()
		}
		for range 20 {
			if e := <-done; e != "" {
				panic(e)
			}
		}
	},
	"tty": func(ctx context.Context, g gateway.Client) {
		c := container(ctx, g)
		defer c.Release(ctx)
		first := openTerminal(ctx, c, "/bin/sh", "-c", "echo TERM=$TERM; stty size; trap 'stty size' WINCH; echo ready; while true; do read x && echo got $x; done")
		first.until("ready")
		must(first.Resize(ctx, gateway.WinSize{Rows: 43, Cols: 132}))
		first.until("43 132")
		fmt.Fprintf(first.in, "hello\n")
		first.until("got hello")
		second := openTerminal(ctx, c, "/bin/sh")
		fmt.Fprintf(second.in, "tty | grep -c pts; exit 5\n")
		go io.Copy(io.Discard, second.out)
		var exit *pb.ExitError
		expect(errors.As(second.Wait(), &exit) && exit.ExitCode == 5, "the second ends with %v", exit)
		must(first.Signal(ctx, syscall.SIGKILL))
		go io.Copy(io.Discard, first.out)
		expect(errors.As(first.Wait(), &exit) && exit.ExitCode == 137, "the first ends with %v", exit)
		p, err := c.Start(ctx, sh("true"))
		must(err)
		expect(p.Wait() != nil, "a process began in a container that has ended")
	},
	"signals": func(ctx context.Context, g gateway.Client) {
		c := container(ctx, g)
		defer c.Release(ctx)
		keep(ctx, c)
		for _, s := range []struct {
			signal syscall.Signal
			code   uint32
		}{{syscall.SIGINT, 3}, {syscall.SIGUSR1, 4}, {syscall.SIGKILL, 137}, {syscall.SIGTERM, 143}} {
			out, w := io.Pipe()
			r := sh("trap 'exit 3' INT; trap 'exit 4' USR1; echo up; while true; do sleep 0.01; done")
			r.Stdout = w
			p, err := c.Start(ctx, r)
			must(err)
			io.ReadFull(out, make([]byte, 3))
			go io.Copy(io.Discard, out)
			must(p.Signal(ctx, s.signal))
			var exit *pb.ExitError
			expect(errors.As(p.Wait(), &exit) && exit.ExitCode == s.code, "%v: %v", s.signal, exit)
		}
	},
	"mounts": func(ctx context.Context, g gateway.Client) {
		data, err := solve(ctx, g, llb.Scratch().File(llb.Mkdir("/d", 0o755).Mkfile("/d/f", 0o640, []byte("content"))), false)
		must(err)
		c := container(ctx, g,
			gateway.Mount{Dest: "/ro", MountType: opspb.MountType_BIND, Ref: data.Ref, Readonly: true},
			gateway.Mount{Dest: "/part", MountType: opspb.MountType_BIND, Ref: data.Ref, Selector: "/d"},
			gateway.Mount{Dest: "/scratch", MountType: opspb.MountType_BIND},
			gateway.Mount{Dest: "/t", MountType: opspb.MountType_TMPFS},
			gateway.Mount{Dest: "/cache", MountType: opspb.MountType_CACHE, CacheOpt: &opspb.CacheOpt{ID: "gate"}},
			gateway.Mount{Dest: "/s", MountType: opspb.MountType_SECRET, SecretOpt: &opspb.SecretOpt{ID: "key", Mode: 0o400}},
		)
		defer c.Release(ctx)
		keep(ctx, c)
		r := sh("cat /ro/d/f /part/f /s; touch /ro/x 2>/dev/null || echo readonly; echo made >/scratch/new; echo made >/part/new; " +
			"echo kept >/cache/c; grep -c ' /t tmpfs' /proc/mounts; echo $SECRET; ln -s /ro/d /link; ln -s etc /rel")
		r.SecretEnv = []*opspb.SecretEnv{{ID: "key", Name: "SECRET"}, {ID: "none", Name: "NONE", Optional: true}}
		out, errs, code := run(ctx, c, r)
		expect(out == "contentcontentsesamereadonly\n1\nsesame\n" && code == 0, "%q %q %d", out, errs, code)
		// the files as the mounts have them, while the container lives
		text, err := c.ReadFile(ctx, gateway.ReadContainerRequest{ReadRequest: gateway.ReadRequest{Filename: "/new"}, MountIndex: 3})
		must(err)
		expect(string(text) == "made\n", "%q", text)
		text, err = c.ReadFile(ctx, gateway.ReadContainerRequest{ReadRequest: gateway.ReadRequest{Filename: "/d/f", Range: &gateway.FileRange{Offset: 2, Length: 3}}, MountIndex: 1})
		must(err)
		expect(string(text) == "nte", "%q", text)
		names, err := c.ReadDir(ctx, gateway.ReadDirContainerRequest{ReadDirRequest: gateway.ReadDirRequest{Path: "/"}, MountIndex: 3})
		must(err)
		expect(len(names) == 1 && names[0].Path == "new", "%v", names)
		st, err := c.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: "/link"}, MountIndex: 0})
		must(err)
		expect(st.Linkname == "/ro/d", "a link into another mount stays a link: %v", st)
		st, err = c.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: "/rel"}, MountIndex: 0})
		must(err)
		expect(st.IsDir(), "a link inside is followed: %v", st)
		for _, index := range []int{-1, 7, 99, 4} { // 4: a tmpfs
			_, err = c.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: "/"}, MountIndex: index})
			expect(err != nil, "mount %d could be looked into", index)
		}
	},
	"denied": func(ctx context.Context, g gateway.Client) {
		root := gateway.Mount{Dest: "/", MountType: opspb.MountType_BIND, Ref: busybox(ctx, g)}
		c, err := g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root}, NetMode: opspb.NetMode_HOST})
		must(err)
		p, err := c.Start(ctx, sh("true"))
		must(err)
		err = p.Wait()
		expect(err != nil && strings.Contains(err.Error(), "network.host is not allowed"), "%v", err)
		c = container(ctx, g)
		r := sh("true")
		r.SecurityMode = opspb.SecurityMode_INSECURE
		p, err = c.Start(ctx, r)
		must(err)
		err = p.Wait()
		expect(err != nil && strings.Contains(err.Error(), "security.insecure is not allowed"), "%v", err)
		c, err = g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root}, NetMode: 9})
		must(err)
		p, err = c.Start(ctx, sh("true"))
		must(err)
		err = p.Wait()
		expect(err != nil && strings.Contains(err.Error(), "unknown network mode 9"), "%v", err)
		_, err = g.NewContainer(ctx, gateway.NewContainerRequest{})
		expect(err != nil && strings.Contains(err.Error(), "root mount is required"), "%v", err)
	},
	"files": func(ctx context.Context, g gateway.Client) {
		r, err := solve(ctx, g, llb.Image("busybox").File(llb.Mkdir("/d", 0o700).Mkfile("/d/a", 0o600, []byte("one")).Mkfile("/d/b.txt", 0o644, []byte("two"))), false)
		must(err)
		text, err := r.Ref.ReadFile(ctx, gateway.ReadRequest{Filename: "/d/a"})
		must(err)
		expect(string(text) == "one", "%q", text)
		names, err := r.Ref.ReadDir(ctx, gateway.ReadDirRequest{Path: "/d", IncludePattern: "*.txt"})
		must(err)
		expect(len(names) == 1 && names[0].Path == "b.txt" && names[0].Size == 3, "%v", names)
		st, err := r.Ref.StatFile(ctx, gateway.StatRequest{Path: "/d"})
		must(err)
		expect(st.IsDir() && st.Mode&0o777 == 0o700, "%v", st)
		_, err = r.Ref.ReadFile(ctx, gateway.ReadRequest{Filename: "/none"})
		expect(err != nil && err.Error() == "open /none: no such file or directory", "%v", err)
		links, err := solve(ctx, g, llb.Scratch().File(llb.Mkdir("/d", 0o700).Mkfile("/d/a", 0o600, []byte("one")).Symlink("../../d", "/up").Symlink("/none", "/d/gone").Symlink("loop", "/loop")), false)
		must(err)
		for path, want := range map[string]string{"/up": "d", "/up/a": "a"} {
			st, err = links.Ref.StatFile(ctx, gateway.StatRequest{Path: path})
			must(err)
			expect(st.Path == want && st.Linkname == "" && st.IsDir() == (want == "d"), "%s: %v", path, st)
		}
		for path, want := range map[string]string{"/d/gone": "lstat /d/gone: no such file or directory", "/loop": "too many links"} {
			_, err = links.Ref.StatFile(ctx, gateway.StatRequest{Path: path})
			expect(err != nil && err.Error() == want, "%s: %v", path, err)
		}
		for _, part := range []struct {
			gateway.FileRange
			want string
		}{{gateway.FileRange{Offset: 1, Length: 1}, "n"}, {gateway.FileRange{Offset: 1, Length: 0}, ""}, {gateway.FileRange{Offset: 2, Length: 9}, "e"}, {gateway.FileRange{Offset: 9, Length: 9}, ""}} {
			text, err = r.Ref.ReadFile(ctx, gateway.ReadRequest{Filename: "/d/a", Range: &part.FileRange})
			must(err)
			expect(string(text) == part.want, "%v: %q", part.FileRange, text)
		}
		must(g.Warn(ctx, digest.Digest("sha256:"+strings.Repeat("0", 64)), "a warning from the gate", gateway.WarnOpts{Level: 1}))
	},
	// one call that is given up ends what only it waits for; the build goes on
	"cancel": func(ctx context.Context, g gateway.Client) {
		step := func(marker string) llb.State {
			return llb.Image("busybox").Run(llb.Args([]string{"sleep", marker}), llb.IgnoreCache).Root()
		}
		for i, ask := range []func(context.Context, llb.State) error{
			func(ctx context.Context, st llb.State) error {
				_, err := solve(ctx, g, st, true)
				return err
			},
			func(ctx context.Context, st llb.State) error {
				r, err := solve(ctx, g, st, false)
				must(err)
				return r.Ref.Evaluate(ctx)
			},
		} {
			marker := fmt.Sprintf("9%d%d", os.Getpid(), i)
			given, giveUp := context.WithCancel(ctx)
			ended := make(chan error)
			go func() { ended <- ask(given, step(marker)) }()
			waitFor(marker, true)
			giveUp()
			err := <-ended
			expect(errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "context canceled"), "%v", err)
			waitFor(marker, false)
			marker += "8"
			given, giveUp = context.WithTimeout(ctx, 2*time.Second)
			expect(ask(given, step(marker)) != nil, "the deadline was not kept")
			giveUp()
			waitFor(marker, false)
		}
		_, err := solve(ctx, g, llb.Image("busybox").Run(llb.Shlex("true"), llb.IgnoreCache).Root(), true)
		must(err)
	},
	"content": func(ctx context.Context, g gateway.Client) {
		_, err := solve(ctx, g, llb.Image("busybox"), true)
		must(err)
		list := func(filters ...string) map[string]int64 {
			found := map[string]int64{}
			s, err := engine.ContentClient().List(ctx, &content.ListContentRequest{Filters: filters})
			must(err)
			for {
				m, err := s.Recv()
				if err == io.EOF {
					return found
				}
				must(err)
				for _, i := range m.Info {
					_, twice := found[i.Digest]
					expect(!twice && i.CreatedAt.AsTime().Year() > 2000, "%v", i)
					found[i.Digest] = i.Size
				}
			}
		}
		all := list()
		expect(len(all) > 0, "nothing is listed")
		for d, size := range all {
			one := list("digest==" + d)
			expect(len(one) == 1 && one[d] == size, "%s: %v", d, one)
			i, err := engine.ContentClient().Info(ctx, &content.InfoRequest{Digest: d})
			must(err)
			expect(i.Info.Size == size, "%v, listed as %d", i, size)
			_, err = engine.ContentClient().Delete(ctx, &content.DeleteContentRequest{Digest: d})
			expect(err != nil && strings.Contains(err.Error(), "read-only content store"), "%v", err)
			break
		}
		s, err := engine.ContentClient().List(ctx, &content.ListContentRequest{Filters: []string{"digest=="}})
		must(err)
		_, err = s.Recv()
		expect(err == io.EOF, "%v", err)
		s, err = engine.ContentClient().List(ctx, &content.ListContentRequest{Filters: []string{"=="}})
		must(err)
		_, err = s.Recv()
		expect(status.Code(err) == codes.InvalidArgument, "%v", err)
		_, err = engine.ContentClient().Status(ctx, &content.StatusRequest{Ref: "none"})
		expect(status.Code(err) == codes.NotFound && strings.Contains(err.Error(), `could not get status for ref "none"`), "%v", err)
		_, err = engine.ContentClient().ListStatuses(ctx, &content.ListStatusesRequest{})
		must(err)
	},
	// what a failed step left can be looked at, and what it began with
	"failed": func(ctx context.Context, g gateway.Client) {
		st := llb.Image("busybox").Run(llb.Shlex(`sh -c "echo left > /left; exit 9"`)).Root()
		_, err := solve(ctx, g, st, true)
		var failed *errdefs.SolveError
		expect(errors.As(err, &failed), "no Solve detail: %v", err)
		var exit *pb.ExitError
		expect(errors.As(err, &exit) && exit.ExitCode == 9, "%v", err)
		op := failed.Op.GetExec()
		expect(op != nil && op.Meta.Args[0] == "sh" && len(failed.MountIDs) == 1 && len(failed.InputIDs) == 1, "%v", failed.Solve)
		expectLeft(ctx, g, failed.MountIDs[0], "left\n")
		expectLeft(ctx, g, failed.InputIDs[0], "absent\n")
	},
	// of a file op: the action whose output it was, ids by input and by action
	"failed-file": func(ctx context.Context, g gateway.Client) {
		st := llb.Image("busybox").File(llb.Mkfile("/left", 0o644, []byte("left\n")).Rm("/gone").Mkdir("/after", 0o755))
		_, err := solve(ctx, g, st, true)
		var failed *errdefs.SolveError
		expect(errors.As(err, &failed), "no Solve detail: %v", err)
		file, ok := failed.Subject.(*errdefs.Solve_File)
		expect(ok && file.File.Index == 2 && failed.Op.GetFile() != nil, "%v", failed.Solve)
		expect(len(failed.InputIDs) == 1 && len(failed.MountIDs) == 3 && failed.MountIDs[0] == "" && failed.MountIDs[2] == "", "%v", failed.Solve)
		expectLeft(ctx, g, failed.MountIDs[1], "left\n")
		expectLeft(ctx, g, failed.InputIDs[0], "absent\n")
	},
	// of a key that could not be made: the input whose content was read
	"failed-content": func(ctx context.Context, g gateway.Client) {
		from := llb.Image("busybox").File(llb.Mkfile("/left", 0o644, []byte("left\n")))
		_, err := solve(ctx, g, llb.Image("busybox").File(llb.Copy(from, "/gone", "/")), true)
		var failed *errdefs.SolveError
		expect(errors.As(err, &failed), "no Solve detail: %v", err)
		cache, ok := failed.Subject.(*errdefs.Solve_Cache)
		expect(ok && cache.Cache.Index == 1 && len(failed.InputIDs) == 1 && len(failed.MountIDs) == 0, "%v", failed.Solve)
		expectLeft(ctx, g, failed.InputIDs[0], "left\n")
	},
}

// expectLeft looks at /left in a result that a failure named.
func expectLeft(ctx context.Context, g gateway.Client, id, want string) {
	c, err := g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{{Dest: "/", MountType: opspb.MountType_BIND, ResultID: id}}})
	must(err)
	out, _, _ := run(ctx, c, sh("cat /left 2>/dev/null || echo absent"))
	expect(out == want, "%q, not %q", out, want)
	must(c.Release(ctx))
}

// processes whose command line holds the text
func processes(text string) int {
	n := 0
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), text) && !strings.Contains(string(line), "gate") {
			n++
		}
	}
	return n
}

func waitFor(text string, want bool) {
	for range 3000 {
		if processes(text) > 0 == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	panic(fmt.Errorf("processes with %q: not %v", text, want))
}

// a client -----------------------------------------------------------------------------------------------------------------

func drive(name string) (err error) {
	ctx := context.Background()
	c, err := client.New(ctx, "unix://"+*socket)
	if err != nil {
		return err
	}
	defer c.Close()
	engine = c
	keys := secretsprovider.FromMap(map[string][]byte{"key": []byte("sesame")})
	denied := &spb.Policy{Version: 1, Rules: []*spb.Rule{{
		Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: "docker-image://docker.io/denied/*"}}}}
	_, err = c.Build(ctx, client.SolveOpt{Session: []session.Attachable{keys}, SourcePolicy: denied}, "", func(ctx context.Context, g gateway.Client) (r *gateway.Result, err error) {
		defer func() {
			if e := recover(); e != nil {
				err = fmt.Errorf("%s: %v", name, e)
			}
		}()
		cases[name](ctx, g)
		return gateway.NewResult(), nil
	}, nil)
	return err
}

// a frontend ---------------------------------------------------------------------------------------------------------------

func build(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
	opts := g.BuildOpts().Opts
	switch opts["mode"] {
	case "facts": // what a frontend is told, as a file of the result
		var b strings.Builder
		fmt.Fprintf(&b, "session %v\nproduct %s\nworkers %d %s\n", g.BuildOpts().SessionID != "", g.BuildOpts().Product, len(g.BuildOpts().Workers), g.BuildOpts().Workers[0].Platforms[0].OS)
		def, err := os.ReadFile("/run/config/buildkit/metadata/frontend.bin")
		fmt.Fprintf(&b, "definition %v %v\n", len(def) > 0, err)
		inputs, err := g.Inputs(ctx)
		fmt.Fprintf(&b, "inputs %d %v\nopt %s\n", len(inputs), err, opts["build-arg:X"])
		_, err = os.Stat("/sys/class/net/eth0")
		fmt.Fprintf(&b, "network %v\n", err == nil)
		return solve(ctx, g, llb.Scratch().File(llb.Mkfile("/facts", 0o644, []byte(b.String()))), false)
	case "nested": // another frontend below this one
		text := "FROM busybox\nRUN echo nested > /nested\n"
		def, err := llb.Scratch().File(llb.Mkfile("/Dockerfile", 0o644, []byte(text))).Marshal(ctx)
		must(err)
		return g.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendInputs: map[string]*opspb.Definition{"dockerfile": def.ToPB(), "context": def.ToPB()}})
	case "container": // a frontend drives a container of its own
		c := container(ctx, g)
		out, _, _ := run(ctx, c, sh("echo from a container"))
		must(c.Release(ctx))
		return solve(ctx, g, llb.Scratch().File(llb.Mkfile("/out", 0o644, []byte(out))), false)
	case "refuse":
		return nil, fmt.Errorf("this frontend refuses")
	}
	return nil, fmt.Errorf("unknown mode %q", opts["mode"])
}

func serve() error {
	mode := ""
	for _, e := range os.Environ() {
		if _, v, ok := strings.Cut(e, "=mode="); ok {
			mode = v
		}
	}
	switch mode {
	case "crash":
		fmt.Fprintln(os.Stderr, "the frontend is on fire")
		os.Exit(3)
	case "silent":
		return nil
	case "garbage":
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("this is no HTTP/2\n", 1000)); err != nil {
				return nil
			}
		}
	case "never":
		fmt.Fprintln(os.Stderr, "the frontend sleeps")
		time.Sleep(time.Hour)
	case "flood":
		for range 200000 {
			fmt.Fprintln(os.Stderr, strings.Repeat("flood ", 100))
		}
		fmt.Fprintln(os.Stderr, "the flood ends")
		os.Exit(4)
	}
	return grpcclient.RunFromEnvironment(context.Background(), build)
}

func main() {
	var err error
	if os.Getenv("BUILDKIT_WORKERS") != "" {
		err = serve()
	} else {
		flag.Parse()
		if flag.Arg(0) == "list" {
			var names []string
			for n := range cases {
				names = append(names, n)
			}
			sort.Strings(names)
			fmt.Println(strings.Join(names, " "))
			return
		}
		err = drive(flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
