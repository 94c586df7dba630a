package simphone

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// prepare pins a request to the flow. Over UDP it goes to an address, or where its
// route says when that is empty; a connection goes where it goes.
func (f *flow) prepare(req *sip.Request, to string) error {
	at, err := f.local()
	if err != nil {
		return err
	}
	if f.stream() {
		to = f.remote.String()
	}
	req.SetTransport(strings.ToUpper(f.transport))
	if to != "" {
		req.SetDestination(to)
	}
	req.Laddr = sip.Addr{IP: at.Addr().AsSlice(), Port: int(at.Port())}
	if f.stream() && req.Via() == nil {
		via := &sip.ViaHeader{
			ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(f.transport),
			Host: bracketed(at.Addr().String()), Port: int(at.Port()), Params: sip.NewParams(),
		}
		via.Params.Add("branch", sip.GenerateBranchN(16))
		via.Params.Add("rport", "")
		req.PrependHeader(via)
	}
	return nil
}

// do sends a request other than INVITE and waits for its final response.
func (f *flow) do(ctx context.Context, req *sip.Request, to string) (*sip.Response, error) {
	if !f.agent.enter() {
		return nil, ErrStopped
	}
	defer f.agent.running.Done()
	ctx, done := f.agent.within(ctx)
	defer done()
	if err := f.prepare(req, to); err != nil {
		return nil, err
	}
	res, err := f.agent.client.Do(ctx, req)
	if err != nil {
		return nil, f.agent.failure(ctx, req, err)
	}
	return res, nil
}

// write sends an ACK, which has no transaction.
func (f *flow) write(req *sip.Request) error {
	if !f.agent.enter() {
		return ErrStopped
	}
	defer f.agent.running.Done()
	if err := f.prepare(req, ""); err != nil {
		return err
	}
	if err := f.agent.client.WriteRequest(req); err != nil {
		return fmt.Errorf("ACK not sent: %w", err)
	}
	return nil
}

// invite runs one INVITE to its final response. When ctx ends it cancels, but
// not before the other side has said something (RFC 3261 section 9.1), and still
// returns the final response. progress takes each 1xx, again each repeated 2xx.
func (f *flow) invite(ctx context.Context, req *sip.Request, to string, progress, again func(*sip.Response)) (*sip.Response, error) {
	a := f.agent
	if !a.enter() {
		return nil, ErrStopped
	}
	defer a.running.Done()
	if err := f.prepare(req, to); err != nil {
		return nil, err
	}
	tx, err := a.client.TransactionRequest(context.WithoutCancel(ctx), req)
	if err != nil {
		return nil, a.failure(ctx, req, err)
	}
	tx.OnRetransmission(again)
	cancelled, heard, sent := ctx.Done(), false, false
	giveUp := time.NewTimer(cancelWait)
	giveUp.Stop()
	defer giveUp.Stop()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil // the transaction lives on to repeat its ACK
			}
			heard = true
			if cancelled == nil && !sent {
				sent = true
				f.cancel(req, to)
			} else if res.StatusCode > 100 {
				progress(res)
			}
		case <-cancelled:
			cancelled = nil
			giveUp.Reset(cancelWait)
			if heard {
				sent = true
				f.cancel(req, to)
			}
		case <-giveUp.C:
			tx.Terminate()
			return nil, a.failure(ctx, req, ctx.Err())
		case <-a.ctx.Done():
			tx.Terminate()
			return nil, ErrStopped
		case <-tx.Done():
			return nil, a.failure(ctx, req, tx.Err())
		}
	}
}

// cancel sends the CANCEL of an INVITE, with its Via and CSeq, and does not wait.
// The INVITE's own response is what counts.
func (f *flow) cancel(invite *sip.Request, to string) {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(sip.HeaderClone(invite.Via()))
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	for _, h := range []sip.Header{invite.From(), invite.To(), invite.CallID()} {
		req.AppendHeader(sip.HeaderClone(h))
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	if !f.agent.enter() {
		return
	}
	go func() {
		defer f.agent.running.Done()
		ctx, cancel := context.WithTimeout(f.agent.ctx, cancelWait)
		defer cancel()
		_, _ = f.do(ctx, req, to)
	}()
}

// failure says in words why a request had no answer.
func (a *agent) failure(ctx context.Context, req *sip.Request, err error) error {
	switch {
	case a.ctx.Err() != nil:
		return ErrStopped
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, sip.ErrTransactionTimeout):
		return fmt.Errorf("%s was not answered by %s", req.Method, req.Destination())
	}
	return fmt.Errorf("%s to %s: %w", req.Method, req.Destination(), err)
}
