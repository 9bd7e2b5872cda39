package job

import (
	"errors"
	"strconv"
	"strings"
)

// TaskID is the id of the asynq task that carries one delivery of a job: sending the same delivery
// twice is harmless (asynq refuses a known id), and a later one is another task.
func TaskID(id ID, delivery int) string { return id.String() + "." + strconv.Itoa(delivery) }

// ParseTaskID reads what TaskID wrote.
func ParseTaskID(s string) (id ID, delivery int, err error) {
	head, tail, ok := strings.Cut(s, ".")
	if !ok {
		return ID{}, 0, errors.New("a task id without a delivery")
	}
	if id, err = ParseID(head); err != nil {
		return ID{}, 0, err
	}
	delivery, err = strconv.Atoi(tail)
	if err != nil || delivery < 1 || strconv.Itoa(delivery) != tail {
		return ID{}, 0, errors.New("a task id with a broken delivery")
	}
	return id, delivery, nil
}
