package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

const (
	flushEvery = 5 * time.Second
	purgeEvery = 10 * time.Minute
	purgeBatch = 1000
	lastFlush  = 3 * time.Second // at the end
)

// Run writes down when keys and sessions were used, sends password resets, and removes what has
// expired, until ctx ends; then it writes down the rest. What fails is logged, and tried again
// later.
func (s *Service) Run(ctx context.Context) error {
	var mails sync.WaitGroup
	mails.Go(func() { s.sendResets(ctx) })
	defer mails.Wait()
	purged := time.Now()
	for loop.Sleep(ctx, loop.Jitter(flushEvery)) {
		if err := s.flush(ctx); err != nil {
			s.log.WarnContext(ctx, "last uses not written down", "err", err)
		}
		if time.Since(purged) < loop.Jitter(purgeEvery) {
			continue
		}
		purged = time.Now()
		if err := s.purge(ctx); err != nil {
			s.log.WarnContext(ctx, "expired sign-ins not removed", "err", err)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	if err := s.flush(last); err != nil { // an orderly end all the same: the ledger may be what is down
		s.log.WarnContext(ctx, "last uses not written down", "err", err)
	}
	return nil
}

func (s *Service) flush(ctx context.Context) error {
	return errors.Join(s.usedKeys.flush(ctx), s.usedTabs.flush(ctx))
}

// purge removes everything that has expired, a batch at a time.
func (s *Service) purge(ctx context.Context) error {
	now := s.stamp()
	for _, step := range []func() (int, error){
		func() (int, error) {
			return s.ledger.PurgeFamilies(ctx, now, now.Add(-s.cfg.SignInTTL), purgeBatch)
		},
		func() (int, error) { return s.ledger.PurgeSessions(ctx, now, idleSince(now), purgeBatch) },
		func() (int, error) { return s.ledger.PurgeResets(ctx, now, purgeBatch) },
		func() (int, error) { return s.purgeAudit(ctx, now) },
	} {
		for n := purgeBatch; n == purgeBatch; {
			var err error
			if n, err = step(); err != nil {
				return fmt.Errorf("purge sign-ins: %w", err)
			}
		}
	}
	return nil
}

// purgeAudit deletes a batch of the entries that are older than their retention.
func (s *Service) purgeAudit(ctx context.Context, now time.Time) (int, error) {
	if s.cfg.AuditRetention == 0 {
		return 0, nil
	}
	return s.ledger.PurgeAudit(ctx, now.Add(-s.cfg.AuditRetention), purgeBatch)
}
