package store

import "context"

// Deployment is the id that the migrations gave to this database.
func (s *Store) Deployment(ctx context.Context) (id string, err error) {
	err = s.db.NewSelect().Table("deployment").Column("id").Scan(ctx, &id)
	return id, s.wrap("read the deployment's id", err)
}
