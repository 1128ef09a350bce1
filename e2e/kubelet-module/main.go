// What e2e/kubelet wants of Go's libraries: a client of a kubelet's streaming endpoints, on the library that
// kubectl is made of, and a container's server for gRPC probes.
//
//	exec [-websocket] [-stdin] [-tty COLUMNSxROWS] URL     exec or attach; its exit status is the command's
//	execs [-websocket] [-wide N] WANTED                    for each URL of stdin an exec, N at a time, whose output is to
//	                                                       be WANTED; prints what else came and how often
//	forward [-websocket] URL PORT                          prints the local port, and serves it until killed
//	health ADDRESS FILE                                    gRPC's health service; it serves while there is a FILE
//
// The URL is a kubelet's, parameters included: https://127.0.0.1:10250/exec/default/web/main?command=ls&output=1.
// Its certificate is not verified, for a kubelet without a cluster signs its own.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// size is a terminal's, told once.
type size struct {
	next *remotecommand.TerminalSize
}

func (s *size) Next() *remotecommand.TerminalSize {
	told := s.next
	s.next = nil
	return told
}

func config(target *url.URL) *rest.Config {
	return &rest.Config{Host: target.Host, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

func run(target *url.URL, websocket bool, options remotecommand.StreamOptions) error {
	var executor remotecommand.Executor
	var err error

	if websocket {
		executor, err = remotecommand.NewWebSocketExecutor(config(target), "GET", target.String())
	} else {
		executor, err = remotecommand.NewSPDYExecutor(config(target), "POST", target)
	}
	if err != nil {
		return err
	}
	return executor.StreamWithContext(context.Background(), options)
}

// runHere is run with the stdio of this process.
func runHere(target *url.URL, websocket, stdin bool, tty string) error {
	options := remotecommand.StreamOptions{Stdout: os.Stdout, Stderr: os.Stderr}
	if stdin {
		options.Stdin = os.Stdin
	}
	if tty != "" {
		var terminal remotecommand.TerminalSize

		if _, err := fmt.Sscanf(tty, "%dx%d", &terminal.Width, &terminal.Height); err != nil {
			return fmt.Errorf("-tty %s: %w", tty, err)
		}
		options.Tty, options.Stderr, options.TerminalSizeQueue = true, nil, &size{&terminal}
	}
	return run(target, websocket, options)
}

// execs tells how many of them came to anything but @wanted and exit code 0.
func execs(websocket bool, wide int, wanted string) (bad int, err error) {
	var lock sync.Mutex
	var workers sync.WaitGroup

	urls := make(chan string)
	came := map[string]int{}
	for range wide {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for line := range urls {
				var out, errors bytes.Buffer

				target, err := url.Parse(line)
				if err == nil {
					err = run(target, websocket, remotecommand.StreamOptions{Stdout: &out, Stderr: &errors})
				}
				if err == nil && out.String() == wanted {
					continue
				}
				lock.Lock()
				bad++
				came[fmt.Sprintf("%d bytes %.40q, stderr %.40q, %v", out.Len(), out.String(), errors.String(), err)]++
				lock.Unlock()
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		urls <- lines.Text()
	}
	close(urls)
	workers.Wait()
	for what, n := range came {
		fmt.Printf("%d times: %s\n", n, what)
	}
	return bad, lines.Err()
}

func forward(target *url.URL, websocket bool, port string) error {
	var dialer httpstream.Dialer

	if websocket {
		tunnel, err := portforward.NewSPDYOverWebsocketDialer(target, config(target))
		if err != nil {
			return err
		}
		dialer = tunnel
	} else {
		transport, upgrader, err := spdy.RoundTripperFor(config(target))
		if err != nil {
			return err
		}
		dialer = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", target)
	}

	ready := make(chan struct{})
	forwarder, err := portforward.New(dialer, []string{"0:" + port}, nil, ready, io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	go func() {
		<-ready
		if ports, err := forwarder.GetPorts(); err == nil {
			fmt.Println(ports[0].Local)
		}
	}()
	return forwarder.ForwardPorts()
}

// health answers for the service "e2e" alone, by whether its file is there.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	file string
}

func (h *health) Check(_ context.Context, asked *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	told := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if asked.Service != "e2e" {
		told = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	} else if _, err := os.Stat(h.file); err == nil {
		told = grpc_health_v1.HealthCheckResponse_SERVING
	}
	return &grpc_health_v1.HealthCheckResponse{Status: told}, nil
}

func serve(address, file string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, &health{file: file})
	return server.Serve(listener)
}

func main() {
	var err error

	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	flags := flag.NewFlagSet(verb, flag.ExitOnError)
	websocket := flags.Bool("websocket", false, "over WebSocket instead of SPDY")
	stdin := flags.Bool("stdin", false, "pass stdin on")
	wide := flags.Int("wide", 1, "so many at a time")
	tty := flags.String("tty", "", "a terminal of this size, COLUMNSxROWS")
	if len(os.Args) > 2 {
		flags.Parse(os.Args[2:])
	}
	if verb == "health" && flags.NArg() == 2 {
		fmt.Fprintln(os.Stderr, serve(flags.Arg(0), flags.Arg(1)))
		os.Exit(255)
	}
	if verb == "execs" && flags.NArg() == 1 {
		bad, err := execs(*websocket, *wide, flags.Arg(0))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		if err != nil || bad > 0 {
			os.Exit(1)
		}
		return
	}
	target, err := url.Parse(flags.Arg(0))

	switch {
	case err != nil:
	case verb == "exec" && flags.NArg() == 1:
		err = runHere(target, *websocket, *stdin, *tty)
	case verb == "forward" && flags.NArg() == 2:
		err = forward(target, *websocket, flags.Arg(1))
	default:
		err = errors.New("usage: exec [-websocket] [-stdin] [-tty COLUMNSxROWS] URL | execs [-websocket] [-wide N] WANTED | forward [-websocket] URL PORT | health ADDRESS FILE")
	}

	var exit exec.CodeExitError
	if errors.As(err, &exit) {
		os.Exit(exit.Code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
}
