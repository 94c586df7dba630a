package bolt

import (
	"context"
	"fmt"
	"os"
	"testing"

	"hotdeskd/hotdesk"
)

// TestMain makes the test binary play two other parts: the hidden sub-command of
// hotdeskd that checks a database, and a process that writes until it is killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "check-store":
			os.Exit(RunCheck(os.Args[2], os.Stderr))
		case "write-until-killed":
			writeUntilKilled(os.Args[2])
		case "say-nonsense":
			fmt.Fprintln(os.Stderr, `unknown command "say-nonsense"`)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled counts up in each of 8 keys and prints what is acknowledged.
func writeUntilKilled(path string) {
	d, err := Open(path, Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for n := range 8 {
		key := fmt.Sprintf("/k%d", n)
		go func() {
			for i := 1; ; i++ {
				rev, err := d.Update(context.Background(), func(tx hotdesk.Txn) error {
					v := fmt.Appendf(nil, "%d", i)
					tx.Put(key, v)
					tx.Put(key+"/copy", v)
					return nil
				})
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println(key, i, rev) // one write: a line is whole or absent
			}
		}()
	}
	select {}
}
