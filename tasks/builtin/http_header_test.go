package builtin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill/waybill/tasks/builtin/internal/guard"
)

func TestRequestsAreCheckedAtSubmission(t *testing.T) {
	t.Parallel()
	c, err := shipped(Config{}, discard())
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := c.Lookup("http.request")
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("x-", i)] = "v"
	}
	manyJSON, _ := json.Marshal(many)
	for payload, want := range map[string]string{
		`{}`:                          `/payload/url is required`,
		`{"url":"http://127.0.0.1/"}`: `/payload/url ` + guard.ErrNotAllowed.Error(),
		`{"url":"http://example.com:22/","method":"BREW"}`:                                                                                  `/payload/method must be one of GET, HEAD, POST, PUT, PATCH, DELETE; /payload/url must use port 80, 443, or one from 1024`,
		`{"url":"https://example.com","method":"get"}`:                                                                                      `/payload/method must be one of GET, HEAD, POST, PUT, PATCH, DELETE`,
		`{"url":"https://example.com","method":"GET","body":{}}`:                                                                            `/payload/body must be left out with GET`,
		`{"url":"https://example.com","secret":"whsec_TOP-SECRET-TOP-SECRET-TOP-SECRET"}`:                                                   `/payload/secret must be "whsec_" followed by the base64 of 24 to 64 bytes`,
		`{"url":"https://example.com","headers":{"X-A":1}}`:                                                                                 `/payload/headers/X-A must be a string`,
		`{"url":"https://example.com","headers":{"host":"x","Content-Length":"1","TE":"x","Webhook-Id":"x","transfer-encoding":"chunked"}}`: `/payload/headers/Content-Length is set by Waybill; /payload/headers/TE is set by Waybill; /payload/headers/Webhook-Id is set by Waybill; /payload/headers/host is set by Waybill; /payload/headers/transfer-encoding is set by Waybill`,
		`{"url":"https://example.com","headers":{"X-A":"a\r\nHost: b"}}`:                                                                    `/payload/headers/X-A must not hold control characters`,
		`{"url":"https://example.com","headers":{"X-A":"a\u0000"}}`:                                                                         `/payload/headers/X-A must not hold control characters`,
		`{"url":"https://example.com","headers":{"":"a","X A":"a","X:/":"a"}}`:                                                              `/payload/headers/ is not a valid header name; /payload/headers/X A is not a valid header name; /payload/headers/X:~1 is not a valid header name`,
		`{"url":"https://example.com","headers":` + string(manyJSON) +
			`}`: `/payload/headers must have at most 50 headers`,
		`{"url":"https://example.com","headers":{"X-A":"` + strings.Repeat("a", 8192) +
			`"}}`: `/payload/headers must have at most 8 KiB, names and values together`,
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(payload))); got != want {
			t.Errorf("%.120s\n got %s\nwant %s", payload, got, want)
		}
	}
	got := fieldsOf(t, typ.Check(json.RawMessage(`{"url":"https://example.com","headers":{"X-A":"1","x-a":"2"}}`)))
	if !strings.Contains(got, "is given twice") {
		t.Errorf("one header in two cases: %s", got)
	}
	for _, payload := range []string{
		`{"url":"https://example.com","body":[1,{"a":null}],"headers":{"X-A":"é\tb"},"secret":"` + testSecret + `"}`,
		`{"url":"https://example.com","body":"text"}`, `{"url":"https://example.com","body":null}`,
		`{"url":"https://example.com","body":1e400}`,
	} {
		if err := typ.Check(json.RawMessage(payload)); err != nil {
			t.Errorf("%s: %s", payload, fieldsOf(t, err))
		}
	}
}
