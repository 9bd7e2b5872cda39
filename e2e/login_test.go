package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

func TestTheSignInPageNeedsNeitherAScriptNorALargeScreen(t *testing.T) {
	s := startServer(t)
	viewer := s.user("viewer")
	b := startBrowser(t, s.url)
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		for _, width := range []int{320, 390} {
			b.run(chromedp.EmulateViewport(int64(width), 844))
			b.open("/login")
			b.fits()
		}
		b.signIn(viewer, "not the password")
		b.wait("The e-mail or the password is wrong.")
		b.fits()
		b.picture("sign-in-phone-" + scheme)
	}
	b.signIn(viewer, password)
	b.run(chromedp.WaitReady(chromedp.CSS(".waybill-account")))
	if at := value(b, chromedp.Location()); !strings.HasPrefix(at, s.url+"/monitor") {
		t.Errorf("signed in without a script, the browser is at %s", at)
	}
}

// fits checks that nothing on the page has to be looked for sideways.
func (b *browser) fits() {
	b.t.Helper()
	if over := value(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth - innerWidth`)); over > 0 {
		b.t.Errorf("the page is %d pixels wider than the window", over)
	}
	if size := value(b, chromedp.Evaluate[float64](`Math.min(...[...document.querySelectorAll("input:not([type=hidden]), button")].map(e => e.getBoundingClientRect().height))`)); size < 44 {
		b.t.Errorf("something to touch is only %v pixels high", size)
	}
}
