package resize_test

import (
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/thumbnails/resize"
	"example.com/thumbnails/thumbnail"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/taskstest"
)

// handler is the worker's handler on folders of the test.
func handler(t *testing.T) (h tasks.Handler[thumbnail.Request, thumbnail.Result], uploads, thumbnails string) {
	t.Helper()
	uploads, thumbnails = t.TempDir(), t.TempDir()
	r := &resize.Resizer{Uploads: root(t, uploads), Thumbnails: root(t, thumbnails)}
	return thumbnail.Make.Handle(r.Handle), uploads, thumbnails
}

func root(t *testing.T, dir string) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestAThumbnailKeepsTheProportions(t *testing.T) {
	h, uploads, thumbnails := handler(t)
	f, err := os.Create(filepath.Join(uploads, "cat.png"))
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, image.NewRGBA(image.Rect(0, 0, 640, 480))); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()

	out := taskstest.Run(t, h, thumbnail.Request{File: "cat.png", Width: 320})

	if out.State != taskstest.Completed ||
		out.Result != (thumbnail.Result{File: "cat-320.png", Width: 320, Height: 240}) {
		t.Fatalf("got %+v", out)
	}
	if len(out.Progress) != 2 {
		t.Errorf("progress: %+v", out.Progress)
	}
	if _, err := os.Stat(filepath.Join(thumbnails, "cat-320.png")); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoPictureIsNotTriedAgain(t *testing.T) {
	h, uploads, _ := handler(t)
	if err := os.WriteFile(filepath.Join(uploads, "note.png"), []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"note.png", "missing.png"} {
		out := taskstest.Run(t, h, thumbnail.Request{File: name, Width: 320})
		if out.State != taskstest.Archived || !strings.Contains(out.Err.Error(), name) {
			t.Errorf("%s: %+v", name, out)
		}
	}
}
