// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"net"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
)

func file(a *llb.FileAction) func() request {
	return func() request { return request{st: tree().File(a)} }
}

func onScratch(a *llb.FileAction) func() request {
	return func() request { return request{st: llb.Scratch().File(a)} }
}

func cp(src, dst string, o ...llb.CopyOption) func() request {
	return func() request { return request{st: llb.Scratch().File(llb.Copy(tree(), src, dst, o...))} }
}

// cpOver copies over something that is there.
func cpOver(src, dst string, o ...llb.CopyOption) func() request {
	return func() request {
		base := llb.Scratch().File(llb.Mkdir("/t", 0o750, llb.WithCreatedTime(old), llb.WithUIDGID(7, 7)).
			Mkfile("/t/a.txt", 0o600, []byte("was"), llb.WithCreatedTime(old)).
			Mkfile("/t/sub", 0o600, []byte("a file"), llb.WithCreatedTime(old)).
			Mkdir("/t/b.go", 0o755, llb.WithCreatedTime(old)).
			Mkfile("/t/b.go/in", 0o600, []byte("in"), llb.WithCreatedTime(old)).
			Symlink("/t", "/tl", llb.WithCreatedTime(old)).
			Symlink("/gone/away", "/bad", llb.WithCreatedTime(old)).
			Mkfile("/f", 0o600, []byte("f"), llb.WithCreatedTime(old)))
		return request{st: base.File(llb.Copy(tree(), src, dst, o...))}
	}
}

func exec(script string, o ...llb.RunOption) func() request {
	return func() request { return request{st: says(script, o...)} }
}

func execOp(script string, change func(*pb.ExecOp)) func() request {
	return func() request {
		return request{st: says(script), change: func(op *pb.Op) { change(op.GetExec()) }}
	}
}

func op(st func() llb.State, change func(*pb.Op)) func() request {
	return func() request { return request{st: st(), change: change} }
}

func state(st func() llb.State) func() request {
	return func() request { return request{st: st()} }
}

func aFile() llb.State {
	return tree().File(llb.Mkfile("/x", 0o644, []byte("x"), llb.WithCreatedTime(old)))
}
func aRun() llb.State { return says("echo") }
func aMerge() llb.State {
	return llb.Merge([]llb.State{tree(), llb.Scratch().File(llb.Mkfile("/x", 0o644, nil, llb.WithCreatedTime(old)))})
}
func aDiff() llb.State { return llb.Diff(tree(), aFile()) }

func lower() llb.State {
	return run(`umask 022; mkdir -p /o/dir/deep /o/gone /o/opaque; echo 1 > /o/dir/f; echo 2 > /o/gone/f; echo 3 > /o/opaque/old; echo 4 > /o/file
		ln /o/file /o/hard; ln -s file /o/sym; mkfifo /o/pipe; chmod 4755 /o/dir/f; chown 5:6 /o/sym -h; echo k > /o/kind; echo l > /o/keep
		find /o | xargs touch -h -d @1000000000`).AddMount("/o", llb.Scratch())
}

func upper(l llb.State) llb.State {
	return run(`rm -rf /o/gone /o/opaque /o/kind; mkdir /o/opaque /o/kind; echo new > /o/opaque/new; echo 5 > /o/dir/g; chmod 700 /o/dir; rm /o/pipe; ln /o/file /o/hard2; rm /o/sym; ln -s keep /o/sym
		touch -d @1000000000 /o/opaque/new /o/dir/g /o/dir /o/opaque /o/kind; touch -h -d @1000000000 /o/sym; touch -d @1000000000 /o`).AddMount("/o", l)
}

func other() llb.State {
	return run(`mkdir -p /o/dir /o/gone; echo other > /o/gone/f; echo z > /o/dir/z; echo 4 > /o/file; mkdir /o/keep; echo in > /o/keep/in; find /o | xargs touch -h -d @1100000000`).AddMount("/o", llb.Scratch())
}

var cases = map[string]func() request{
	// mkdir
	"mkdir plain":          file(llb.Mkdir("/n", 0o1777, llb.WithCreatedTime(old))),
	"mkdir there":          file(llb.Mkdir("/d", 0o700, llb.WithCreatedTime(old), llb.WithUIDGID(9, 9))),
	"mkdir over a file":    file(llb.Mkdir("/top", 0o700)),
	"mkdir below a file":   file(llb.Mkdir("/top/x", 0o700)),
	"mkdir no parent":      file(llb.Mkdir("/n/m", 0o700)),
	"mkdir parents":        file(llb.Mkdir("/n/m/o", 0o2750, llb.WithParents(true), llb.WithCreatedTime(old), llb.WithUIDGID(9, 8))),
	"mkdir parents file":   file(llb.Mkdir("/top/m/o", 0o750, llb.WithParents(true))),
	"mkdir parents there":  file(llb.Mkdir("/d/sub", 0o777, llb.WithParents(true), llb.WithCreatedTime(old), llb.WithUIDGID(9, 8))),
	"mkdir through link":   file(llb.Mkdir("/d/dirlink/n", 0o750, llb.WithCreatedTime(old))),
	"mkdir through up":     file(llb.Mkdir("/up/n", 0o750, llb.WithCreatedTime(old))),
	"mkdir dangling":       file(llb.Mkdir("/d/dangling", 0o750, llb.WithCreatedTime(old))),
	"mkdir below dangling": file(llb.Mkdir("/d/dangling/x", 0o750, llb.WithParents(true), llb.WithCreatedTime(old))),
	"mkdir root":           file(llb.Mkdir("/", 0o700, llb.WithCreatedTime(old))),
	"mkdir root parents":   file(llb.Mkdir("/", 0o700, llb.WithParents(true), llb.WithCreatedTime(old))),
	"mkdir dots":           file(llb.Mkdir("/d/../../../n", 0o700, llb.WithCreatedTime(old))),
	"mkdir mode bits":      file(llb.Mkdir("/n", 0o7777, llb.WithCreatedTime(old))),
	"mkdir long name": func() request {
		return request{st: tree().File(llb.Mkdir("/"+string(make300()), 0o700))}
	},
	// mkfile
	"mkfile over":          file(llb.Mkfile("/top", 0o4711, []byte("n"), llb.WithCreatedTime(old), llb.WithUIDGID(5, 6))),
	"mkfile over link":     file(llb.Mkfile("/d/link", 0o600, []byte("n"), llb.WithCreatedTime(old))),
	"mkfile over dangling": file(llb.Mkfile("/d/dangling", 0o600, []byte("n"), llb.WithCreatedTime(old))),
	"mkfile over dir":      file(llb.Mkfile("/d", 0o600, []byte("n"))),
	"mkfile over empty":    file(llb.Mkfile("/d/empty", 0o600, []byte("n"))),
	"mkfile no parent":     file(llb.Mkfile("/n/x", 0o600, []byte("n"))),
	"mkfile below file":    file(llb.Mkfile("/top/x", 0o600, []byte("n"))),
	"mkfile root":          file(llb.Mkfile("/", 0o600, []byte("n"))),
	"mkfile slash":         file(llb.Mkfile("/n/", 0o600, []byte("n"), llb.WithCreatedTime(old))),
	"mkfile empty":         file(llb.Mkfile("/n", 0o600, nil, llb.WithCreatedTime(old))),
	"mkfile through up":    file(llb.Mkfile("/up/n", 0o600, []byte("n"), llb.WithCreatedTime(old))),
	"mkfile negative time": file(llb.Mkfile("/n", 0o600, nil, llb.WithCreatedTime(time.Unix(-5, 0)))),
	"mkfile nanoseconds":   file(llb.Mkfile("/n", 0o600, nil, llb.WithCreatedTime(time.Unix(1e9, 999999999)))),
	// symlink
	"symlink plain":     file(llb.Symlink("a b", "/n", llb.WithCreatedTime(old), llb.WithUIDGID(5, 6))),
	"symlink there":     file(llb.Symlink("x", "/top")),
	"symlink on link":   file(llb.Symlink("x", "/d/link")),
	"symlink dangling":  file(llb.Symlink("x", "/d/dangling", llb.WithCreatedTime(old))),
	"symlink no parent": file(llb.Symlink("x", "/n/m")),
	"symlink empty":     file(llb.Symlink("", "/n")),
	"symlink root":      file(llb.Symlink("x", "/")),
	// rm
	"rm plain":            file(llb.Rm("/top")),
	"rm dir":              file(llb.Rm("/d")),
	"rm none":             file(llb.Rm("/none")),
	"rm none allowed":     file(llb.Rm("/none", llb.WithAllowNotFound(true))),
	"rm below file":       file(llb.Rm("/top/x")),
	"rm below file ok":    file(llb.Rm("/top/x", llb.WithAllowNotFound(true))),
	"rm link":             file(llb.Rm("/d/link")),
	"rm dangling":         file(llb.Rm("/d/dangling")),
	"rm dangling ok":      file(llb.Rm("/d/dangling", llb.WithAllowNotFound(true))),
	"rm link slash":       file(llb.Rm("/d/dirlink/")),
	"rm through link":     file(llb.Rm("/d/dirlink/c.txt")),
	"rm root":             file(llb.Rm("/")),
	"rm root ok":          file(llb.Rm("/", llb.WithAllowNotFound(true))),
	"rm wildcard":         file(llb.Rm("/d/*.txt", llb.WithAllowWildcard(true))),
	"rm wildcard all":     file(llb.Rm("/*", llb.WithAllowWildcard(true))),
	"rm wildcard none":    file(llb.Rm("/q*", llb.WithAllowWildcard(true))),
	"rm wildcard deep":    file(llb.Rm("/*/*/*", llb.WithAllowWildcard(true))),
	"rm wildcard link":    file(llb.Rm("/d/dir*/c*", llb.WithAllowWildcard(true))),
	"rm wildcard class":   file(llb.Rm("/d/[ab].*", llb.WithAllowWildcard(true))),
	"rm wildcard bad":     file(llb.Rm("/d/[a", llb.WithAllowWildcard(true))),
	"rm wildcard escaped": file(llb.Rm(`/d/a\.txt`, llb.WithAllowWildcard(true))),
	"rm wildcard double":  file(llb.Rm("/**/c.txt", llb.WithAllowWildcard(true))),
	"rm dots":             file(llb.Rm("/d/../top")),
	"rm no wildcard":      file(llb.Rm("/d/*.txt")),
	// copy
	"copy file":               cp("/top", "/n"),
	"copy file slash":         cp("/top", "/n/"),
	"copy file no parent":     cp("/top", "/n/m"),
	"copy file create":        cp("/top", "/n/m", info(func(i *llb.CopyInfo) { i.CreateDestPath = true })),
	"copy file create slash":  cp("/top", "/n/m/", info(func(i *llb.CopyInfo) { i.CreateDestPath = true; i.CreatedTime = &old })),
	"copy dir":                cp("/d", "/n"),
	"copy dir contents":       cp("/d", "/n", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true })),
	"copy dir contents slash": cp("/d", "/n/", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true; i.CreateDestPath = true })),
	"copy root":               cp("/", "/"),
	"copy root contents":      cp("/", "/n", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true })),
	"copy root to":            cp("/", "/n/m", info(func(i *llb.CopyInfo) { i.CreateDestPath = true })),
	"copy time":               cp("/d", "/n", info(func(i *llb.CopyInfo) { t := time.Unix(1234567890, 5); i.CreatedTime = &t })),
	"copy owner": cp("/d", "/n", info(func(i *llb.CopyInfo) {
		o := llb.ChownOpt{User: &llb.UserOpt{UID: 10}, Group: &llb.UserOpt{UID: 20}}
		i.ChownOpt = &o
	})),
	"copy owner half":         cp("/d", "/n", info(func(i *llb.CopyInfo) { o := llb.ChownOpt{User: &llb.UserOpt{UID: 10}}; i.ChownOpt = &o })),
	"copy mode":               cp("/d", "/n", info(func(i *llb.CopyInfo) { i.Mode = &llb.ChmodOpt{Mode: 0o4751} })),
	"copy mode text":          cp("/d", "/n", info(func(i *llb.CopyInfo) { i.Mode = &llb.ChmodOpt{ModeStr: "u=rwX,go=rX"} })),
	"copy mode text bad":      cp("/d", "/n", info(func(i *llb.CopyInfo) { i.Mode = &llb.ChmodOpt{ModeStr: "u=q"} })),
	"copy mode text octal":    cp("/d", "/n", info(func(i *llb.CopyInfo) { i.Mode = &llb.ChmodOpt{ModeStr: "0751"} })),
	"copy none":               cp("/none", "/n"),
	"copy below file":         cp("/top/x", "/n"),
	"copy link":               cp("/d/link", "/n"),
	"copy link follow":        cp("/d/link", "/n", info(func(i *llb.CopyInfo) { i.FollowSymlinks = true })),
	"copy dirlink":            cp("/d/dirlink", "/n"),
	"copy dirlink slash":      cp("/d/dirlink/", "/n"),
	"copy dirlink follow":     cp("/d/dirlink", "/n", info(func(i *llb.CopyInfo) { i.FollowSymlinks = true })),
	"copy dangling":           cp("/d/dangling", "/n"),
	"copy dangling follow":    cp("/d/dangling", "/n", info(func(i *llb.CopyInfo) { i.FollowSymlinks = true })),
	"copy up":                 cp("/up/a.txt", "/n"),
	"copy up follow":          cp("/up/link", "/n", info(func(i *llb.CopyInfo) { i.FollowSymlinks = true })),
	"copy through link":       cp("/d/dirlink/c.txt", "/n"),
	"copy wild":               cp("/d/*.txt", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CreateDestPath = true })),
	"copy wild many no slash": cp("/d/*", "/n", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CreateDestPath = true })),
	"copy wild none":          cp("/d/*.q", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CreateDestPath = true })),
	"copy wild none allowed":  cp("/d/*.q", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.AllowEmptyWildcard = true; i.CreateDestPath = true })),
	"copy wild literal none":  cp("/d/q", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CreateDestPath = true })),
	"copy wild literal empty": cp("/d/q", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.AllowEmptyWildcard = true; i.CreateDestPath = true })),
	"copy wild follow":        cp("/d/*ink", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.FollowSymlinks = true; i.CreateDestPath = true })),
	"copy wild bad":           cp("/d/[a", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CreateDestPath = true })),
	"copy wild through link":  cp("/d/dir*/c.txt", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CreateDestPath = true })),
	"copy wild contents":      cp("/d/s*", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.CopyDirContentsOnly = true; i.CreateDestPath = true })),
	"copy no wild":            cp("/d/*.txt", "/n"),
	"copy include":            cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"*.txt"} })),
	"copy include deep":       cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"**/*.txt"} })),
	"copy include dir":        cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"sub"} })),
	"copy include none":       cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"q"} })),
	"copy include not":        cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"*", "!sub"} })),
	"copy include root":       cp("/", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"d/*.go"}; i.CopyDirContentsOnly = true })),
	"copy include bad":        cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"[a"} })),
	"copy include wild": cp("/*", "/n/", info(func(i *llb.CopyInfo) {
		i.IncludePatterns = []string{"*.txt"}
		i.AllowWildcard = true
		i.CreateDestPath = true
	})),
	"copy include file": cp("/top", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"other"} })),
	"copy exclude":      cp("/d", "/n", info(func(i *llb.CopyInfo) { i.ExcludePatterns = []string{"*.txt", "sub"} })),
	"copy exclude not":  cp("/d", "/n", info(func(i *llb.CopyInfo) { i.ExcludePatterns = []string{"*", "!sub/c.txt"} })),
	"copy exclude all":  cp("/d", "/n", info(func(i *llb.CopyInfo) { i.ExcludePatterns = []string{"**"} })),
	"copy both":         cp("/d", "/n", info(func(i *llb.CopyInfo) { i.IncludePatterns = []string{"**/*.txt"}; i.ExcludePatterns = []string{"sub"} })),
	"copy required": cp("/d", "/n", info(func(i *llb.CopyInfo) {
		i.RequiredPaths = []string{"a.txt", "sub/c.txt"}
		i.IncludePatterns = []string{"*"}
	})),
	"copy required none":     cp("/d", "/n", info(func(i *llb.CopyInfo) { i.RequiredPaths = []string{"q.txt"}; i.IncludePatterns = []string{"*"} })),
	"copy required excluded": cp("/d", "/n", info(func(i *llb.CopyInfo) { i.RequiredPaths = []string{"a.txt"}; i.ExcludePatterns = []string{"*.txt"} })),
	"copy required abs": cp("/", "/n", info(func(i *llb.CopyInfo) {
		i.RequiredPaths = []string{"/d/a.txt", "/nope"}
		i.IncludePatterns = []string{"d"}
	})),
	"over dir":          cpOver("/d", "/t"),
	"over dir contents": cpOver("/d", "/t", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true })),
	"over dir replace":  cpOver("/d", "/t", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true; i.AlwaysReplaceExistingDestPaths = true })),
	"over replace include": cpOver("/d", "/t", info(func(i *llb.CopyInfo) {
		i.CopyDirContentsOnly = true
		i.AlwaysReplaceExistingDestPaths = true
		i.IncludePatterns = []string{"sub/*"}
	})),
	"over file with dir":      cpOver("/d", "/f"),
	"over file with contents": cpOver("/d", "/f", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true })),
	"over file replace":       cpOver("/d", "/f", info(func(i *llb.CopyInfo) { i.AlwaysReplaceExistingDestPaths = true })),
	"over dir with file":      cpOver("/d/a.txt", "/t"),
	"over dir with file repl": cpOver("/d/b.go", "/t", info(func(i *llb.CopyInfo) { i.AlwaysReplaceExistingDestPaths = true })),
	"over link to dir":        cpOver("/d/a.txt", "/tl"),
	"over link dir":           cpOver("/d/sub", "/tl", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true })),
	"over dangling":           cpOver("/top", "/bad"),
	"over dangling create":    cpOver("/top", "/bad", info(func(i *llb.CopyInfo) { i.CreateDestPath = true })),
	"over dangling dir":       cpOver("/d/sub", "/bad", info(func(i *llb.CopyInfo) { i.CreateDestPath = true })),
	"over below dangling":     cpOver("/top", "/bad/x", info(func(i *llb.CopyInfo) { i.CreateDestPath = true })),
	"over below file":         cpOver("/top", "/f/x", info(func(i *llb.CopyInfo) { i.CreateDestPath = true })),
	"over file slash":         cpOver("/top", "/f/"),
	"over dir by one":         cpOver("/d/b.go", "/t/"),
	"over with link":          cpOver("/d/link", "/t/a.txt"),
	"over mode of parent":     cpOver("/d/sub", "/t", info(func(i *llb.CopyInfo) { i.CopyDirContentsOnly = true; i.Mode = &llb.ChmodOpt{Mode: 0o700} })),
	"copy itself": func() request {
		return request{st: tree().File(llb.Copy(tree(), "/d", "/d"))}
	},
	"copy of a run": func() request {
		made := run(`mknod /o/null c 1 3; mkfifo /o/p; echo x > /o/a; ln /o/a /o/b; chmod 6755 /o/a; chown 8:9 /o/a; find /o | xargs touch -h -d @1000000000`).AddMount("/o", llb.Scratch())
		return request{st: llb.Scratch().File(llb.Copy(made, "/", "/n"))}
	},
	"copy in a chain": func() request {
		a := llb.Mkfile("/x", 0o600, []byte("x"), llb.WithCreatedTime(old))
		return request{st: llb.Scratch().File(llb.Mkdir("/q", 0o700, llb.WithCreatedTime(old)).Copy(a.WithState(tree()), "/x", "/q/y").Copy(a.WithState(tree()), "/top", "/q/z"))}
	},
	// unpack
	"unpack tar": func() request {
		made := run(`cd /; mkdir t; echo a > t/a; ln -s a t/l; ln t/a t/h; chown 3:4 t/a; find t | xargs touch -h -d @1000000000; tar cf /o/a.tar t; gzip -k /o/a.tar; echo no > /o/plain; printf '\037\213bad' > /o/bad.gz; head -c 700 /o/a.tar > /o/cut.tar; touch -d @1000000000 /o/*`).AddMount("/o", llb.Scratch())
		return request{st: llb.Scratch().File(llb.Copy(made, "/*", "/n/", info(func(i *llb.CopyInfo) { i.AllowWildcard = true; i.AttemptUnpack = true; i.CreateDestPath = true })))}
	},
	"unpack owner": func() request {
		made := run(`cd /; mkdir t; echo a > t/a; chown 3:4 t/a; find t | xargs touch -h -d @1000000000; tar cf /o/a.tar t`).AddMount("/o", llb.Scratch())
		o := llb.ChownOpt{User: &llb.UserOpt{UID: 10}, Group: &llb.UserOpt{UID: 20}}
		return request{st: llb.Scratch().File(llb.Copy(made, "/a.tar", "/n/m", info(func(i *llb.CopyInfo) {
			i.AttemptUnpack = true
			i.CreateDestPath = true
			i.ChownOpt = &o
			i.CreatedTime = &old
		})))}
	},
	// owners by name
	"owner ann": func() request { return request{st: users().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("ann")))} },
	"owner pair": func() request {
		return request{st: users().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("ann:staff")))}
	},
	"owner numbers": func() request { return request{st: users().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("5:6")))} },
	"owner number":  func() request { return request{st: users().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("502")))} },
	"owner none":    func() request { return request{st: users().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("zoe")))} },
	"owner nogroup": func() request {
		return request{st: users().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("ann:zoe")))}
	},
	"owner scratch": func() request {
		return request{st: llb.Scratch().File(llb.Mkfile("/n", 0o600, nil, llb.WithUser("ann")))}
	},
	"owner mkdir": func() request {
		return request{st: users().File(llb.Mkdir("/n/m", 0o700, llb.WithParents(true), llb.WithUser("bob")))}
	},
	"owner symlink": func() request { return request{st: users().File(llb.Symlink("x", "/n", llb.WithUser("bob")))} },
	"owner copy":    func() request { return request{st: users().File(llb.Copy(tree(), "/d", "/n", llb.WithUser("bob")))} },
	// exec: results and mounts
	"exec exit 3":         exec("exit 3"),
	"exec exit valid":     exec("echo x; exit 3", llb.ValidExitCodes(3, 4)),
	"exec exit not valid": exec("echo x", llb.ValidExitCodes(3)),
	"exec exit 137":       exec("kill -9 $$", llb.ValidExitCodes(137)),
	"exec exit signal":    exec("kill -TERM $$"),
	"exec exit 255":       exec("exit 255"),
	"exec not found":      func() request { return request{st: bb().Run(llb.Args([]string{"/nope", "x y"})).Root()} },
	"exec no path":        func() request { return request{st: bb().Run(llb.Args([]string{"nope"})).Root()} },
	"exec a dir":          func() request { return request{st: bb().Run(llb.Args([]string{"/etc"})).Root()} },
	"exec no mode":        func() request { return request{st: bb().Run(llb.Args([]string{"/etc/passwd"})).Root()} },
	"exec on scratch":     func() request { return request{st: llb.Scratch().Run(llb.Args([]string{"/x"})).Root()} },
	"exec cwd":            exec("pwd", llb.Dir("/made/by/engine")),
	"exec cwd owner": func() request {
		return request{st: run("true", llb.Dir("/made/here"), llb.User("nobody")).Root(), base: true}
	},
	"exec cwd relative":    execOp("pwd", func(e *pb.ExecOp) { e.Meta.Cwd = "rel" }),
	"exec cwd empty":       execOp("pwd", func(e *pb.ExecOp) { e.Meta.Cwd = "" }),
	"exec cwd file":        exec("pwd", llb.Dir("/etc/passwd")),
	"exec user":            exec("id", llb.User("daemon")),
	"exec user group":      exec("id", llb.User("daemon:users")),
	"exec user number":     exec("id", llb.User("1234")),
	"exec user numbers":    exec("id", llb.User("1234:77")),
	"exec user none":       exec("id", llb.User("zoe")),
	"exec user nogroup":    exec("id", llb.User("daemon:zoe")),
	"exec user big":        exec("id", llb.User("4294967296")),
	"exec user negative":   exec("id", llb.User("-1")),
	"exec env":             exec("env | sort", llb.AddEnv("A", "b c"), llb.AddEnv("E", ""), llb.AddEnv("PATH", "/bin")),
	"exec env none":        execOp("env | sort", func(e *pb.ExecOp) { e.Meta.Env = nil }),
	"exec env odd":         execOp("env | sort", func(e *pb.ExecOp) { e.Meta.Env = []string{"X", "=y", "A=1", "A=2", "HOME=/h"} }),
	"exec env home":        exec("echo $HOME; cd; pwd", llb.User("daemon")),
	"exec hostname":        exec("hostname; cat /etc/hosts | tr '\t' ' '", llb.Hostname("here.example"), llb.AddExtraHost("x.example", net.ParseIP("10.1.2.3"))),
	"exec no hostname":     exec("hostname; cat /etc/hosts | tr '\t' ' '"),
	"exec host v6":         exec("grep x.example /etc/hosts | tr '\t' ' '", llb.AddExtraHost("x.example", net.ParseIP("fe80::1"))),
	"exec host bad":        execOp("cat /etc/hosts", func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "a", IP: "nonsense"}} }),
	"exec host odd":        execOp("cat /etc/hosts", func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "a b\nc", IP: "1.2.3.4"}} }),
	"exec ulimit":          exec("ulimit -n; ulimit -Hn; ulimit -c", llb.AddUlimit(llb.UlimitNofile, 100, 200), llb.AddUlimit(llb.UlimitCore, 0, 0)),
	"exec ulimit bad":      execOp("ulimit -n", func(e *pb.ExecOp) { e.Meta.Ulimit = []*pb.Ulimit{{Name: "nonsense", Soft: 1, Hard: 2}} }),
	"exec ulimit order":    execOp("ulimit -n", func(e *pb.ExecOp) { e.Meta.Ulimit = []*pb.Ulimit{{Name: "nofile", Soft: 200, Hard: 100}} }),
	"exec ulimit inf":      execOp("ulimit -n", func(e *pb.ExecOp) { e.Meta.Ulimit = []*pb.Ulimit{{Name: "memlock", Soft: -1, Hard: -1}} }),
	"exec proxy":           exec("env | grep -i proxy | sort", llb.WithProxy(llb.ProxyEnv{HTTPProxy: "h", HTTPSProxy: "s", FTPProxy: "f", NoProxy: "n", AllProxy: "a"})),
	"exec proxy over":      exec("env | grep -i proxy | sort", llb.AddEnv("http_proxy", "mine"), llb.WithProxy(llb.ProxyEnv{HTTPProxy: "h"})),
	"exec readonly root":   exec("touch /x; echo $?; touch /tmp/x; echo $?; touch /dev/x; echo $?; grep -c ' / overlay ro' /proc/mounts", llb.ReadonlyRootFS()),
	"exec insecure denied": exec("true", llb.Security(pb.SecurityMode_INSECURE)),
	"exec host denied":     exec("true", llb.Network(pb.NetMode_HOST)),
	"exec network none":    exec("cat /proc/net/dev | tail -n +3 | cut -d: -f1; ping -c1 127.0.0.1 >/dev/null && echo lo", llb.Network(pb.NetMode_NONE)),
	"exec network bad":     execOp("true", func(e *pb.ExecOp) { e.Network = 9 }),
	"exec security bad":    execOp("true", func(e *pb.ExecOp) { e.Security = 9 }),
	"exec files":           exec("for f in /etc/hosts /etc/resolv.conf; do stat -c '%n %a %u:%g' $f; touch $f 2>/dev/null && echo rw || echo ro; done; ls -la /etc | awk '{print $1, $3, $4, $9}' | sort"),
	"exec root result": func() request {
		return request{st: run("echo x > /x; touch -d @1000000000 /x; rm /etc/group; mkdir -m 700 /dev2; echo y > /dev/y; echo z > /tmp/z; touch -d @1000000000 /tmp/z").Root(), base: true}
	},
	"exec stubs": func() request {
		return request{st: run("true", llb.AddMount("/a/b/c", tree()), llb.AddMount("/t/m", llb.Scratch(), llb.Tmpfs()), llb.AddSecret("/s/e/c", llb.SecretID("key")), llb.AddMount("/a2/cache", llb.Scratch(), llb.AsPersistentCacheDir("c1", llb.CacheMountShared))).Root(), base: true}
	},
	"exec stub over file": func() request {
		return request{st: run("ls -la /etc/passwd", llb.AddMount("/etc/passwd", tree(), llb.SourcePath("/top"))).Root(), base: true}
	},
	"exec stub dir file": func() request {
		return request{st: run("true", llb.AddMount("/etc/passwd", tree())).Root(), base: true}
	},
	"exec mount file":      exec("cat /m; ls -l /m | cut -c1-10", llb.AddMount("/m", tree(), llb.SourcePath("/top"), llb.Readonly)),
	"exec mount nested":    exec("find /m | sort; mount | grep ' /m' | awk '{print $3}'", llb.AddMount("/m/d/sub", users()), llb.AddMount("/m", tree()), llb.AddMount("/m/d/sub/etc", tree(), llb.SourcePath("/d"))),
	"exec mount missing":   exec("ls /m", llb.AddMount("/m", tree(), llb.SourcePath("/none"))),
	"exec mount dots":      exec("ls /m", llb.AddMount("/m", tree(), llb.SourcePath("/d/../../d/sub"))),
	"exec mount link":      exec("ls /m", llb.AddMount("/m", tree(), llb.SourcePath("/d/dirlink"))),
	"exec mount up":        exec("ls /m", llb.AddMount("/m", tree(), llb.SourcePath("/up"))),
	"exec mount dangling":  exec("ls /m", llb.AddMount("/m", tree(), llb.SourcePath("/d/dangling"))),
	"exec mount relative":  exec("ls /srv/m", llb.Dir("/srv"), llb.AddMount("m", tree())),
	"exec mount rel op":    execOp("ls /m2", func(e *pb.ExecOp) { e.Mounts[1].Dest = "out" }),
	"exec mount dest dots": exec("ls /m", llb.AddMount("/x/../m", tree())),
	"exec mount twice":     exec("ls /m", llb.AddMount("/m", tree()), llb.AddMount("/m", users())),
	"exec mount readonly":  exec("touch /m/x; echo $?", llb.AddMount("/m", tree(), llb.Readonly)),
	"exec mount writable":  exec("echo w > /m/x; cat /m/x", llb.AddMount("/m", tree(), llb.ForceNoOutput)),
	"exec mount result": func() request {
		return request{st: run("echo w > /m/sub2; rm /m/c.txt; touch -d @1000000000 /m/sub2 /m").AddMount("/m", tree(), llb.SourcePath("/d/sub"))}
	},
	"exec mount result ro": func() request { return request{st: run("ls /m").AddMount("/m", tree(), llb.Readonly)} },
	"exec mount result link": func() request {
		return request{st: run("echo w > /m/x; touch -d @1000000000 /m/x /m").AddMount("/m", tree(), llb.SourcePath("/up"))}
	},
	"exec root selector": execOp("true", func(e *pb.ExecOp) { e.Mounts[0].Selector = "/bin" }),
	"exec root twice":    execOp("ls /", func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/", Input: 0, Output: -1}) }),
	"exec root tmpfs":    execOp("ls /", func(e *pb.ExecOp) { e.Mounts[0].MountType = pb.MountType_TMPFS }),
	"exec root ro":       execOp("touch /x; echo $?", func(e *pb.ExecOp) { e.Mounts[0].Readonly = true }),
	"exec no args":       execOp("", func(e *pb.ExecOp) { e.Meta.Args = nil }),
	"exec empty arg":     execOp("", func(e *pb.ExecOp) { e.Meta.Args = []string{""} }),
	"exec no meta":       execOp("", func(e *pb.ExecOp) { e.Meta = nil }),
	"exec no mounts":     execOp("", func(e *pb.ExecOp) { e.Mounts = nil }),
	"exec no root":       execOp("", func(e *pb.ExecOp) { e.Mounts = e.Mounts[1:] }),
	"exec bad input":     execOp("", func(e *pb.ExecOp) { e.Mounts[1].Input = 7 }),
	"exec bad output":    execOp("", func(e *pb.ExecOp) { e.Mounts[1].Output = 7 }),
	"exec same output":   execOp("", func(e *pb.ExecOp) { e.Mounts[0].Output = e.Mounts[1].Output }),
	"exec bad type": execOp("", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: 17, Input: -1, Output: -1})
	}),
	"exec secret no opt": execOp("ls /q", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: pb.MountType_SECRET, Input: -1, Output: -1})
	}),
	"exec ssh no opt": execOp("ls /q", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: pb.MountType_SSH, Input: -1, Output: -1})
	}),
	"exec cache no id": execOp("ls /q", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: pb.MountType_CACHE, Input: -1, Output: -1, CacheOpt: &pb.CacheOpt{}})
	}),
	"exec cache ro": execOp("touch /q/x; echo $?", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: pb.MountType_CACHE, Readonly: true, Input: -1, Output: -1, CacheOpt: &pb.CacheOpt{ID: "ro1"}})
	}),
	"exec cache output": execOp("touch /q/x; echo $?", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts[:1], &pb.Mount{Dest: "/out", MountType: pb.MountType_CACHE, Input: -1, Output: 1, CacheOpt: &pb.CacheOpt{ID: "out1"}})
	}),
	"exec cache base":    exec("ls /m; stat -c '%a %u:%g' /m", llb.AddMount("/m", tree(), llb.SourcePath("/d"), llb.AsPersistentCacheDir("based", llb.CacheMountLocked))),
	"exec cache file":    exec("cat /m", llb.AddMount("/m", tree(), llb.SourcePath("/top"), llb.AsPersistentCacheDir("fbased", llb.CacheMountPrivate))),
	"exec cache missing": exec("cat /m", llb.AddMount("/m", tree(), llb.SourcePath("/none"), llb.AsPersistentCacheDir("mbased", llb.CacheMountPrivate))),
	"exec cache sharing": execOp("ls /q", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: pb.MountType_CACHE, Input: -1, Output: -1, CacheOpt: &pb.CacheOpt{ID: "q9", Sharing: 9}})
	}),
	"exec tmpfs":        exec("mount | grep ' /m ' | sed 's/inode64,//; s/,inode64//'; stat -c '%a %u:%g' /m", llb.AddMount("/m", llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(1<<20)))),
	"exec tmpfs plain":  exec("mount | grep ' /m ' | sed 's/inode64,//; s/,inode64//'; stat -c '%a %u:%g' /m; touch /m/x && echo ok", llb.AddMount("/m", llb.Scratch(), llb.Tmpfs()), llb.User("daemon")),
	"exec tmpfs result": func() request { return request{st: run("echo x > /m/x").AddMount("/m", llb.Scratch(), llb.Tmpfs())} },
	"exec tmpfs selector": execOp("mount | grep ' /q ' | cut -d' ' -f5; ls /q", func(e *pb.ExecOp) {
		e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/q", MountType: pb.MountType_TMPFS, Selector: "/none", Input: -1, Output: -1})
	}),
	"exec secret":          exec("cat /run/secrets/key; stat -c ' %a %u:%g' /run/secrets/key; touch /run/secrets/key; echo $?; mount | grep secrets/ | sed 's/ type.*//' | cut -d' ' -f3", llb.AddSecret("/run/secrets/key")),
	"exec secret mode":     exec("stat -c '%a %u:%g' /s", llb.AddSecret("/s", llb.SecretID("key"), llb.SecretFileOpt(5, 6, 0o4751))),
	"exec secret none":     exec("cat /s", llb.AddSecret("/s", llb.SecretID("nothing"))),
	"exec secret optional": exec("cat /s; ls /", llb.AddSecret("/s", llb.SecretID("nothing"), llb.SecretOptional)),
	"exec secret empty":    exec("stat -c '%s' /s", llb.AddSecret("/s", llb.SecretID("empty"))),
	"exec secret env":      exec(`echo "$K-$B-$N"`, llb.AddSecret("K", llb.SecretID("key"), llb.SecretAsEnv(true)), llb.AddSecret("B", llb.SecretID("bin"), llb.SecretAsEnv(true)), llb.AddSecret("N", llb.SecretID("nothing"), llb.SecretAsEnv(true), llb.SecretOptional)),
	"exec secret env none": exec(`echo "$K"`, llb.AddSecret("K", llb.SecretID("nothing"), llb.SecretAsEnv(true))),
	"exec secret env over": exec(`echo "$K"`, llb.AddEnv("K", "plain"), llb.AddSecret("K", llb.SecretID("key"), llb.SecretAsEnv(true))),
	"exec secret env id":   execOp(`echo "$K"`, func(e *pb.ExecOp) { e.Secretenv = []*pb.SecretEnv{{Name: "K"}} }),
	"exec ssh none":        exec("ls /", llb.AddSSHSocket()),
	"exec ssh optional":    exec("echo $SSH_AUTH_SOCK; ls /run", llb.AddSSHSocket(llb.SSHOptional)),
	"exec cdi none":        exec("true", llb.AddCDIDevice(llb.CDIDeviceName("vendor.example/dev=foo"))),
	"exec cdi optional":    exec("echo ok", llb.AddCDIDevice(llb.CDIDeviceName("vendor.example/dev=foo"), llb.CDIDeviceOptional)),
	"exec platform": func() request {
		return request{st: llb.Image("docker.io/library/busybox:latest", llb.LinuxArm64).Run(llb.Shlex("true"), llb.LinuxArm64).Root()}
	},
	"exec output input": func() request {
		e := run("echo > /m/new; touch -d @1000000000 /m/new /m", llb.AddMount("/n", tree()))
		return request{st: llb.Merge([]llb.State{e.AddMount("/m", users(), llb.SourcePath("/etc")), e.GetMount("/n")})}
	},
	// merge, diff
	"merge two":          state(func() llb.State { return llb.Merge([]llb.State{lower(), other()}) }),
	"merge reversed":     state(func() llb.State { return llb.Merge([]llb.State{other(), lower()}) }),
	"merge same":         state(func() llb.State { return llb.Merge([]llb.State{lower(), lower()}) }),
	"merge scratch":      state(func() llb.State { return llb.Merge([]llb.State{llb.Scratch(), lower(), llb.Scratch()}) }),
	"merge one":          op(aMerge, func(o *pb.Op) { o.GetMerge().Inputs = o.GetMerge().Inputs[:1]; o.Inputs = o.Inputs[:1] }),
	"merge none":         op(aMerge, func(o *pb.Op) { o.GetMerge().Inputs = nil; o.Inputs = nil }),
	"merge uneven":       op(aMerge, func(o *pb.Op) { o.GetMerge().Inputs = o.GetMerge().Inputs[:1] }),
	"merge index":        op(aMerge, func(o *pb.Op) { o.GetMerge().Inputs[1].Input = 5 }),
	"merge negative":     op(aMerge, func(o *pb.Op) { o.GetMerge().Inputs[1].Input = -1 }),
	"merge deletes":      state(func() llb.State { return llb.Merge([]llb.State{other(), llb.Diff(lower(), upper(lower()))}) }),
	"merge deletes self": state(func() llb.State { return llb.Merge([]llb.State{lower(), llb.Diff(lower(), upper(lower()))}) }),
	"merge run above": state(func() llb.State {
		return run("echo on > /o/top; rm -r /o/dir; touch -d @1000000000 /o/top /o").AddMount("/o", llb.Merge([]llb.State{lower(), other()}))
	}),
	"merge nested": state(func() llb.State {
		return llb.Merge([]llb.State{llb.Merge([]llb.State{tree(), lower()}), llb.Merge([]llb.State{other(), users()})})
	}),
	"diff plain":        state(func() llb.State { return llb.Diff(lower(), upper(lower())) }),
	"diff reversed":     state(func() llb.State { return llb.Diff(upper(lower()), lower()) }),
	"diff same":         state(func() llb.State { return llb.Diff(lower(), lower()) }),
	"diff scratch low":  state(func() llb.State { return llb.Diff(llb.Scratch(), lower()) }),
	"diff scratch up":   state(func() llb.State { return llb.Diff(lower(), llb.Scratch()) }),
	"diff unrelated":    state(func() llb.State { return llb.Diff(other(), lower()) }),
	"diff unrelated up": state(func() llb.State { return llb.Diff(other(), upper(lower())) }),
	"diff file op":      state(aDiff),
	"diff of merge": state(func() llb.State {
		return llb.Diff(llb.Merge([]llb.State{lower(), other()}), llb.Merge([]llb.State{lower(), other(), tree()}))
	}),
	"diff merge one": state(func() llb.State { return llb.Diff(other(), llb.Merge([]llb.State{lower(), other()})) }),
	"diff of diffs": state(func() llb.State {
		return llb.Diff(llb.Diff(lower(), upper(lower())), llb.Diff(other(), upper(lower())))
	}),
	"diff run above": state(func() llb.State {
		return run(`l=$(find /o | sort); echo "$l" > /o/list; touch -d @1000000000 /o/list /o`).AddMount("/o", llb.Diff(lower(), upper(lower())))
	}),
	"diff copy of":    state(func() llb.State { return llb.Scratch().File(llb.Copy(llb.Diff(lower(), upper(lower())), "/", "/n")) }),
	"diff twice":      state(func() llb.State { return llb.Diff(lower(), upper(upper2(lower()))) }),
	"diff nil lower":  op(aDiff, func(o *pb.Op) { o.GetDiff().Lower = nil }),
	"diff uneven":     op(aDiff, func(o *pb.Op) { o.GetDiff().Lower.Input = -1 }),
	"diff index":      op(aDiff, func(o *pb.Op) { o.GetDiff().Lower.Input = 6 }),
	"diff both empty": op(aDiff, func(o *pb.Op) { o.GetDiff().Lower.Input = -1; o.GetDiff().Upper.Input = -1; o.Inputs = nil }),
	// passthrough
	"pass through": op(aMerge, func(o *pb.Op) {
		o.Op = &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{1, 0}}}
	}),
	"pass second": func() request {
		r := op(aMerge, func(o *pb.Op) {
			o.Op = &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{0, 1}}}
		})()
		r.index = 1
		return r
	},
	"pass no id": op(aMerge, func(o *pb.Op) { o.Op = &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Outputs: []int64{0}}} }),
	"pass none":  op(aMerge, func(o *pb.Op) { o.Op = &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x"}} }),
	"pass index": op(aMerge, func(o *pb.Op) {
		o.Op = &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{2}}}
	}),
	"pass scratch": op(aMerge, func(o *pb.Op) {
		o.Inputs = nil
		o.Op = &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{0}}}
	}),
	// outputs and caps
	"output index":        func() request { return request{st: aFile(), index: 3} },
	"output index exec":   func() request { return request{st: aRun(), index: 5} },
	"output negative":     func() request { return request{st: aFile(), index: -1} },
	"cap unknown":         func() request { return request{st: aFile(), caps: []apicaps.CapID{"file.nonsense"}} },
	"cap known":           func() request { return request{st: aFile(), caps: []apicaps.CapID{pb.CapFileBase}} },
	"cap proxy":           func() request { return request{st: aRun(), caps: []apicaps.CapID{"exec.meta.network"}} },
	"op file no action":   op(aFile, func(o *pb.Op) { o.GetFile().Actions = nil }),
	"op file nil action":  op(aFile, func(o *pb.Op) { o.GetFile().Actions[0].Action = nil }),
	"op file input":       op(aFile, func(o *pb.Op) { o.GetFile().Actions[0].Input = 4 }),
	"op file itself":      op(aFile, func(o *pb.Op) { o.GetFile().Actions[0].Input = 1 }),
	"op file output":      op(aFile, func(o *pb.Op) { o.GetFile().Actions[0].Output = 4 }),
	"op file no output":   op(aFile, func(o *pb.Op) { o.GetFile().Actions[0].Output = -1 }),
	"op file same output": op(aFile, func(o *pb.Op) { f := o.GetFile(); f.Actions = append(f.Actions, f.Actions[0]) }),
	"op source inputs":    op(func() llb.State { return bb() }, func(o *pb.Op) { o.Inputs = []*pb.Input{{Digest: "x"}} }),
	"op source unknown":   op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "nonsense://x" }),
	"op source no scheme": op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "nonsense" }),
	"op source empty":     op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "" }),
	"op source mode":      op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Attrs = map[string]string{"image.resolvemode": "x"} }),
	"op source ref":       op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "docker-image://UPPER" }),
	"op source local":     op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "local://none" }),
	"op source local attr": op(func() llb.State { return bb() }, func(o *pb.Op) {
		o.GetSource().Identifier = "local://none"
		o.GetSource().Attrs = map[string]string{"local.includepattern": "{"}
	}),
	"op source git":    op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "git://127.0.0.1:1/x.git" }),
	"op source http":   op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "http://127.0.0.1:1/x" }),
	"op source layout": op(func() llb.State { return bb() }, func(o *pb.Op) { o.GetSource().Identifier = "oci-layout://x/y" }),
	"op build index":   op(aMerge, func(o *pb.Op) { o.Op = &pb.Op_Build{Build: &pb.BuildOp{Builder: 3}} }),
	"op build self":    op(aMerge, func(o *pb.Op) { o.Op = &pb.Op_Build{Build: &pb.BuildOp{Builder: -1}} }),
	"op build input": op(aMerge, func(o *pb.Op) {
		o.Op = &pb.Op_Build{Build: &pb.BuildOp{Builder: -1, Inputs: map[string]*pb.BuildInput{pb.LLBDefinitionInput: {Input: 7}}}}
	}),
	"op none": op(aMerge, func(o *pb.Op) { o.Op = nil }),
	"op missing input": op(aFile, func(o *pb.Op) {
		o.Inputs[0].Digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	}),
	"op input index": op(aFile, func(o *pb.Op) { o.Inputs[0].Index = 1 }),
}

func upper2(l llb.State) llb.State {
	return run(`echo two > /o/two; touch -d @1000000000 /o/two /o; setfattr -n user.x -v y /o/two || true`).AddMount("/o", l)
}

func make300() []byte { return []byte(fmt.Sprintf("%0300d", 7)) }
