package job

import "strconv"

const (
	// HopsHeader is on every request that a job sends: how many jobs led to it, one by one. The API
	// reads it, so that jobs which make further jobs through it cannot do so for ever.
	HopsHeader = "Waybill-Hops"
	// HopsLabel keeps that number with a job that a request of a job made.
	HopsLabel = "waybill/hops"
	// MaxHops is how many jobs may lead to one, each submitted by a request of the one before.
	MaxHops = 5
)

// Hops is how many jobs led to the one with these labels; 0: a person or a program submitted it.
func Hops(labels map[string]string) int { return ParseHops(labels[HopsLabel]) }

// ParseHops reads a number of hops; 0 where there is none. What cannot be read is more than is
// allowed.
func ParseHops(text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > MaxHops {
		return MaxHops + 1
	}
	return n
}
