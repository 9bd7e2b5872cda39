package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

// The whole attack: go test ./internal/command -run SlowPeers -slow-peers 2100 -slow-for 2m
// -timeout 30m
var (
	slowPeers = flag.Int("slow-peers", 100, "connections of each kind that TestSlowPeersTakeNothingFromOthers opens")
	slowFor   = flag.Duration("slow-for", 5*time.Second, "how long they are held")
)

// apiProcess is an api as it is shipped, on a ledger and a Redis of its own.
type apiProcess struct {
	*testing.T
	cmd       *exec.Cmd
	log       *bytes.Buffer
	addr, key string
}

func startAPI(t *testing.T, environ ...string) *apiProcess {
	t.Helper()
	a := &apiProcess{T: t, log: &bytes.Buffer{}, addr: fmt.Sprint("127.0.0.1:", testenv.FreePort(t))}
	environ = append(
		[]string{
			"DATABASE_URL=" + testenv.Postgres(t),
			"REDIS_URL=" + testenv.Redis(t).URL,
			signingKey,
			"WAYBILL_ADDR=" + a.addr,
			"HOME=" + t.TempDir(),
			"WAYBILL_LOG_LEVEL=warn",
		},
		environ...)
	if code, _, errs := ends(t, environ, "", "waybill", "migrate", "up"); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs := ends(t, environ, edgePassword+"\n", "waybill", "admin", "create", "--email", edgeEmail,
		"--password-stdin"); code != 0 {
		t.Fatal(errs)
	}
	a.cmd = exec.Command(program(t, "api"))
	a.cmd.Env, a.cmd.Stderr = environ, a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		if t.Failed() {
			t.Logf("the api said:\n%.4000s", a.log)
		}
	})
	testenv.EventuallyNoError(t, startPatience, func() error {
		res, err := http.Get("http://" + a.addr + "/readyz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}, "the api is not ready")
	a.key = a.login("http://"+a.addr, http.DefaultClient)
	return a
}

const edgeEmail, edgePassword = "root@example.com", "the right password of root"

// login answers an access token.
func (a *apiProcess) login(base string, c *http.Client) string {
	a.Helper()
	res, err := c.Post(
		base+"/v1/auth/login",
		"application/json",
		strings.NewReader(fmt.Sprintf(`{"email":%q,"password":%q}`, edgeEmail, edgePassword)),
	)
	if err != nil {
		a.Fatal(err)
	}
	defer res.Body.Close()
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&tokens); err != nil || tokens.Access == "" {
		a.Fatalf("%s %v", res.Status, err)
	}
	return tokens.Access
}

// send asks over a connection of its own and answers the status and the body.
func (a *apiProcess) send(
	c *http.Client,
	method, url, body string,
) (status int, text string, header http.Header, err error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return res.StatusCode, string(all), res.Header, err
}

func (a *apiProcess) submit(base string, c *http.Client) (id string) {
	a.Helper()
	status, text, _, err := a.send(c, "POST", base+"/v1/jobs", `{"type":"debug.echo","payload":{"a":1}}`)
	if err != nil || status != http.StatusAccepted {
		a.Fatalf("%d %s %v", status, text, err)
	}
	var j struct{ ID string }
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		a.Fatal(err)
	}
	return j.ID
}

// memory is the resident memory of the process, in bytes.
func (a *apiProcess) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		a.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kilobytes, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kilobytes << 10
}

// attack is one kind of slow peer.
type attack struct {
	name, head string
	after      int // bytes that follow the head
}

func attacks(key string) []attack {
	half := "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
		"100000\r\n\r\n{"
	held := "POST /v1/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key +
		"\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n"
	return []attack{
		{"half requests", half, 0},
		{"short half requests", strings.Replace(half, "100000", "10000", 1), 0},
		{"readers that never read", strings.Repeat("GET /docs HTTP/1.1\r\nHost: x\r\n\r\n", 100), 0},
		{"held bodies of strangers", fmt.Sprintf(held, "auth/login"), 1<<20 - 10},
		{"held bodies of a user", fmt.Sprintf(held, "jobs"), 1<<20 - 10},
	}
}

// hold opens connections and opens each again that ends, until stop is closed.
func (k attack) hold(addr string, n int, from func(int) net.IP, stop chan struct{}, all *sync.WaitGroup) {
	filler := bytes.Repeat([]byte(" "), 64<<10)
	for i := range n {
		all.Go(func() {
			for !isClosed(stop) {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from(i)}, Timeout: 10 * time.Second}
				conn, err := d.Dial("tcp", addr)
				if err != nil {
					pause(stop, time.Second)
					continue
				}
				_, err = io.WriteString(conn, k.head)
				for left := k.after; err == nil && left > 0; left -= len(filler) {
					_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
					_, err = conn.Write(filler[:min(left, len(filler))])
				}
				if k.after > 0 || !strings.HasPrefix(k.head, "GET") {
					_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
					_, _ = io.Copy(io.Discard, conn) // until the server ends it
				} else {
					pause(stop, 20*time.Second)
				}
				_ = conn.Close()
				pause(stop, 100*time.Millisecond)
			}
		})
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func pause(stop chan struct{}, d time.Duration) {
	select {
	case <-stop:
	case <-time.After(d):
	}
}

func TestSlowPeersTakeNothingFromOthers(t *testing.T) {
	for name, from := range map[string]func(int) net.IP{
		"of one address":   func(int) net.IP { return net.IPv4(127, 0, 0, 1) },
		"of many of these": func(i int) net.IP { return net.IPv4(127, 0, byte(1+i/250), byte(1+i%250)) },
	} {
		t.Run(name, func(t *testing.T) {
			a := startAPI(t)
			stop := make(chan struct{})
			var all sync.WaitGroup
			for i, k := range attacks(a.key) {
				k.hold(a.addr, *slowPeers, func(n int) net.IP { return from(n + i**slowPeers) }, stop, &all)
			}
			defer func() { close(stop); all.Wait() }()
			took, failed, most := a.useWhile(*slowFor)
			slices.Sort(took)
			p99 := took[len(took)*99/100]
			t.Logf(
				"%d requests beside %d slow peers of each kind: p50 %v, p99 %v, %d failed, memory up to %d MiB",
				len(took),
				*slowPeers,
				took[len(took)/2],
				p99,
				failed,
				most>>20,
			)
			if failed > 0 { // how long others wait depends on the machine: it is logged
				t.Error("others are refused")
			}
			if most > 400<<20 {
				t.Errorf("memory of %d MiB", most>>20)
			}
		})
	}
}

// useWhile is what other users do meanwhile: each request over a connection of its own.
func (a *apiProcess) useWhile(d time.Duration) (took []time.Duration, failed, memory int) {
	users := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var mu sync.Mutex
	var wrong atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for range 4 {
		all.Go(func() {
			for i := 0; time.Now().Before(end); i++ {
				began := time.Now()
				var status int
				var err error
				switch i % 3 {
				case 0:
					status, _, _, err = a.send(
						users,
						"POST",
						"http://"+a.addr+"/v1/jobs",
						`{"type":"debug.echo","payload":{"a":1}}`,
					)
				case 1:
					status, _, _, err = a.send(users, "GET", "http://"+a.addr+"/v1/jobs?limit=1", "")
				default:
					status, _, _, err = a.send(users, "GET", "http://"+a.addr+"/readyz", "")
				}
				if err != nil || status >= 300 {
					wrong.Add(1)
					a.Logf("%d: status %d, %v", i, status, err)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				memory = max(memory, a.memory())
				mu.Unlock()
				time.Sleep(20 * time.Millisecond) // a load that is far from full
			}
		})
	}
	all.Wait()
	return took, int(wrong.Load()), memory
}

func TestAnAPIThatIsToldToStopAnswersWhoWaits(t *testing.T) {
	t.Parallel()
	a := startAPI(t)
	id := a.submit("http://"+a.addr, http.DefaultClient)
	silent, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, _ = io.WriteString(
		silent,
		"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	)
	const n = 50
	answered := make(chan string, n)
	for range n {
		go func() {
			status, text, _, err := a.send(http.DefaultClient, "GET", "http://"+a.addr+"/v1/jobs/"+id+"?wait=60s", "")
			answered <- fmt.Sprint(status, " ", strings.Contains(text, `"state":"pending"`), " ", err)
		}()
	}
	testenv.Eventually(t, time.Minute, func() bool { return a.connections() > n }, "not all of them wait")
	began := time.Now()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range n {
		if got := <-answered; got != "200 true <nil>" {
			t.Error(got)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("they were answered after %v", took)
	}
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// connections counts what is connected to the api, from outside.
func (a *apiProcess) connections() (n int) {
	_, port, _ := net.SplitHostPort(a.addr)
	number, _ := strconv.Atoi(port)
	text, _ := os.ReadFile("/proc/net/tcp")
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() { // local address, remote address, state 01: established
		if f := strings.Fields(lines.Text()); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) &&
			f[3] == "01" {
			n++
		}
	}
	return n
}

// docsBlock is the first block of a language in a page of docs/.
func docsBlock(t *testing.T, page, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n```"+language+"\n")
	block, _, end := strings.Cut(rest, "\n```")
	if !ok || !end {
		t.Fatalf("docs/%s has no block of %s", page, language)
	}
	return block
}
