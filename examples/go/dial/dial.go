// SPDX-License-Identifier: Apache-2.0

// Package dial connects BuildKit's client to an engine's socket the way buildx's docker driver does it: the control connection is
// POST /grpc, the session is POST /session, both turned into HTTP/2 by a 101.
package dial

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/moby/buildkit/client"
)

// hijack asks for an upgrade on a fresh connection and hands over what is behind the 101.
func hijack(ctx context.Context, socket, path string, meta map[string][]string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range meta {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "h2c")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return &buffered{conn, br}, nil
}

// buffered reads first what came with the 101.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// Client connects; direct: the socket speaks HTTP/2 at once, as buildkitd's.
func Client(ctx context.Context, socket string, direct bool) (*client.Client, error) {
	if direct {
		return client.New(ctx, "unix://"+socket)
	}
	return client.New(ctx, "",
		client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return hijack(ctx, socket, "/grpc", nil) }),
		client.WithSessionDialer(func(ctx context.Context, _ string, meta map[string][]string) (net.Conn, error) {
			return hijack(ctx, socket, "/session", meta)
		}))
}
