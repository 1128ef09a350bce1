// An NRI plugin for e2e/t/nri.sh, on the public client library as plugins' authors use it.
//
// What it does is in its configuration, JSON:
//
//	log      file to which each event goes, one line: "EVENT POD [CONTAINER]"
//	env      variables for each new container
//	mounts   host directories for each new container, by target
//	rlimit   RLIMIT_NOFILE for each new container
//	device   a path at which each new container gets the null device
//	hook     a createRuntime hook for each new container
//	remove   a variable to remove from each new container
//	refuse   event to refuse, for pods whose name contains "refused"
//	of       another word for "refused"
//	sleep    event to sleep 10 s in, likewise for "slow"
//	sync     milliseconds to sleep while it is told what there is
//	reject   a variable that no adjustment may set: as a validator
//	hooks    false: no adjustment may add OCI hooks, says NRI's default validator
//	memory   limit in bytes for each new container
//	numa     a memory policy for each new container: nodes to bind to
//	batch    true: each new container is scheduled as a batch job
//	instead  limit in bytes for each container whose limits the kubelet changes
//	others   limit in bytes for the first container that it knows of, when another one changes
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	validator "github.com/containerd/nri/plugins/default-validator"
)

type config struct {
	Log    string            `json:"log"`
	Env    map[string]string `json:"env"`
	Mounts map[string]string `json:"mounts"`
	Rlimit uint64            `json:"rlimit"`
	Device string            `json:"device"`
	Hook   string            `json:"hook"`
	Remove string            `json:"remove"`
	Refuse string            `json:"refuse"`
	Of     string            `json:"of"`
	Sleep  string            `json:"sleep"`
	Sync   int               `json:"sync"`
	Reject string            `json:"reject"`
	Hooks  *bool             `json:"hooks"`
	Memory int64             `json:"memory"`

	Numa    string `json:"numa"`
	Batch   bool   `json:"batch"`
	Instead int64  `json:"instead"`
	Others  int64  `json:"others"`
}

type plugin struct {
	stub  stub.Stub
	mu    sync.Mutex
	c     config
	first string // container
}

func (p *plugin) note(event string, pod *api.PodSandbox, c *api.Container) error {
	line := event
	if pod != nil {
		line += " " + pod.Name
	}
	if c != nil {
		line += " " + c.Name + " " + strings.TrimPrefix(c.State.String(), "CONTAINER_")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c.Log != "" {
		if f, err := os.OpenFile(p.c.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintln(f, line)
			f.Close()
		}
	}
	if pod == nil {
		return nil
	}
	event, _, _ = strings.Cut(event, ":")
	if p.c.Refuse == event && strings.Contains(pod.Name, p.c.Of) {
		return errors.New("not with me")
	}
	if p.c.Sleep == event && strings.Contains(pod.Name, "slow") {
		p.mu.Unlock()
		time.Sleep(10 * time.Second)
		p.mu.Lock()
	}
	return nil
}

func (p *plugin) Configure(_ context.Context, text, runtime, _ string) (stub.EventMask, error) {
	p.c.Of = "refused"
	if err := json.Unmarshal([]byte(text), &p.c); text != "" && err != nil {
		return 0, err
	}
	p.note("Configure "+runtime, nil, nil)
	return 0, nil // all that there are methods for
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, cs []*api.Container) ([]*api.ContainerUpdate, error) {
	p.note("Synchronize", nil, nil)
	time.Sleep(time.Duration(p.c.Sync) * time.Millisecond)
	names := map[string]*api.PodSandbox{}
	for _, pod := range pods {
		names[pod.Id] = pod
		p.note("SyncPod", pod, nil)
	}
	for _, c := range cs {
		p.first = c.Id
		p.note("SyncContainer", names[c.PodSandboxId], c)
	}
	return nil, nil
}

func (p *plugin) Shutdown(context.Context) { p.note("Shutdown", nil, nil) }

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.note("RunPodSandbox", pod, nil)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.note("StopPodSandbox", pod, nil)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.note("RemovePodSandbox", pod, nil)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if err := p.note("CreateContainer", pod, c); err != nil {
		return nil, nil, err
	}
	a := &api.ContainerAdjustment{}
	if p.c.Remove != "" {
		a.RemoveEnv(p.c.Remove)
	}
	for k, v := range p.c.Env {
		a.AddEnv(k, v)
	}
	for target, source := range p.c.Mounts {
		a.AddMount(&api.Mount{Destination: target, Source: source, Type: "bind", Options: []string{"bind", "ro"}})
	}
	if p.c.Rlimit != 0 {
		a.AddRlimit("RLIMIT_NOFILE", p.c.Rlimit, p.c.Rlimit)
	}
	if p.c.Device != "" {
		a.AddDevice(&api.LinuxDevice{Path: p.c.Device, Type: "c", Major: 1, Minor: 3})
	}
	if p.c.Hook != "" {
		a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: p.c.Hook}}})
	}
	if p.c.Memory != 0 {
		a.SetLinuxMemoryLimit(p.c.Memory)
	}
	if p.c.Numa != "" {
		a.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, p.c.Numa)
	}
	if p.c.Batch {
		a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_BATCH, Nice: 3})
	}
	return a, nil, nil
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container, r *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	updates := []*api.ContainerUpdate{}
	if err := p.note(fmt.Sprintf("UpdateContainer:%d", r.GetMemory().GetLimit().GetValue()), pod, c); err != nil {
		return nil, err
	}
	if p.c.Instead != 0 {
		u := &api.ContainerUpdate{ContainerId: c.Id}
		u.SetLinuxMemoryLimit(p.c.Instead)
		updates = append(updates, u)
	}
	if p.c.Others != 0 && p.first != c.Id {
		u := &api.ContainerUpdate{ContainerId: p.first}
		u.SetLinuxMemoryLimit(p.c.Others)
		updates = append(updates, u)
	}
	return updates, nil
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.note(fmt.Sprintf("PostUpdateContainer:%d", c.Linux.Resources.Memory.GetLimit().GetValue()), pod, c)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, _, r *api.LinuxResources) error {
	return p.note(fmt.Sprintf("UpdatePodSandbox:%d", r.GetMemory().GetLimit().GetValue()), pod, nil)
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.note(fmt.Sprintf("PostUpdatePodSandbox:%d", pod.Linux.PodResources.GetMemory().GetLimit().GetValue()), pod, nil)
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.note("PostCreateContainer", pod, c)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.note("StartContainer", pod, c)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	// Asks for something of its own accord, when the container's pod says so.
	if limit := pod.Annotations["nri.test/memory"]; limit != "" {
		var bytes int64
		fmt.Sscan(limit, &bytes)
		u := &api.ContainerUpdate{ContainerId: c.Id}
		u.SetLinuxMemoryLimit(bytes)
		go func() {
			failed, err := p.stub.UpdateContainers([]*api.ContainerUpdate{u})
			p.note(fmt.Sprintf("Updated %d %v", len(failed), err), nil, nil)
		}()
	}
	return p.note("PostStartContainer", pod, c)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	return nil, p.note("StopContainer", pod, c)
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	return p.note("RemoveContainer", pod, c)
}

func (p *plugin) ValidateContainerAdjustment(ctx context.Context, req *api.ValidateContainerAdjustmentRequest) error {
	if p.c.Hooks != nil && !*p.c.Hooks {
		v := validator.NewDefaultValidator(&validator.DefaultValidatorConfig{Enable: true, RejectOCIHookAdjustment: true})
		if err := v.ValidateContainerAdjustment(ctx, req); err != nil {
			return err
		}
	}
	if p.c.Reject == "" {
		return nil
	}
	for _, e := range req.Adjust.GetEnv() {
		if e.Key == p.c.Reject {
			owner, _ := req.Owners.EnvOwner(req.Container.Id, e.Key)
			return fmt.Errorf("%s of %s is not allowed", e.Key, owner)
		}
	}
	return nil
}

func main() {
	name := flag.String("name", "", "of the plugin, when it is not launched by the runtime")
	index := flag.String("idx", "", "its index")
	socket := flag.String("socket", "", "where to connect")
	flag.Parse()

	p := &plugin{}
	options := []stub.Option{}
	if *name != "" {
		options = append(options, stub.WithPluginName(*name), stub.WithPluginIdx(*index), stub.WithSocketPath(*socket))
	}
	s, err := stub.New(p, options...)
	if err == nil {
		p.stub = s
		err = s.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nri-plugin:", err)
		os.Exit(1)
	}
}
