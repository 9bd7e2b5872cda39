package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// samples are the series of one /metrics page, each under its name with labels as they stand there.
type samples map[string]float64

// scrape reads a page of metrics.
func scrape(ctx context.Context, url string) (samples, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s answers %s", url, res.Status)
	}
	s, err := readSamples(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read metrics of %s: %w", url, err)
	}
	return s, nil
}

func readSamples(r io.Reader) (samples, error) {
	s := samples{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		// A label's value may hold spaces; a time may follow the value.
		end := strings.LastIndexByte(line, '}') + 1
		if end == 0 {
			end = max(strings.IndexByte(line, ' '), 0)
		}
		fields := strings.Fields(line[end:])
		if len(fields) == 0 {
			return nil, fmt.Errorf("no value: %q", line)
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("no value: %q", line)
		}
		s[line[:end]] = v
	}
	return s, lines.Err()
}

// sum adds up the series of a name that have all the labels, written as k="v".
func (s samples) sum(name string, labels ...string) (sum float64) {
next:
	for series, v := range s {
		own, rest, _ := strings.Cut(series, "{")
		if own != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(","+strings.TrimSuffix(rest, "}")+",", ","+l+",") {
				continue next
			}
		}
		sum += v
	}
	return sum
}

// has reports whether the page shows the name at all.
func (s samples) has(name string) bool {
	for series := range s {
		if own, _, _ := strings.Cut(series, "{"); own == name {
			return true
		}
	}
	return false
}
