// SPDX-License-Identifier: Apache-2.0

// Build a Dockerfile through an engine's socket with BuildKit's own client package, the way buildx's docker driver does it:
// the control connection is POST /grpc, the session is POST /session, both turned into HTTP/2 by a 101.
//
//	go run . -socket /run/minke.sock -tag hello ./context
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tonistiigi/fsutil"

	"minke.example/build/dial"
)

var (
	socket  = flag.String("socket", "/var/run/docker.sock", "the engine's unix socket")
	direct  = flag.Bool("direct", false, "plain HTTP/2 on the socket instead of POST /grpc (buildkitd)")
	tag     = flag.String("tag", "", "name of the result")
	export  = flag.String("export", "moby", "exporter: moby, image, or none")
	file    = flag.String("file", "Dockerfile", "name of the Dockerfile in the context")
	noCache = flag.Bool("no-cache", false, "run every step")
	times   = flag.Int("times", 1, "build that often and print the times as JSON")
	target  = flag.String("target", "", "stage to build")
)

func build(ctx context.Context, c *client.Client, dir string, quiet bool) (time.Duration, map[string]string, error) {
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		return 0, nil, err
	}
	opt := client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{"filename": *file},
		LocalMounts:   map[string]fsutil.FS{"context": fs, "dockerfile": fs},
		SharedKey:     dir,
		Session:       []session.Attachable{},
	}
	if !*direct { // as docker build does without --pull
		opt.FrontendAttrs["image-resolve-mode"] = "local"
	}
	if *noCache {
		opt.FrontendAttrs["no-cache"] = ""
	}
	if *target != "" {
		opt.FrontendAttrs["target"] = *target
	}
	if *export != "none" {
		opt.Exports = []client.ExportEntry{{Type: *export, Attrs: map[string]string{"name": *tag}}}
	}
	status := make(chan *client.SolveStatus)
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		if quiet {
			for range status {
			}
			return
		}
		d, err := progressui.NewDisplay(os.Stderr, progressui.PlainMode)
		if err == nil {
			_, err = d.UpdateFrom(ctx, status)
		}
		if err != nil {
			for range status {
			}
		}
	}()
	start := time.Now()
	resp, err := c.Solve(ctx, nil, opt, status)
	took := time.Since(start)
	<-drawn
	if err != nil {
		return took, nil, err
	}
	return took, resp.ExporterResponse, nil
}

func run() error {
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("usage: go run . [flags] CONTEXT (-h lists the flags)")
	}
	ctx := context.Background()
	c, err := dial.Client(ctx, *socket, *direct)
	if err != nil {
		return err
	}
	defer c.Close()
	var all []float64
	for i := 0; i < *times; i++ {
		took, resp, err := build(ctx, c, flag.Arg(0), *times > 1)
		if err != nil {
			return err
		}
		all = append(all, float64(took.Microseconds())/1000)
		if *times == 1 {
			fmt.Println("digest:", resp["containerimage.digest"])
			fmt.Println("name:  ", resp["image.name"])
		}
	}
	if *times > 1 {
		sort.Float64s(all)
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"ms": all, "min": all[0], "median": all[len(all)/2]})
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
