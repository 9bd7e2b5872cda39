package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// child is a process that reads an order, answers with its address, and ends when its input does:
// when we let go of it, or are gone.
type child struct {
	cmd   *exec.Cmd
	leash io.Closer
	addr  string
}

func startChild(command []string, order any) (*child, error) {
	if len(command) == 0 {
		return nil, errors.New("no command is given")
	}
	cmd := exec.Command(command[0], command[1:]...)
	var errs strings.Builder
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, leash: in}
	if err := json.NewEncoder(in).Encode(order); err != nil {
		c.end()
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.end()
		return nil, fmt.Errorf("%s did not start: %s", command[0], strings.TrimSpace(errs.String()))
	}
	c.addr = strings.TrimSpace(line)
	return c, nil
}

func (c *child) url(path string) string { return "http://" + c.addr + path }

func (c *child) end() {
	_ = c.leash.Close()
	_ = c.cmd.Wait()
}
