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
		"whsec_" + strings.TrimRight(b64(32), "="), "whsec_" + b64(32) + "\n", "whsec_!!!!" + b64(32), "whsk_" +
			b64(32)} {
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

func TestEachOwnerHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	keys, err := ParseSecrets(
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	)
	if err != nil || len(keys) != 2 {
		t.Fatalf("got %d keys, %v", len(keys), err)
	}
	seen := map[string]bool{keys[0].Secret(): true, keys[1].Secret(): true}
	for _, owner := range []string{"0190e6a8-0000-7000-8000-000000000001", "0190e6a8-0000-7000-8000-000000000002", ""} {
		for _, key := range OwnerKeys(keys, owner) {
			if seen[key.Secret()] {
				t.Errorf("%s is the key of two", key.Secret())
			}
			seen[key.Secret()] = true
			if again, err := ParseSecret(key.Secret()); err != nil || string(again) != string(key) {
				t.Errorf("a derived secret cannot be read: %v", err)
			}
		}
	}
	// Receivers keep derived secrets: the derivation is fixed.
	if got, want := keys[0].Owner("0190e6a8-0000-7000-8000-000000000001").Secret(),
		"whsec_9Hh1tdR6zY42x5Rv+ARfC/+ZSKxH+QTjQkxOX++IRXE="; got != want {
		t.Errorf("the derived secret is %s, want %s", got, want)
	}
	for _, secrets := range []string{",", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		if _, err := ParseSecrets(secrets); err != ErrSecret {
			t.Errorf("%q: %v", secrets, err)
		}
	}
}
