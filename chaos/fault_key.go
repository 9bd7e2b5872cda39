package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

// loseKeys deletes and spoils asynq's and Waybill's keys one by one, as a mistaken script would,
// while jobs wait under them.
func loseKeys(ctx context.Context, w *cluster) error {
	w.flood(ctx, "ahead", 1, 500, 100, `,"delay":"14s"`)
	const q = "asynq:{default}:"
	steps := []func() error{
		func() error { return w.rdb.Del(ctx, q+"pending").Err() },
		func() error { return w.deleteTasks(ctx, "scheduled", 0, 99) },
		func() error { return w.loseMessages(ctx, 100, 199) },
		func() error { return w.rdb.Del(ctx, q+"active").Err() },
		func() error { return w.rdb.Del(ctx, q+"lease").Err() },
		func() error { return w.anotherType(ctx, q+"retry") },
		func() error { return w.anotherType(ctx, "waybill:{default}:watermark") },
		func() error { w.flood(ctx, "backlog", 2, 1000, 100); return w.deleteWaiting(ctx) },
		func() error { return w.rdb.Del(ctx, q+"pending").Err() },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		loop.Sleep(ctx, time.Second)
	}
	return nil
}

func taskKey(id string) string { return "asynq:{default}:t:" + id }

func (w *cluster) deleteTasks(ctx context.Context, set string, from, to int64) error {
	ids, err := w.rdb.ZRange(ctx, "asynq:{default}:"+set, from, to).Result()
	if err != nil {
		return err
	}
	return w.deleteKeys(ctx, ids)
}

func (w *cluster) deleteWaiting(ctx context.Context) error {
	ids, err := w.rdb.LRange(ctx, "asynq:{default}:pending", 0, 99).Result()
	if err != nil {
		return err
	}
	return w.deleteKeys(ctx, ids)
}

func (w *cluster) deleteKeys(ctx context.Context, ids []string) error {
	w.note(fmt.Sprintf("%d tasks deleted", len(ids)))
	var errs []error
	for _, id := range ids {
		errs = append(errs, w.rdb.Del(ctx, taskKey(id)).Err())
	}
	return errors.Join(errs...)
}

// loseMessages takes what asynq would have to decode out of scheduled tasks.
func (w *cluster) loseMessages(ctx context.Context, from, to int64) error {
	ids, err := w.rdb.ZRange(ctx, "asynq:{default}:scheduled", from, to).Result()
	for _, id := range ids {
		err = errors.Join(err, w.rdb.HDel(ctx, taskKey(id), "msg").Err())
	}
	return err
}

// anotherType replaces a key by one of a type that no command for it accepts.
func (w *cluster) anotherType(ctx context.Context, key string) error {
	pipe := w.rdb.TxPipeline()
	pipe.Del(ctx, key)
	pipe.SAdd(ctx, key, "of another type")
	_, err := pipe.Exec(ctx)
	return err
}
