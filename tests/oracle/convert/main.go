// SPDX-License-Identifier: Apache-2.0

// Command convert runs BuildKit's own Dockerfile frontend over a corpus and writes down all that it asked of the builder and all
// that it answered, in a text form that tests/oracle/convert_tool.c writes in the same way for our frontend.
//
//	convert CORPUS OUT
//
// Each CORPUS/NAME.Dockerfile, with options in CORPUS/NAME.json, gives OUT/NAME.txt, and OUT/NAME.REQUEST.txt for every subrequest.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// testCase is NAME.json.
type testCase struct {
	Opts    map[string]string            `json:"opts"`
	Session string                       `json:"session"`
	Workers []string                     `json:"workers"`
	Locals  map[string]map[string]string `json:"locals"` // files of local sources, by name and path
	Skip    []string                     `json:"skip"`   // subrequests that are answered in random order
	Inputs  []string                     `json:"inputs"` // names of frontend inputs: each is a local source of that name
	Times   map[string]int64             `json:"times"`  // when sources were made, by identifier
}

// image is one entry of images.json, by "ref" or "ref platform"; "*" is all others.
type image struct {
	Digest string `json:"digest"`
	Config string `json:"config"`
}

type fakeClient struct {
	mu     sync.Mutex
	tc     testCase
	file   []byte
	images map[string]image
	trace  []string
	groups map[string]string
}

type fakeRef struct {
	c   *fakeClient
	def *pb.Definition
}

func (c *fakeClient) log(entry string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trace = append(c.trace, entry)
}

// localName is the name of the first local source of a definition.
func localName(def *pb.Definition) string {
	for _, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err == nil {
			if src := op.GetSource(); src != nil {
				return strings.TrimPrefix(src.Identifier, "local://")
			}
		}
	}
	return ""
}

func (c *fakeClient) Solve(ctx context.Context, req gwclient.SolveRequest) (*gwclient.Result, error) {
	res := gwclient.NewResult()
	if src := req.FrontendOpt["source"]; req.Frontend == "gateway.v0" && (strings.HasPrefix(src, "docker/dockerfile") || src == "dockerfile.v0") {
		// The frontend image is the same program: run it as such.
		tc := c.tc
		tc.Opts = req.FrontendOpt
		sub := &fakeClient{tc: tc, file: c.file, images: c.images}
		res, err := builder.Build(ctx, sub)
		for _, entry := range sub.trace {
			c.log(entry)
		}
		return res, err
	}
	if req.Frontend != "" {
		c.log(fmt.Sprintf("frontend %s %s\n", req.Frontend, mapText(req.FrontendOpt)))
		return res, nil
	}
	for _, im := range req.CacheImports {
		c.log(fmt.Sprintf("cache %s %s\n", im.Type, mapText(im.Attrs)))
	}
	c.log("solve\n" + c.defText(req.Definition))
	if req.Definition == nil || len(req.Definition.Def) == 0 {
		return res, nil
	}
	res.SetRef(&fakeRef{c: c, def: req.Definition})
	return res, nil
}

func (c *fakeClient) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	var p *ocispecs.Platform
	mode, extra := "", ""
	if opt.ImageOpt != nil {
		p, mode = opt.ImageOpt.Platform, opt.ImageOpt.ResolveMode
	}
	if opt.OCILayoutOpt != nil {
		p = opt.OCILayoutOpt.Platform
		extra = fmt.Sprintf(" oci session=%s store=%s", opt.OCILayoutOpt.Store.SessionID, opt.OCILayoutOpt.Store.StoreID)
	}
	plat := "-"
	if p != nil {
		plat = platforms.FormatAll(*p)
	}
	c.log(fmt.Sprintf("resolve %s platform=%s mode=%s log=%q%s\n", ref, plat, mode, opt.LogName, extra))
	img, ok := c.images[ref+" "+plat]
	if !ok {
		img, ok = c.images[ref]
	}
	if !ok {
		img, ok = c.images["*"]
	}
	if !ok {
		// The bridge below a real frontend adds the first part.
		return "", "", nil, fmt.Errorf("failed to resolve source metadata for %s: %s: not found", ref, ref)
	}
	return ref, digest.Digest(img.Digest), []byte(img.Config), nil
}

func (c *fakeClient) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if ref, ok := strings.CutPrefix(op.Identifier, "docker-image://"); ok && opt.ImageOpt != nil {
		if opt.LogName == "" {
			opt.LogName = "resolve image config for " + op.Identifier // as the bridge below a real frontend has it
		}
		_, dgst, config, err := c.ResolveImageConfig(ctx, ref, opt)
		if err != nil {
			return nil, fmt.Errorf("%s: not found", ref)
		}
		return &sourceresolver.MetaResponse{Op: op, Image: &sourceresolver.ResolveImageResponse{Digest: dgst, Config: config}}, nil
	}
	if strings.HasPrefix(op.Identifier, "local://") {
		return &sourceresolver.MetaResponse{Op: op}, nil // it has no time: minke does not ask
	}
	c.log(fmt.Sprintf("metadata %s %s log=%q\n", op.Identifier, mapText(op.Attrs), opt.LogName))
	md := &sourceresolver.MetaResponse{Op: op}
	seconds, ok := c.tc.Times[op.Identifier]
	if !ok {
		return md, nil
	}
	if strings.HasPrefix(op.Identifier, "git://") {
		text := fmt.Sprintf("tree 0\nauthor a <a@b> 1 +0000\ncommitter c <c@d> %d +0100\n\nx\n", seconds)
		md.Git = &sourceresolver.ResolveGitResponse{CommitObject: []byte(text)}
	} else {
		when := time.Unix(seconds, 0)
		md.HTTP = &sourceresolver.ResolveHTTPResponse{LastModified: &when}
	}
	return md, nil
}

func (c *fakeClient) BuildOpts() gwclient.BuildOpts {
	w := gwclient.WorkerInfo{ID: "w"}
	for _, s := range c.tc.Workers {
		w.Platforms = append(w.Platforms, platforms.MustParse(s))
	}
	return gwclient.BuildOpts{
		Opts:      c.tc.Opts,
		SessionID: c.tc.Session,
		Workers:   []gwclient.WorkerInfo{w},
		Caps:      gwpb.Caps.CapSet(gwpb.Caps.All()),
		LLBCaps:   pb.Caps.CapSet(pb.Caps.All()),
	}
}

func (c *fakeClient) Inputs(ctx context.Context) (map[string]llb.State, error) {
	out := map[string]llb.State{}
	for _, name := range c.tc.Inputs {
		st := llb.Local(name, llb.SessionID("input"), llb.WithCustomName("input "+name))
		st = llb.Scratch().File(llb.Copy(st, "/", "/").Mkdir("/made", 0755), llb.WithCustomName("made "+name))
		def, err := st.Marshal(ctx, llb.WithCaps(pb.Caps.CapSet(pb.Caps.All())), llb.LinuxAmd64)
		if err != nil {
			return nil, err
		}
		op, err := llb.NewDefinitionOp(def.ToPB())
		if err != nil {
			return nil, err
		}
		out[name] = llb.NewState(op)
	}
	return out, nil
}

func (c *fakeClient) NewContainer(ctx context.Context, req gwclient.NewContainerRequest) (gwclient.Container, error) {
	return nil, fmt.Errorf("no containers here")
}

func (c *fakeClient) Warn(ctx context.Context, dgst digest.Digest, msg string, opts gwclient.WarnOpts) error {
	detail := ""
	for _, d := range opts.Detail {
		detail += " " + string(d)
	}
	c.log(fmt.Sprintf("warn %s level=%d %s url=%s detail=%s ranges=%s\n", dgst, opts.Level, msg, opts.URL, detail, rangesText(opts.Range)))
	return nil
}

func (r *fakeRef) files() map[string]string {
	return r.c.tc.Locals[localName(r.def)]
}

func (r *fakeRef) content(name string) ([]byte, error) {
	if dt, ok := r.files()[name]; ok {
		if rest, ok := strings.CutPrefix(dt, "base64:"); ok {
			return base64.StdEncoding.DecodeString(rest)
		}
		if dt == "absent:" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(dt), nil
	}
	base := r.c.tc.Opts["filename"]
	if base == "" {
		base = "Dockerfile"
	}
	if name == base && localName(r.def) != "context" {
		return r.c.file, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (r *fakeRef) ToState() (llb.State, error) {
	op, err := llb.NewDefinitionOp(r.def)
	if err != nil {
		return llb.State{}, err
	}
	return llb.NewState(op), nil
}
func (r *fakeRef) Evaluate(ctx context.Context) error { return nil }
func (r *fakeRef) ReadFile(ctx context.Context, req gwclient.ReadRequest) ([]byte, error) {
	return r.content(req.Filename)
}
func (r *fakeRef) StatFile(ctx context.Context, req gwclient.StatRequest) (*fstypes.Stat, error) {
	dt, err := r.content(req.Path)
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: req.Path, Size: int64(len(dt))}, nil
}
func (r *fakeRef) ReadDir(ctx context.Context, req gwclient.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, fmt.Errorf("no directories here")
}

func mapText(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%q=%q", k, m[k]))
	}
	return strings.Join(out, " ")
}

func rangesText(ranges []*pb.Range) string {
	var out []string
	for _, r := range ranges {
		out = append(out, fmt.Sprintf("%d.%d-%d.%d", r.Start.Line, r.Start.Character, r.End.Line, r.End.Character))
	}
	return strings.Join(out, ",")
}

// group names a random progress group id by the order in which it appears.
func (c *fakeClient) group(id string, seen map[string]string) string {
	if _, ok := seen[id]; !ok {
		seen[id] = fmt.Sprintf("group%d", len(seen))
	}
	return seen[id]
}

func (c *fakeClient) defText(def *pb.Definition) string {
	if def == nil {
		return "  no definition\n"
	}
	var b strings.Builder
	groups := map[string]string{}
	order := []string{}
	for _, dt := range def.Def {
		order = append(order, digest.FromBytes(dt).String())
		fmt.Fprintf(&b, "  op %s %s\n", digest.FromBytes(dt), base64.StdEncoding.EncodeToString(dt))
	}
	for _, dgst := range order {
		md, ok := def.Metadata[dgst]
		if !ok {
			fmt.Fprintf(&b, "  meta %s none\n", dgst)
			continue
		}
		fmt.Fprintf(&b, "  meta %s ignorecache=%v desc=[%s] caps=[", dgst, md.IgnoreCache, mapText(md.Description))
		for i, k := range slices.Sorted(maps.Keys(md.Caps)) {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(k)
		}
		b.WriteByte(']')
		if md.ExportCache != nil {
			fmt.Fprintf(&b, " exportcache=%v", md.ExportCache.Value)
		}
		if g := md.ProgressGroup; g != nil {
			fmt.Fprintf(&b, " group=%s %q weak=%v", c.group(g.Id, groups), g.Name, g.Weak)
		}
		if r := md.LinuxResources; r != nil {
			fmt.Fprintf(&b, " resources=%d,%d,%d,%d,%d,%q,%q", r.Memory, r.MemorySwap, r.CpuShares, r.CpuPeriod, r.CpuQuota, r.CpusetCpus, r.CpusetMems)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "  metadata entries %d\n", len(def.Metadata))
	if def.Source == nil {
		return b.String() + "  no source\n"
	}
	for _, info := range def.Source.Infos {
		fmt.Fprintf(&b, "  info %q %q %d bytes %s\n", info.Filename, info.Language, len(info.Data), digest.FromBytes(info.Data))
		if info.Definition != nil {
			for _, dt := range info.Definition.Def {
				fmt.Fprintf(&b, "    def %s\n", digest.FromBytes(dt))
			}
		}
	}
	for _, dgst := range order {
		locs, ok := def.Source.Locations[dgst]
		if !ok {
			fmt.Fprintf(&b, "  locations %s none\n", dgst)
			continue
		}
		fmt.Fprintf(&b, "  locations %s", dgst)
		for _, l := range locs.Locations {
			fmt.Fprintf(&b, " %d:%s", l.SourceIndex, rangesText(l.Ranges))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "  location entries %d\n", len(def.Source.Locations))
	return b.String()
}

func refText(ref gwclient.Reference) string {
	r, ok := ref.(*fakeRef)
	if !ok || r == nil || len(r.def.Def) == 0 {
		return "scratch"
	}
	return digest.FromBytes(r.def.Def[len(r.def.Def)-1]).String()
}

func resultText(res *gwclient.Result) string {
	var b strings.Builder
	b.WriteString("result\n")
	if res.Ref != nil {
		fmt.Fprintf(&b, "  ref %s\n", refText(res.Ref))
	}
	for _, k := range slices.Sorted(maps.Keys(res.Refs)) {
		fmt.Fprintf(&b, "  ref[%s] %s\n", k, refText(res.Refs[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(res.Metadata)) {
		fmt.Fprintf(&b, "  metadata %s %s\n", k, res.Metadata[k])
	}
	for _, k := range slices.Sorted(maps.Keys(res.Attestations)) {
		for _, a := range res.Attestations[k] {
			fmt.Fprintf(&b, "  attestation[%s] kind=%d %s path=%q type=%s\n", k, a.Kind, refText(a.Ref), a.Path, a.InToto.PredicateType)
			for _, key := range slices.Sorted(maps.Keys(a.Metadata)) {
				fmt.Fprintf(&b, "    %s %s\n", key, a.Metadata[key])
			}
		}
	}
	return b.String()
}

func errorText(err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "error %s\n", err)
	for _, s := range errdefs.Sources(err) {
		fmt.Fprintf(&b, "  source %q %d bytes ranges=%s\n", s.Info.Filename, len(s.Info.Data), rangesText(s.Ranges))
	}
	return b.String()
}

var errPanic = errors.New("the frontend panicked")

// build turns a panic of the frontend into an error: it answers nothing then that could be compared.
func build(c *fakeClient) (res *gwclient.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errPanic
		}
	}()
	return builder.Build(context.Background(), c)
}

// requests are asked of every case that asks nothing itself; "" is the build.
var requests = []string{"", "outline", "targets", "lint", "convertllb"}

func runCase(base, request string, images map[string]image) (string, error) {
	file, err := os.ReadFile(base + ".Dockerfile")
	if err != nil {
		return "", err
	}
	tc := testCase{Session: "session"}
	if dt, err := os.ReadFile(base + ".json"); err == nil {
		if err := json.Unmarshal(dt, &tc); err != nil {
			return "", fmt.Errorf("%s.json: %w", base, err)
		}
	}
	if tc.Opts == nil {
		tc.Opts = map[string]string{}
	}
	if request != "" {
		if _, ok := tc.Opts["requestid"]; ok || slices.Contains(tc.Skip, request) {
			return "", nil
		}
		tc.Opts["requestid"] = "frontend." + request
	}
	if len(tc.Workers) == 0 {
		tc.Workers = []string{"linux/amd64"}
	}
	c := &fakeClient{tc: tc, file: file, images: images}
	res, err := build(c)
	var last string
	if err == errPanic {
		return "", nil
	} else if err != nil {
		last = errorText(err)
	} else {
		last = resultText(res)
	}
	if err != nil || strings.Contains(last, `"buildError"`) {
		// minke asks for it beside the look-ups of base images.
		c.trace = slices.DeleteFunc(c.trace, func(s string) bool { return strings.Contains(s, `"[internal] load .dockerignore"`) })
	}
	sort.Strings(c.trace)
	return strings.Join(slices.Compact(c.trace), "") + last, nil
}

func run(corpus, out string) error {
	var images map[string]image
	dt, err := os.ReadFile(filepath.Join(corpus, "images.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(dt, &images); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(corpus, "*.Dockerfile"))
	if err != nil {
		return err
	}
	for _, f := range files {
		base := strings.TrimSuffix(f, ".Dockerfile")
		for _, request := range requests {
			text, err := runCase(base, request, images)
			if err != nil {
				return err
			}
			if text == "" {
				continue
			}
			name := filepath.Base(base)
			if request != "" {
				name += "." + request
			}
			if err := os.WriteFile(filepath.Join(out, name+".txt"), []byte(text), 0644); err != nil {
				return err
			}
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: convert CORPUS OUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
