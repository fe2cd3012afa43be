// SPDX-License-Identifier: Apache-2.0
// Oracle of tar_test.c: headers as tab-separated hex fields on stdin, the archive as Go writes it on stdout.
package main

import (
	"archive/tar"
	"bufio"
	"encoding/hex"
	"log"
	"os"
	"strconv"
	"strings"
	"time"
)

func text(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		log.Fatal(err)
	}
	return string(b)
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	tw := tar.NewWriter(out)
	for in.Scan() {
		f := strings.Split(in.Text(), "\t")
		h := &tar.Header{
			Typeflag: text(f[0])[0], Name: text(f[1]), Linkname: text(f[2]), Uname: text(f[3]), Gname: text(f[4]),
			Mode: number(f[5]), Uid: int(number(f[6])), Gid: int(number(f[7])), Size: number(f[8]),
			ModTime: time.Unix(number(f[9]), number(f[10])), Devmajor: number(f[11]), Devminor: number(f[12]),
			Format: tar.FormatPAX,
		}
		for i := 13; i+1 < len(f); i += 2 {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+text(f[i])] = text(f[i+1])
		}
		if err := tw.WriteHeader(h); err != nil {
			log.Fatalf("%q: %v", h.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := tw.Write(make([]byte, h.Size)); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		log.Fatal(err)
	}
	out.Flush()
}
