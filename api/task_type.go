package api

import (
	"encoding/json"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
)

type taskTypeHandler struct{ tasks *catalogue.Catalogue }

func newTaskTypeHandler(t *catalogue.Catalogue) *taskTypeHandler { return &taskTypeHandler{tasks: t} }

func (h *taskTypeHandler) routes() []route {
	user := account.RoleUser
	return []route{
		{Method: "GET", Path: "/v1/task-types", Role: user, AnyKey: true, Handler: h.list},
		{Method: "GET", Path: "/v1/task-types/:type", Role: user, AnyKey: true, Handler: h.get},
	}
}

// taskTypeBody says what can be submitted under one name.
type taskTypeBody struct {
	Type        string           `json:"type"`
	Description string           `json:"description"`
	Defaults    taskTypeDefaults `json:"defaults"`
	Schema      json.RawMessage  `json:"schema"`
	Example     json.RawMessage  `json:"example"`
}

type taskTypeDefaults struct {
	Queue      string          `json:"queue"`
	MaxRetries int             `json:"max_retries"`
	Timeout    string          `json:"timeout"`
	Backoff    taskTypeBackoff `json:"backoff"`
}

type taskTypeBackoff struct {
	Kind string `json:"kind"`
	Base string `json:"base"`
	Max  string `json:"max"`
}

func newTaskTypeBody(t *catalogue.Type) taskTypeBody {
	d := t.Defaults
	return taskTypeBody{
		Type: t.Name, Description: t.Description, Schema: t.Schema, Example: t.Example,
		Defaults: taskTypeDefaults{
			Queue: d.Queue, MaxRetries: d.MaxRetries, Timeout: duration(d.Timeout),
			Backoff: taskTypeBackoff{
				Kind: d.Backoff.Kind,
				Base: duration(d.Backoff.Base),
				Max:  duration(d.Backoff.Max),
			},
		},
	}
}

// list answers all of them: they are few, and never paged.
func (h *taskTypeHandler) list(c *gin.Context) (any, error) {
	if _, err := query(c); err != nil {
		return nil, err
	}
	data := []taskTypeBody{}
	for _, t := range h.tasks.Types() {
		data = append(data, newTaskTypeBody(t))
	}
	return struct {
		Data       []taskTypeBody `json:"data"`
		NextCursor *string        `json:"next_cursor"`
	}{Data: data}, nil
}

func (h *taskTypeHandler) get(c *gin.Context) (any, error) {
	t, ok := h.tasks.Lookup(c.Param("type"))
	if !ok {
		return nil, job.NotFound("task type")
	}
	return newTaskTypeBody(t), nil
}
