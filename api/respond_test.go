package api

import "testing"

func TestAnswersAreNotEscapedForPages(t *testing.T) {
	t.Parallel()
	got, err := encode(map[string]string{"a": "<b>&"})
	if err != nil || string(got) != `{"a":"<b>&"}`+"\n" {
		t.Errorf("%s %v", got, err)
	}
}
