package bolt

import (
	"reflect"
	"runtime"
	"runtime/debug"
)

// run runs a transaction's function below a frame that nested can find.
func (d *DB) run(fn func() error) error {
	d.running.Add(1)
	defer d.running.Add(-1)
	// A page that cannot be read from the disk must become an error, not the end of
	// the process: calls go on without the store.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return inTransaction(fn)
}

// inTransaction does nothing but stand in the call stack of every function that
// runs in a transaction.
//
//go:noinline
func inTransaction(fn func() error) error { return fn() }

// nested tells whether it is called, however deep, from inside a transaction's
// function. The stack is looked at only while one is running; it costs about a
// microsecond and, unlike an identity of goroutines, is something Go has.
func (d *DB) nested() bool {
	if d.running.Load() == 0 {
		return false
	}
	mark := reflect.ValueOf(inTransaction).Pointer() // the function's entry
	var pcs [64]uintptr
	for skip := 0; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			// A return address lies behind its call, which may be the last
			// instruction of the function: look one byte back.
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Entry() == mark {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
