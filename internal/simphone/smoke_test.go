package simphone

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	url := os.Getenv("SMOKE")
	if url == "" {
		t.Skip()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	p, err := New(Config{Provision: url, MAC: "80:5e:c0:00:00:01", Model: "yealink-t46u", UnregisterOld: os.Getenv("OLD"), ChallengeNotify: true, UnregisterOnExit: true,
		Step: func(s Step) { fmt.Printf("%8.3f %-12s %v\n", s.Since.Seconds(), s.Name, s.Detail) }})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- p.Run(run) }()
	if err := p.Registered(ctx); err != nil {
		t.Fatal(err)
	}
	fmt.Println(p.State())
	call, err := p.Dial(ctx, "*77*100*")
	if err != nil {
		t.Fatal(err)
	}
	if err := call.WaitHeard(ctx, 20); err != nil {
		t.Fatal(err)
	}
	if err := call.Press(ctx, "4071#"); err != nil {
		t.Fatal(err)
	}
	fmt.Println(call.Wait(ctx))
	fmt.Println(call.Heard())
	if err := p.WaitLabel(ctx, "100 Mario Rossi"); err != nil {
		t.Fatal(err)
	}
	if err := p.Registered(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	fmt.Println(p.State())
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
