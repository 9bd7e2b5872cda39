// Command web takes pictures and answers their thumbnails. It links the contract and the client,
// and nothing of the worker.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"example.com/thumbnails/thumbnail"
	"github.com/waybill/waybill/client"
)

const maxUpload = 20 << 20

func main() {
	c, err := client.FromEnv() // WAYBILL_URL, WAYBILL_API_KEY
	if err != nil {
		log.Fatal(err)
	}
	addr := cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8081")
	s := &http.Server{
		Addr:        addr,
		Handler:     Handler(c, cmp.Or(os.Getenv("THUMBNAILS_DIR"), "data")),
		ReadTimeout: time.Minute,
	}
	log.Printf("listening on http://%s", addr)
	log.Fatal(s.ListenAndServe())
}

// Handler serves PUT /pictures/{name}, which answers with the thumbnail's name, and GET
// /thumbnails/{name}. Pictures lie below dir, where the worker finds them.
func Handler(c *client.Client, dir string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /pictures/{name}", func(w http.ResponseWriter, r *http.Request) {
		result, err := upload(r.Context(), c, dir, r.PathValue("name"), http.MaxBytesReader(w, r.Body, maxUpload))
		var refused *client.Error
		var failed *client.JobError
		switch {
		case errors.As(err, &refused) && client.IsInvalid(err), errors.As(err, &failed):
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		case err != nil:
			log.Print(err)
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "/thumbnails/%s (%d x %d)\n", result.File, result.Width, result.Height)
		}
	})
	mux.Handle(
		"GET /thumbnails/",
		http.StripPrefix("/thumbnails/", http.FileServer(http.Dir(filepath.Join(dir, "thumbnails")))),
	)
	return mux
}

func upload(ctx context.Context, c *client.Client, dir, name string, body io.Reader) (thumbnail.Result, error) {
	request := thumbnail.Request{File: name, Width: 320}
	if err := save(filepath.Join(dir, "uploads"), name, body); err != nil {
		return thumbnail.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	j, err := client.Submit(ctx, c, thumbnail.Make, request, client.Label("picture", name))
	if err != nil {
		return thumbnail.Result{}, err
	}
	return j.Wait(ctx)
}

func save(dir, name string, body io.Reader) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}
