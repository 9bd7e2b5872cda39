// Package resize makes the thumbnails.
package resize

import (
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // a format that Decode knows
	"image/png"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/image/draw"

	"example.com/thumbnails/thumbnail"
	"github.com/waybill/waybill/tasks"
)

const maxPixels = 50_000_000 // of a picture that is taken

// Resizer reads pictures from one folder and writes thumbnails into another. Both are opened as
// roots, so no name leads out of them.
type Resizer struct {
	Uploads    *os.Root
	Thumbnails *os.Root
}

// Handle makes one thumbnail. It writes beside and renames, so a repeated job does no harm.
func (r *Resizer) Handle(ctx context.Context, j *tasks.Job[thumbnail.Request]) (thumbnail.Result, error) {
	source, err := r.read(j.Payload.File)
	if err != nil {
		return thumbnail.Result{}, err
	}
	tasks.Progress(ctx, 30, "decoded")
	size := source.Bounds().Size()
	height := max(size.Y*j.Payload.Width/size.X, 1)
	small := image.NewRGBA(image.Rect(0, 0, j.Payload.Width, height))
	draw.CatmullRom.Scale(small, small.Bounds(), source, source.Bounds(), draw.Over, nil)
	tasks.Progress(ctx, 80, "scaled")
	name := fmt.Sprintf("%s-%d.png", strings.TrimSuffix(j.Payload.File, ".png"), j.Payload.Width)
	if err := r.write(name, j.ID, small); err != nil {
		return thumbnail.Result{}, err
	}
	tasks.Log(ctx).Info("made a thumbnail", "file", name)
	return thumbnail.Result{File: name, Width: j.Payload.Width, Height: height}, nil
}

// read decodes a picture. A missing or broken one stays so, hence the permanent errors.
func (r *Resizer) read(name string) (image.Image, error) {
	f, err := r.Uploads.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, tasks.Permanent(fmt.Errorf("%s was not uploaded", name))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, _, err := image.DecodeConfig(f)
	if err != nil {
		return nil, tasks.Permanent(fmt.Errorf("%s is no picture: %w", name, err))
	}
	if head.Width == 0 || head.Height == 0 || head.Width*head.Height > maxPixels {
		return nil, tasks.Permanent(fmt.Errorf("%s has %d x %d pixels", name, head.Width, head.Height))
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	picture, _, err := image.Decode(f)
	if err != nil {
		return nil, tasks.Permanent(fmt.Errorf("%s is no picture: %w", name, err))
	}
	return picture, nil
}

func (r *Resizer) write(name string, id tasks.ID, picture image.Image) error {
	aside := name + "." + id.String()
	f, err := r.Thumbnails.Create(aside)
	if err != nil {
		return err
	}
	if err := errors.Join(png.Encode(f, picture), f.Close()); err != nil {
		return err
	}
	return r.Thumbnails.Rename(aside, name)
}
