package bench

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/testenv"
)

func TestATreeIsAProcessItsChildrenAndThoseThatEnded(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	for pid, text := range map[int]string{
		10:  "10 (postgres) S 1 10 10 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 1 0 5 6 7",
		11:  "11 (odd) 10) name) S 10 10 10 0 -1 4194560 1 2 3 4 5 6 0 0 20 0 1 0 5 6 7",
		12:  "12 (postgres) R 10 10 10 0 -1 4194560 1 2 3 4 50 0 0 7 20 0 1 0 5 6 7",
		13:  "13 (other) S 1 10 10 0 -1 4194560 1 2 3 4 100000 0 0 0 20 0 1 0 5 6 7",
		100: "100 (other) S 110 10 10 0 -1 4194560 1 2 3 4 100000 0 0 0 20 0 1 0 5 6 7",
	} {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(proc, "14"), 0o755); err != nil { // ended while it was read
		t.Fatal(err)
	}
	got, err := treeTicks(proc, 10)
	if want := (100 + 20 + 3000 + 400 + 5 + 6 + 50 + 7) * tick; err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := treeTicks(proc, 99); err == nil {
		t.Errorf("a process that is not there spent %v", got)
	}
}

func TestWhatIsNoProcessIsAnError(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "10", "10 (x", "10 (x) S 1 2 3", "10 x) S (",
		"10 (x) S 1 10 10 0 -1 4194560 1 2 3 4 a 20 3000 400 20"} {
		if s, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
}

func TestTheMachineIsBusyWithAllButWaiting(t *testing.T) {
	t.Parallel()
	got, err := parseMachine("cpu  1 20 300 4000000 5000000 6 70 800 99 99\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := (1 + 20 + 300 + 6 + 70 + 800) * tick; err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if got, err := parseMachine(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
	if got, err := wholeMachine(t.Context()); err != nil || got <= 0 {
		t.Errorf("this one: %v, %v", got, err)
	}
}

func TestOurOwnProcessIsRead(t *testing.T) {
	t.Parallel()
	before, err := Own(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := readStat("/proc", os.Getpid())
	if err != nil || s.parent != os.Getppid() {
		t.Fatalf("%+v, %v", s, err)
	}
	if own := time.Duration(s.own) * tick; own < before-2*tick {
		t.Errorf("/proc says %v, the kernel said %v before", own, before)
	}
}

func TestTheFirstProcessOfPostgresIsFound(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var dir string
	if err := conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := strings.Cut(string(text), "\n")
	got, err := Postmaster(t.Context(), url)
	if err != nil || strconv.Itoa(got) != want {
		t.Fatalf("got %d, %v; want %s", got, err, want)
	}
	if spent, err := Tree(got)(t.Context()); err != nil || spent <= 0 {
		t.Errorf("it spent %v, %v", spent, err)
	}
}
