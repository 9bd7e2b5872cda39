package app_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"testing"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/testenv"
)

// Two API processes are restarted one after the other, as docs/security.md says. At no moment is a
// token of the one refused by the other.
func TestSigningKeysAreChangedWithoutATokenBeingRefused(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+testenv.Redis(t).URL)
	older, newer := b.cfg.JWTKeys[0], newSigningKey("newer")
	b.startAPI(app.Options{API: app.ServeAPI})
	admin := b.admin
	apis := []*process{b.api, b.another(b.cfg.JWTKeys)}
	addrs := []string{b.addr, apis[1].Addr().String()}
	tokens := map[string]string{}
	meet := func(step string) {
		t.Helper()
		for _, addr := range addrs {
			tokens[fmt.Sprintf("%s at %s", step, addr)] = b.tokenAt(addr, admin)
		}
		for what, token := range tokens {
			for _, addr := range addrs {
				if status := b.at(addr, ask{path: "/v1/me", as: token}).status; status != 200 {
					t.Errorf("%s: the token of %s is answered %d at %s", step, what, status, addr)
				}
			}
		}
	}
	meet("before")
	for _, step := range []struct {
		name string
		keys config.Keys
	}{
		{"the new key is added behind", config.Keys{older, newer}},
		{"the new key is in front", config.Keys{newer, older}},
	} {
		for i := range apis {
			apis[i].stop()
			apis[i] = b.another(step.keys)
			addrs[i] = apis[i].Addr().String()
			meet(fmt.Sprintf("%s of %d", step.name, i+1))
		}
	}
	clear(tokens) // those of the older key have expired, 15 minutes later
	meet("after 15 minutes")
	for i := range apis {
		apis[i].stop()
		apis[i] = b.another(config.Keys{newer})
		addrs[i] = apis[i].Addr().String()
		meet(fmt.Sprintf("the older key is removed from %d", i+1))
	}
}

func newSigningKey(id string) config.Key {
	raw := make([]byte, config.MinKey)
	_, _ = rand.Read(raw)
	return config.Key{ID: id, Secret: config.NewSecret(string(raw))}
}

// another starts one more API process of the deployment, with these keys.
func (b *bench) another(keys config.Keys) *process {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	own := *b
	own.cfg.JWTKeys = keys
	p := own.build(app.Options{API: app.ServeAPI, Listen: listener})
	p.run()
	return p
}

// at asks the process at addr.
func (b *bench) at(addr string, a ask) reply {
	b.Helper()
	r, err := send(addr, a.method, a.wire(addr))
	if err != nil {
		b.Fatalf("%s %s: %v", a.method, a.path, err)
	}
	return r
}

func (b *bench) tokenAt(addr string, p *person) string {
	b.Helper()
	r := b.at(
		addr,
		ask{
			method: "POST",
			path:   "/v1/auth/login",
			body:   fmt.Sprintf(`{"email":%q,"password":%q}`, p.Email, p.password),
		},
	)
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(r.body), &tokens); err != nil || r.status != 200 {
		b.Fatalf("sign in at %s: %d %s %v", addr, r.status, r.body, err)
	}
	return tokens.AccessToken
}
