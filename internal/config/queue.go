package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Queue is a queue and its weight, 1 to 100: how often workers look there, compared with the
// others.
type Queue struct {
	Name   string // ^[a-z0-9][a-z0-9_-]{0,62}$
	Weight int
}

// Queues are in the order they were given, their names unique.
type Queues []Queue

// Names are the queues' names in the order they were given.
func (q Queues) Names() []string {
	names := make([]string, len(q))
	for i := range q {
		names[i] = q[i].Name
	}
	return names
}

// Weights is the form that asynq takes.
func (q Queues) Weights() map[string]int {
	weights := make(map[string]int, len(q))
	for _, queue := range q {
		weights[queue.Name] = queue.Weight
	}
	return weights
}

// UnmarshalText reads "name=weight,…".
func (q *Queues) UnmarshalText(text []byte) error {
	var queues Queues
	seen := make(map[string]bool)
	for item := range strings.SplitSeq(string(text), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(item), "=")
		n, err := strconv.Atoi(weight)
		if !validName(name) || err != nil || n < 1 || n > 100 {
			return fmt.Errorf(
				"want NAME=WEIGHT,…: names of 1 to 63 of a-z, 0-9, _ and -, weights 1 to 100; got %q",
				item,
			)
		}
		if seen[name] {
			return fmt.Errorf("want each name once, got %q twice", name)
		}
		seen[name] = true
		queues = append(queues, Queue{Name: name, Weight: n})
	}
	*q = queues
	return nil
}

// validName is the rule for names of queues and commands.
func validName(s string) bool {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`).MatchString(s)
}
