// Command thumbnails is a whole Waybill that makes thumbnails: `thumbnails dev` runs everything in
// one process, `thumbnails api` and `thumbnails worker` are the two halves of a deployment.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"example.com/thumbnails/resize"
	"example.com/thumbnails/thumbnail"
	"github.com/waybill/waybill/server"
)

func main() { os.Exit(program().Main()) }

// program offers the task type everywhere, and handles it where jobs run.
func program() *server.Server { return server.New(thumbnail.Make).Setup(setup) }

func setup(_ context.Context, e *server.Env) error {
	r, err := open(cmp.Or(os.Getenv("THUMBNAILS_DIR"), "data"))
	if err != nil {
		return err
	}
	e.OnStop(func(context.Context) error { return errors.Join(r.Uploads.Close(), r.Thumbnails.Close()) })
	e.Handle(thumbnail.Make.Handle(r.Handle))
	return nil
}

func open(dir string) (*resize.Resizer, error) {
	var roots [2]*os.Root
	for i, name := range []string{"uploads", "thumbnails"} {
		path := dir + "/" + name
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("make the %s folder: %w", name, err)
		}
		var err error
		if roots[i], err = os.OpenRoot(path); err != nil {
			return nil, fmt.Errorf("open the %s folder: %w", name, err)
		}
	}
	return &resize.Resizer{Uploads: roots[0], Thumbnails: roots[1]}, nil
}
