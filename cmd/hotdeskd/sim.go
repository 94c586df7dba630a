package main

import "github.com/spf13/cobra"

func simCommand() *cobra.Command { return group("sim", "Simulated phones") }
