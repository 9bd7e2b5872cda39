package config_test

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/config"
)

var name = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// FuzzQueues: what is read keeps every rule, and written out again it reads the same.
func FuzzQueues(f *testing.F) {
	for _, seed := range []string{"critical=6,default=3,low=1", "a=1,a=2", "a=1,", "=1", "a==1", " a=1 , b=100", "a=+1",
		"a=01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var q config.Queues
		if q.UnmarshalText([]byte(text)) != nil {
			return
		}
		var items []string
		for _, queue := range q {
			if !name.MatchString(queue.Name) || queue.Weight < 1 || queue.Weight > 100 {
				t.Errorf("%q gave %+v", text, queue)
			}
			items = append(items, fmt.Sprintf("%s=%d", queue.Name, queue.Weight))
		}
		var again config.Queues
		if err := again.UnmarshalText([]byte(strings.Join(items, ","))); err != nil ||
			fmt.Sprint(again) != fmt.Sprint(q) {
			t.Errorf("%v read again is %v, %v", q, again, err)
		}
		if len(q) == 0 || len(q.Weights()) != len(q) {
			t.Errorf("%q gave %v: none, or a name twice", text, q)
		}
	})
}

// FuzzKeys: a key that is read is long enough, its id clean and unique; an error quotes nothing of
// the text.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{keyText, keyText + "," + keyText, "k1:", ":", "k1:" + strings.Repeat("-_", 30),
		"a:b,c"} {
		f.Add(seed)
	}
	id := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	f.Fuzz(func(t *testing.T, text string) {
		var keys config.Keys
		if err := keys.UnmarshalText([]byte(text)); err != nil {
			if len(text) > 12 && strings.Contains(err.Error(), text) {
				t.Errorf("the error quotes the key: %v", err)
			}
			return
		}
		seen := make(map[string]bool)
		for _, k := range keys {
			raw := k.Secret.Reveal()
			if !id.MatchString(k.ID) || seen[k.ID] || len(raw) < config.MinKey || !strings.Contains(
				strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").
					Replace(text),
				base64.RawStdEncoding.EncodeToString([]byte(raw))[:40],
			) {
				t.Errorf("%q gave key %q of %d bytes", text, k.ID, len(raw))
			}
			seen[k.ID] = true
		}
	})
}

// FuzzLists: networks, origins, URLs and commands never panic, and what they accept keeps their
// rules.
func FuzzLists(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8,::1", "https://a.example", "http://a:80/", "x=/bin/x", "x=/a/../b",
		"::ffff:1.2.3.4", "1.2.3.4/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n config.Networks
		if n.UnmarshalText([]byte(text)) == nil {
			for _, p := range n {
				if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
					t.Errorf("%q gave network %v", text, p)
				}
			}
		}
		var o config.Origins
		if o.UnmarshalText([]byte(text)) == nil {
			for _, origin := range o {
				if origin != strings.ToLower(origin) || strings.Count(origin, "/") != 2 ||
					strings.ContainsAny(origin, "*@?# ") {
					t.Errorf("%q gave origin %q", text, origin)
				}
			}
		}
		var b config.BaseURL
		if b.UnmarshalText([]byte(text)) == nil &&
			(!strings.HasPrefix(string(b), "http") || strings.ContainsAny(string(b), "?#") ||
				strings.HasSuffix(string(b), "/")) {
			t.Errorf("%q gave URL %q", text, b)
		}
		var c config.Commands
		if c.UnmarshalText([]byte(text)) == nil {
			for command, path := range c {
				if !name.MatchString(command) || !filepath.IsAbs(path) {
					t.Errorf("%q gave command %q = %q", text, command, path)
				}
			}
		}
	})
}
