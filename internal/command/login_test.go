package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// home is a user's folder, for programs that run there.
type home struct {
	t   *testing.T
	dir string
}

// waybill runs the command in the folder.
func (h home) waybill(environ []string, input string, args ...string) (code int, out, errs string) {
	h.t.Helper()
	return endsIn(
		h.t,
		h.dir,
		append([]string{"HOME=" + h.dir, "XDG_CONFIG_HOME=" + h.dir + "/config"}, environ...),
		input,
		"waybill",
		args...)
}

// password reads what dev keeps of its administrator.
func password(t *testing.T, data string) (email, text string) {
	t.Helper()
	var kept struct {
		Email    string `json:"admin_email"`
		Password string `json:"admin_password"`
	}
	b, err := os.ReadFile(filepath.Join(data, "dev.json"))
	if err == nil {
		err = json.Unmarshal(b, &kept)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kept.Email, kept.Password
}

func TestLoginKeepsAKeyForLater(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	d := startDev(t, data, "")
	email, secret := password(t, data)
	h := home{t, t.TempDir()}

	if code, _, errs := h.waybill(nil, "", "jobs", "list", "--url", d.url); code != 1 ||
		!strings.Contains(errs, "waybill login") ||
		!strings.Contains(errs, "WAYBILL_API_KEY") {
		t.Errorf("without a key: exit code %d: %s", code, errs)
	}
	if code, out, errs := h.waybill(nil, "wrong\n", "login", "--url", d.url, "--email", email,
		"--password-stdin"); code != 1 ||
		!strings.Contains(errs, "401") {
		t.Errorf("a wrong password: exit code %d: %s%s", code, out, errs)
	}
	code, out, errs := h.waybill(nil, secret+"\n", "login", "--url", d.url, "--email", email, "--password-stdin")
	if code != 0 || !strings.Contains(out, "as "+email) {
		t.Fatalf("login: exit code %d: %s%s", code, out, errs)
	}
	file := filepath.Join(h.dir, "config/waybill/profiles.json")
	text, err := os.ReadFile(file)
	if info, errStat := os.Stat(file); err != nil || errStat != nil || info.Mode().Perm() != 0o600 ||
		strings.Contains(string(text), secret) {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if code, out, errs := h.waybill(nil, "", "jobs", "list"); code != 0 || !strings.HasPrefix(out, "ID ") {
		t.Errorf("list: exit code %d: %s%s", code, out, errs)
	}

	// A second deployment, by its key; each is reached by its name, and the environment comes
	// first.
	if code, out, errs := h.waybill(nil, d.key+"\n", "login", "--profile", "other", "--url", d.url,
		"--key-stdin"); code != 0 {
		t.Fatalf("login by key: exit code %d: %s%s", code, out, errs)
	}
	for _, c := range []struct {
		environ []string
		args    []string
		code    int
		says    string
	}{
		{nil, []string{"--profile", "default"}, 0, "ID "},
		{[]string{"WAYBILL_PROFILE=default"}, nil, 0, "ID "},
		{[]string{"WAYBILL_PROFILE=none"}, nil, 1, `no profile "none"`},
		{[]string{"WAYBILL_API_KEY=wb_wrong"}, nil, 1, "401"},
		{[]string{"WAYBILL_API_KEY=wb_wrong"}, []string{"--profile", "other"}, 0, "ID "},
		{[]string{"WAYBILL_URL=" + d.url, "WAYBILL_API_KEY=" + d.key}, nil, 0, "ID "},
		{[]string{"WAYBILL_URL=http://127.0.0.1:1"}, nil, 1, "is for " + d.url + " only"},
		// no key goes to another server
		{nil, []string{"--url", "http://127.0.0.1:1"}, 1, "is for " + d.url + " only"},
		{[]string{"WAYBILL_URL=nonsense"}, nil, 1, "WAYBILL_URL"},
	} {
		code, out, errs := h.waybill(c.environ, "", append([]string{"jobs", "list"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.says) || strings.Contains(errs, d.key) {
			t.Errorf("%v %v: exit code %d, want %d and %q: %s%s", c.environ, c.args, code, c.code, c.says, out, errs)
		}
	}
	if _, out, _ := h.waybill(nil, "", "profile", "list"); !strings.Contains(out, "* other") ||
		!strings.Contains(out, "  default") ||
		strings.Contains(out, "wb_") {
		t.Errorf("profiles: %s", out)
	}
	if _, out, _ := h.waybill(nil, "", "profile", "list", "-o", "json"); strings.Contains(out, "wb_") ||
		!strings.Contains(out, `"name":"other","url":"`+d.url+`","email":"`+email+`","current":true`) {
		t.Errorf("profiles as JSON: %s", out)
	}
	if code, _, errs := h.waybill(nil, "", "profile", "use", "default"); code != 0 {
		t.Error(errs)
	}
	if code, out, errs := h.waybill(nil, "", "logout"); code != 0 || !strings.Contains(out, "default is forgotten") {
		t.Errorf("logout: %d: %s%s", code, out, errs)
	}
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), `"default"`) {
		t.Errorf("the file: %s, %v", text, err)
	}
}

// While waybill dev runs in a folder, commands in that folder go to it, on any port and beside any
// current profile.
func TestCommandsFindTheDevOfTheirFolder(t *testing.T) {
	t.Parallel()
	h := home{t, t.TempDir()}
	d := startDev(t, filepath.Join(h.dir, ".waybill"), "")
	if code, out, errs := h.waybill(nil, "", "jobs", "submit", "debug.echo", `{"a":1}`, "--wait", "30s"); code != 0 ||
		!strings.Contains(out, `"completed"`) {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	d.stop()
	if _, err := os.Stat(filepath.Join(h.dir, ".waybill/url")); err == nil {
		t.Error("it is gone, and says where it is")
	}
}

func TestEveryProcessKnowsTheVariablesOfTheClient(t *testing.T) {
	t.Parallel()
	environ := []string{"WAYBILL_URL=https://jobs.example.com", "WAYBILL_API_KEY=wb_1", "WAYBILL_PROFILE=prod"}
	for _, name := range []string{"api", "worker"} {
		if _, _, errs := ends(t, environ, "", name); strings.Contains(errs, "no such variable") ||
			!strings.Contains(errs, "DATABASE_URL") {
			t.Errorf("%s: %s", name, errs)
		}
	}
}
