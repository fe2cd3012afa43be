// SPDX-License-Identifier: Apache-2.0

// A client whose file sync lies: it offers a context of its own making and builds a copy of it.
//
//	liar -socket S [-direct] LIE      LIE is a name of lies, or "list"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
)

var (
	socket = flag.String("socket", "", "the engine's socket")
	target = flag.String("target", "/nowhere", "a folder outside, which no lie may change")
)

type stream = filesync.FileSync_DiffCopyServer

func stat(s stream, st *types.Stat) error {
	st.ModTime = 1700000000000000000
	return s.Send(&types.Packet{Type: types.PACKET_STAT, Stat: st})
}

func file(s stream, path string, size int64) error {
	return stat(s, &types.Stat{Path: path, Mode: 0o644, Size: size})
}

func link(s stream, path, to string) error {
	return stat(s, &types.Stat{Path: path, Mode: uint32(os.ModeSymlink | 0o777), Linkname: to})
}

func dir(s stream, path string) error {
	return stat(s, &types.Stat{Path: path, Mode: uint32(os.ModeDir | 0o755)})
}

func end(s stream) error { return s.Send(&types.Packet{Type: types.PACKET_STAT}) }

func data(s stream, id uint32, text string) error {
	if text != "" {
		if err := s.Send(&types.Packet{Type: types.PACKET_DATA, ID: id, Data: []byte(text)}); err != nil {
			return err
		}
	}
	return s.Send(&types.Packet{Type: types.PACKET_DATA, ID: id})
}

// serve answers each request with the same text, until the other side is done.
func serve(s stream, text string) error {
	for {
		var p types.Packet
		if err := s.RecvMsg(&p); err != nil {
			return err
		}
		switch p.Type {
		case types.PACKET_REQ:
			if err := data(s, p.ID, text); err != nil {
				return err
			}
		case types.PACKET_FIN:
			return s.Send(&types.Packet{Type: types.PACKET_FIN})
		}
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var lies = map[string]func(s stream) error{
	"truth": func(s stream) error { return first(file(s, "a", 4), end(s), serve(s, "text")) },
	"dotdot": func(s stream) error {
		return first(file(s, "../../../../../../../../.."+*target+"/escaped", 4), end(s), serve(s, "evil"))
	},
	"dotdot-inside": func(s stream) error {
		return first(dir(s, "d"), file(s, "d/../../../../../../../../../.."+*target+"/escaped", 4), end(s), serve(s, "evil"))
	},
	"absolute": func(s stream) error { return first(file(s, *target+"/escaped", 4), end(s), serve(s, "evil")) },
	"empty-name": func(s stream) error {
		return first(file(s, "", 4), file(s, ".", 4), file(s, "..", 4), end(s), serve(s, "evil"))
	},
	"nul": func(s stream) error { return first(file(s, "a\x00b", 4), end(s), serve(s, "evil")) },
	"through-link": func(s stream) error {
		return first(link(s, "l", *target), file(s, "l/escaped", 4), end(s), serve(s, "evil"))
	},
	"link-then-dir": func(s stream) error {
		return first(link(s, "l", *target), dir(s, "l"), file(s, "l/escaped", 4), end(s), serve(s, "evil"))
	},
	"hard-link-outside": func(s stream) error {
		return first(stat(s, &types.Stat{Path: "h", Mode: 0o644, Linkname: *target + "/f", Size: 64}), end(s), serve(s, "evil"))
	},
	"hard-link-dotdot": func(s stream) error {
		return first(stat(s, &types.Stat{Path: "h", Mode: 0o644, Linkname: "../../../../../../../.." + *target + "/f", Size: 64}), end(s), serve(s, "evil"))
	},
	"hard-link-through-link": func(s stream) error {
		return first(link(s, "a", *target), stat(s, &types.Stat{Path: "h", Mode: 0o644, Linkname: "a/f", Size: 64}), end(s), serve(s, "evil"))
	},
	"unsorted":      func(s stream) error { return first(file(s, "b", 4), file(s, "a", 4), end(s), serve(s, "text")) },
	"twice":         func(s stream) error { return first(file(s, "a", 4), file(s, "a", 4), end(s), serve(s, "text")) },
	"child-first":   func(s stream) error { return first(file(s, "d/a", 4), dir(s, "d"), end(s), serve(s, "text")) },
	"file-as-dir":   func(s stream) error { return first(file(s, "a", 4), file(s, "a/b", 4), end(s), serve(s, "text")) },
	"negative-size": func(s stream) error { return first(file(s, "a", -1), end(s), serve(s, "text")) },
	"unasked-data":  func(s stream) error { return first(file(s, "a", 4), data(s, 77, "x"), end(s), serve(s, "text")) },
	"device": func(s stream) error {
		return first(stat(s, &types.Stat{Path: "d", Mode: uint32(os.ModeDevice | 0o666), Devmajor: 1, Devminor: 1}), end(s), serve(s, ""))
	},
	"xattr": func(s stream) error {
		return first(stat(s, &types.Stat{Path: "a", Mode: 0o644, Size: 4, Xattrs: map[string][]byte{"trusted.overlay.redirect": []byte("/"), "trusted.overlay.opaque": []byte("y")}}), end(s), serve(s, "text"))
	},
	"deep": func(s stream) error {
		return first(file(s, strings.Repeat("d/", 5000)+"f", 4), end(s), serve(s, "text"))
	},
	"gone":   func(s stream) error { return first(file(s, "a", 4), fmt.Errorf("the client has other plans")) },
	"no-end": func(s stream) error { return file(s, "a", 4) },
	"no-data": func(s stream) error {
		return first(file(s, "a", 4), end(s), s.Send(&types.Packet{Type: types.PACKET_FIN}))
	},
	"error-packet": func(s stream) error {
		return first(file(s, "a", 4), s.Send(&types.Packet{Type: types.PACKET_ERR, Data: []byte("disk on fire")}), serve(s, ""))
	},
	"exit": func(s stream) error { _ = file(s, "a", 4); os.Exit(3); return nil },
}

type liar struct{ lie func(stream) error }

func (l *liar) Register(s *grpc.Server)                             { filesync.RegisterFileSyncServer(s, l) }
func (l *liar) DiffCopy(s filesync.FileSync_DiffCopyServer) error   { return l.lie(s) }
func (l *liar) TarStream(s filesync.FileSync_TarStreamServer) error { return fmt.Errorf("no tar") }

func run() error {
	flag.Parse()
	if flag.Arg(0) == "list" {
		var names []string
		for n := range lies {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Println(strings.Join(names, " "))
		return nil
	}
	ctx := context.Background()
	c, err := client.New(ctx, "unix://"+*socket)
	if err != nil {
		return err
	}
	defer c.Close()
	from := llb.Local("context", llb.SharedKeyHint("liar-"+flag.Arg(0)))
	def, err := llb.Scratch().File(llb.Copy(from, "/", "/in", &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true})).Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return err
	}
	// by way of the gateway: the client's own Solve insists on true folders
	_, err = c.Build(ctx, client.SolveOpt{Session: []session.Attachable{&liar{lies[flag.Arg(0)]}}}, "", func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
		return g.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	}, nil)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
