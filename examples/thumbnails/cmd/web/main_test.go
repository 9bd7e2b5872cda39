package main

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/thumbnails/resize"
	"example.com/thumbnails/thumbnail"
	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/server/servertest"
)

// TestAPictureBecomesAThumbnail runs the web service, and a whole Waybill with the worker's
// handler.
func TestAPictureBecomesAThumbnail(t *testing.T) {
	dir := t.TempDir()
	r := &resize.Resizer{Uploads: folder(t, dir, "uploads"), Thumbnails: folder(t, dir, "thumbnails")}
	c := servertest.Start(t, server.New(thumbnail.Make.Handle(r.Handle)))
	web := httptest.NewServer(Handler(c, dir))
	defer web.Close()

	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 640, 480))); err != nil {
		t.Fatal(err)
	}
	if status, text := put(t, web.URL+"/pictures/cat.png", &picture); status != http.StatusOK ||
		text != "/thumbnails/cat-320.png (320 x 240)\n" {
		t.Fatalf("%d %s", status, text)
	}
	res, err := http.Get(web.URL + "/thumbnails/cat-320.png")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if small, err := png.Decode(res.Body); err != nil || small.Bounds().Dx() != 320 {
		t.Errorf("the thumbnail: %v", err)
	}
	if status, text := put(t, web.URL+"/pictures/note.png",
		strings.NewReader("no picture")); status != http.StatusUnprocessableEntity {
		t.Errorf("a file that is no picture: %d %s", status, text)
	}
}

func folder(t *testing.T, dir, name string) *os.Root {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func put(t *testing.T, url string, body io.Reader) (status int, text string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, url, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, fmt.Sprintf("%s", b)
}
