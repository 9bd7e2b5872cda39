package webhook

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func TestSignMatchesTheVectorOfTheReferenceLibraries(t *testing.T) {
	t.Parallel()
	key, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := key.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseSecretRefusesWithoutRepeating(t *testing.T) {
	t.Parallel()
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, secret := range []string{"", "whsec_", b64(32), "WHSEC_" + b64(32), "whsec_" + b64(23), "whsec_" + b64(65),
		"whsec_" + strings.TrimRight(b64(32), "="), "whsec_" + b64(32) + "\n", "whsec_!!!!" + b64(32), "whsk_" + b64(32)} {
		if _, err := ParseSecret(secret); err != ErrSecret {
			t.Errorf("%q: %v", secret, err)
		}
	}
	for _, n := range []int{24, 32, 64} {
		if key, err := ParseSecret("whsec_" + b64(n)); err != nil || len(key) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
