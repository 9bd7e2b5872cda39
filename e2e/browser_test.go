package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a Chromium with a profile of its own.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string

	mu         sync.Mutex
	requests   int
	foreign    []string // requests to anywhere else than url
	complaints []string // what its console says: scripts that fail, breaches of the page's policy
}

func startBrowser(t *testing.T, url string) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Fatal("no chromium: make e2e installs it")
	}
	opts := append(
		chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.UserDataDir(t.TempDir()),
	)
	if os.Getuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, url: url}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	command(b, network.Enable, network.EnableParams{})
	command(b, log.Enable, cdp.Empty{})
	command(b, runtime.Enable, cdp.Empty{})
	b.run(chromedp.EmulateViewport(1440, 810))
	return b
}

func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests++
		if u := e.Request.URL; !strings.HasPrefix(u, b.url+"/") && !strings.HasPrefix(u, "data:") {
			b.foreign = append(b.foreign, u)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text+" "+description(e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || e.Entry.Level == log.EntryLevelError &&
			e.Entry.Source != log.EntrySourceNetwork {
			b.complaints = append(b.complaints, e.Entry.Text)
		}
	}
}

func description(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}

// command sends a command of the protocol.
func command[P, R any](b *browser, c cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, c, params); err != nil {
		b.fail(err)
	}
}

// value runs an action that answers something.
func value[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.fail(err)
	}
	return v
}

func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(err)
	}
}

// fail ends the test, and leaves a picture of what the browser showed.
func (b *browser) fail(err error) {
	b.t.Helper()
	path := filepath.Join(os.TempDir(), "waybill-e2e-failed.png")
	b.shoot(path)
	b.t.Fatalf("%v (see %s)", err, path)
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.url + path))
}

// wait returns when the page shows the text, within one element.
func (b *browser) wait(text string) {
	b.t.Helper()
	b.run(chromedp.WaitVisible(fmt.Sprintf(`//body//*[contains(., %[1]q) and not(*[contains(., %[1]q)])]`, text)))
}

// gone returns when no row of a table shows the text any more.
func (b *browser) gone(text string) {
	b.t.Helper()
	value(
		b,
		chromedp.Poll[bool](
			fmt.Sprintf(`![...document.querySelectorAll("tr")].some(r => r.textContent.includes(%q))`, text),
			chromedp.WithPollingTimeout(20*time.Second),
		),
	)
}

// scheme sets the browser's preferred colour scheme, light or dark.
func (b *browser) scheme(name string) {
	b.t.Helper()
	command(
		b,
		emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		},
	)
}

func (b *browser) signIn(email, pass string) {
	b.t.Helper()
	b.run(chromedp.WaitVisible(chromedp.CSS("#password")))
	if value(b, chromedp.Value(chromedp.CSS("#email"))) == "" { // after a mistake the page still has it
		b.run(chromedp.SendKeys(chromedp.CSS("#email"), email))
	}
	b.run(chromedp.SendKeys(chromedp.CSS("#password"), pass), chromedp.Click(chromedp.CSS(`button[type=submit]`)))
}

// press presses one of the buttons that stand in the row that shows the text: over "…", as a person
// does, then the button. Its name is its title, or under a mouse its tooltip.
func (b *browser) press(row, button string) {
	b.t.Helper()
	b.run(chromedp.Click(fmt.Sprintf(`//tr[contains(., %q)]/td[last()]//button`, row)))
	value(b, chromedp.Poll[bool](fmt.Sprintf(`(() => {
		const row = [...document.querySelectorAll("tr")].find(r => r.textContent.includes(%q));
		const named = b => b.title || document.getElementById(b.getAttribute("aria-describedby"))?.textContent;
		const button = [...(row?.querySelectorAll("button") ?? [])].find(b => named(b) === %q);
		button?.click();
		return !!button;
	})()`, row, button), chromedp.WithPollingTimeout(10*time.Second)))
}

// fetch lets the page itself send a request, and answers its status.
func (b *browser) fetch(method, path string) int {
	b.t.Helper()
	return value(
		b,
		chromedp.Evaluate[int](
			fmt.Sprintf(`fetch(%q, {method: %q}).then(r => r.status)`, path, method),
			chromedp.EvalAwaitPromise,
		),
	)
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return value(b, chromedp.Text(chromedp.CSS(selector)))
}

var pictures = flag.String("pictures", "", "the folder for pictures of the pages; empty: none are taken")

// picture writes what the browser shows, for the documentation.
func (b *browser) picture(name string) {
	b.t.Helper()
	if *pictures == "" {
		return
	}
	b.run(chromedp.Sleep(600 * time.Millisecond)) // animations
	b.shoot(filepath.Join(*pictures, name+".png"))
}

func (b *browser) shoot(path string) {
	image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, image, 0o644)
	}
	if err != nil {
		b.t.Logf("no picture %s: %v", path, err)
	}
}
