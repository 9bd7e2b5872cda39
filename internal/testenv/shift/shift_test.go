package shift

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const program = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		time.Sleep(30 * time.Millisecond)
		fmt.Println(time.Now().UnixNano(), int64(time.Since(began)))
	}
}
`

// The program is small: the whole standard library that it needs is compiled again.
func TestTheWallClockOfAProgramMovesAndItsMonotonicClockDoesNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	overlay, err := Overlay(dir)
	if err != nil {
		t.Fatal(err)
	}
	source, bin, file := filepath.Join(dir, "main.go"), filepath.Join(dir, "main"), filepath.Join(dir, "clock")
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", bin, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), Variable+"="+file)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began, lines := time.Now(), bufio.NewScanner(out)
	for _, ahead := range []time.Duration{0, 10 * time.Minute, -5250 * time.Millisecond, 2 * time.Millisecond, 0} {
		if err := Set(file, ahead); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte("\n")); err != nil || !lines.Scan() {
			t.Fatal(err, lines.Err())
		}
		now := time.Now()
		wall, passed, _ := strings.Cut(lines.Text(), " ")
		w, _ := strconv.ParseInt(wall, 10, 64)
		p, _ := strconv.ParseInt(passed, 10, 64)
		if off := time.Unix(0, w).Sub(now); off > ahead || off < ahead-2*time.Second {
			t.Errorf("set to %v, the program's clock is %v from the machine's", ahead, off)
		}
		if time.Duration(p) > now.Sub(began) || p < 0 {
			t.Errorf("set to %v, %v have passed in the program of %v", ahead, time.Duration(p), now.Sub(began))
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
