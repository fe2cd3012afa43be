// SPDX-License-Identifier: Apache-2.0

// Many solves at once, and large graphs, with BuildKit's own client package; prints JSON.
//
//	crowd -socket S solves N STEPS SLOW   N solves at once of STEPS steps each, half of them of the same graph; SLOW of them read no
//	                                      status before all others have ended
//	crowd -socket S graph N TIMES         one definition of N vertices, solved TIMES times: milliseconds of each
//	crowd -socket S build DIR TYPE        a Dockerfile, exported as TYPE; milliseconds of each vertex
//	crowd -socket S ahead REGISTRY        builds whose Dockerfile is not sent before REGISTRY was asked for its base image again
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	iofs "io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/tonistiigi/fsutil"

	"minke.example/build/dial"
)

var (
	socket = flag.String("socket", "", "unix socket")
	direct = flag.Bool("direct", false, "it speaks HTTP/2 at once: no POST /grpc")
)

// vertices follows a solve: what was declared, and how it ended.
type vertices struct {
	names map[string]string
	done  map[string]bool
	ms    map[string]float64
	fault error
}

func (v *vertices) follow(ch <-chan *client.SolveStatus) {
	v.names, v.done, v.ms = map[string]string{}, map[string]bool{}, map[string]float64{}
	for s := range ch {
		for _, x := range s.Vertexes {
			d := x.Digest.String()
			v.names[d] = x.Name
			if x.Error != "" && v.fault == nil {
				v.fault = fmt.Errorf("%s: %s", x.Name, x.Error)
			}
			if x.Completed != nil && x.Started != nil {
				v.done[d] = true
				v.ms[x.Name] += float64(x.Completed.Sub(*x.Started).Microseconds()) / 1000
			}
		}
	}
}

// solve runs one definition; the status is read from the moment that `read` is closed.
func solve(ctx context.Context, c *client.Client, def *llb.Definition, opt client.SolveOpt, read <-chan struct{}) (*vertices, time.Duration, error) {
	ch := make(chan *client.SolveStatus)
	v := &vertices{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-read
		v.follow(ch)
	}()
	start := time.Now()
	_, err := c.Solve(ctx, def, opt, ch)
	took := time.Since(start)
	<-ended
	if err == nil {
		err = v.fault
	}
	return v, took, err
}

func now() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func chain(name string, steps int) llb.State {
	st := llb.Scratch()
	for i := range steps {
		st = st.File(llb.Mkfile(fmt.Sprintf("/%s-%d", name, i), 0o644, []byte(name)))
	}
	return st
}

func solves(ctx context.Context, c *client.Client, n, steps, slow int) error {
	var wg sync.WaitGroup
	others := make(chan struct{})
	errs := make(chan error, n)
	fast := sync.WaitGroup{}
	fast.Add(n - slow)
	go func() { fast.Wait(); close(others) }()
	for i := range n {
		name := fmt.Sprintf("own%d", i)
		if i%2 == 0 {
			name = "shared"
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			read := now()
			if i < slow {
				read = others
			} else {
				defer fast.Done()
			}
			def, err := chain(name, steps).Marshal(ctx)
			if err == nil {
				var v *vertices
				v, _, err = solve(ctx, c, def, client.SolveOpt{}, read)
				if err == nil && (len(v.names) != steps || len(v.done) != steps) {
					err = fmt.Errorf("solve %d: %d vertices declared, %d ended, of %d", i, len(v.names), len(v.done), steps)
				}
			}
			if err != nil {
				errs <- err
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]int{"solved": n})
}

// graph: stages of 39 steps, each copied from into the result.
func graph(n int) llb.State {
	const stage = 40
	st := llb.Scratch()
	for i := range n / stage {
		name := fmt.Sprintf("stage%d", i)
		st = st.File(llb.Copy(chain(name, stage-1), fmt.Sprintf("/%s-0", name), "/"))
	}
	return st
}

// held is a folder that nobody can read before all is open.
type held struct {
	fsutil.FS
	open []<-chan struct{}
}

func (h held) Walk(ctx context.Context, target string, fn iofs.WalkDirFunc) error {
	for _, c := range h.open {
		select {
		case <-c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return h.FS.Walk(ctx, target, fn)
}

// walked is a folder that tells when it is read.
type walked struct {
	fsutil.FS
	news chan struct{}
	once *sync.Once
}

func (w walked) Walk(ctx context.Context, target string, fn iofs.WalkDirFunc) error {
	w.once.Do(func() { close(w.news) })
	return w.FS.Walk(ctx, target, fn)
}

// asked stands before a registry and tells when a tag is asked for.
type asked struct {
	next http.Handler
	mu   sync.Mutex
	tags []string
	news chan struct{}
	none bool // there is nothing here
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/manifests/latest") {
		a.mu.Lock()
		a.tags = append(a.tags, strings.Split(r.URL.Path, "/manifests/")[0][len("/v2/"):])
		if a.news != nil {
			close(a.news)
			a.news = nil
		}
		a.mu.Unlock()
	}
	if a.none {
		http.NotFound(w, r)
		return
	}
	a.next.ServeHTTP(w, r)
}

// expect returns what is closed at the next question; none is counted before.
func (a *asked) expect() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tags, a.news = nil, make(chan struct{})
	return a.news
}

// ahead builds from one base image, the same again, then from another, then with a .dockerignore of the Dockerfile's own, then
// from one that is gone: whatever was asked for ahead, the build is the Dockerfile's.  Prints the tags that each build asked for.
func ahead(ctx context.Context, c *client.Client, registry string) error {
	a := &asked{next: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})}
	server := httptest.NewServer(a)
	defer server.Close()
	dir, err := os.MkdirTemp("", "ahead")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			panic(err)
		}
	}
	write(".dockerignore", "good\n")
	write("good", "good")
	write("bad", "bad")
	var out [][]string
	for i, base := range []string{"busybox", "busybox", "other", "other", "other"} {
		image := strings.TrimPrefix(server.URL, "http://") + "/library/" + base
		steps := "COPY . /c/\nRUN test -e /c/bad && ! test -e /c/good\n"
		a.none = i == 4
		if i >= 3 {
			write("Dockerfile.dockerignore", "bad\n")
			steps = "COPY . /c/\nRUN test -e /c/good && ! test -e /c/bad\n"
		}
		write("Dockerfile", "FROM "+image+"\n"+steps)
		seen := walked{fs, make(chan struct{}), &sync.Once{}}
		open := []<-chan struct{}{a.expect(), seen.news}
		switch i {
		case 0:
			open = nil
		case 4: // the build before needed no .dockerignore of the context
			open = open[:1]
		}
		ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("build %d: nobody asked ahead", i))
		v, _, err := solve(ctx, c, nil, client.SolveOpt{
			Frontend:    "dockerfile.v0",
			LocalMounts: map[string]fsutil.FS{"context": seen, "dockerfile": held{fs, open}},
			SharedKey:   dir,
			Session:     []session.Attachable{},
		}, now())
		cancel()
		if a.none && (err == nil || !strings.Contains(err.Error(), base+":latest: not found")) {
			return fmt.Errorf("build %d: not that the image is gone: %v", i, err)
		} else if !a.none && err != nil {
			return fmt.Errorf("build %d: %w", i, err)
		}
		a.mu.Lock()
		out = append(out, append([]string{}, a.tags...))
		a.mu.Unlock()
		if want := "[internal] load metadata for " + image + ":latest"; !named(v, want) {
			return fmt.Errorf("build %d has no step %q: %v", i, want, v.names)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func named(v *vertices, name string) bool {
	for _, n := range v.names {
		if n == name {
			return true
		}
	}
	return false
}

func run(ctx context.Context) error {
	args := flag.Args()
	number := func(i int) int {
		v, err := strconv.Atoi(args[i])
		if err != nil {
			panic(err)
		}
		return v
	}
	c, err := dial.Client(ctx, *socket, *direct)
	if err != nil {
		return err
	}
	defer c.Close()
	switch {
	case len(args) == 4 && args[0] == "solves":
		return solves(ctx, c, number(1), number(2), number(3))
	case len(args) == 3 && args[0] == "graph":
		def, err := graph(number(1)).Marshal(ctx)
		if err != nil {
			return err
		}
		var ms []float64
		for range number(2) {
			_, took, err := solve(ctx, c, def, client.SolveOpt{}, now())
			if err != nil {
				return err
			}
			ms = append(ms, float64(took.Microseconds())/1000)
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"vertices": len(def.Def) - 1, "ms": ms})
	case len(args) == 3 && args[0] == "build":
		fs, err := fsutil.NewFS(args[1])
		if err != nil {
			return err
		}
		v, took, err := solve(ctx, c, nil, client.SolveOpt{
			Frontend:    "dockerfile.v0",
			LocalMounts: map[string]fsutil.FS{"context": fs, "dockerfile": fs},
			SharedKey:   args[1],
			Session:     []session.Attachable{},
			Exports:     []client.ExportEntry{{Type: args[2], Attrs: map[string]string{"name": "crowd"}}},
		}, now())
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"ms": float64(took.Microseconds()) / 1000, "vertices": v.ms})
	case len(args) == 2 && args[0] == "ahead":
		return ahead(ctx, c, args[1])
	}
	return fmt.Errorf("crowd: unknown command %v", args)
}

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
