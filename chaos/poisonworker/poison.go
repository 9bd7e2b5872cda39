package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/waybill/waybill/tasks"
)

// poisons are the task types that the fault runs add to the built-in ones.
func poisons() []tasks.Type {
	return []tasks.Type{
		poison("debug.exit", "Ends the worker's process.", exit),
		poison("debug.hoard", "Allocates memory without end.", hoard),
		poison("debug.block", "Blocks for ever and ignores its context.", block),
		poison("debug.spew", "Fails with a megabyte of text that is no UTF-8 and holds NUL bytes.", spew),
		poison("debug.own", "Does nothing. Workers without this type must leave it to those that have it.", own),
		poison("debug.goexit", "Ends its goroutine.", goexit),
	}
}

func poison(name, about string, handle func(context.Context) error) tasks.Type {
	d := tasks.Definition[struct{}, tasks.None]{Name: name, Description: about}
	return d.Handle(func(ctx context.Context, _ *tasks.Job[struct{}]) (tasks.None, error) {
		return tasks.None{}, handle(ctx)
	})
}

func own(context.Context) error { return nil }

func exit(context.Context) error {
	os.Exit(3)
	return nil
}

func hoard(ctx context.Context) error {
	var kept [][]byte
	for ctx.Err() == nil {
		block := make([]byte, 32<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		kept = append(kept, block)
	}
	return errors.New(strings.Repeat("x", len(kept)))
}

func block(context.Context) error {
	select {}
}

func spew(context.Context) error {
	return errors.New("\xff\xfe\x00 no text " + strings.Repeat("\xc3\x28\x00é", 1<<18))
}
