// Package thumbnail is the contract between the web service, which asks for thumbnails, and the
// worker, which makes them. It holds no code that works, so the web service links none of it.
package thumbnail

import (
	"path/filepath"
	"time"

	"github.com/waybill/waybill/tasks"
)

// Request is the payload of a job: a picture in the uploads folder, and how wide to make it.
type Request struct {
	File  string `json:"file" jsonschema:"minLength=1,maxLength=200" jsonschema_description:"Name of a picture in the uploads folder, PNG or JPEG."`
	Width int    `json:"width" jsonschema:"minimum=16,maximum=2000" jsonschema_description:"Width of the thumbnail in pixels; its height follows."`
}

// Result is what a job answers.
type Result struct {
	File   string `json:"file"` // in the thumbnails folder
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

// Make is the task type.
var Make = tasks.Definition[Request, Result]{
	Name:        "thumbnail.make",
	Description: "Makes a thumbnail of an uploaded picture.",
	Timeout:     20 * time.Second,
	MaxRetries:  3,
	Example:     Request{File: "cat.png", Width: 320},
	Check: func(r Request) []tasks.FieldError {
		if r.File != filepath.Base(r.File) || r.File == "." || r.File == ".." {
			return []tasks.FieldError{{Pointer: "/file", Detail: "must be a name without a folder"}}
		}
		return nil
	},
}
