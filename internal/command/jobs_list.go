package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybill/waybill/client"
)

type listCommand struct {
	State string            `help:"scheduled, pending, held, active, retry, completed, archived or canceled."`
	Type  string            `help:"The task type."`
	Queue string            `help:"The queue."`
	Label map[string]string `help:"Labels, as key=value."`
	All   bool              `help:"Jobs of all accounts, not only your own."`
	Limit int               `default:"20" help:"How many; 0: all."`
	JSON  bool              `name:"json" help:"The same as --output json."`

	Output string `short:"o" default:"table" enum:"table,wide,json" help:"table, wide (with owner, labels and times), or json (a line for each)."`
}

// Run lists jobs. Those that were read before a failure are printed.
func (c *listCommand) Run(ctx context.Context, flags *accessFlags, s *streams) error {
	api, at, err := flags.client()
	if err != nil {
		return err
	}
	if c.JSON {
		c.Output = "json"
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	if c.Output != "json" {
		fmt.Fprintln(table, "ID\tSTATE\tTYPE\tQUEUE\tATTEMPT\tCREATED"+c.wide("\tFINISHED\tOWNER\tLABELS"))
	}
	n := 0
	for j, err := range api.List(ctx, c.filter()) {
		if err != nil && n > 0 {
			_ = table.Flush()
		}
		if err != nil {
			return at.explain(err)
		}
		c.print(s.out, table, j)
		if n++; n == c.Limit {
			break
		}
	}
	return table.Flush()
}

func (c *listCommand) filter() client.Filter {
	return client.Filter{
		State:     c.State,
		Type:      c.Type,
		Queue:     c.Queue,
		Labels:    c.Label,
		AllOwners: c.All,
		PageSize:  c.Limit,
	}
}

func (c *listCommand) print(out, table io.Writer, j client.JobInfo) {
	if c.Output == "json" {
		fmt.Fprintf(out, "%s\n", j.Raw)
		return
	}
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s%s\n", j.ID, j.State, j.Type, j.Queue, j.Attempt, localTime(j.CreatedAt),
		c.wide("\t"+localTime(j.FinishedAt)+"\t"+j.OwnerID.String()+"\t"+labelText(j.Labels)))
}

// wide is text if more columns are wanted.
func (c *listCommand) wide(text string) string {
	if c.Output != "wide" {
		return ""
	}
	return text
}

func localTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func labelText(labels map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, key+"="+labels[key])
	}
	return cmp.Or(strings.Join(list, ","), "-")
}
